"""A rotation in its smallest steps, run between the system calls of the reader that looks at the same files.

Every race of the two is an order of their steps. Here a test chooses the order, so that it can try all of
them and find one again.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kong_ai_tracing import catalog, patterns, settling
from kong_ai_tracing.files import LogFiles
from tailing import Tail, line, text


class Rotator:
    """logrotate and the writers of one log. Each `next` of `steps` is one thing that others can see."""

    def __init__(self, log: Path, modes: list[str], *, lines: int = 12) -> None:
        self.log = log
        self.written: list[str] = []
        self.lines = lines
        self.writer = log.open("ab", buffering=0)
        self.steps = self._life(modes)
        self.ended = False

    def step(self) -> None:
        self.ended = self.ended or next(self.steps, "end") == "end"

    def run_to_the_end(self) -> None:
        while not self.ended:
            self.step()

    def close(self) -> None:
        self.writer.close()

    def write(self, count: int) -> None:
        for _ in range(count):
            self.written.append(line(len(self.written)))
            self.writer.write(self.written[-1].encode() + b"\n")

    def _life(self, modes: list[str]) -> Iterator[str]:
        for mode in modes:
            self.write(self.lines)
            yield "written"
            self.write(1)
            yield "written"
            yield from getattr(self, mode)()
            self.write(2)
            yield "written"

    def _shift(self) -> Iterator[str]:
        for number in range(9, 0, -1):
            for form in ("", ".gz"):
                old = self.log.with_name(f"{self.log.name}.{number}{form}")
                if old.exists():
                    old.rename(self.log.with_name(f"{self.log.name}.{number + 1}{form}"))
                    yield "shifted"

    def _rename(self) -> Iterator[str]:
        self.log.rename(f"{self.log}.1")
        yield "renamed"
        new = self.log.open("ab", buffering=0)
        yield "created"
        self.write(1)  # a worker that was not reloaded yet
        self.writer.close()
        self.writer = new

    def _copy(self) -> Iterator[str]:
        data = self.log.read_bytes()
        with Path(f"{self.log}.1").open("wb", buffering=0) as copy:
            yield "empty copy"
            part = max(1024, len(data) // 3)  # Nobody copies in smaller pieces.
            copy.write(data[:part])
            yield "a part of the copy"
            copy.write(data[part:])
        yield "copied"
        os.truncate(self.log, 0)
        yield "cut"

    def _pack(self, name: str) -> Iterator[str]:
        plain = self.log.with_name(name)
        if not plain.exists():
            return
        data = gzip.compress(plain.read_bytes())
        with Path(f"{plain}.gz").open("wb", buffering=0) as packed:
            yield "an empty .gz"
            packed.write(data[:10])
            yield "the header of a .gz"
            packed.write(data[10 : len(data) // 2])
            yield "a part of a .gz"
            packed.write(data[len(data) // 2 :])
        yield "a whole .gz"
        shutil.copystat(plain, f"{plain}.gz")
        plain.unlink()
        yield "the plain one deleted"

    def create(self) -> Iterator[str]:
        yield from self._shift()
        yield from self._rename()

    def compress(self) -> Iterator[str]:
        yield from self._shift()
        yield from self._rename()
        yield from self._pack(f"{self.log.name}.1")

    def delaycompress(self) -> Iterator[str]:
        yield from self._pack(f"{self.log.name}.1")
        yield from self._shift()
        yield from self._rename()

    def copytruncate(self) -> Iterator[str]:
        yield from self._shift()
        yield from self._copy()

    def copytruncate_compress(self) -> Iterator[str]:
        yield from self._shift()
        yield from self._copy()
        yield from self._pack(f"{self.log.name}.1")


class Interleaver:
    """Lets the rotator take steps at chosen points between the reader's system calls."""

    def __init__(self, rotator: Rotator, plan: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.points = 0
        self._rotator = rotator
        self._plan = plan
        self._between(monkeypatch, os, "scandir", str(rotator.log.parent))
        self._between(monkeypatch, catalog, "open_to_read")
        self._between(monkeypatch, catalog, "see")
        self._between(monkeypatch, catalog, "_stamp")
        self._between(monkeypatch, settling, "see")
        self._between(monkeypatch, patterns.Patterns, "look")
        fill = LogFiles._fill

        async def filled(files: LogFiles, stream: Any) -> int:
            self._point()
            count = await fill(files, stream)
            self._point()
            return count

        monkeypatch.setattr(LogFiles, "_fill", filled)

    def _between(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, only: str = "") -> None:
        original = getattr(owner, name)

        def called(*args: Any, **options: Any) -> Any:
            mine = not only or args[0] == only
            if mine:
                self._point()
            result = original(*args, **options)
            if mine:
                self._point()
            return result

        monkeypatch.setattr(owner, name, called)

    def _point(self) -> None:
        steps = self._plan.get(self.points, 0)
        self.points += 1
        for _ in range(steps):
            self._rotator.step()


async def live(directory: Path, modes: list[str], acts: list[str], plan: dict[int, int], lines: int) -> Life:
    """A reader and a rotator live beside each other, then everything comes to rest."""
    log = directory / "ai.log"
    tail = Tail(log, chunk_bytes=512)
    await tail.scan()
    rotator = Rotator(log, modes, lines=lines)
    with pytest.MonkeyPatch.context() as monkeypatch:
        Interleaver(rotator, plan, monkeypatch)
        for act in acts:
            if act == "rotate":
                rotator.step()
            else:
                await ACTS[act](tail)
    rotator.run_to_the_end()
    await tail.step(5)
    await tail.stop()
    rotator.close()
    return Life(tail, rotator.written)


ACTS = {"scan": Tail.scan, "some": Tail.read_once, "read": Tail.read, "restart": Tail.restart}


class Life:
    """What was written in a life, what was read of it, and what the operator was told."""

    def __init__(self, tail: Tail, written: list[str]) -> None:
        got = Counter(text(item) for item in tail.got)
        self.notices = tail.notices
        self.lost_bytes = tail.lost_bytes
        self.missing = [each for each in written if each not in got]
        self.invented = got.keys() - set(written)
        self.repeated = [each for each, times in got.items() if times > 1]


async def random_life(seed: int, directory: Path, modes: list[str], rotations: int) -> Life:
    """One of many; the same number gives the same life."""
    random = Random(seed)
    life = [random.choice(modes)] * random.randint(1, rotations)
    often = ["scan", "scan", "scan", "some", "read", "restart", "rotate", "rotate", "rotate"]
    acts = [random.choice(often) for _ in range(random.randint(3, 25))]
    plan = {
        random.randint(0, 120): random.choice([1, 1, 2, 3, 5, 8, 15]) for _ in range(random.randint(0, 8))
    }
    return await live(directory, life, acts, plan, random.choice([2, 12, 30]))
