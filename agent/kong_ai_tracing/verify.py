"""`verify`: of every call in a log, whether it was accepted; by the hour in which it began.

What counts as accepted is what the state says: the daemon and backfills write down how far a file was read
only when all before that place was acknowledged, set aside or rests in the outbox. What rests or was refused
is known by its ids. A file is recognised by its content, as `backfill` does it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, field

from kong_ai_tracing import assembly
from kong_ai_tracing.archivepaths import named
from kong_ai_tracing.archives import Archives, Place
from kong_ai_tracing.backfill import LEDGER_DIRECTORY, ledger_directory
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.config import Config
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.lines import Line, OversizedLine
from kong_ai_tracing.progressbar import is_watched, reading_bar
from kong_ai_tracing.projects import Project, projects_of
from kong_ai_tracing.refusedbodies import spans_in
from kong_ai_tracing.selection import Selection
from kong_ai_tracing.selectionnotes import Note, read_note
from kong_ai_tracing.storestatus import FILE_NAME, read_parts, read_status, read_undelivered
from kong_ai_tracing.verifyreport import Finding, Hour

EXIT_COMPLETE = 0
EXIT_MISSING = 3

_HOUR_MS = 3_600_000

Fate: TypeAlias = Literal["accepted", "waiting", "refused", "filtered", "unknown", "missing"]
Stretches: TypeAlias = dict[int, list[tuple[int, int]]]
"""By file: from where to where."""


class _Selected(Struct):
    """What backfills with one selection read, and what they wanted of it."""

    note: Note
    parts: list[FileRecord]


class _Known(Struct):
    """What the states of one destination say."""

    parts: list[FileRecord] = field(default_factory=list)
    vague: list[FileRecord] = field(default_factory=list)
    """Parts of which not all calls were sent, or from where on they were read is not known."""
    selected: list[_Selected] = field(default_factory=list)
    followed: dict[tuple[int, int], int] = field(default_factory=dict)
    """How far the daemon is in the files it follows, by device and inode."""
    waiting: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unattributed: int = 0
    dropped: int = 0


def run(config: Config, words: Sequence[str], selection: Selection, *, as_json: bool) -> int:
    """Print what became of the calls in these files; gives the exit code.

    Raises ArchiveError for a file that cannot be read, StoreError for a state.
    """
    floor_bytes = config.delivery.free_space_floor_bytes
    with named(config.state_dir, free_space_floor_bytes=floor_bytes, keeps_nothing=True) as files:
        places = files.paths(words)
        findings = [asyncio.run(_find(project, places, selection)) for project in projects_of(config)]
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(findings)).decode() + "\n")
    else:
        from kong_ai_tracing.verifytext import print_findings

        print_findings(findings, words)
    return EXIT_MISSING if any(finding.missing for finding in findings) else EXIT_COMPLETE


async def _find(project: Project, places: Sequence[Place], selection: Selection) -> Finding:
    config = project.config
    known = _known(config.state_dir)
    max_line_bytes = config.tailing.max_line_bytes
    covered = await _covered(Archives(places, [], delivered=known.parts, max_line_bytes=max_line_bytes))
    count = _Count(project, known, covered, selection)
    if known.vague:
        count.vague = await _covered(
            Archives(places, [], delivered=known.vague, max_line_bytes=max_line_bytes)
        )
    for one in known.selected:
        read = await _covered(Archives(places, [], delivered=one.parts, max_line_bytes=max_line_bytes))
        if read:
            count.selected.append(_Choice(project, one.note, read))
    archives = Archives(places, [], max_line_bytes=max_line_bytes)
    for key, file_id in archives.file_ids_by_inode().items():
        if key in known.followed:
            count.followed[file_id] = known.followed[key]
    with reading_bar(archives.total_bytes) if is_watched() else nullcontext() as tell:
        while chunk := await archives.read():
            for item in chunk.items:
                count.take(item)
            if tell is not None:
                tell(archives.read_bytes, archives.current_path)
    await archives.close()
    return count.finding()


def _known(state_dir: Path) -> _Known:
    known = _Known()
    main, again = (ledger_directory(state_dir, Selection(), again=again) for again in (False, True))
    for directory in state_dir, main, again:
        known.parts += read_parts(directory)
        _note_undelivered(directory, known)
        if status := read_status(directory):
            known.dropped += status.counters.get("spans_dropped", 0)
            known.vague += [_from_its_beginning(one) for one in status.files if one.begun is None]
            if directory == state_dir:
                known.followed = {
                    (one.device, one.inode): one.offset for one in status.files if not one.is_history
                }
    for ledger in (state_dir / LEDGER_DIRECTORY).glob(f"**/selections/*/{FILE_NAME}"):
        parts, note = read_parts(ledger.parent), read_note(ledger.parent)
        if note is None:
            known.vague += parts
        else:
            known.selected.append(_Selected(note, parts))
        _note_undelivered(ledger.parent, known)
    return known


def _from_its_beginning(record: FileRecord) -> FileRecord:
    return msgspec.structs.replace(record, begun=0)


def _note_undelivered(directory: Path, known: _Known) -> None:
    for kind, value in read_undelivered(directory):
        if isinstance(value, str):
            known.waiting.add(value)
            continue
        spans = spans_in(value, content=False)
        if spans is None:
            known.unattributed += 1
        else:
            (known.refused if kind == "refused" else known.waiting).update(span.id for span in spans)


async def _covered(archives: Archives) -> Stretches:
    """What was passed over because it is known."""
    covered: Stretches = {}
    while chunk := await archives.read():
        if (passed := chunk.passed) is not None:
            end = passed.position.offset
            covered.setdefault(chunk.file_id, []).append((end - passed.bytes, end))
    await archives.close()
    return covered


class _Choice:
    """What backfills with one selection made of the lines that they read."""

    def __init__(self, project: Project, note: Note, read: Stretches) -> None:
        settings = assembly.call_settings_of(project.config)
        self._readers = [
            LineReader(settings, None, match=project.match, is_wanted=selection.test())
            for selection in (note.first, note.last)
        ]
        self._read = read

    def fates(self, line: Line) -> Callable[[str], Fate] | None:
        """What became of a call, by its id; None for a line that they did not read."""
        if not _is_within(self._read.get(line.file_id, ()), line.offset):
            return None
        first, last = (
            {call.id for calls in reader.read(line).groups for call in calls} for reader in self._readers
        )
        return lambda call_id: (
            "accepted"
            if call_id in first and call_id in last
            else "unknown"
            if call_id in first or call_id in last
            else "filtered"
        )


class _Count:
    """Goes through the lines and sorts their calls by hour and fate."""

    def __init__(
        self,
        project: Project,
        known: _Known,
        covered: Stretches,
        selection: Selection,
    ) -> None:
        self._reader = LineReader(
            assembly.call_settings_of(project.config), None, match=project.match, is_wanted=selection.test()
        )
        self._privacy = assembly.protection_of(project.config).privacy
        self._known = known
        self._covered = covered
        self.vague: Stretches = {}
        self.selected: list[_Choice] = []
        self.followed: dict[int, int] = {}
        self._hours: dict[int, Hour] = {}
        self._finding = Finding(
            project.name, unattributed_batches=known.unattributed, dropped_spans=known.dropped
        )

    def take(self, item: Line | OversizedLine) -> None:
        found = self._finding
        found.lines += 1
        if isinstance(item, OversizedLine):
            found.malformed_lines += 1
            return
        reading = self._reader.read(item)
        found.malformed_lines += reading.kind == "malformed"
        found.left_out += reading.filtered
        calls = [call for calls in reading.groups for call in calls]
        chosen = [fates for each in self.selected if calls and (fates := each.fates(item)) is not None]
        for call in calls:
            if self._privacy.apply(call) is None:
                found.left_out += 1
            else:
                self._note(call, self._fate(call, item, [fate(call.id) for fate in chosen]))

    def _fate(self, call: AICall, line: Line, chosen: Sequence[Fate]) -> Fate:
        """`chosen` is what backfills with a selection made of it."""
        if call.id in self._known.waiting:
            return "waiting"
        if call.id in self._known.refused:
            return "refused"
        if _is_within(self._covered.get(line.file_id, ()), line.offset) or "accepted" in chosen:
            return "accepted"
        if _is_within(self.vague.get(line.file_id, ()), line.offset) or "unknown" in chosen:
            return "unknown"
        if line.offset >= self.followed.get(line.file_id, line.offset + 1):
            return "waiting"
        return "filtered" if chosen else "missing"

    def _note(self, call: AICall, fate: Fate) -> None:
        number = call.observation.started_at_ms // _HOUR_MS
        hour = self._hours.get(number)
        if hour is None:
            hour = self._hours[number] = Hour(_hour_text(number))
        hour.calls += 1
        setattr(hour, fate, getattr(hour, fate) + 1)

    def finding(self) -> Finding:
        found = self._finding
        found.hours = [self._hours[number] for number in sorted(self._hours)]
        found.calls = sum(hour.calls for hour in found.hours)
        found.missing = sum(hour.missing for hour in found.hours)
        return found


def _is_within(parts: Iterable[tuple[int, int]], offset: int) -> bool:
    return any(begin <= offset < end for begin, end in parts)


def _hour_text(number: int) -> str:
    moment = datetime.fromtimestamp(number * _HOUR_MS / 1000, UTC)
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")
