"""Random lives of a log against the plainest model there is: what was written comes out, once, in order."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailing import Tail, line

ACTIONS = {
    "write": 6,
    "write much": 2,
    "write half": 2,
    "write to the old file": 2,
    "rotate": 3,
    "reopen": 2,
    "scan": 5,
    "read": 6,
    "crash": 2,
    "crash with lines under way": 1,
    "delete what was read": 1,
    "compress": 2,
}
SINGLE_WRITER = {"write", "write much", "scan", "read", "crash", "crash with lines under way"}
COPYTRUNCATE = {"copy": 3, "cut": 3, "compress": 2}


class Life:
    """One log with its writers and its reader; every action can follow every other one."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "ai.log"
        self.tail = Tail(self.log)
        self.written: list[str] = []
        self.delivered: list[str] = []
        self.half: dict[int, str] = {}
        """Inode of a file that ends in half a line → the other half: whoever writes next completes it."""
        self.writers = [self.log.open("a")]
        self.opened = [*self.writers]
        self.copied = False

    def next_line(self, width: int = 100) -> str:
        self.written.append(line(len(self.written), width))
        return self.written[-1]

    def put(self, writer, count: int, width: int = 100) -> None:
        if self.copied:
            return  # What is written between copy and cut is lost to everybody: not part of this model.
        writer.write(self.half.pop(os.fstat(writer.fileno()).st_ino, ""))
        writer.write("".join(self.next_line(width) + "\n" for _ in range(count)))
        writer.flush()

    def put_half(self, writer) -> None:
        inode = os.fstat(writer.fileno()).st_ino
        if self.copied or inode in self.half:
            return
        text = self.next_line()
        writer.write(text[:50])
        writer.flush()
        self.half[inode] = text[50:] + "\n"

    def shift(self) -> None:
        for number in range(30, 0, -1):
            for form in ("", ".gz"):
                source = self.log.with_name(f"ai.log.{number}{form}")
                if source.exists():
                    source.rename(self.log.with_name(f"ai.log.{number + 1}{form}"))

    def compress(self) -> None:
        """The oldest plain generation that nobody writes to any more, as gzip does it."""
        held = {os.fstat(writer.fileno()).st_ino for writer in self.writers} | self.half.keys()
        for number in range(30, 0, -1):
            source = self.log.with_name(f"ai.log.{number}")
            if source.exists() and source.stat().st_ino not in held:
                packed = source.with_name(source.name + ".gz")
                packed.write_bytes(gzip.compress(source.read_bytes(), 1))
                shutil.copystat(source, packed)
                inode = source.stat().st_ino
                for writer in [one for one in self.opened if os.fstat(one.fileno()).st_ino == inode]:
                    writer.close()
                    self.opened.remove(writer)
                source.unlink()
                return

    async def act(self, action: str) -> None:
        match action:
            case "write":
                self.put(self.writers[-1], 3)
            case "write much":
                self.put(self.writers[-1], 60, 400)
            case "write half":
                self.put_half(self.writers[-1])
            case "write to the old file":
                self.put(self.writers[0], 2)
            case "rotate" if not self.copied and self.log.exists():
                self.shift()
                self.log.rename(self.log.with_name("ai.log.1"))
            case "reopen" if not self.copied:
                self.opened.append(self.log.open("a"))
                self.writers = [self.writers[-1], self.opened[-1]]
            case "scan":
                await self.tail.scan()
            case "read":
                self.delivered += await self.tail.read_once()
            case "crash":
                await self.tail.restart()
            case "crash with lines under way":
                await self.tail.read_once(commit=False)
                await self.tail.restart()
            case "delete what was read":
                self.delivered += await self.tail.step(2)
                old = self.log.with_name("ai.log.2")
                held = [os.fstat(writer.fileno()).st_ino for writer in self.opened]
                if not self.half and not self.copied and old.exists() and old.stat().st_ino not in held:
                    old.unlink()
            case "compress" if not self.copied:
                self.compress()
            case "copy" if not self.copied and self.log.exists() and self.log.stat().st_size > 100:
                self.shift()
                data = self.log.read_bytes()
                # A scan may see it when only a part has been copied, but never less than this.
                self.log.with_name("ai.log.1").write_bytes(data[: max(1024, len(data) // 2)])
                self.copied = True
            case "cut" if self.copied:
                shutil.copy(self.log, self.log.with_name("ai.log.1"))
                os.truncate(self.log, 0)
                self.copied = False

    async def end(self) -> None:
        if self.copied:
            await self.act("cut")
        for writer in self.opened:
            self.put(writer, 1)
        self.delivered += await self.tail.step(6)
        await self.tail.stop()

    def check(self) -> None:
        """Nothing missing, nothing invented, nothing twice, and in order within each stream."""
        assert sorted(self.delivered) == sorted(self.written)
        streams = defaultdict(list)
        for item in self.tail.got:
            streams[item.file_id].append(item.origin.offset)
        for file_id, offsets in streams.items():
            assert list(dict.fromkeys(offsets)) == sorted(set(offsets)), file_id


async def live(actions: list[str]) -> None:
    directory = Path(tempfile.mkdtemp())
    life = Life(directory)
    try:
        # The first start is over: what is found from now on was written while we were there, or stopped.
        life.put(life.writers[0], 1)
        life.delivered += await life.tail.step()
        for action in actions:
            await life.act(action)
        await life.end()
        life.check()
    finally:
        for writer in life.opened:
            writer.close()
        shutil.rmtree(directory)


def some(weights: dict[str, int], count: int, seed: int) -> list[str]:
    return random.Random(seed).choices(list(weights), list(weights.values()), k=count)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(list(ACTIONS)), max_size=40))
def test_rename_rotation_loses_and_repeats_nothing(actions):
    """Whatever is written, renamed, reopened, stopped and started, in whatever order."""
    # covers ROT-01, ROT-02, ROT-03, ROT-04, ROT-06, ROT-08, ROT-12, ROT-14, LIN-02, CMP-01, CMP-02
    asyncio.run(live(actions))


@pytest.mark.parametrize("seed", range(60))
def test_long_lives(seed):
    """The same with a hundred actions, so that several rotations meet."""
    asyncio.run(live(some(ACTIONS, 100, seed)))


@pytest.mark.parametrize("seed", range(60))
def test_copytruncate_loses_and_repeats_nothing_that_was_copied(seed):
    """Copies are seen at any moment, by a reader at any place, stopped or not."""
    # covers TRU-01, TRU-03, TRU-04, TRU-06
    weights = {name: weight for name, weight in ACTIONS.items() if name in SINGLE_WRITER} | COPYTRUNCATE
    asyncio.run(live(some(weights, 60, seed)))
