"""The agent's own log, for the operator: one `key=value` line for each event, on stderr.

It never holds prompts, and masks every key it was told about. A failure that goes on is said once, then
summarised with its count at growing intervals, then closed with one line when it is over.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from kong_ai_tracing.secret import MASK

LogLevel = Literal["debug", "info", "warn", "error"]

_RANK: dict[LogLevel, int] = {"debug": 0, "info": 1, "warn": 2, "error": 3}
# The journal's priorities, as in sd-daemon(3).
_PRIORITY: dict[LogLevel, str] = {"debug": "<7>", "info": "<6>", "warn": "<4>", "error": "<3>"}
_LONGEST_VALUE = 500
_FIRST_SUMMARY_SECONDS = 60.0
_LONGEST_SUMMARY_SECONDS = 3600.0
_MAX_FAILURES = 1000


class _Failure(Struct):
    """A failure that is going on."""

    since: float
    times: int
    said: int
    """How many of `times` have been told."""
    next_summary: float
    interval: float


class OperatorLog:
    """Writes events. `clock` is monotonic seconds, `wall_clock` epoch seconds; tests hand in their own."""

    def __init__(
        self,
        level: LogLevel = "info",
        *,
        secrets: tuple[str, ...] = (),
        write: Callable[[str], object] | None = None,
        for_journal: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._rank = _RANK[level]
        self._secrets = tuple(secret for secret in secrets if secret)
        self._write = write or _write_to_stderr
        self._for_journal = for_journal
        self._clock = clock
        self._wall_clock = wall_clock
        self._failures: dict[tuple[str, str], _Failure] = {}

    def debug(self, event: str, **fields: object) -> None:
        self._say("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._say("info", event, fields)

    def warn(self, event: str, **fields: object) -> None:
        self._say("warn", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._say("error", event, fields)

    def failing(self, event: str, subject: str = "", *, level: LogLevel = "warn", **fields: object) -> None:
        """Something failed that may fail again: `event` and `subject` (a path, a destination) tell which.

        The first time is said at once, the next ones are counted and summarised.
        """
        now = self._clock()
        failure = self._failures.get((event, subject))
        named = {"subject": subject, **fields} if subject else fields
        if failure is None:
            if len(self._failures) >= _MAX_FAILURES:
                self._failures.pop(next(iter(self._failures)))
            interval = _FIRST_SUMMARY_SECONDS
            self._failures[event, subject] = _Failure(now, 1, 1, now + interval, interval)
            self._say(level, event, named)
            return
        failure.times += 1
        if now >= failure.next_summary:
            failure.said = failure.times
            failure.interval = min(failure.interval * 2, _LONGEST_SUMMARY_SECONDS)
            failure.next_summary = now + failure.interval
            self._say(level, event, {**named, **_summary(failure, now)})

    def recovered(self, event: str, subject: str = "", **fields: object) -> None:
        """What `failing` told of is over. Says so once; nothing when it never failed."""
        failure = self._failures.pop((event, subject), None)
        if failure is not None:
            named = {"subject": subject, **fields} if subject else fields
            self._say("info", f"{event}_over", {**named, **_summary(failure, self._clock())})

    def _say(self, level: LogLevel, event: str, fields: Mapping[str, object]) -> None:
        if _RANK[level] < self._rank:
            return
        pairs = " ".join(
            f"{name}={_quoted(self._masked(value))}" for name, value in fields.items() if value is not None
        )
        text = f"event={event} {pairs}".rstrip()
        if self._for_journal:
            self._write(f"{_PRIORITY[level]}{text}\n")
        else:
            moment = datetime.fromtimestamp(self._wall_clock(), UTC)
            self._write(
                f"time={moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z level={level} {text}\n"
            )

    def _masked(self, value: object) -> str:
        text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def operator_log(level: LogLevel, secrets: tuple[str, ...], environ: Mapping[str, str]) -> OperatorLog:
    """The log of a command, on stderr; with the journal's priorities when stderr is the journal."""
    return OperatorLog(level, secrets=secrets, for_journal=_stderr_is_journal(environ))


def _stderr_is_journal(environ: Mapping[str, str]) -> bool:
    # systemd names the device and inode of the stream, so that a redirection is noticed.
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _write_to_stderr(line: str) -> None:
    # A closed terminal or a full pipe must not stop the agent.
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _summary(failure: _Failure, now: float) -> dict[str, object]:
    return {"times": failure.times, "for_seconds": round(now - failure.since)}


def _quoted(text: str) -> str:
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "…"
    if text and text.isprintable() and not any(character in text for character in ' "=\\'):
        return text
    # Control characters of a path or a server's answer must not reach the terminal.
    escaped = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
