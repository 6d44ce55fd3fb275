"""What every dialect of model API has in common: the facts a reader takes out of the two bodies.

A dialect is one file with one `Dialect` value in it; the registry beside this file lists them. A request
and its answer are recognised separately, because ai-proxy logs a request in the provider's dialect and
the answer in OpenAI's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from re import Pattern
from typing import Any, Literal

from msgspec import Raw, Struct, field

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, clean, is_empty, items_of, object_text, string_of, value_of
from kong_ai_tracing.payloads.values import settings_of


class Asked(Struct):
    """What a request body says. `input` is JSON text."""

    input: bytes | None = None
    model: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    streamed: bool = False
    message_count: int | None = None
    prompt_length: int | None = None
    """Characters of text in it."""


class Failure(Struct, frozen=True):
    """An error as a model API tells it."""

    message: str
    type: str | None = None
    code: str | None = None


class Answered(Struct):
    """What an answer says, streamed or not. `output` is JSON text, `usage` the counts as reported."""

    output: bytes | None = None
    model: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    """At which service, and so at which price, it was answered."""
    response_length: int | None = None
    """Characters of text in it."""
    failure: Failure | None = None
    partial: bool = False
    """True when the answer ends before its end."""


def _is_no_event(event: dict[str, Any]) -> bool:
    """For a dialect that never streams."""
    return False


def _read_no_events(stream: EventStream) -> Answered:
    """What is left to say of a stream in a dialect that has none."""
    return Answered(partial=not stream.done)


class Dialect(Struct, frozen=True, kw_only=True):
    """One API of a model server.

    `paths` matches the end of a path; `distinctive` says that such a path is used for nothing else, so that
    a JSON request to it needs no second sign. `provider` is who speaks it when nothing says more.
    """

    name: str
    operation: str
    type: Literal["generation", "embedding", "retriever", "guardrail"] = "generation"
    provider: str | None = None
    paths: Pattern[str]
    distinctive: bool = False
    is_request: Callable[[Fields], bool]
    is_response: Callable[[Fields], bool]
    is_event: Callable[[dict[str, Any]], bool] = _is_no_event
    read_request: Callable[[Fields], Asked]
    read_response: Callable[[Fields], Answered]
    read_events: Callable[[EventStream], Answered] = _read_no_events
    read_text: Callable[[str], Answered] | None = None
    """What an answer that is no JSON says; where nothing is given, it is what the assistant said."""


PARAMETERS = frozenset(
    (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_new_tokens",
        "max_tokens_to_sample",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "n",
        "best_of",
        "seed",
        "random_seed",
        "logit_bias",
        "min_tokens",
        "length_penalty",
        "typical_p",
        "ignore_eos",
        "stop",
        "stop_sequences",
        "stream",
        "logprobs",
        "top_logprobs",
        "echo",
        "suffix",
        "response_format",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "reasoning_effort",
        "reasoning",
        "reasoning_format",
        "include_reasoning",
        "thinking",
        "prompt_mode",
        "safe_prompt",
        "effort",
        "output_config",
        "latency",
        "verbosity",
        "service_tier",
        "store",
        "truncation",
        "modalities",
        "audio",
        "web_search_options",
        "search_mode",
        "search_context_size",
        "search_recency_filter",
        "background",
        "dimensions",
        "encoding_format",
        "max_tool_calls",
        "num_predict",
        "size",
        "quality",
        "style",
        "voice",
        "language",
    )
)
"""Settings of a request that are kept as model parameters."""


_TERMS = PARAMETERS | {"model"}
_LONG_TERMS = 300
"""From how many bytes on they are not remembered."""


class Terms(Struct, frozen=True):
    """On which terms a request is made: by which model, with which settings (not to be changed), and whether
    as a stream."""

    model: str | None
    parameters: dict[str, Any]
    streamed: bool


def terms_of(fields: Fields) -> Terms:
    """The terms among the members of a request. A client asks on the same again and again, and gets the same
    object."""
    names = tuple([name for name in fields if name in _TERMS])
    texts = tuple([bytes(fields[name]) for name in names])
    return _known_terms(names, texts) if len(b"".join(texts)) < _LONG_TERMS else _terms(names, texts)


def _terms(names: tuple[str, ...], texts: tuple[bytes, ...]) -> Terms:
    said = dict(zip(names, texts, strict=True))
    model, streamed = said.get("model"), said.get("stream") == b"true"
    settings = {name: value_of(text) for name, text in said.items() if name in PARAMETERS}
    return Terms(None if model is None else word_of(Raw(model)), settings_of(settings), streamed)


_known_terms = lru_cache(1024)(_terms)


def parameters_of(fields: Fields) -> dict[str, Any]:
    """The settings among the members of a request, not to be changed."""
    return terms_of(fields).parameters


def is_streamed(fields: Fields) -> bool:
    """Whether a request asks for a stream."""
    raw = fields.get("stream")
    return raw is not None and bytes(raw) == b"true"


def raw_text(raw: Raw) -> bytes:
    """The text of a slice, fit to be spliced into other JSON."""
    return clean(bytes(raw))


def messages_input(messages: bytes, tools: Raw | None) -> bytes:
    """The messages alone, or an object of messages and tools where there are tools."""
    if tools is None or is_empty(tools):
        return messages
    return object_text({"messages": messages, "tools": raw_text(tools)})


def word_of(raw: Raw | None) -> str | None:
    """A string that says something: a model, an id, a reason."""
    found = None if raw is None else string_of(raw)
    return found.strip() or None if found else None


_PARTS_WITHIN_PARTS = 20
"""How deep text is looked for. Nobody writes text that deep, but a hostile body may well be."""


def text_length(content: Any, depth: int = 0) -> int:
    """Characters of text in a message's content: a string, or a list of parts with a `text` each."""
    if isinstance(content, str):
        return len(content)
    if depth > _PARTS_WITHIN_PARTS:
        return 0
    if isinstance(content, list):
        return sum([text_length(part, depth + 1) for part in content])
    if isinstance(content, dict):
        return text_length(content.get("text"), depth + 1)
    return 0


