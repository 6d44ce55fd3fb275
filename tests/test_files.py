"""Files on a real filesystem: the ordinary day, the first start, deletion, and too few descriptors."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import stat
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from kong_ai_tracing import identity
from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.lines import EMPTY_MARKER, OutOfSightError
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


# -- the ordinary day


async def test_lines_are_read_as_they_are_written(tail, log):
    """What is complete comes out once, in order, with its place."""
    write(log, "one", "two")
    assert await tail.step() == ["one", "two"]
    write(log, "three")
    assert await tail.read() == ["three"], "no scan is needed for a file that is known"
    assert [item.offset for item in tail.got] == [0, 4, 8]
    assert await tail.step(3) == []
    (status,) = tail.files.files()
    assert (status.path, status.offset, status.size) == (str(log), 14, 14)


async def test_the_first_line_of_an_empty_file_asks_for_a_scan(tail, log):
    """After a rotation nobody has to wait until the next scan is due."""
    log.touch()
    assert await tail.step() == []
    assert not tail.files.wants_scan
    write(log, "first")
    assert await tail.read() == []
    assert tail.files.wants_scan
    assert await tail.step() == ["first"]
    assert not tail.files.wants_scan


async def test_a_missing_log_is_told_once_and_found_later(tail, log):
    """Nothing is wrong with a log that Kong has not begun yet."""
    # covers ROT-05
    assert await tail.step(3) == []
    assert tail.notices == ["no_log"]
    write(log, "first")
    assert await tail.step() == ["first"]


async def test_an_unfinished_line_waits_also_over_a_restart(tail, log):
    """Half a line is nothing; its other half makes it one line, whoever reads it."""
    # covers LIN-01, LIN-02
    write(log, "one", end="\n")
    write(log, "half of a", end="")
    assert await tail.step(3) == ["one"]
    await tail.restart()
    assert await tail.step() == []
    write(log, " line")
    assert await tail.read() == ["half of a line"]


async def test_a_line_longer_than_the_limit_is_passed_over(tmp_path, log):
    """Its neighbours come out, and the file stays tailed."""
    # covers LIN-06, LIN-07
    tail = Tail(log, max_line_bytes=10_000)
    write(log, "before", "x" * 50_000, "after")
    assert await tail.step() == ["before", "<50001 bytes>", "after"]
    write(log, "y" * 30_000, end="")
    assert await tail.step() == []
    await tail.restart()
    write(log, "y" * 30_000, "next")
    assert await tail.step() == ["<60001 bytes>", "next"]
    await tail.stop()


async def test_a_restart_goes_on_where_the_last_commit_was(tail, log):
    """What was not committed comes again, with the same place; nothing else does."""
    write(log, *lines(0, 200))
    await tail.scan()
    first = await tail.read_once()
    second = await tail.read_once(commit=False)
    assert second
    await tail.restart()
    again = await tail.step()
    assert first + again == lines(0, 200)
    assert again[: len(second)] == second


async def test_reading_many_files_shares_the_turns_fairly(tmp_path):
    """No busy file keeps another one waiting."""
    tail = Tail(tmp_path / "*.log")
    for name in "abc":
        write(tmp_path / f"{name}.log", *(f"{name} {text}" for text in lines(0, 400)))
    await tail.scan()
    turns = [(await tail.read_once())[0][0] for _ in range(9)]
    assert Counter(turns) == {"a": 3, "b": 3, "c": 3}
    await tail.stop()


async def test_a_line_can_be_read_again_after_a_restart(tail, log):
    """By its place and the identity of its file, under whatever name it has now."""
    write(log, *lines(0, 20))
    await tail.step()
    origin = tail.got[7].origin
    log.rename(log.with_name("ai.log.1"))
    write(log, *lines(50, 60))
    await tail.restart()
    again = await tail.files.reread(origin)
    assert again is not None
    assert again.data.decode() == line(7)
    assert await tail.step() == lines(50, 60), "the look that this needed is not lost"
    os.truncate(log.with_name("ai.log.1"), 10)
    with pytest.raises(OutOfSightError):
        await tail.files.reread(origin)  # there may be a copy of it
    await tail.step(2)
    assert await tail.files.reread(origin) is None


async def test_a_line_of_a_file_that_is_not_seen_is_not_called_gone(tail, log):
    """Before a scan was sure that the file is not there."""
    write(log, *lines(0, 20))
    await tail.step()
    origin = tail.got[7].origin
    log.unlink()
    await tail.restart()
    with pytest.raises(OutOfSightError):
        await tail.files.reread(origin)
    await tail.step(3)
    assert "gone" in tail.notices
    assert await tail.files.reread(origin) is None


async def test_a_file_that_was_cut_is_vanishing(tail, log):
    """Another run would not find its lines: what waits must be written down before a copy is looked for."""
    write(log, *lines(0, 20))
    await tail.step(2)
    assert tail.last.vanishing == []
    os.truncate(log, 0)
    (log.parent / "busy").touch()
    await tail.step()
    assert tail.last.vanishing == [1]


async def test_what_was_deleted_and_read_is_done_at_a_stop(tail, log):
    """Else the next run looks for it, and says that it is gone."""  # covers FDS-04
    write(log, *lines(0, 20))
    await tail.step()
    log.unlink()
    assert (await tail.files.last_look()).retired == [1]


async def test_what_was_deleted_and_not_read_is_not_done_at_a_stop(tail, log):
    """The operator must hear of it."""  # covers FDS-04
    write(log, *lines(0, 20))
    await tail.scan()
    log.unlink()
    assert (await tail.files.last_look()).retired == []


async def test_another_reader_goes_on_with_open_files_where_their_records_say(tail, log, tmp_path):
    """A reload closes nothing that has no name any more, and keeps nothing that is not asked for any more."""
    # covers PRC-05
    other = tmp_path / "other.log"
    write(log, *lines(0, 20))
    write(other, *lines(50, 60))
    both = Tail(log, other)
    assert sorted(await both.step()) == sorted([*lines(0, 20), *lines(50, 60)])
    log.unlink()
    stored = [
        msgspec.structs.replace(record, offset=5 * len(line(0) + "\n"), marker=EMPTY_MARKER)
        for record in both.stored.values()
        if record.path == str(log)
    ]
    both.files.leave_open()
    await both.stop()
    assert open_descriptors(tmp_path) == 2
    next_one = Tail(log)
    next_one.stored = {record.file_id: record for record in stored}
    next_one.files = LogFiles([str(log)], stored, open_before=both.files.take_open(), chunk_bytes=4096)
    assert await next_one.step() == lines(5, 20)
    assert open_descriptors(tmp_path) == 1
    await next_one.stop()
    assert open_descriptors(tmp_path) == 0


async def test_another_reader_begins_anew_in_an_open_file_of_which_no_record_was_stored(tail, log, tmp_path):
    """It was found while there was no room for anything, its record included, and deleted meanwhile."""
    # covers PRC-05, FDS-02
    write(log, *lines(0, 20))
    assert await tail.step() == lines(0, 20)
    log.unlink()
    tail.files.leave_open()
    await tail.stop()
    next_one = Tail(log)
    next_one.files = LogFiles([str(log)], [], open_before=tail.files.take_open(), chunk_bytes=4096)
    assert await next_one.step() == lines(0, 20)
    assert open_descriptors(tmp_path) == 1
    for _ in range(3):
        await next_one.scan()
    assert open_descriptors(tmp_path) == 0, "nobody was seen writing to it after it was deleted"
    await next_one.stop()


async def test_a_deleted_file_stays_open_until_what_was_read_is_on_disk(tail, log, tmp_path):
    """Whoever goes on from what is on disk, after a reload, must find the rest."""  # covers FDS-02
    write(log, *lines(0, 20))
    assert await tail.step() == lines(0, 20)
    log.unlink()
    for _ in range(10):
        assert (await tail.files.scan(unwritten={1})).retired == []
    assert open_descriptors(tmp_path) == 1
    retired = [(await tail.files.scan()).retired for _ in range(3)]
    assert [1] in retired
    assert open_descriptors(tmp_path) == 0


# -- first start, history, and what is not ours


async def test_rotated_files_are_history_at_the_first_start(tail, log):
    """The live file is read from its beginning, older ones are for a backfill."""
    write(log.with_name("ai.log.1"), *lines(0, 10))
    write(log.with_name("ai.log-20260101"), *lines(10, 20))
    write(log, *lines(20, 30))
    assert await tail.step() == lines(20, 30)
    write(log.with_name("ai.log.1"), line(1000))
    assert await tail.step() == [line(1000)], "Kong may still write to it"
    await tail.restart()
    assert await tail.step() == []


async def test_what_was_rotated_after_a_first_start_without_a_byte_is_no_history(tail, log):
    """An empty log has no record; but it was looked at, so what it holds when we come back is new."""
    log.touch()
    assert await tail.step() == []
    await tail.stop()
    write(log, *lines(0, 10))
    log.rename(log.with_name("ai.log.1"))
    write(log, *lines(10, 20))
    await tail.restart()
    assert await tail.step(2) == lines(0, 20)


async def test_what_comes_into_a_directory_that_was_not_there_is_no_history(tmp_path):
    """At the first start there was nothing: what is rotated while we are stopped was never read."""
    tail = Tail(tmp_path / "later" / "ai.log", start_at="end")
    assert await tail.step() == []
    await tail.stop()
    log = tmp_path / "later" / "ai.log"
    log.parent.mkdir()
    write(log.with_name("ai.log.1"), *lines(0, 10))
    write(log, *lines(10, 20))
    await tail.restart()
    assert await tail.step(2) == lines(0, 20)
    await tail.stop()


async def test_a_rotated_file_that_appears_later_is_a_generation_we_missed(tail, log):
    """Created and rotated between two scans, or while the daemon was stopped."""
    # covers ROT-06
    write(log, *lines(0, 10))
    await tail.step()
    write(log.with_name("ai.log.1"), *lines(10, 20))
    assert await tail.step() == lines(10, 20)
    await tail.restart()
    write(log.with_name("ai.log.2"), *lines(20, 30))
    assert await tail.step() == lines(20, 30)


async def test_starting_at_the_end_reads_only_what_comes(tmp_path, log):
    """Nor does it begin in the middle of a line."""
    write(log, *lines(0, 10))
    write(log, "half", end="")
    tail = Tail(log, start_at="end")
    assert await tail.step() == []
    write(log, " and half")
    assert await tail.step() == ["half and half"]
    log.rename(log.with_name("ai.log.1"))
    write(log, line(50))
    assert await tail.step() == [line(50)], "a file that is new is read from its beginning"
    await tail.stop()


async def test_a_pattern_added_later_has_its_own_first_start(tmp_path):
    """Its rotated files are history, although other files were known before."""
    # covers PRC-05
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    write(first, "a")
    tail = Tail(first)
    await tail.step()
    write(second.with_name("b.log.1"), "history")
    write(second, "b")
    write(first, "aa")
    tail.patterns = [str(second)]
    await tail.restart()
    assert await tail.step() == ["b"], "the file of a removed pattern is not read"
    tail.patterns = [str(first), str(second)]
    await tail.restart()
    assert await tail.step() == ["aa"]
    await tail.stop()


async def test_compressed_files_are_not_read_as_lines(tmp_path, log):
    """By name silently, by content with a word."""
    # covers LIN-17
    write(log, "one")
    compressed = gzip.compress(b"two\n" * 100)
    (tmp_path / "ai.log.1.gz").write_bytes(compressed)
    (tmp_path / "ai.log.disguised").write_bytes(compressed)
    tail = Tail(tmp_path / "ai.log*")
    assert await tail.step(2) == ["one"]
    assert tail.notices == ["binary"]
    await tail.stop()


async def test_our_own_files_are_never_read(tmp_path, log):
    """Not our log, not its rotated siblings, nothing in our state directory: that would be a loop."""
    # covers PRC-09
    (tmp_path / "state").mkdir()
    for name in ("own.log", "own.log.1", "ai.log", "state/x.log", "own-other.log"):
        write(tmp_path / name, name)
    tail = Tail(
        tmp_path / "*.log*", tmp_path / "*" / "*.log", exclude=[tmp_path / "own.log", tmp_path / "state"]
    )
    assert sorted(await tail.step()) == ["ai.log", "own-other.log"]
    await tail.stop()


# -- deletion, permissions, descriptors


async def test_a_deleted_file_is_drained_and_then_closed(tail, log, tmp_path):
    """Its bytes exist only as long as we hold it, and its space is free soon after."""
    # covers FDS-01, FDS-03
    write(log, *lines(0, 100))
    await tail.scan()
    got = await tail.read_once()
    log.unlink()
    await tail.scan()
    assert tail.last.vanishing == [1]
    got += await tail.read()
    assert got == lines(0, 100)
    assert await tail.step(4) == []
    assert tail.last.vanishing == []
    assert tail.stored == {}
    assert open_descriptors(tmp_path) == 0


async def test_lines_written_to_a_deleted_file_are_read_while_it_is_open(tail, log):
    """Kong goes on writing to a file that somebody deleted."""
    with log.open("a") as kong:
        for number in range(5):
            kong.write(f"{number}\n")
            kong.flush()
            assert await tail.step() == [str(number)]
            log.unlink(missing_ok=True)


async def test_a_writer_of_a_deleted_file_may_pause(tail, log, tmp_path):
    """It was seen to be alive; without it the file would be let go after two quiet scans."""
    # covers ROT-03, FDS-01
    with log.open("a") as kong:
        print("0", file=kong, flush=True)
        assert await tail.step() == ["0"]
        log.unlink()
        await tail.scan()
        print("1", file=kong, flush=True)
        assert await tail.step(50) == ["1"]
        print("2", file=kong, flush=True)
        assert await tail.step(1100) == ["2"]
    assert open_descriptors(tmp_path) == 0, "but not for ever"


async def test_a_deleted_file_is_held_however_long_reading_waits(tail, log):
    """The outbox may be full for hours, and scans go on meanwhile."""
    # covers FDS-01, FDS-02
    write(log, *lines(0, 200))
    await tail.scan()
    first = await tail.read_once()
    log.unlink()
    for _ in range(10):
        await tail.scan()
    assert first + await tail.read() == lines(0, 200)


async def test_files_beside_directories_are_no_news(tmp_path):
    """A pattern with a wildcard for directories matches files, too."""
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "ai.log", "one")
    write(tmp_path / "file", "x")
    tail = Tail(tmp_path / "*" / "ai.log")
    assert await tail.step(2) == ["one"]
    assert tail.notices == []
    await tail.stop()


async def test_the_last_line_of_a_deleted_file_needs_no_newline(tail, log):
    """Nobody will end it any more."""
    # covers LIN-03
    write(log, "one")
    write(log, "torn", end="")
    assert await tail.step() == ["one"]
    log.unlink()
    assert await tail.step(5) == ["torn"]
    assert tail.stored == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_without_permission_is_picked_up_when_it_is_granted(tail, log):
    """Told once, tried again with every scan."""
    # covers FDS-05
    write(log, "one")
    log.chmod(0)
    assert await tail.step(3) == []
    assert tail.notices == ["unreadable"]
    log.chmod(stat.S_IRUSR)
    assert await tail.step() == ["one"]


async def test_a_file_that_cannot_be_opened_is_tried_again(tail, log, monkeypatch):
    """Told once; state is kept; nothing is taken for deleted."""
    # covers FDS-05, FDS-08
    write(log, *lines(0, 10))
    await tail.step()
    write(log, *lines(10, 20))
    await tail.restart()
    with monkeypatch.context() as patch:
        for number, kind in ((errno.EACCES, "unreadable"), (errno.EMFILE, "descriptors")):

            def refuse(path, number=number):
                raise OSError(number, os.strerror(number))

            patch.setattr("kong_ai_tracing.catalog.open_to_read", refuse)
            assert await tail.step(3) == []
            assert tail.notices.pop() == kind
            assert tail.notices == []
    assert await tail.step() == lines(10, 20)


async def test_a_directory_that_is_away_has_not_lost_its_files(tail, log, tmp_path):
    """Neither while we run nor when we start without it."""
    # covers FDS-07, NOT-10
    logs = tmp_path / "logs"
    logs.mkdir()
    tail = Tail(logs / "ai.log")
    write(logs / "ai.log", *lines(0, 10))
    await tail.step()
    logs.rename(tmp_path / "away")
    assert await tail.step(5) == []
    await tail.restart()
    assert await tail.step(5) == []
    assert tail.notices == ["directory", "directory"]
    (tmp_path / "away").rename(logs)
    write(logs / "ai.log", *lines(10, 20))
    assert await tail.step() == lines(10, 20)
    await tail.stop()


async def test_more_files_than_descriptors(tmp_path):
    """Idle files are closed and opened again when they grow; no line is lost or given twice."""
    # covers FDS-08, FDS-09, FDS-10
    tail = Tail(tmp_path / "*.log", max_open_files=10)
    paths = [tmp_path / f"{number}.log" for number in range(60)]
    for path in paths:
        write(path, f"{path.name} a")
    got = await tail.step(12)
    assert open_descriptors(tmp_path) <= 10
    for path in paths[::7]:
        write(path, f"{path.name} b")
    paths[3].rename(tmp_path / "renamed.log")
    write(tmp_path / "renamed.log", "3.log b")
    got += await tail.step(6)
    expected = [f"{path.name} a" for path in paths] + [f"{path.name} b" for path in paths[::7]] + ["3.log b"]
    assert sorted(got) == sorted(expected)
    assert open_descriptors(tmp_path) <= 10
    await tail.restart()
    assert await tail.step(12) == []
    paths[5].unlink()
    await tail.step(3)
    assert len(tail.stored) == 59
    await tail.stop()


async def test_many_idle_files_cost_no_opening(tmp_path, monkeypatch):
    """Once they are known, a scan opens none of them."""
    # covers FDS-09
    tail = Tail(tmp_path / "*.log", max_open_files=20)
    for number in range(200):
        write(tmp_path / f"{number}.log", "a")
    await tail.step(15)
    opened = []
    original = identity.open_to_read
    monkeypatch.setattr(
        "kong_ai_tracing.catalog.open_to_read", lambda path: (opened.append(path), original(path))[1]
    )
    write(tmp_path / "77.log", "b")
    assert await tail.step() == ["b"]
    assert opened == [str(tmp_path / "77.log")]
    await tail.stop()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
async def test_a_failing_read_is_retried_and_others_go_on(tmp_path, monkeypatch, number):
    """The file is opened again by its name, compared, and read on from where it was."""
    # covers FDS-11, NOT-08
    tail = Tail(tmp_path / "*.log")
    write(tmp_path / "a.log", "a")
    write(tmp_path / "b.log", "b")
    await tail.step()
    write(tmp_path / "a.log", "aa")
    write(tmp_path / "b.log", "bb")
    fill = LogFiles._fill

    async def fail(files, stream):
        if stream.path.endswith("a.log"):
            raise OSError(number, os.strerror(number))
        return await fill(files, stream)

    with monkeypatch.context() as patch:
        patch.setattr(LogFiles, "_fill", fail)
        assert await tail.step(3) == ["bb"]
        assert tail.notices == ["read_error"]
    assert await tail.step(2) == ["aa"]
    await tail.stop()


async def test_times_of_files_decide_nothing(tail, log):
    """Modification times from 1970 or 2100 change neither what is read nor where it goes on."""
    # covers NOT-11
    write(log, *lines(0, 10))
    got = []
    for moment in (0, 4_102_444_800, 1):
        os.utime(log, (moment, moment))
        got += await tail.step()
        await tail.restart()
        got += await tail.step()
    assert got == lines(0, 10)


async def test_cancelling_a_read_leaves_everything_in_order(tail, log):
    """The thread that was reading ends before anybody else uses the buffer."""
    write(log, *lines(0, 200))
    await tail.scan()
    got = []
    for _ in range(5):
        reading = asyncio.ensure_future(tail.files.read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        got += await tail.read_once()
    assert got + await tail.read() == lines(0, 200)


# -- network filesystems, and numbers


async def test_a_network_filesystem_needs_no_events(tail, log):
    """Nothing but scans and reads finds new files, rotations, growth and deletions."""
    # covers NOT-01, NOT-07
    got = []
    for number in range(5):
        write(log, *lines(number * 10, number * 10 + 10))
        got += await tail.step()
        log.rename(log.with_name(f"ai.log.{number + 1}"))
    assert got == lines(0, 50)


async def test_cached_attributes_hide_a_growth_only_for_a_while(tail, log, monkeypatch):
    """Old answers of fstat delay lines; nothing is lost, doubled, or taken for a truncation."""
    # covers NOT-09
    write(log, *lines(0, 10))
    got = await tail.step()
    real, cached = os.fstat, {}
    write(log, *lines(10, 20))
    for fd in list(tail.files._table.streams.values()):
        cached[fd.fd] = fd.stamp

    class Old:
        def __init__(self, status, stamp):
            self._status = status
            self.st_size, self.st_mtime_ns, self.st_ctime_ns, self.st_nlink = stamp

        def __getattr__(self, name):
            return getattr(self._status, name)

    def fstat(fd):
        return Old(real(fd), cached[fd]) if fd in cached else real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        log.rename(log.with_name("ai.log.1"))
        write(log, *lines(20, 30))
        got += await tail.step(3)
    got += await tail.step(3)
    assert sorted(got) == lines(0, 30)
    assert tail.lost_bytes == 0


async def test_records_of_files_long_gone_are_forgotten(tail, log):
    """They are told once, kept for as long as the file may come back, and then removed."""
    # covers CHK-10, FDS-04
    write(log, *lines(0, 10))
    await tail.step()
    await tail.stop()
    log.rename(log.with_name("elsewhere"))
    log.with_name("elsewhere").unlink()
    write(log, line(100))
    await tail.restart()
    assert await tail.step(2) == [line(100)]
    for _ in range(1002):
        await tail.scan()
    assert len(tail.stored) == 1
    assert tail.notices.count("gone") <= 1


async def test_thousands_of_files_cost_little(tmp_path):
    """A scan of five thousand watched files, most of them closed, is no burden."""
    # covers FDS-09
    tail = Tail(tmp_path / "*.log", max_open_files=2500)
    for number in range(5000):
        (tmp_path / f"{number}.log").write_text(line(number) + "\n")
    await tail.step(8)
    assert len(tail.got) == 5000
    began = time.process_time()
    for _ in range(3):
        await tail.scan()
        assert await tail.read() == []
    assert (time.process_time() - began) / 3 < 2, "measured: 0.025"
    await tail.stop()


async def test_a_burst_needs_no_memory_of_its_own(tmp_path, log):
    """A hundred megabytes at once, one file without a newline among them: the buffers stay what they are."""
    # covers LIN-07
    tail = Tail(tmp_path / "*.log", chunk_bytes=1 << 20, max_line_bytes=1 << 20)
    text = (line(0, 4000) + "\n") * 2500
    for _ in range(8):
        write(log, text, end="")
    write(tmp_path / "endless.log", "x" * (20 << 20), end="")
    tracemalloc.start()
    await tail.scan()
    count = peak = 0
    while (chunk := await tail.files.read()) is not None:
        count += len(chunk.items)
        del chunk
        peak = max(peak, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 8 << 20
    await tail.stop()
