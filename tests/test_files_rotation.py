"""Rotation and truncation put exactly between two steps of the reader."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from kong_ai_tracing import catalog, identity, streams
from tailing import Tail, line, lines, open_descriptors, write


@pytest.fixture
async def tail(tmp_path):
    """A reader of `ai.log` in an empty directory."""
    reader = Tail(tmp_path / "ai.log")
    yield reader
    await reader.stop()


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "ai.log"


# -- rotation


async def test_rename_rotation_with_an_up_to_date_reader(tail, log):
    """The rotated file is finished, the new one is read from its first byte, nothing twice."""
    # covers ROT-01
    write(log, "a")
    assert await tail.step() == ["a"]
    write(log, "b")
    log.rename(log.with_name("ai.log.1"))
    write(log, "c")
    assert await tail.step() == ["b", "c"]
    assert await tail.step(3) == []


async def test_rename_rotation_keeps_reading_the_old_file_until_its_end(tail, log):
    """A reader far behind finishes the older generation before the newer one."""
    # covers ROT-02, ROT-14
    write(log, *lines(0, 300))
    await tail.scan()
    got = await tail.read_once()
    log.rename(log.with_name("ai.log.2"))
    write(log, *lines(300, 400))
    await tail.scan()
    got += await tail.read_once()
    log.rename(log.with_name("ai.log.1"))
    write(log, *lines(400, 500))
    assert got + await tail.step() == lines(0, 500)


async def test_a_writer_that_keeps_the_renamed_file_is_followed_for_ever(tail, log):
    """Kong's workers write to the old file until they reload, which may be hours later."""
    # covers ROT-03
    with log.open("a") as kong:
        kong.write("0\n")
        kong.flush()
        assert await tail.step() == ["0"]
        log.rename(log.with_name("ai.log.1"))
        for number in range(1, 60):
            assert await tail.step(2) == []
            kong.write(f"{number}\n")
            kong.flush()
            assert await tail.step() == [str(number)]


async def test_old_and_new_file_may_grow_at_once(tail, log):
    """Some workers have reloaded, some have not."""
    # covers ROT-04
    write(log, "a0")
    await tail.step()
    old = log.with_name("ai.log.1")
    log.rename(old)
    for number in range(1, 5):
        write(old, f"old {number}")
        write(log, f"new {number}")
        assert sorted(await tail.step()) == [f"new {number}", f"old {number}"]


async def test_several_rotations_between_two_scans(tail, log):
    """Every generation that is still on disk is read, the oldest first."""
    # covers ROT-06
    write(log, line(0))
    await tail.step()
    for number in range(1, 6):
        for generation in range(5, 0, -1):
            source = log.with_name(f"ai.log.{generation}")
            if source.exists():
                source.rename(log.with_name(f"ai.log.{generation + 1}"))
        log.rename(log.with_name("ai.log.1"))
        write(log, line(number))
        os.utime(log, ns=(number * 10**9, number * 10**9))
    assert await tail.step() == lines(1, 6)


async def test_numbered_rotation_reads_no_file_again_under_its_new_name(tmp_path, log):
    """Not even when the pattern matches the rotated names."""
    # covers ROT-08
    tail = Tail(tmp_path / "*.log*")
    got = []
    for number in range(10):
        for generation in range(10, 0, -1):
            source = log.with_name(f"ai.log.{generation}")
            if source.exists():
                source.rename(log.with_name(f"ai.log.{generation + 1}"))
        if log.exists():
            log.rename(log.with_name("ai.log.1"))
        write(log, line(number))
        got += await tail.step()
    assert got == lines(0, 10)
    await tail.stop()


async def test_a_file_rotated_out_of_sight_is_drained_from_its_descriptor(tail, log, tmp_path):
    """The pattern need not match the rotated name, nor its directory."""
    # covers ROT-09, FDS-06
    write(log, *lines(0, 10))
    await tail.scan()
    (tmp_path / "old").mkdir()
    moved = log.rename(tmp_path / "old" / "2026-01-01.log")
    write(moved, *lines(10, 20))
    moved.chmod(0)
    write(log, *lines(20, 30))
    assert sorted(await tail.step()) == lines(0, 30)


async def test_the_file_that_was_opened_decides_not_the_listing(tail, log, monkeypatch):
    """A rotation between listing and opening changes nothing about which lines come out."""
    # covers ROT-10, ROT-11
    write(log, *lines(0, 10))
    original, done = identity.open_to_read, []

    def rotate_first(path: str) -> int:
        if not done:
            done.append(path)
            log.rename(log.with_name("ai.log.1"))
            write(log, *lines(10, 20))
        return original(path)

    monkeypatch.setattr("kong_ai_tracing.catalog.open_to_read", rotate_first)
    got = await tail.step(2)
    assert sorted(got) == lines(0, 20)
    assert await tail.step(2) == []


