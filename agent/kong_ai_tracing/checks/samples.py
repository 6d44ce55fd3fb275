"""The newest lines of a log, counted by what they lack."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct, field

from kong_ai_tracing.calls import AICall, CallSettings, calls_of
from kong_ai_tracing.checks.logaccess import matching_files, rotated_files
from kong_ai_tracing.entries import LogEntry, first_text, integer, read_entries, table, text
from kong_ai_tracing.lines import Line, SetAside
from kong_ai_tracing.sections import is_known_namespace, sections_of

MAX_LINES = 200
_MAX_BYTES = 4 << 20
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_BUFFER_BYTES = 8 << 10
"""Kong's default for request bodies that stay in memory, and for those that ai-proxy takes."""
_WITH_CONTENT = ("generation", "embedding")


class Sample(Struct):
    """What the last lines of one log held."""

    lines: int = 0
    entries: int = 0
    damaged: int = 0
    calls: int = 0
    without_request_id: int = 0
    proxied: int = 0
    """Calls through ai-proxy or another AI plugin."""
    without_payload: int = 0
    """Of these, without the prompt."""
    without_usage: int = 0
    without_statistics: int = 0
    """Through ai-proxy, of which Kong logs nothing at all."""
    estimated: int = 0
    """Calls whose tokens Kong only estimated."""
    refused_for_size: int = 0
    """Refused by ai-proxy, which takes 8 KiB unless told otherwise."""
    plain_without_body: int = 0
    large_without_body: int = 0
    """Calls to plain services beyond the buffer, whose prompt alone is missing."""
    without_answer: int = 0
    with_body: int = 0
    unknown_namespaces: set[str] = field(default_factory=set)
    proxied_services: set[str] = field(default_factory=set)
    """The services whose calls through ai-proxy lack something."""
    plain_services: set[str] = field(default_factory=set)
    """The other services whose calls lack something."""


def sample_of(lines: list[Line], settings: CallSettings) -> Sample:
    """Count what these lines hold."""
    sample = Sample(lines=len(lines))
    for line in lines:
        for found in read_entries(line):
            if isinstance(found, SetAside):
                sample.damaged += 1
            elif isinstance(found, LogEntry):
                sample.entries += 1
                _count_entry(sample, found, calls_of(found, settings))
    return sample


def newest_of(pattern: str) -> Path | None:
    """The file that was written to last; a rotated one when the live ones are still empty."""
    try:
        live = matching_files(pattern)
    except PermissionError:
        return None
    for files in (live, rotated_files(pattern)):
        plain = [path for path in files if path.suffix not in _COMPRESSED]
        changed = {path: status.st_mtime for path in plain if (status := _status(path)) and status.st_size}
        if changed:
            return max(changed, key=lambda path: changed[path])
    return next(iter(live), None)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def last_lines(path: Path) -> list[Line]:
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
    return lines[-MAX_LINES:]


def _count_entry(sample: Sample, entry: LogEntry, calls: list[AICall]) -> None:
    sample.calls += len(calls)
    sample.unknown_namespaces |= {name for name in entry.ai if not is_known_namespace(name)}
    if not calls:
        return
    sample.without_request_id += entry.request_id is None
    proxied = bool(sections_of(entry.ai))
    if not entry.ai and first_text(table(entry.response.get("headers")).get("x-kong-llm-model")):
        sample.without_statistics += 1
        _note(sample.proxied_services, entry)
        return
    size = integer(entry.request.get("size")) or 0
    if (
        proxied
        and entry.status in (400, 413)
        and entry.record.get("source") == "kong"
        and size > _BUFFER_BYTES
    ):
        sample.refused_for_size += 1
        return
    for call in calls:
        observation = call.observation
        # What failed has often no content, whatever Kong's settings are.
        if observation.type in _WITH_CONTENT and observation.level == "DEFAULT":
            _count_call(sample, call, proxied=proxied, size=size)
            if observation.input is None or observation.output is None or _is_estimate(call):
                _note(sample.proxied_services if proxied else sample.plain_services, entry)


def _note(services: set[str], entry: LogEntry) -> None:
    if name := text(entry.service.get("name")):
        services.add(name)


def _is_estimate(call: AICall) -> bool:
    return call.observation.metadata.get("usage_source") == "kong_estimate"


def _count_call(sample: Sample, call: AICall, *, proxied: bool, size: int) -> None:
    observation = call.observation
    empty = observation.input is None
    sample.proxied += proxied
    sample.estimated += _is_estimate(call)
    sample.without_usage += proxied and not any(observation.usage_details.values())
    if empty:
        sample.without_payload += proxied
        sample.plain_without_body += not proxied
        sample.large_without_body += not proxied and size > _BUFFER_BYTES
        return
    sample.with_body += 1
    # An answer through ai-proxy can be missing because its stream broke off; then nothing is to be changed.
    sample.without_answer += not proxied and observation.output is None