def prompt_text_length(raw: Raw | None) -> int | None:
    """Characters of text in a prompt or an input: a string or a list of strings or of parts."""
    if raw is None:
        return None
    return text_length(value_of(raw))


def count_of(raw: Raw | None) -> int | None:
    """How many items a list has."""
    return None if raw is None else len(items_of(raw))


def failure_of(fields: Fields) -> Failure | None:
    """The error in an answer: OpenAI's `error` object or string, the bare `message` of Kong and others, the
    `detail` of FastAPI."""
    if "error" in fields:
        return failure_in(value_of(fields["error"]), word_of(fields.get("error_type")))
    if "message" in fields and not fields.keys() - _ERROR_MEMBERS and (message := word_of(fields["message"])):
        return Failure(message)
    if "detail" in fields and len(fields) == 1:
        return _failure_in_detail(value_of(fields["detail"]))
    return None


def _failure_in_detail(detail: Any) -> Failure | None:
    """A text, or what is wrong with each member of the request, without the member itself."""
    if isinstance(detail, list):
        found = [_problem_of(problem) for problem in detail if isinstance(problem, dict)]
        return Failure("; ".join(filter(None, found)) or "error without a message", "validation_error")
    return failure_in(detail)


def _problem_of(problem: dict[str, Any]) -> str:
    message, place = problem.get("msg"), problem.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {message}" if where and isinstance(message, str) else str(message or where)


_ERROR_MEMBERS = frozenset(("message", "id", "request_id", "code", "type", "param", "object", "status"))


def failure_in(error: Any, kind: str | None = None) -> Failure | None:
    """The error in an `error` member. `kind` is its type where that stands beside a bare message."""
    if isinstance(error, str) and error.strip():
        return Failure(error.strip(), kind)
    if isinstance(error, dict) and error:
        message, kind, code = (_word_or_number(error.get(name)) for name in ("message", "type", "code"))
        kind = kind or _word_or_number(error.get("status"))  # Google's word for it
        return Failure(message or kind or code or "error without a message", kind, code)
    return None


def _word_or_number(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None