async def test_a_rotation_while_stopped_loses_nothing(tail, log):
    """The rest of the old file is read first, then the new file."""
    # covers ROT-12
    write(log, *lines(0, 10))
    await tail.step()
    write(log, *lines(10, 20))
    log.rename(log.with_name("ai.log-20260101"))
    write(log, *lines(20, 30))
    await tail.restart()
    assert await tail.step() == lines(10, 30)
    assert "gone" not in tail.notices


async def test_a_rotation_under_an_unforeseen_name_while_stopped(tail, log):
    """The inode number in the directory leads to the file, whatever its name is."""
    write(log, *lines(0, 10))
    await tail.step()
    write(log, *lines(10, 20))
    log.rename(log.with_name("ai-20260101.log"))
    write(log, *lines(20, 30))
    await tail.restart()
    assert await tail.step() == lines(10, 30)


@pytest.mark.parametrize("name", ["ai.1.log", "ai-20260101.log", "ai-2026-01-01-1767225600.log"])
async def test_generations_with_the_number_before_the_extension(tail, log, name):
    """logrotate's `extension .log`: seen or not seen before, they belong to the log; `ai-2.log` does not."""
    # covers ROT-06, ROT-09
    write(log, *lines(0, 10))
    await tail.step()
    await tail.stop()
    write(log.with_name("ai-2.log"), line(99))
    write(log.with_name(name), *lines(10, 20))
    await tail.restart()
    assert await tail.step(2) == lines(10, 20)


async def test_two_rotations_while_stopped_with_the_oldest_deleted(tail, log):
    """What remains is read, and the gap is told."""
    # covers ROT-13, ROT-07, FDS-04
    write(log, *lines(0, 10))
    await tail.step()
    write(log, *lines(10, 20))
    await tail.stop()
    log.unlink()
    write(log.with_name("ai.log.1"), *lines(20, 30))
    write(log, *lines(30, 40))
    await tail.restart()
    assert await tail.step(3) == lines(20, 40)
    assert tail.notices.count("gone") == 1


async def test_a_file_replaced_by_its_own_longer_copy_goes_on_where_it_was(tail, log, tmp_path):
    """An editor or a copy tool that writes anew and renames over has not changed what was read."""
    # covers ROT-15
    write(log, *lines(0, 10))
    assert await tail.step() == lines(0, 10)
    copy = tmp_path / "temporary"
    shutil.copy(log, copy)
    write(copy, *lines(10, 20))
    copy.rename(log)
    assert await tail.step(4) == lines(10, 20)
    write(log, *lines(20, 30))
    assert await tail.step(4) == lines(20, 30)


async def test_a_file_replaced_by_its_copy_while_unread_is_read_once(tail, log, tmp_path):
    """The deleted original is drained first; the copy has its own lines behind that."""
    # covers ROT-15
    write(log, *lines(0, 100))
    await tail.scan()
    got = await tail.read_once()
    copy = tmp_path / "ai.log.new"
    shutil.copy(log, copy)
    await tail.scan()
    copy.rename(log)
    write(log, *lines(100, 120))
    got += await tail.step(4)
    assert got == lines(0, 120)


async def test_a_file_replaced_by_another_content_begins_at_zero(tail, log, tmp_path):
    """Another inode with other bytes is another log."""
    # covers ROT-16
    write(log, *lines(0, 10))
    await tail.step()
    other = tmp_path / "temporary"
    write(other, *lines(50, 70))
    other.rename(log)
    assert await tail.step() == lines(50, 70)


async def test_a_file_moved_away_and_back_goes_on_where_it_was(tail, log, tmp_path):
    """A name is not an identity, in both directions, also over a restart."""
    # covers ROT-17
    write(log, *lines(0, 10))
    await tail.step()
    log.rename(tmp_path / "elsewhere")
    assert await tail.step(2) == []
    (tmp_path / "elsewhere").rename(log)
    write(log, *lines(10, 20))
    assert await tail.step(2) == lines(10, 20)
    await tail.restart()
    log.rename(log.with_name("ai.log.9"))
    await tail.step()
    log.with_name("ai.log.9").rename(log)
    write(log, *lines(20, 30))
    assert await tail.step() == lines(20, 30)


async def test_descriptors_do_not_pile_up_over_many_rotations(tail, log, tmp_path):
    """One descriptor for each file that is still there."""
    # covers FDS-12
    for number in range(200):
        if log.exists():
            log.rename(log.with_name("ai.log.1"))
        write(log, line(number))
        assert await tail.step() == [line(number)]
        assert open_descriptors(tmp_path) <= 5


