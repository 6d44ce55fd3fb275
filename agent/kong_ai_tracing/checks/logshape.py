"""Do the newest lines of the log hold what a trace needs?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from kong_ai_tracing.assembly import call_settings_of
from kong_ai_tracing.calls import AICall, CallSettings, calls_of
from kong_ai_tracing.checks.findings import Finding, Surroundings, counted
from kong_ai_tracing.checks.logaccess import matching_files
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line, SetAside

_MAX_LINES = 200
_MAX_BYTES = 8 << 20
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


class Sample(Struct):
    """What the last lines of one log held."""

    lines: int = 0
    entries: int = 0
    calls: int = 0
    without_bodies: int = 0
    without_request_id: int = 0
    damaged: int = 0


def check_log_shape(here: Surroundings) -> Iterator[Finding]:
    """The end of the newest file of each pattern, read as the daemon reads it."""
    for pattern in here.config.log_paths:
        newest = _newest(pattern)
        if newest is not None:
            settings = call_settings_of(here.config)
            yield from _judge(newest, sample_of(_last_lines(newest), settings))


def sample_of(lines: list[Line], settings: CallSettings) -> Sample:
    """Count what these lines hold."""
    sample = Sample(lines=len(lines))
    for line in lines:
        for found in read_entries(line):
            if isinstance(found, SetAside):
                sample.damaged += 1
            elif isinstance(found, LogEntry):
                _count(sample, found, calls_of(found, settings))
    return sample


def _count(sample: Sample, entry: LogEntry, calls: list[AICall]) -> None:
    sample.entries += 1
    sample.calls += len(calls)
    sample.without_bodies += sum(call.observation.input is None for call in calls)
    if calls and entry.request_id is None:
        sample.without_request_id += 1


def _judge(path: Path, sample: Sample) -> Iterator[Finding]:
    if not sample.lines:
        yield Finding("shape.empty", "ok", f"{path} holds no complete line yet")
        return
    if not sample.entries:
        yield Finding(
            "shape.not_kong",
            "error",
            f"{path}: no line of Kong's file-log plugin among the last {sample.lines}",
            "there is nothing to trace in it",
            "point log_paths at the file of the file-log plugin, not at nginx's access.log or error.log",
        )
        return
    if not sample.calls:
        yield Finding(
            "shape.no_ai_calls",
            "warning",
            f"{path}: no AI call in the last {counted(sample.lines, 'line')}",
            "only AI traffic becomes traces",
            "send a call through ai-proxy or to an AI service, then check again; for ai-proxy set"
            " logging.log_statistics=true; name a server that is not recognised in a [[provider]] table",
        )
    else:
        what = f"{path}: {counted(sample.calls, 'AI call')} in the last {counted(sample.lines, 'line')}"
        yield Finding("shape.ai_calls", "ok", what)
    yield from _judge_calls(path, sample)


def _judge_calls(path: Path, sample: Sample) -> Iterator[Finding]:
    if sample.without_bodies:
        yield Finding(
            "shape.no_payloads",
            "warning",
            f"{path}: {sample.without_bodies} of {counted(sample.calls, 'AI call')} without a request body",
            "their traces show time, status and perhaps tokens, but no prompt and no answer",
            "for ai-proxy set logging.log_payloads=true and logging.log_statistics=true; for other services"
            " capture the bodies with Kong's pre-function plugin; raise nginx_http_client_body_buffer_size,"
            " because larger requests are not logged",
        )
    if sample.without_request_id:
        yield Finding(
            "shape.no_request_id",
            "warning",
            f"{path}: {counted(sample.without_request_id, 'AI line')} without a request id",
            "their ids come from a digest of the line, so an application cannot compute them",
            "Kong 3.5 and newer log request.id; upgrade if you need it",
        )
    if sample.damaged:
        yield Finding(
            "shape.damaged",
            "warning",
            f"{path}: {sample.damaged} of the last {counted(sample.lines, 'line')} damaged",
            "what stood in them is set aside, not delivered",
            "look for a full disk or a network file system: Kong does not notice a write that stops half-way",
        )


def _newest(pattern: str) -> Path | None:
    newest, when = None, float("-inf")
    for path in matching_files(pattern):
        try:
            changed = path.stat().st_mtime
        except OSError:
            continue
        if changed >= when and path.suffix not in _COMPRESSED:
            newest, when = path, changed
    return newest


def _last_lines(path: Path) -> list[Line]:
    """The last complete lines; none when the file cannot be read, which is another check's finding."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - _MAX_BYTES)
            file.seek(start)
            data = file.read(_MAX_BYTES)
    except OSError:
        return []
    pieces = data.split(b"\n")[:-1]  # behind the last newline is a line in the making
    if start and pieces:
        start += len(pieces.pop(0)) + 1  # its beginning is further up
    lines: list[Line] = []
    for piece in pieces:
        lines.append(Line(str(path), 0, start, piece))
        start += len(piece) + 1
    return lines[-_MAX_LINES:]
