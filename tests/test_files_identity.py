"""Which file is which, whatever happens to names, inodes and devices."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from kong_ai_tracing import identity
from kong_ai_tracing.lines import marker_of
from tailing import Tail, line, lines, open_descriptors, text, write


@pytest.fixture
async def tail(tmp_path):
    """A reader of `ai.log` in an empty directory."""
    reader = Tail(tmp_path / "ai.log")
    yield reader
    await reader.stop()


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "ai.log"


# -- identity


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_reused_inode_number_is_a_new_file(tail, log, stopped):
    """The generation tells, or the content where the filesystem has no generations."""
    # covers IDN-01, IDN-02
    write(log, *lines(0, 10))
    await tail.step()
    number = log.stat().st_ino
    await tail.stop()
    log.unlink()
    write(log, *lines(10, 30))
    if log.stat().st_ino != number:
        pytest.skip("this filesystem did not use the number again")
    if stopped:
        await tail.restart()
    assert await tail.step(2) == lines(10, 30)


async def test_without_generation_numbers_the_content_decides(tail, log, monkeypatch):
    """Head and marker are enough."""
    # covers IDN-03
    for module in ("catalog", "settling", "files"):
        monkeypatch.setattr(f"kong_ai_tracing.{module}.generation_of", lambda fd: None)
    write(log, *lines(0, 10))
    await tail.step()
    await tail.restart()
    assert await tail.step() == []
    inode = log.stat().st_ino
    with log.open("r+") as log_file:
        log_file.truncate()
        log_file.write("".join(text + "\n" for text in lines(50, 70)))
    assert log.stat().st_ino == inode
    await tail.restart()
    assert await tail.step(2) == lines(50, 70)


def test_the_generation_is_none_where_there_is_none(tmp_path):
    """A filesystem without generations is no error."""
    # covers IDN-03
    fd = os.open("/proc/self/status", os.O_RDONLY)
    try:
        assert identity.generation_of(fd) is None
    finally:
        os.close(fd)


async def test_a_changed_device_number_is_only_a_number(tail, log):
    """After a reboot or a remount the content finds the stream again."""
    # covers IDN-04
    write(log, *lines(0, 10))
    await tail.step()
    for file_id, record in tail.stored.items():
        tail.stored[file_id] = msgspec.structs.replace(record, device=record.device + 1)
    write(log, *lines(10, 20))
    await tail.restart()
    assert await tail.step() == lines(10, 20)
    assert tail.last.retired == []
    assert [record.device for record in tail.stored.values()] == [log.stat().st_dev]


async def test_logs_restored_from_a_backup_go_on(tail, log, tmp_path):
    """New inodes with the same content, several generations of them."""
    # covers IDN-05
    write(log, *lines(0, 10))
    await tail.step()
    log.rename(log.with_name("ai.log.1"))
    write(log, *lines(10, 20))
    await tail.step()
    await tail.stop()
    write(log, *lines(20, 30))
    for path in (log, log.with_name("ai.log.1")):
        copy = tmp_path / "copy"
        shutil.copy(path, copy)
        copy.rename(path)
    await tail.restart()
    assert await tail.step(2) == lines(20, 30)
    assert sorted(tail.stored) == [1, 2]


async def test_a_tiny_file_is_delivered_at_once(tail, log):
    """Nothing waits for a file to be long enough to be recognised."""
    # covers IDN-06
    write(log, "tiny")
    assert await tail.step() == ["tiny"]
    await tail.restart()
    assert await tail.step() == []


async def test_empty_files_are_no_news(tmp_path):
    """Neither matched with each other, nor stored, nor told; and read when they have something."""
    # covers IDN-07
    tail = Tail(tmp_path / "*.log")
    for number in range(300):
        (tmp_path / f"{number}.log").touch()
    result = await tail.scan()
    assert (result.notices, result.records) == ([], [])
    assert open_descriptors(tmp_path) == 0
    write(tmp_path / "7.log", "seven")
    write(tmp_path / "9.log", "nine")
    assert sorted(await tail.step()) == ["nine", "seven"]
    await tail.stop()


async def test_a_head_that_grows_stays_the_same_head(tail, log):
    """Across every length, also when the process ends between two of them."""
    # covers IDN-08
    expected = []
    for number in range(80):
        write(log, f"line {number} of many", end="")
        await tail.step()
        if number % 7 == 0:
            await tail.restart()
        write(log, "")
        expected.append(f"line {number} of many")
        await tail.step()
        (record,) = tail.stored.values()
        assert record.head_length == min(1024, log.stat().st_size)
    assert [text(item) for item in tail.got] == expected


async def test_one_file_under_many_names_is_read_once(tmp_path, log):
    """Hard links, symbolic links, overlapping patterns."""
    # covers IDN-09, IDN-10, IDN-13
    write(log, *lines(0, 10))
    os.link(log, tmp_path / "hard.log")
    (tmp_path / "soft.log").symlink_to(log)
    tail = Tail(tmp_path / "*.log", tmp_path / "ai.*", log)
    assert await tail.step(2) == lines(0, 10)
    assert tail.notices == []
    await tail.restart()
    assert await tail.step(2) == []
    await tail.stop()


async def test_a_link_switched_to_a_new_target(tmp_path):
    """The old target is drained, the new one read from its beginning."""
    # covers IDN-11
    link = tmp_path / "current.log"
    tail = Tail(link)
    (tmp_path / "targets").mkdir()
    got = []
    for number in range(6):
        target = tmp_path / "targets" / str(number)
        write(target, f"{number} a")
        fresh = tmp_path / "fresh"
        fresh.symlink_to(target)
        fresh.rename(link)
        got += await tail.step(1 + number % 2)
        write(target, f"{number} b")
    got += await tail.step()
    assert sorted(got) == sorted(f"{number} {part}" for number in range(6) for part in "ab")
    await tail.stop()


async def test_a_linked_log_is_found_again_after_its_rotation(tmp_path):
    """The siblings of a link's target belong to the log, also after a restart."""
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "kong.log"
    write(real, *lines(0, 10))
    (tmp_path / "ai.log").symlink_to(real)
    tail = Tail(tmp_path / "ai.log")
    await tail.step()
    write(real, *lines(10, 20))
    real.rename(real.with_name("kong.log.1"))
    write(real, *lines(20, 30))
    await tail.restart()
    assert await tail.step() == lines(10, 30)
    await tail.stop()


