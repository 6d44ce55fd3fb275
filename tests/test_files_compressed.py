"""Rotated files that were compressed before, while and after they were read, in every order."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from kong_ai_tracing import compressed
from tailing import Tail, line, lines, open_descriptors, write

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMS = {".gz": gzip.compress, ".zst": zstd.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "ai.log"


@pytest.fixture
async def tail(log):
    """A reader of `ai.log` in an empty directory."""
    reader = Tail(log)
    yield reader
    await reader.stop()


def unlike(first: int, last: int) -> list[str]:
    """Lines that do not shrink to nothing when they are compressed."""
    return [f'"{number:08d} {sha256(str(number).encode()).hexdigest() * 2}"' for number in range(first, last)]


def pack(path: Path, name: str | None = None, *, suffix: str = ".gz", keep: bool = False) -> Path:
    """What a compressor leaves: a new file with the time of the old one, which is gone then."""
    packed = path.with_name((name or path.name) + suffix)
    packed.write_bytes(FORMS[suffix](path.read_bytes()))
    shutil.copystat(path, packed)
    if not keep:
        path.unlink()
    return packed


async def read_some(tail: Tail, log: Path, count: int = 600) -> list[str]:
    """Some hundred lines are written, and some of them read, before the reader is stopped."""
    write(log, *unlike(0, count))
    await tail.scan()
    got = await tail.read_once()
    await tail.stop()
    return got


# -- while the reader was stopped


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("name", ["ai.log.1", "ai.log-20260101", "ai-20260101.log", "ai.log.7"])
async def test_a_file_compressed_while_unread_is_read_on_inside(tail, log, name, suffix):
    """At the offset of its content, whatever it is called now."""
    # covers CMP-01, CMP-08
    got = await read_some(tail, log)
    pack(log, name, suffix=suffix)
    write(log, *unlike(600, 620))
    await tail.restart()
    assert got + await tail.step(2) == unlike(0, 620)
    assert tail.notices == []
    assert await tail.step(2) == []
    await tail.restart()
    assert await tail.step(3) == [], "what was read in it is not read again"


async def test_a_generation_that_was_never_seen_is_read_from_its_compressed_file(tail, log):
    """Created, rotated and compressed while nobody was there; in the order of the generations."""
    # covers CMP-01, ROT-12
    got = await read_some(tail, log)
    pack(log, "ai.log.3")
    write(log, *unlike(600, 700))
    os.utime(pack(log, "ai.log.2"), (10**9, 2 * 10**9))
    write(log, *unlike(700, 800))
    os.utime(log, (10**9, 3 * 10**9))
    log.rename(log.with_name("ai.log.1"))
    write(log, *unlike(800, 900))
    await tail.restart()
    assert got + await tail.step(2) == unlike(0, 900)
    await tail.restart()
    assert await tail.step(2) == []


@pytest.mark.parametrize("stop_after", [1, 5, 14])
async def test_a_restart_in_the_middle_of_a_compressed_file(tail, log, stop_after):
    """The position in it is as durable as that in any other file."""
    # covers CMP-09
    got = await read_some(tail, log)
    packed = pack(log, "ai.log.1")
    write(log, *unlike(600, 610))
    for number in range(4):
        await tail.restart()
        await tail.scan()
        for _ in range(stop_after):
            got += await tail.read_once()
        packed = packed.rename(log.with_name(f"ai.log.{number + 2}.gz"))
    await tail.restart()
    got += await tail.step(2)
    assert sorted(set(got)) == unlike(0, 610)
    assert len(got) == 610


async def test_lines_under_way_at_a_crash_come_again(tail, log):
    """With the same place in the content."""
    # covers CMP-09
    got = await read_some(tail, log)
    pack(log, "ai.log.1")
    await tail.restart()
    await tail.scan()
    under_way = await tail.read_once(commit=False)
    assert under_way
    await tail.restart()
    again = await tail.step(2)
    assert got + again == unlike(0, 600)
    assert again[: len(under_way)] == under_way


async def test_a_file_that_was_read_and_compressed_while_stopped_is_not_read_again(tail, log):
    """All of it stands before the offset."""
    # covers CMP-02
    write(log, *lines(0, 600))
    assert await tail.step() == lines(0, 600)
    await tail.stop()
    pack(log, "ai.log.1")
    write(log, *lines(600, 610))
    await tail.restart()
    assert await tail.step(3) == lines(600, 610)
    assert tail.notices == []
    assert len(tail.stored) == 2


async def test_compressed_files_are_history_at_the_first_start(tmp_path, log):
    """They are for a backfill, and no later start takes them for missed generations."""
    for number in range(2, 5):
        old = log.with_name(f"ai.log.{number}")
        write(old, *lines(number * 100, number * 100 + 50))
        pack(old)
    write(log, *lines(0, 10))
    tail = Tail(tmp_path / "ai.log*")
    assert await tail.step(2) == lines(0, 10)
    assert open_descriptors(tmp_path) == 1
    for number in range(4, 1, -1):
        log.with_name(f"ai.log.{number}.gz").rename(log.with_name(f"ai.log.{number + 1}.gz"))
    assert await tail.step(2) == []
    await tail.restart()
    assert await tail.step(3) == []
    assert tail.notices == []
    log.with_name("ai.log.5.gz").unlink()
    await tail.step(3)
    assert len(tail.stored) == 3, "what is gone is forgotten"
    await tail.restart()
    log.with_name("ai.log.4.gz").unlink()
    await tail.step(4)
    assert len(tail.stored) == 2
    assert tail.notices == []
    await tail.stop()


# -- while the reader runs


@pytest.mark.parametrize("behind", [False, True])
async def test_a_file_compressed_while_the_reader_runs_is_read_from_its_descriptor(tail, log, behind):
    """And its compressed form is known from then on, under every name."""
    # covers CMP-02, CMP-04
    write(log, *lines(0, 600))
    await tail.scan()
    got = await tail.read_once() if behind else await tail.read()
    rotated = log.rename(log.with_name("ai.log.1"))
    write(log, *lines(600, 610))
    packed = pack(rotated, keep=True)
    await tail.scan()
    rotated.unlink()
    got += await tail.step(5)
    assert got == lines(0, 610)
    packed.rename(log.with_name("ai.log.2.gz"))
    assert await tail.step(3) == []
    await tail.restart()
    assert await tail.step(3) == []
    assert tail.notices == []


@pytest.mark.parametrize("read", [1, 100])
async def test_plain_and_compressed_side_by_side_are_read_once(tail, log, read):
    """From the plain one, also after a restart, for as long as both are there."""
    # covers CMP-04
    write(log, *lines(0, 600))
    await tail.scan()
    got = []
    for _ in range(read):
        got += await tail.read_once()
    rotated = log.rename(log.with_name("ai.log.1"))
    pack(rotated, keep=True)
    await tail.restart()
    got += await tail.step(3)
    assert got == lines(0, 600)
    await tail.restart()
    write(rotated, line(700))
    assert await tail.step(3) == [line(700)], "Kong may still write to it"
    rotated.unlink()
    assert await tail.step(4) == []
    await tail.restart()
    assert await tail.step(3) == []


async def test_an_archive_that_is_unpacked_again_is_not_read_again(tail, log):
    """Its content is known."""
    # covers CMP-04
    write(log, *lines(0, 600))
    await tail.step()
    packed = pack(log.rename(log.with_name("ai.log.1")))
    write(log, line(600))
    assert await tail.step(4) == [line(600)]
    unpacked = log.with_name("ai.log.1")
    unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    assert await tail.step(2) == []
    packed.unlink()
    assert await tail.step(5) == []


@pytest.mark.parametrize("seen_before", [False, True], ids=["at once", "copy seen"])
async def test_copytruncate_and_compression_between_two_scans(tail, log, seen_before):
    """The rest is read from the compressed copy."""
    # covers TRU-03, CMP-01
    write(log, *lines(0, 600))
    await tail.scan()
    got = await tail.read_once()
    copy = shutil.copy2(log, log.with_name("ai.log.1"))
    if seen_before:
        await tail.scan()
    os.truncate(log, 0)
    pack(Path(copy))
    write(log, *lines(600, 620))
    got += await tail.step(5)
    assert sorted(got) == lines(0, 620)
    assert tail.lost_bytes == 0
    await tail.restart()
    assert await tail.step(2) == []


@pytest.mark.parametrize("passes", [1, 3])
async def test_a_file_that_is_shredded_after_its_compression_is_read_on_inside(tail, log, passes):
    """logrotate's `shred` writes over what the descriptor shows; the rubbish is neither read nor news."""
    # covers CMP-01, CMP-04
    write(log, *lines(0, 600))
    await tail.scan()
    got = await tail.read_once()
    rotated = log.rename(log.with_name("ai.log.1"))
    write(log, line(600))
    pack(rotated, keep=True)
    await tail.scan()
    for _ in range(passes):
        with rotated.open("r+b") as file:
            file.write(os.urandom(2 * rotated.stat().st_size))
        got += await tail.step()
    os.truncate(rotated, 0)
    got += await tail.step()
    rotated.unlink()
    got += await tail.step(4)
    assert sorted(got) == lines(0, 601)
    assert tail.notices == []
    assert tail.lost_bytes == 0


