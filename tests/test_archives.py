"""Archives as a source of lines: each read once to its end, whatever its form, whatever came before."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from kong_ai_tracing import archivefiles
from kong_ai_tracing.archives import ArchiveError, Archives
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.lines import Line, marker_of
from kong_writer import kong_line

LINES = [kong_line(1, seq) for seq in range(40)]
LATER = [kong_line(2, seq + 10_000) for seq in range(40)]


async def read_all(archives: Archives) -> list[bytes]:
    data = []
    while chunk := await archives.read():
        data += [item.data for item in chunk.items if isinstance(item, Line)]
    return data


def archives(*paths: Path, records: tuple[FileRecord, ...] = ()) -> Archives:
    return Archives(list(paths), records, max_line_bytes=1 << 20)


def text(lines: list[bytes]) -> list[bytes]:
    return [line.removesuffix(b"\n") for line in lines]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "ai.log.2"
    path.write_bytes(b"".join(LINES))
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "ai.log.1.gz"
    path.write_bytes(gzip.compress(b"".join(LATER)))
    return path


async def test_files_are_read_in_the_order_of_their_first_request(plain: Path, packed: Path) -> None:
    """The order on the command line does not matter, nor does the form."""  # covers BKF-03
    source = archives(packed, plain)
    assert await read_all(source) == text(LINES + LATER)
    assert source.read_bytes == source.total_bytes


async def test_several_members_in_one_gzip_are_all_read(tmp_path: Path) -> None:
    """Rotation tools append members to one file."""  # covers CMP-05
    path = tmp_path / "ai.log.gz"
    path.write_bytes(gzip.compress(b"".join(LINES)) + gzip.compress(b"".join(LATER)))
    assert await read_all(archives(path)) == text(LINES + LATER)


@pytest.mark.parametrize("form", ["plain", "gzip"])
async def test_a_read_file_goes_on_where_it_was(tmp_path: Path, form: str) -> None:
    """Positions count decompressed bytes, so they hold for a compressed file."""  # covers CMP-09
    content = b"".join(LINES)
    path = tmp_path / "ai.log"
    path.write_bytes(content)
    [record] = (await archives(path).scan()).records
    offset = len(b"".join(LINES[:10]))
    record = replace(record, offset=offset, marker=marker_of(content[:offset]))
    if form == "gzip":
        path = tmp_path / "ai.log.gz"
        path.write_bytes(gzip.compress(content))
    assert await read_all(archives(path, records=(record,))) == text(LINES[10:])


async def test_other_content_under_a_known_beginning_is_read_whole(plain: Path) -> None:
    """A marker that does not hold means that the bytes before it are not those that were read."""
    [record] = (await archives(plain).scan()).records
    record = replace(record, offset=1000, marker=marker_of(b"something else"))
    source = archives(plain, records=(record,))
    assert await read_all(source) == text(LINES)
    assert [notice.kind for notice in (await source.scan()).notices] == ["changed"]


async def test_the_same_content_twice_is_read_once(plain: Path, tmp_path: Path) -> None:
    """A file named twice, and its compressed copy beside it, are one archive."""
    copy = tmp_path / "copy.gz"
    copy.write_bytes(gzip.compress(b"".join(LINES)))
    assert await read_all(archives(plain, plain, copy)) == text(LINES)


async def test_a_last_line_without_newline_is_whole_when_it_is_json(tmp_path: Path) -> None:
    """The writer died after the line and before nothing else."""  # covers LIN-03
    path = tmp_path / "ai.log"
    path.write_bytes(b"".join(LINES).removesuffix(b"\n"))
    assert await read_all(archives(path)) == text(LINES)


async def test_an_unfinished_last_line_of_a_plain_file_is_left_for_later(tmp_path: Path) -> None:
    """The file may still be growing; the next run takes the line up when it has its end."""  # covers BKF-07
    path = tmp_path / "ai.log"
    path.write_bytes(b"".join(LINES) + LATER[0][:100])
    source = archives(path)
    assert await read_all(source) == text(LINES)
    assert [notice.kind for notice in (await source.scan()).notices] == ["unfinished"]


async def test_an_unfinished_last_line_of_a_compressed_file_is_given_out(
    tmp_path: Path, packed: Path
) -> None:
    """Nobody will end it: the entries set it aside, and the next file is read."""
    path = tmp_path / "ai.log.3.gz"
    path.write_bytes(gzip.compress(b"".join(LINES) + LATER[0][:100]))
    assert await read_all(archives(path, packed)) == [*text(LINES), LATER[0][:100], *text(LATER)]


async def test_a_damaged_gzip_gives_what_stands_before_the_damage(tmp_path: Path, packed: Path) -> None:
    """Records before the damage are kept, the next file is read, and it is told."""  # covers CMP-06
    whole = gzip.compress(b"".join(LINES * 200))
    path = tmp_path / "ai.log.3.gz"
    path.write_bytes(whole[: len(whole) // 2])
    source = archives(path, packed)
    found = await read_all(source)
    assert found[:40] == text(LINES)
    assert found[-40:] == text(LATER)
    assert "damaged" in [notice.kind for notice in (await source.scan()).notices]


async def test_every_line_before_a_cut_is_kept(tmp_path: Path) -> None:
    """Also the lines of the last block, and the next run does not send them again."""  # covers CMP-06
    content = b"".join(kong_line(1, seq, 500) for seq in range(3_000))
    packed = gzip.compress(content)[:-2_000]
    there = zlib.decompressobj(31).decompress(packed)
    path = tmp_path / "ai.log.3.gz"
    path.write_bytes(packed)
    source = archives(path)
    [record] = (await source.scan()).records
    found = await read_all(source)
    assert found == there.split(b"\n")
    read = replace(record, offset=len(there) + 1, marker=marker_of(found[-1] + b"\n"))
    assert await read_all(archives(path, records=(read,))) == []


async def test_what_stands_behind_a_gzip_costs_nothing(tmp_path: Path) -> None:
    """gzip itself ignores it, too; here it is told."""
    path = tmp_path / "ai.log.gz"
    path.write_bytes(gzip.compress(b"".join(LINES)) + b"something else")
    source = archives(path)
    assert await read_all(source) == text(LINES)
    assert [notice.kind for notice in (await source.scan()).notices] == ["damaged"]


@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("early_first", [True, False])
async def test_a_file_that_grew_after_it_was_copied_is_read_to_its_end(
    tmp_path: Path, count: int, early_first: bool
) -> None:
    """The copy's lines are read once, the lines that only the grown file has are not left out."""
    early, grown = tmp_path / "early.gz", tmp_path / "ai.log"
    lines = [kong_line(1, seq, 3_000) for seq in range(60)]
    early.write_bytes(gzip.compress(b"".join(lines[:count])))
    grown.write_bytes(b"".join(lines))
    assert await read_all(archives(*([early, grown] if early_first else [grown, early]))) == text(lines)


