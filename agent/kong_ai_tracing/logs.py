"""The agent's own log, for the operator: one line for each event on stderr, `event key=value …`.

The modules log with the standard library (`log.warning("file.missing path=%s", path)`); this is the one
place that gives the lines their form. Keys are masked, control characters are made harmless, and a
warning that repeats word by word is said once and then summarised at growing intervals.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from msgspec import Struct

from kong_ai_tracing.secret import MASK

_PACKAGE = "kong_ai_tracing"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {number: name for name, number in _LEVELS.items()} | {logging.CRITICAL: "error"}
# The journal's priorities, as in sd-daemon(3).
_PRIORITIES = {"debug": "<7>", "info": "<6>", "warn": "<4>", "error": "<3>"}
_LONGEST_LINE = 2000
_FIRST_SUMMARY_SECONDS = 60.0
_LONGEST_SUMMARY_SECONDS = 3600.0
_MAX_REMEMBERED = 1000

_project: ContextVar[str | None] = ContextVar("project", default=None)


@contextmanager
def about(project: str | None) -> Iterator[None]:
    """What is logged in here, and by the tasks that are begun in here, names the project."""
    token = _project.set(project)
    try:
        yield
    finally:
        _project.reset(token)


def set_up_logging(level: str, secrets: Sequence[str], environ: Mapping[str, str]) -> None:
    """Send everything that this process logs to stderr. Libraries only get to say warnings."""
    handler = OperatorHandler(sys.stderr, secrets=secrets, for_journal=_stderr_is_journal(environ))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_PACKAGE).setLevel(_LEVELS[level])


class OperatorHandler(logging.Handler):
    """Writes records as lines for an operator or, with priorities instead of times, for the journal."""

    def __init__(
        self,
        stream: TextIO,
        *,
        secrets: Sequence[str] = (),
        for_journal: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._secrets = tuple(secret for secret in secrets if secret)
        self._for_journal = for_journal
        self._repeats = Repeats(clock)

    def emit(self, record: logging.LogRecord) -> None:
        text = _harmless(self._masked(_message(record)))
        if record.levelno >= logging.WARNING:
            count = self._repeats.admit(text)
            if count == 0:
                return
            if count > 1:
                text = f"{text} times={count}"
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + self._masked(logging.Formatter().formatException(record.exc_info))
        level = _NAMES.get(record.levelno, "info")
        if self._for_journal:
            line = "\n".join(_PRIORITIES[level] + part for part in text.split("\n"))
        else:
            moment = datetime.fromtimestamp(record.created, UTC)
            line = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z {level:5} {text}"
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # A closed terminal or a full disk behind a redirection must not stop the agent.
            return

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


class _Repeated(Struct):
    times: int
    next_summary: float
    interval: float


class Repeats:
    """Decides which of equal texts are said: the first, then one after a minute, two, four, … an hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Repeated] = OrderedDict()

    def admit(self, text: str) -> int:
        """0: do not say it now; else how many times it happened since it was said last, this one included."""
        now = self._clock()
        known = self._known.get(text)
        if known is None or now > known.next_summary + known.interval:
            # New, or quiet for so long that it is news again.
            self._known[text] = _Repeated(0, now + _FIRST_SUMMARY_SECONDS, _FIRST_SUMMARY_SECONDS)
            self._known.move_to_end(text)
            if len(self._known) > _MAX_REMEMBERED:
                self._known.popitem(last=False)
            return 1
        known.times += 1
        if now < known.next_summary:
            return 0
        count, known.times = known.times, 0
        known.interval = min(known.interval * 2, _LONGEST_SUMMARY_SECONDS)
        known.next_summary = now + known.interval
        return count


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.name.startswith(_PACKAGE):
        project = _project.get()
        return f"{text} project={project}" if project else text
    return f"library.{record.name} message={text!r}"


def _harmless(text: str) -> str:
    """A file name or a server's answer can neither forge a line nor move the cursor."""
    if len(text) > _LONGEST_LINE:
        text = text[:_LONGEST_LINE] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _stderr_is_journal(environ: Mapping[str, str]) -> bool:
    # systemd names the device and inode of its stream, so that a redirection is noticed.
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
