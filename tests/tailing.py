"""A reader of log files with the small store that a daemon would keep for it, driven step by step."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from kong_ai_tracing.files import FileRecord, LogFiles, Position, ScanResult
from kong_ai_tracing.lines import Line, OversizedLine, marker_of
from kong_ai_tracing.patterns import Look
from kong_ai_tracing.rotationrisk import Rotations


def line(number: int, width: int = 100) -> str:
    """One numbered line, different from every other from its beginning on."""
    return f"{number:08d} {'x' * width} {number:08d}"


def lines(first: int, last: int) -> list[str]:
    return [line(number) for number in range(first, last)]


def write(path: Path, *texts: str, end: str = "\n") -> None:
    with path.open("a") as log:
        log.write("".join(text + end for text in texts))


class Tail:
    """A reader under test, with the records and positions that a store would keep for it."""

    def __init__(self, *patterns: Path | str, **options) -> None:
        self.patterns = [str(pattern) for pattern in patterns]
        self.options = {"chunk_bytes": 4096, **options}
        self.stored: dict[int, FileRecord] = {}
        self.looks: list[Look] = []
        self.rotations: dict[str, Rotations] = {}
        self.notices: list[str] = []
        self.lost_bytes = 0
        self.got: list[Line | OversizedLine] = []
        self.last: ScanResult | None = None
        self.files = LogFiles(self.patterns, **self.options)

    async def scan(self) -> ScanResult:
        result = await self.files.scan()
        for record in result.records:
            old = self.stored.get(record.file_id)
            if old is not None:
                record = msgspec.structs.replace(record, offset=old.offset, marker=old.marker)
            self.stored[record.file_id] = record
        self.looks += result.looks
        self.rotations.update((one.log, one) for one in result.rotations)
        for file_id in result.retired:
            self.stored.pop(file_id, None)
        self.notices += [notice.kind for notice in result.notices]
        self.lost_bytes += sum(notice.lost_bytes for notice in result.notices)
        self.last = result
        return result

    async def read_once(self, *, commit: bool = True) -> list[str]:
        chunk = await self.files.read()
        while chunk is not None and not chunk.items:
            chunk = await self.files.read()
        if chunk is None:
            return []
        self.got += chunk.items
        assert {item.file_id for item in chunk.items} == {chunk.file_id}
        if commit:
            item = chunk.items[-1]
            end = item.origin.offset + item.origin.length
            self.move(Position(chunk.file_id, end, marker_of(item.tail)))
        return [text(item) for item in chunk.items]

    def move(self, position: Position) -> None:
        record = self.stored[position.file_id]
        self.stored[position.file_id] = msgspec.structs.replace(
            record, offset=position.offset, marker=position.marker
        )

    async def read(self) -> list[str]:
        """Everything that can be read without another scan."""
        texts: list[str] = []
        while some := await self.read_once():
            texts += some
        return texts

    async def step(self, scans: int = 1) -> list[str]:
        texts: list[str] = []
        for _ in range(scans):
            await self.scan()
            texts += await self.read()
        return texts

    async def stop(self) -> None:
        await self.files.close()

    async def restart(self) -> None:
        """As after a crash: only what was stored is left."""
        await self.files.close()
        self.files = LogFiles(
            self.patterns,
            list(self.stored.values()),
            looks=self.looks,
            rotations=self.rotations.values(),
            **self.options,
        )


def text(item: Line | OversizedLine) -> str:
    return item.data.decode() if isinstance(item, Line) else f"<{item.origin.length} bytes>"


def open_descriptors(path: Path) -> int:
    """How many descriptors of this process lead to files in a directory, deleted ones included."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith(str(path) + "/")
        except OSError:
            continue
    return found
