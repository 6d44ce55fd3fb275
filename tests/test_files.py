"""Files on a real filesystem, rotated, cut, copied and deleted between single steps of the reader."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import shutil
import stat
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from kong_ai_tracing import identity, streams
from kong_ai_tracing.files import FileRecord, LogFiles, Position, ScanResult
from kong_ai_tracing.lines import Line, OversizedLine, marker_of


def line(number: int, width: int = 100) -> str:
    """One numbered line, different from every other from its beginning on."""
    return f"{number:08d} " + "x" * width


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
        for file_id in result.retired:
            self.stored.pop(file_id, None)
        self.notices += [notice.kind for notice in result.notices]
        self.lost_bytes += sum(notice.lost_bytes for notice in result.notices)
        self.last = result
        return result

    async def read_once(self, *, commit: bool = True) -> list[str]:
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
        self.files = LogFiles(self.patterns, list(self.stored.values()), **self.options)


def text(item: Line | OversizedLine) -> str:
    return item.data.decode() if isinstance(item, Line) else f"<{item.origin.length} bytes>"


@pytest.fixture
async def tail(tmp_path):
    """A reader of `ai.log` in an empty directory."""
    reader = Tail(tmp_path / "ai.log")
    yield reader
    await reader.stop()


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "ai.log"


def open_descriptors(path: Path) -> int:
    """How many descriptors of this process lead to files in a directory, deleted ones included."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith(str(path) + "/")
        except OSError:
            continue
    return found


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
    assert await tail.files.reread(origin) is None


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
    assert await tail.step(2) == lines(20, 40)
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
    """The one that holds is used; the other one is done."""
    # covers CHK-11
    write(log, *lines(0, 10))
    await tail.step()
    (record,) = tail.stored.values()
    tail.stored[9] = msgspec.structs.replace(record, file_id=9, offset=5, marker=marker_of(b"wrong"))
    write(log, *lines(10, 20))
    await tail.restart()
    assert await tail.step() == lines(10, 20)
    assert tail.last.retired == [9]


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