# -- truncation


async def test_truncation_of_a_file_read_to_its_end(tail, log):
    """The file begins anew, as another stream, from its first byte."""
    # covers TRU-01
    write(log, *lines(0, 10))
    assert await tail.step() == lines(0, 10)
    os.truncate(log, 0)
    write(log, "new")
    assert await tail.read() == [], "not before a scan has looked for a copy"
    assert tail.files.wants_scan
    assert await tail.step() == ["new"]
    assert tail.got[-1].file_id == 2
    assert tail.last.retired == [1]
    assert tail.lost_bytes == 0


async def test_truncation_under_a_reader_that_was_behind_counts_what_is_lost(tail, log):
    """What nobody can read any more is said in bytes."""
    # covers TRU-02
    write(log, *lines(0, 100))
    await tail.scan()
    got = await tail.read_once()
    os.truncate(log, 0)
    write(log, "new")
    assert await tail.step() == ["new"]
    assert tail.notices == ["truncated"]
    assert tail.lost_bytes == (100 - len(got)) * len(line(0) + "\n")


async def test_copytruncate_reads_the_rest_from_the_copy(tail, log):
    """Behind or not, seen or not before the cut: every line of the copy comes out once, then the new ones."""
    # covers TRU-03
    write(log, *lines(0, 100))
    await tail.scan()
    got = await tail.read_once()
    shutil.copy(log, log.with_name("ai.log.1"))
    os.truncate(log, 0)
    write(log, *lines(100, 110))
    got += await tail.step()
    assert got == lines(0, 110)
    assert tail.lost_bytes == 0
    log.with_name("ai.log.1").rename(log.with_name("ai.log.2"))
    shutil.copy(log, log.with_name("ai.log.1"))
    os.truncate(log, 0)
    write(log, *lines(110, 120))
    assert await tail.step(3) == lines(110, 120)
    assert len(tail.files.files()) == 3


async def test_copytruncate_survives_a_restart_at_each_step(tail, log):
    """What is stored leads to the right place, whichever of copy and original still has it."""
    # covers TRU-03, TRU-06
    write(log, *lines(0, 100))
    await tail.scan()
    got = await tail.read_once()
    await tail.restart()
    shutil.copy(log, log.with_name("ai.log.1"))
    await tail.scan()
    got += await tail.read_once()
    await tail.restart()
    os.truncate(log, 0)
    write(log, *lines(100, 110))
    await tail.scan()
    got += await tail.read_once()
    await tail.restart()
    assert got + await tail.step(2) == lines(0, 110)
    assert tail.lost_bytes == 0


async def test_a_copy_waits_as_long_as_its_original_is_there(tail, log):
    """Also while it is still being written, and when the original goes on growing."""
    # covers TRU-04
    write(log, *lines(0, 100))
    copy = log.with_name("ai.log.1")
    got = await tail.step()
    content = log.read_bytes()
    for length in (0, 2000, 5000, len(content)):
        copy.write_bytes(content[:length])
        write(log, line(100 + len(got)))
        got += await tail.step(2)
    assert len(got) == len(set(got)) == 104
    await tail.restart()
    assert await tail.step(2) == []


async def test_a_copy_with_lines_of_its_own_gives_only_those(tail, log):
    """Whatever a copy is made for, what only it has is read from it."""
    write(log, *lines(0, 100))
    got = await tail.step()
    copy = log.with_name("ai.log.1")
    shutil.copy(log, copy)
    got += await tail.step()
    write(copy, *lines(100, 110))
    assert await tail.step(2) == lines(100, 110)
    write(log, line(110))
    assert await tail.step(2) == [line(110)]


async def test_a_copy_shorter_than_what_was_read_gives_nothing_twice(tail, log):
    """Lines between copy and cut were read from the original; the copy has only older ones."""
    write(log, *lines(0, 50))
    await tail.step()
    copy = log.with_name("ai.log.1")
    shutil.copy(log, copy)
    write(log, *lines(50, 60))
    assert await tail.read() == lines(50, 60)
    os.truncate(log, 0)
    write(log, *lines(60, 70))
    assert await tail.step(2) == lines(60, 70)
    await tail.restart()
    assert await tail.step(2) == []


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("count", [50, 30, 80], ids=["same size", "shorter", "longer"])
async def test_a_file_cut_and_grown_again_is_read_from_its_beginning(tail, log, count, stopped):
    """The bytes before the offset tell, whatever the size says."""
    # covers TRU-05, TRU-06, TRU-07
    write(log, *lines(0, 50))
    await tail.step()
    if stopped:
        await tail.stop()
    os.truncate(log, 0)
    write(log, *lines(1000, 1000 + count))
    if stopped:
        await tail.restart()
    assert await tail.step(2) == lines(1000, 1000 + count)


