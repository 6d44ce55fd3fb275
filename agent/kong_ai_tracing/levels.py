"""Did a call go well, and if not, what is there to say about it?"""

from __future__ import annotations

import re
from http import HTTPStatus

from kong_ai_tracing.entries import LogEntry, integer, text
from kong_ai_tracing.observations import Level
from kong_ai_tracing.payloads.dialect import Answered, Failure

_FIRST_ERROR = 400
_CLIENT_LEFT = 499
_KONGS_REFUSALS = frozenset((401, 403, 404, 429))
"""Kong doing its duty, not a failure of anything."""
_MAX_MESSAGE = 1000
_KEYS = (
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|key)[-_][\w*-]{6,}|\bAIza[\w*-]{10,}"),
    re.compile(r"(?i)(?<=bearer )\S{8,}"),
    re.compile(r"(?i)(?<=key provided: )(?!-----BEGIN)\S+?(?=[.,;]?(?:\s|$))"),
    re.compile(r"(?i)(?<=key=)[^\s&\"']+"),
)


def failed(status: int | None) -> bool:
    """Whether a status says that the call failed."""
    return status is not None and status >= _FIRST_ERROR


def level_of(entry: LogEntry, answered: Answered) -> tuple[Level, str | None]:
    """Level and status message of the proxied call."""
    status, failure = entry.status, answered.failure
    if status is not None and failed(status):
        return _level_of_status(entry, status), _status_message(entry, status, failure)
    if failure is not None:
        return "ERROR", message_of(failure)
    if answered.partial:
        return "WARNING", "the answer is incomplete: it ended, or was cut, before its end"
    return "DEFAULT", None


def answered_by_kong(entry: LogEntry) -> bool:
    """Whether Kong itself answered. Before 3.6 it does not say so; then nothing was proxied."""
    source = text(entry.record.get("source"))
    if source is not None:
        return source == "kong"
    return integer(entry.latencies.get("proxy")) == -1 or entry.record.get("tries") in ([], {})


def _level_of_status(entry: LogEntry, status: int) -> Level:
    if status == _CLIENT_LEFT or (status in _KONGS_REFUSALS and answered_by_kong(entry)):
        return "WARNING"
    return "ERROR"


def _status_message(entry: LogEntry, status: int, failure: Failure | None) -> str:
    said = f"HTTP {status} {_phrase(status)}".rstrip()
    if answered_by_kong(entry):
        said += " from Kong"
    return f"{said}: {message_of(failure)}" if failure else said


def _phrase(status: int) -> str:
    if status == _CLIENT_LEFT:
        return "client closed the connection"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def message_of(failure: Failure) -> str:
    """What a provider says of a failure, without the keys that some quote in it."""
    message = failure.message.replace("\x00", "\ufffd")
    for pattern in _KEYS:
        message = pattern.sub("[key]", message)
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "…"
