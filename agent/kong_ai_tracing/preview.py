"""`preview`: the traces of a log, offline. The same steps as live, with the terminal as their end."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

import orjson
from msgspec import Struct, field

from kong_ai_tracing import assembly, otlp
from kong_ai_tracing.archivefiles import DAMAGE, open_content
from kong_ai_tracing.archives import ArchiveError
from kong_ai_tracing.calls import AICall, CallSettings, calls_of
from kong_ai_tracing.config import Config
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.excerpts import visible
from kong_ai_tracing.lines import Line, LineCutter, OversizedLine, SetAside
from kong_ai_tracing.progressbar import is_watched, reading_bar
from kong_ai_tracing.protection import Protection
from kong_ai_tracing.spans import Span
from kong_ai_tracing.tracejson import trace_json
from kong_ai_tracing.traces import Emission, Grouping

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_MAX_WAITING_TRACES = 10_000

_LONGEST_PASSED_OVER = 60


class Explanation(Struct, frozen=True):
    """Which source gave which value of a span, and what other sources said."""

    sources: dict[str, str]
    passed_over: dict[str, dict[str, str]]


Tell = Callable[[int, str], None]
"""Takes the bytes read so far, and the file."""

Explanations = dict[str, Explanation]
"""By span id."""


def run(
    config: Config,
    path: Path,
    *,
    format: str,  # noqa: A002
    limit: int | None,
    explain: bool,
    follow: bool,
    redacted: bool = False,
) -> int:
    """Print the traces of a file (`-` is stdin) and say on stderr what the file held; gives the exit code.

    Raises ArchiveError when the file cannot be read.
    """
    preview = _Preview(
        settings=assembly.call_settings_of(config),
        grouping=assembly.grouping_of(config),
        show=_printer(format),
        limit=limit if limit is not None else sys.maxsize,
        explain=explain,
        protection=assembly.protection_of(config) if redacted else assembly.openness(),
        redacted=redacted,
    )
    try:
        cutter = LineCutter(max_line_bytes=config.tailing.max_line_bytes)
        with _bar(path, follow=follow) as tell:
            for items in _chunks(path, cutter, tell, follow=follow):
                preview.take(items, at_once=follow)
                if preview.enough:
                    break
    except DAMAGE as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error
    except KeyboardInterrupt:
        pass
    preview.finish()
    sys.stderr.write(preview.summary())
    return 0


class _Preview(Struct):
    """The steps from lines to traces, and the traces that may still get company."""

    settings: CallSettings
    grouping: Grouping
    show: Callable[[list[Span], Explanations], None]
    limit: int
    explain: bool
    protection: Protection
    redacted: bool = False
    """Whether the protection is the one with which traces are sent."""
    kept_back: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    calls: int = 0
    malformed: int = 0
    shown: int = 0
    now_ms: int = 0
    waiting: OrderedDict[str, dict[str, Span]] = field(default_factory=OrderedDict)
    explanations: Explanations = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        return self.shown + len(self.waiting) >= self.limit

    def take(self, items: Iterable[Line | OversizedLine], *, at_once: bool) -> None:
        """Carry lines to traces. `at_once` shows a group when it closes, not when all lines were read."""
        for item in items:
            self._take_line(item)
            if self.enough:
                break
        if at_once:
            if not items:
                self.now_ms += int(_POLL_SECONDS * 1000)
                self._collect(self.grouping.due(self.now_ms))
            self._show_waiting()

    def finish(self) -> None:
        self._collect(self.grouping.flush(self.now_ms))
        self._show_waiting()

    def summary(self) -> str:
        malformed = f", {self.malformed:,} malformed" if self.malformed else ""
        counts = ((self.lines, "line"), (self.calls, "AI call"), (self.shown, "trace"))
        told = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
        text = f"{told}{malformed}\n"
        if self.lines > self.malformed and not self.calls:
            text += (
                "No AI call was recognised. A server that looks like none that is known can be named in a"
                " [[provider]] table.\n"
            )
        if self.redacted:
            what = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.kept_back.items()))
            text += f"kept back: {what.replace('redacted_', '') or 'nothing'}\n"
        return text

    def _take_line(self, item: Line | OversizedLine) -> None:
        self.lines += 1
        if isinstance(item, OversizedLine):
            self.malformed += 1
            return
        for entry in read_entries(item):
            if isinstance(entry, SetAside):
                self.malformed += 1
            if not isinstance(entry, LogEntry):
                continue
            calls = calls_of(entry, self.settings, explain=self.explain)
            if not calls:
                continue
            self.calls += len(calls)
            protected = self.protection.apply(calls)
            calls = protected.calls
            self.kept_back.update(protected.counts)
            if not calls:
                continue
            self._explain(calls)
            self.now_ms = max(self.now_ms, calls[0].observation.ended_at_ms)
            self._collect(self.grouping.add(calls, self.now_ms))
            self._collect(self.grouping.due(self.now_ms))

    def _explain(self, calls: Iterable[AICall]) -> None:
        for call in calls:
            if call.explain:
                # What was not believed has not been redacted: then only where it stands is told.
                passed_over = {
                    field: dict.fromkeys(said, "") if self.redacted else said
                    for field, said in call.passed_over.items()
                }
                self.explanations[call.id] = Explanation(call.explain, passed_over)

    def _collect(self, emissions: Iterable[Emission]) -> None:
        """Put the spans of a trace together; a trace that nobody else can join is shown at once."""
        complete: dict[str, None] = {}
        for emission in emissions:
            span = emission.span
            self.waiting.setdefault(span.trace_id, {})[span.id] = span
            if not span.context.shared:
                complete[span.trace_id] = None
        for trace_id in complete:
            self._show(trace_id)
        while len(self.waiting) > _MAX_WAITING_TRACES:
            self._show(next(iter(self.waiting)))

    def _show_waiting(self) -> None:
        for trace_id in list(self.waiting):
            self._show(trace_id)

    def _show(self, trace_id: str) -> None:
        spans = list(self.waiting.pop(trace_id).values())
        if self.shown < self.limit:
            self.shown += 1
            found = {span.id: self.explanations.pop(span.id, None) for span in spans}
            self.show(spans, {span_id: why for span_id, why in found.items() if why is not None})


def _printer(format: str) -> Callable[[list[Span], Explanations], None]:  # noqa: A002
    if format == "otlp":
        return lambda spans, _: _write_line(otlp.join([otlp.encode(span) for span in spans]))
    if format == "json":
        return _print_json
    from kong_ai_tracing.tree import console_for, print_trace

    console = console_for(sys.stdout)

    def print_tree(spans: list[Span], explanations: Explanations) -> None:
        print_trace(orjson.loads(orjson.dumps(trace_json(spans))), console)
        for span in spans:
            if why := explanations.get(span.id):
                for value in sorted(why.sources.keys() | why.passed_over.keys()):
                    console.out(
                        f"    {visible(span.observation.name)}: {_explained(value, why)}", highlight=False
                    )

    return print_tree


def _explained(value: str, why: Explanation) -> str:
    others = ", ".join(
        f"{source} {_short(said)}".rstrip() for source, said in why.passed_over.get(value, {}).items()
    )
    return f"{value} ← {why.sources.get(value, 'nothing')}" + (f"; passed over: {others}" if others else "")


def _short(text: str) -> str:
    # What a caller sent must not move the cursor, or colour the screen.
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= _LONGEST_PASSED_OVER else plain[:_LONGEST_PASSED_OVER] + "…"


def _print_json(spans: list[Span], explanations: Explanations) -> None:
    trace = trace_json(spans)
    for observation in trace["observations"]:
        if why := explanations.get(observation["id"]):
            observation["explain"] = why.sources
            if why.passed_over:
                observation["passedOver"] = why.passed_over
    _write_line(orjson.dumps(trace))


def _write_line(text: bytes) -> None:
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.buffer.flush()


def _bar(path: Path, *, follow: bool) -> AbstractContextManager[Tell]:
    """For whoever waits while the traces go into a file."""
    if follow or str(path) == "-" or not is_watched():
        return nullcontext(lambda _read_bytes, _path: None)
    return reading_bar(path.stat().st_size)


def _chunks(
    path: Path, cutter: LineCutter, tell: Tell, *, follow: bool
) -> Iterator[list[Line | OversizedLine]]:
    """The lines of a file, a chunk at a time; while following, an empty chunk each time nothing is new."""
    if str(path) == "-":
        cutter.start("stdin", 1, 0)
        yield from _read_all(cast(BinaryIO, sys.stdin.buffer), cutter)
        yield cutter.finish()
        return
    while True:
        raw, content = open_content(str(path))
        with closing(raw), closing(content):
            cutter.start(str(path), 1, 0)
            for items in _read_all(content, cutter):
                yield items
                tell(raw.tell(), str(path))
            while follow and _is_still_there(path, raw):
                yield []
                time.sleep(_POLL_SECONDS)
                yield from _read_all(content, cutter)
        yield cutter.finish()
        if not follow:
            return


def _read_all(content: BinaryIO, cutter: LineCutter) -> Iterator[list[Line | OversizedLine]]:
    read = getattr(content, "readinto1", None) or content.readinto  # type: ignore[attr-defined]
    while count := read(cutter.room()):
        yield cutter.cut(count)


def _is_still_there(path: Path, raw: BinaryIO) -> bool:
    """Whether the open file is the one that the path names, and has not been cut."""
    opened = os.fstat(raw.fileno())
    try:
        named = path.stat()
    except FileNotFoundError:
        return True
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino) and opened.st_size >= raw.tell()