async def test_an_idle_file_that_was_closed_and_compressed_is_read_on(tmp_path):
    """It may have grown between the last look and the compression."""
    # covers CMP-01, FDS-10
    tail = Tail(tmp_path / "*.log", max_open_files=8)
    paths = [tmp_path / f"{number}.log" for number in range(30)]
    for number, path in enumerate(paths):
        write(path, *lines(number * 100, number * 100 + 2))
    await tail.step(8)
    for number, path in enumerate(paths):
        write(path, line(number * 100 + 2))
        pack(path, f"{number}.log.1")
    got = await tail.step(30)
    assert sorted(got) == [line(number * 100 + 2) for number in range(30)]
    assert open_descriptors(tmp_path) <= 8 + compressed.MAX_READERS
    await tail.stop()


async def test_a_line_of_a_compressed_file_can_be_read_again(tail, log):
    """A call that waited at a crash is not lost because its file was compressed."""
    write(log, *lines(0, 600))
    await tail.step()
    origins = [tail.got[number].origin for number in (7, 300, 299)]
    pack(log, "ai.log.1")
    await tail.restart()
    for origin, number in zip(origins, (7, 300, 299), strict=True):
        again = await tail.files.reread(origin)
        assert again is not None
        assert again.data.decode() == line(number)
    assert await tail.step(2) == []


