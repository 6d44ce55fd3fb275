"""The alarm of quiet files: it rings when one is written to, and is not relied on where it does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_ai_tracing.writealarm import Listened, WriteAlarm


class Rig:
    """An alarm on the files that the test opens, with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Listened] = []
        self.descriptors: list[int] = []
        self.now = 100.0
        self.rings = asyncio.Event()
        self.alarm = WriteAlarm(lambda: self.files, self.rings.set, lambda: self.now)

    def open(self, name: str) -> Path:
        path = self.folder / name
        path.touch()
        fd = os.open(path, os.O_RDONLY)
        status = os.fstat(fd)
        self.descriptors.append(fd)
        self.files.append(Listened(len(self.files), status.st_dev, status.st_ino, f"/proc/self/fd/{fd}"))
        return path

    def arm(self) -> None:
        """Wait until all is quiet, and look twice."""
        self.now += 60
        self.alarm.is_set()
        assert self.alarm.is_set()

    async def rung(self) -> bool:
        await asyncio.sleep(0.01)
        rung = self.rings.is_set()
        self.rings.clear()
        return rung


@pytest.fixture
async def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.alarm.close()
    for fd in rig.descriptors:
        os.close(fd)


def write(path: Path, text: str = "line\n") -> None:
    with path.open("a") as file:
        file.write(text)


async def test_a_write_to_a_quiet_file_rings(rig: Rig) -> None:
    """Also under a name that the file was given since it was opened."""
    path = rig.open("ai.log")
    rig.arm()
    write(path.rename(rig.folder / "ai.log.1"))
    assert await rig.rung()


async def test_a_file_is_looked_at_once_more_after_it_was_armed(rig: Rig) -> None:
    """It may have been written to just before."""
    rig.open("ai.log")
    rig.now += 60
    assert not rig.alarm.is_set()
    assert rig.alarm.is_set()


async def test_a_busy_file_rings_once(rig: Rig) -> None:
    """A writer costs nothing but the first event, until all has been quiet for a while."""  # covers NOT-05
    path = rig.open("ai.log")
    rig.arm()
    write(path)
    assert await rig.rung()
    assert not rig.alarm.is_set()
    for _ in range(100):
        write(path)
    assert not await rig.rung()
    rig.arm()
    write(path)
    assert await rig.rung()


async def test_while_lines_are_read_files_are_polled(rig: Rig) -> None:
    """To arm them after every line would cost more."""
    rig.open("ai.log")
    rig.arm()
    rig.alarm.note_lines(0)
    assert not rig.alarm.is_set()
    rig.now += 60
    assert rig.alarm.is_set()


async def test_a_file_that_was_closed_rings_no_more(rig: Rig) -> None:
    """And a new one that has its descriptor does."""
    path = rig.open("ai.log")
    rig.arm()
    rig.files.pop()
    os.close(rig.descriptors.pop())
    other = rig.open("other.log")
    rig.arm()
    write(path)
    assert not await rig.rung()
    write(other)
    assert await rig.rung()


async def test_an_alarm_that_misses_writes_is_not_relied_on(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A network file system sends no events for what others write: there polling goes on as ever."""
    # covers NOT-01
    rig.open("ai.log")
    with caplog.at_level("INFO"):
        for _ in range(3):
            rig.arm()
            rig.alarm.note_lines(0)  # they were there, and nothing rang
    rig.now += 60
    assert not rig.alarm.is_set()
    assert [record.message.split()[0] for record in caplog.records] == ["watch.polling"]


async def test_a_new_file_is_no_missed_write(rig: Rig) -> None:
    """It could not ring before it was there."""
    rig.open("ai.log")
    for _ in range(5):
        rig.arm()
        rig.alarm.note_lines(7)
    rig.arm()


async def test_no_alarm_to_be_had_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit on instances may be reached: then files are polled as ever."""  # covers NOT-03
    monkeypatch.setattr(WriteAlarm, "_check", refuse)
    with caplog.at_level("INFO"):
        rig = Rig(tmp_path)
    rig.now += 60
    assert not rig.alarm.is_set()
    rig.alarm.note_lines(0)
    rig.alarm.close()
    assert [record.message.split()[0] for record in caplog.records] == ["watch.polling"]


def refuse(alarm: WriteAlarm, answer: int) -> int:
    if answer >= 0:
        os.close(answer)
    raise OSError(24, os.strerror(24))