@pytest.mark.parametrize("read", [1, 100])
async def test_a_copy_that_was_seen_half_done_holds_the_rest(tail, log, read):
    """Copying takes time, and scans come at any moment."""
    # covers TRU-03, TRU-04
    write(log, *lines(0, 600))
    await tail.scan()
    got = []
    for _ in range(read):
        got += await tail.read_once()
    copy = log.with_name("ai.log.1")
    copy.write_bytes(log.read_bytes()[:20_000])
    await tail.scan()
    shutil.copy(log, copy)
    os.truncate(log, 0)
    write(log, *lines(600, 610))
    got += await tail.step(3)
    assert sorted(got) == lines(0, 610)
    assert tail.lost_bytes == 0
    assert tail.notices == ["copytruncate"]


async def test_what_a_copy_lacks_is_counted(tail, log):
    """Lines that were seen in the log, but written after it had been copied."""
    # covers TRU-02
    write(log, *lines(0, 100))
    await tail.step()
    shutil.copy(log, log.with_name("ai.log.1"))
    write(log, *lines(100, 110))
    await tail.scan()
    os.truncate(log, 0)
    write(log, line(200))
    assert await tail.step(2) == [line(200)]
    assert tail.lost_bytes == 10 * len(line(0) + "\n")
    assert "truncated" in tail.notices


async def test_a_file_cut_in_the_middle_is_not_read_again(tail, log):
    """When the beginning is still there, reading goes on at the new end."""
    # covers TRU-08
    write(log, *lines(0, 100))
    await tail.step()
    os.truncate(log, 50 * len(line(0) + "\n"))
    await tail.scan()
    write(log, *lines(200, 210))
    assert await tail.step() == lines(200, 210)
    assert tail.notices == ["truncated"]


async def test_a_hole_left_by_a_truncation_is_passed_over(tail, log):
    """A writer that does not append leaves zeros before its next line."""
    # covers TRU-09
    with log.open("w") as kong:
        kong.write(line(0) + "\n" + "x" * 9000)
        kong.flush()
        assert await tail.step() == [line(0)]
        os.truncate(log, 0)
        kong.write("\n" + line(1) + "\n")
        kong.flush()
        assert [text for text in await tail.step(2) if text] == [line(1)]


async def test_a_truncation_during_a_read_mixes_nothing(tail, log, monkeypatch):
    """What was read is given out only if the file still was the same one after the read."""
    # covers TRU-10
    write(log, line(0))
    await tail.step()
    write(log, "half a li", end="")
    await tail.read()
    write(log, "ne")
    examine = streams.Stream.examine
    done = []

    def cut_first(stream, status, read_to):
        if read_to > stream.read_to and not done:
            done.append(True)
            os.truncate(log, 0)
            write(log, *lines(50, 60))
            status = os.fstat(stream.fd)
        return examine(stream, status, read_to)

    monkeypatch.setattr(streams.Stream, "examine", cut_first)
    assert await tail.read() == []
    assert await tail.step() == lines(50, 60)
    assert done


async def test_files_with_the_same_beginning_stay_two_streams(tmp_path):
    """A shared header is not a shared identity, not even when one of them is cut."""
    # covers TRU-11
    header = "# " + "h" * 2000
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    write(first, header, *lines(0, 10))
    write(second, header, *lines(20, 30))
    tail = Tail(tmp_path / "*.log")
    assert sorted(await tail.step()) == sorted([header, header, *lines(0, 10), *lines(20, 30)])
    os.truncate(first, 0)
    write(first, header, *lines(40, 50))
    write(second, line(30))
    assert sorted(await tail.step(2)) == sorted([header, line(30), *lines(40, 50)])
    assert len(tail.files.files()) == 2
    await tail.stop()


async def test_a_cut_in_the_middle_of_a_scan_repeats_nothing(tail, log, monkeypatch):
    """The log is cut after the scan looked at it and before the copy is compared with it."""
    # covers TRU-03
    write(log, *lines(0, 5))
    assert len(await tail.step()) == 5
    shutil.copy(log, f"{log}.1")
    compare = catalog.common_length

    def cut_and_compare(stream, fd, seen):
        os.truncate(log, 0)
        return compare(stream, fd, seen)

    monkeypatch.setattr(catalog, "common_length", cut_and_compare)
    assert await tail.step(4) == []