async def test_what_is_no_file_is_ignored_and_told_once(tmp_path):
    """A directory, a FIFO, a dangling link and a loop match the pattern; none holds anything up."""
    # covers IDN-12
    (tmp_path / "directory.log").mkdir()
    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "dangling.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.log").symlink_to(tmp_path / "loop.log")
    write(tmp_path / "ai.log", "one")
    tail = Tail(tmp_path / "*.log")
    assert await tail.step(3) == ["one"]
    assert tail.notices == ["not_a_file"] * 4
    await tail.stop()


async def test_a_record_for_an_inode_that_two_records_claim(tail, log):
    """The one that holds is used; the other one is done when its content is in no other file either."""
    # covers CHK-11
    write(log, *lines(0, 10))
    await tail.step()
    (record,) = tail.stored.values()
    tail.stored[9] = msgspec.structs.replace(record, file_id=9, offset=5, marker=marker_of(b"wrong"))
    write(log, *lines(10, 20))
    await tail.restart()
    assert await tail.step(2) == lines(10, 20)
    assert 9 in tail.stored
    await tail.step()
    assert tail.last.retired == [9]
    assert tail.notices == []


async def test_an_offset_beyond_the_end_of_the_file(tail, log):
    """The same as a file that was cut."""
    # covers CHK-09
    write(log, *lines(0, 10))
    await tail.step()
    (record,) = tail.stored.values()
    tail.stored[1] = msgspec.structs.replace(record, offset=10**9)
    await tail.restart()
    assert await tail.step(2) == []
    write(log, line(10))
    assert await tail.step() == [line(10)]
    assert tail.notices == ["truncated"]
