"""When rotation will delete what is unread: said only when it is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from kong_ai_tracing.rotationrisk import Rotations, about
from tailing import Tail, lines, write

HOUR = 3600.0


class Day:
    """A log that is rotated every hour, with a clock that is moved by hand."""

    def __init__(self, directory: Path, keep: int) -> None:
        self.log = directory / "ai.log"
        self.keep = keep
        self.now = 0.0
        self.number = 0
        self.tail = Tail(self.log, clock=lambda: self.now)

    async def hour(self, *, read: bool = True) -> None:
        """An hour's lines, the scans of it, and the rotation at its end."""
        write(self.log, *lines(self.number, self.number + 50))
        self.number += 50
        for _ in range(6):
            await self.tail.scan()
            if read:
                await self.tail.read()
            self.now += HOUR / 6
        for number in range(self.keep, 0, -1):
            old = self.log.with_name(f"ai.log.{number}")
            if old.exists():
                old.unlink() if number == self.keep else old.rename(
                    self.log.with_name(f"ai.log.{number + 1}")
                )
        self.log.rename(self.log.with_name("ai.log.1"))


@pytest.fixture
async def day(tmp_path):
    """Three generations are kept beside the live one."""
    one = Day(tmp_path, keep=3)
    yield one
    await one.tail.stop()


async def test_the_time_until_unread_bytes_are_deleted(day):
    """From the rhythm and the number of generations, counted down."""
    for _ in range(8):
        await day.hour()
    assert day.tail.files.risks == []
    assert "rotation_risk" not in day.tail.notices
    await day.hour(read=False)
    (risk,) = day.tail.files.risks
    # Seen at ten minutes before the next rotation; the fourth one deletes it.
    assert risk.deleted_in_seconds == pytest.approx(3 * HOUR + HOUR / 6, rel=0.1)
    assert risk.unread_bytes == 50 * len(lines(0, 1)[0] + "\n")
    assert risk.read_in_seconds is None
    assert day.tail.notices.count("rotation_risk") == 1
    await day.hour(read=False)
    oldest = min(day.tail.files.risks, key=lambda risk: risk.deleted_in_seconds)
    assert oldest.deleted_in_seconds == pytest.approx(2 * HOUR + HOUR / 6, rel=0.1)
    assert oldest.path.endswith("ai.log.1")


async def test_it_is_told_again_after_it_was_over(day):
    """A state is told when it begins, for each file."""
    for _ in range(8):
        await day.hour()
    await day.hour(read=False)
    told = day.tail.notices.count("rotation_risk")
    await day.tail.step(2)
    await day.hour()
    assert day.tail.files.risks == []
    await day.hour(read=False)
    assert day.tail.notices.count("rotation_risk") == told + 1


async def test_the_rhythm_survives_a_restart(day):
    """And what was rotated meanwhile is reckoned with."""
    for _ in range(8):
        await day.hour()
    await day.hour(read=False)
    (before,) = day.tail.files.risks
    await day.tail.restart()
    await day.tail.scan()
    day.now += 60
    await day.tail.scan()
    oldest = min(day.tail.files.risks, key=lambda risk: risk.deleted_in_seconds)
    assert oldest.deleted_in_seconds == pytest.approx(before.deleted_in_seconds - HOUR / 6, abs=120)


def test_rotations_that_nobody_saw_are_reckoned_with():
    """Four hours after the last one of an hourly rhythm at least three more have been."""
    known = Rotations("ai.log", rotated_at=[0.0, HOUR, 2 * HOUR], kept=4)
    assert known.deleted_in_seconds(0, 2 * HOUR) == 4 * HOUR
    assert known.deleted_in_seconds(3, 2.5 * HOUR) == 0.5 * HOUR
    assert known.deleted_in_seconds(3, 6.5 * HOUR) == 0.0 * HOUR
    assert Rotations("ai.log", rotated_at=[0.0], kept=4).deleted_in_seconds(0, 0.0) is None


async def test_nothing_is_said_before_the_rhythm_and_the_number_are_known(tmp_path):
    """As long as generations only become more, nobody knows how many are kept."""
    day = Day(tmp_path, keep=50)
    for _ in range(6):
        await day.hour()
    await day.hour(read=False)
    assert day.tail.files.risks == []
    await day.tail.stop()


def test_times_are_told_in_words():
    """Short ones are not told as if they were exact."""
    assert [about(seconds) for seconds in (20, 150, 3 * HOUR, 50 * HOUR)] == [
        "less than a minute",
        "about 2 min",
        "about 3 h",
        "about 2 d",
    ]