def test_a_copy_is_not_the_beginning_of_what_differs_only_at_its_end(tmp_path: Path) -> None:
    """Both begin with the same kilobytes; the last byte of the shorter one decides."""
    content = b"".join(LINES)
    (tmp_path / "ai.log").write_bytes(content)
    (tmp_path / "copy").write_bytes(content[:-300])
    (tmp_path / "other").write_bytes(content[:-301] + b"?")
    same = [{archive.place.name for archive in each} for each in archives(*tmp_path.iterdir()).by_content()]
    assert sorted(same, key=len) == [{"other"}, {"ai.log", "copy"}]


def test_of_many_files_only_a_little_is_kept_while_they_are_compared(tmp_path: Path) -> None:
    """Not the beginning of each: of ten thousand files that would be hundreds of megabytes."""
    for number in range(200):
        (tmp_path / f"ai.log.{number}").write_bytes(kong_line(number, 1) + os.urandom(100_000))
    tracemalloc.start()
    source = archives(*tmp_path.iterdir())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(source.file_ids)) == 200
    assert peak_bytes < 4 << 20


async def test_lines_that_begin_alike_do_not_make_two_files_one(tmp_path: Path) -> None:
    """A system prompt of 100 KB may stand before the first difference."""
    first, second = tmp_path / "ai.log.1", tmp_path / "ai.log.2"
    first.write_bytes(b'{"prompt":"' + b"x" * 100_000 + b'","id":1}\n')
    second.write_bytes(b'{"prompt":"' + b"x" * 100_000 + b'","id":2}\n')
    assert len(await read_all(archives(first, second))) == 2


async def test_a_line_of_a_file_that_is_not_read_now_is_found_again(plain: Path, packed: Path) -> None:
    """A run that was killed and one with other files follow each other: its waiting calls are not lost."""
    source = archives(plain)
    chunk = await source.read()
    await source.close()
    assert chunk is not None
    origin = replace(chunk.items[3].origin, file_id=17)
    other = archives(packed)
    line = await other.reread(origin)
    await other.close()
    assert line is not None
    assert line.data == text(LINES)[3]


async def test_a_line_is_read_again_by_its_place(plain: Path, packed: Path) -> None:
    """A call that waited for company when the run was killed is found again."""
    for path, lines in ((plain, LINES), (packed, LATER)):
        source = archives(path)
        chunk = await source.read()
        assert chunk is not None
        line = chunk.items[5]
        again = await source.reread(line.origin)
        await source.close()
        assert again is not None
        assert again.data == lines[5].removesuffix(b"\n")


async def test_many_lines_are_read_again_in_one_reading(
    packed: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill thousands of calls may have waited; the file is not decompressed for each of them."""
    source = archives(plain, packed)
    origins = []
    while chunk := await source.read():
        origins += [item.origin for item in chunk.items]
    await source.close()
    opened = []
    real = archivefiles.open_content
    monkeypatch.setattr(archivefiles, "open_content", lambda path: opened.append(path) or real(path))
    again = archives(plain, packed)
    opened.clear()
    for origin in origins[::3]:
        assert await again.reread(origin) is not None
    assert await again.reread(origins[0]) is not None, "also out of order"
    await again.close()
    assert len(opened) == 3


async def test_empty_files_are_no_trouble(tmp_path: Path, plain: Path) -> None:
    """Nothing in, nothing out."""
    empty, empty_gzip = tmp_path / "empty.log", tmp_path / "empty.gz"
    empty.touch()
    empty_gzip.write_bytes(gzip.compress(b""))
    assert await read_all(archives(empty, plain, empty_gzip)) == text(LINES)


def test_a_directory_or_a_missing_file_is_said_clearly(tmp_path: Path) -> None:
    """The message names the path and what to write instead."""
    with pytest.raises(ArchiveError, match="is a directory"):
        archives(tmp_path)
    with pytest.raises(ArchiveError, match="cannot be read"):
        archives(tmp_path / "missing.log")
