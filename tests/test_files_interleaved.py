"""Races between the reader and a rotation, step by step, in many orders.

INTERLEAVED_LIVES=5000 pytest tests/test_files_interleaved.py
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from interleaved import Life, Rotator, live, random_life
from tailing import Tail, line, lines, write

LIVES = int(os.environ.get("INTERLEAVED_LIVES", "200"))
RENAMING = ["create", "compress", "delaycompress"]
COPYING = ["copytruncate", "copytruncate_compress"]


@pytest.mark.parametrize("part", range(4))
async def test_no_order_of_a_rotation_and_a_look_loses_doubles_or_alarms(tmp_path, part):
    """Renamed, compressed at once or later, between any two system calls of ours, and with restarts."""
    # covers ROT-10, ROT-11, CMP-01, CMP-03, CMP-04, IDN-01, NOT-06
    for seed in range(part, LIVES, 4):
        assert_in_order(await _life(seed, tmp_path, RENAMING, rotations=4), seed)


@pytest.mark.parametrize("part", range(4))
async def test_no_order_of_a_copy_and_a_look_loses_doubles_or_alarms(tmp_path, part):
    """Copied, cut and compressed in any moment: the copy is never read beside its original."""
    # covers TRU-03, TRU-04, TRU-05, TRU-10
    for seed in range(part, LIVES, 4):
        assert_in_order(await _life(seed, tmp_path, COPYING, rotations=1), seed)


async def _life(seed: int, directory: Path, modes: list[str], rotations: int) -> Life:
    place = directory / str(seed)
    place.mkdir()
    return await random_life(seed, place, modes, rotations)


def assert_in_order(life: Life, seed: int) -> None:
    assert (life.missing, life.invented, life.repeated) == ([], set(), []), f"seed {seed}"
    assert life.lost_bytes == 0, f"seed {seed}"
    assert not {"gone", "cut", "damaged", "binary"} & set(life.notices), f"seed {seed}"


async def test_every_point_of_a_look_at_which_the_plain_file_may_go(tmp_path):
    """The file was known, and is compressed while the first look after a restart is made."""
    # covers ROT-12, CMP-03
    for point in range(24):
        for steps in (1, 3, 8, 12):
            place = tmp_path / f"{point}-{steps}"
            place.mkdir()
            acts = ["rotate", "scan", "some", "restart", "scan", "read", "scan", "restart", "scan"]
            assert_in_order(await live(place, ["compress"] * 2, acts, {point + 3: steps}, 12), point)


async def test_a_name_that_led_to_another_file_when_it_was_opened(tmp_path):
    """Between listing and opening the log was rotated, and later the number of the listed file came back."""
    # covers IDN-01, ROT-10
    log = tmp_path / "ai.log"
    write(log, *lines(0, 10))
    tail = Tail(log)
    await tail.scan()
    names = tail.files._catalog._names
    number, key = names[str(log)]
    names[str(log)] = number + 1, key
    log.rename(f"{log}.1")
    write(log, line(10))
    names[str(log)] = log.stat().st_ino, key
    assert await tail.step() == lines(0, 11)
    await tail.stop()


async def test_what_is_really_gone_is_told_after_three_looks(tmp_path):
    """The first tells how the directory was, the next two are sure. A broken archive holds up nothing."""
    # covers FDS-04, ROT-13
    log = tmp_path / "ai.log"
    tail = Tail(log)
    write(log, *lines(0, 10))
    await tail.step()
    await tail.stop()
    log.unlink()
    (tmp_path / "ai.log.1.gz").write_bytes(b"\x1f\x8b\x08")
    await tail.restart()
    await tail.step(2)
    assert "gone" not in tail.notices
    await tail.step(2)
    assert tail.notices.count("gone") == 1
    await tail.stop()


async def test_what_is_gone_is_told_although_other_names_come_and_go_all_the_time(tmp_path, monkeypatch):
    """Then no look is sure, but patience ends."""
    # covers FDS-04
    monkeypatch.setattr("kong_ai_tracing.missing.SCANS_BEFORE_FORGETTING", 20)
    log = tmp_path / "ai.log"
    tail = Tail(log)
    write(log, *lines(0, 10))
    await tail.step()
    await tail.stop()
    log.unlink()
    await tail.restart()
    for number in range(19):
        (tmp_path / f"other-{number}").touch()
        await tail.scan()
    assert "gone" not in tail.notices
    for number in range(2):
        (tmp_path / f"another-{number}").touch()
        await tail.scan()
    assert tail.notices.count("gone") == 1
    await tail.stop()


def test_a_rotation_takes_more_steps_than_one(tmp_path):
    """Else nothing would be interleaved."""
    rotator = Rotator(tmp_path / "ai.log", ["copytruncate_compress"])
    rotator.run_to_the_end()
    rotator.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ai.log", "ai.log.1.gz"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_copy_of_a_few_bytes_is_known_although_the_log_has_grown_since(tmp_path, *, restarted):
    """Shorter than the beginning by which a file is known, and made before anybody had looked."""
    # covers TRU-03, IDN-06, IDN-08
    log = tmp_path / "ai.log"
    tail = Tail(log)
    await tail.scan()
    write(log, *lines(0, 3))
    copy = tmp_path / "ai.log.1"
    copy.write_bytes(log.read_bytes())
    write(log, *lines(3, 30))
    assert await tail.step() == lines(0, 30)
    if restarted:
        await tail.restart()
        await tail.scan()
    os.truncate(log, 0)
    assert await tail.step() == []
    pack = tmp_path / "ai.log.1.gz"
    pack.write_bytes(gzip.compress(copy.read_bytes()))
    copy.unlink()
    write(log, line(30))
    assert await tail.step(5) == [line(30)]
    await tail.stop()