# -- what is not in order


async def test_a_file_that_is_still_being_compressed_is_waited_for(tail, log):
    """Each step brings what it brings; nothing is invented, and nothing is told that is over soon."""
    # covers CMP-03
    got = await read_some(tail, log)
    whole = gzip.compress(log.read_bytes(), 1)
    packed, live = log.with_name("ai.log.1.gz"), log.with_name("live")
    packed.touch()
    write(live, *unlike(600, 610))
    live.rename(log)
    await tail.restart()
    for part in (5, 20, len(whole) // 3, len(whole) // 2, len(whole) - 6, len(whole)):
        packed.write_bytes(whole[:part])
        got += await tail.step()
    got += await tail.step(4)
    assert sorted(got) == unlike(0, 610)
    assert tail.notices.count("gone") <= 1
    await tail.restart()
    assert await tail.step(2) == []


async def test_several_members_are_one_content(tail, log):
    """As some compressors write them, and `cat a.gz b.gz`."""
    # covers CMP-05
    got = await read_some(tail, log)
    data = log.read_bytes()
    log.unlink()
    parts = [data[start : start + 10_000] for start in range(0, len(data), 10_000)]
    log.with_name("ai.log.1.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    await tail.restart()
    assert got + await tail.step(2) == unlike(0, 600)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
async def test_a_compressed_file_that_was_cut_gives_what_is_there(tail, log, suffix):
    """And is read on when the rest appears after all."""
    # covers CMP-06
    got = await read_some(tail, log, 6000)
    whole = FORMS[suffix](log.read_bytes())
    packed = log.with_name("ai.log.1" + suffix)
    log.unlink()
    packed.write_bytes(whole[:-40])
    await tail.restart()
    got += await tail.step(4)
    assert got == unlike(0, 6000)[: len(got)]
    assert 5000 < len(got) < 6000
    assert tail.notices == ["no_log", "cut"]
    packed.write_bytes(whole)
    got += await tail.step(4)
    assert got == unlike(0, 6000)


async def test_a_damaged_compressed_file_gives_what_stands_before_the_damage(tail, log):
    """It is told once, not tried for ever, and the live log goes on."""
    # covers CMP-06
    got = await read_some(tail, log)
    whole = bytearray(gzip.compress(log.read_bytes()))
    log.unlink()
    whole[-5] ^= 1
    packed = log.with_name("ai.log.1.gz")
    packed.write_bytes(whole)
    write(log, unlike(600, 601)[0])
    await tail.restart()
    assert got + await tail.step(3) == unlike(0, 601)
    assert tail.notices == ["damaged"]
    await tail.restart()
    assert await tail.step(3) == []
    whole[len(whole) // 2] ^= 255
    packed.write_bytes(whole)
    write(log, unlike(601, 602)[0])
    assert await tail.step(3) == [unlike(601, 602)[0]]


async def test_another_content_under_the_same_beginning_is_not_taken_for_it(tail, log):
    """The bytes before the offset decide; the right file is found although a wrong one was tried first."""
    # covers TRU-11, CMP-01
    header = "h" * 2000
    write(log, header, *lines(0, 600))
    await tail.scan()
    got = await tail.read_once()
    await tail.stop()
    os.utime(pack(log, "ai.log.2"), (10**9, 2 * 10**9))
    write(log, header, *lines(5000, 5600))
    os.utime(pack(log, "ai.log.1"), (10**9, 10**9))
    await tail.restart()
    got += await tail.step(6)
    assert sorted(got) == sorted([header, *lines(0, 600), header, *lines(5000, 5600)])
    assert "gone" not in tail.notices


async def test_a_bomb_is_given_up_within_its_limits(tail, log, monkeypatch):
    """Memory stays as it is, and the rest of the log goes on."""
    # covers CMP-07
    monkeypatch.setattr(compressed, "HARMLESS_BYTES", 4 << 20)
    got = await read_some(tail, log)
    data = log.read_bytes()
    log.unlink()
    with gzip.open(log.with_name("ai.log.1.gz"), "wb") as bomb:
        bomb.write(data)
        for _ in range(200):
            bomb.write(bytes(1 << 20))
    write(log, unlike(600, 601)[0])
    await tail.restart()
    assert got + await tail.step(2) == unlike(0, 601)
    assert tail.notices == ["too_large"]


async def test_a_form_that_is_not_read_is_told_once(tail, log):
    """Not for what was there before the first start."""
    # covers CMP-08
    log.with_name("ai.log.9.lz4").write_bytes(b"old")
    write(log, line(0))
    await tail.step()
    log.with_name("ai.log.1.lz4").write_bytes(b"new")
    assert await tail.step(3) == []
    assert tail.notices == ["form"]


async def test_descriptors_and_memory_of_finished_files_are_given_back(tail, log, tmp_path):
    """A long stop leaves many files to read; none stays open afterwards."""
    # covers FDS-12
    got = await read_some(tail, log)
    for number in range(12, 0, -1):
        if number < 12:
            write(log, *unlike(number * 1000, number * 1000 + 100))
        os.utime(pack(log, f"ai.log.{number}"), (10**9, (100 - number) * 10**7))
    await tail.restart()
    got += await tail.step(4)
    expected = unlike(0, 600)
    for number in range(11, 0, -1):
        expected += unlike(number * 1000, number * 1000 + 100)
    assert got == expected
    await tail.step(2)
    assert open_descriptors(tmp_path) == 0


async def test_a_copy_that_was_compressed_at_once_and_lacks_the_last_lines_is_not_read_again(log, tail):
    """logrotate with copytruncate and compress: what was written after the copy had been read by then."""
    # covers CMP-02, TRU-03
    write(log, *unlike(0, 20))
    assert len(await tail.step()) == 20
    copy = log.with_name("ai.log.1")
    shutil.copy(log, copy)
    write(log, *unlike(20, 22))
    assert await tail.read_once() == unlike(20, 22)
    os.truncate(log, 0)
    pack(copy)
    write(log, *unlike(22, 25))
    assert await tail.step(6) == unlike(22, 25)
