"""Bytes in any pieces, the same lines out, in bounded memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.lines import (
    EMPTY_MARKER,
    MARKER_BYTES,
    Line,
    LineCutter,
    Origin,
    OversizedLine,
    marker_of,
)

PIECES = st.lists(st.integers(1, 40), min_size=1, max_size=60)
TEXT = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\0", b"\0" * 9, b"a", b'{"a":1}', b"x" * 30, b"y" * 300]), max_size=40
).map(b"".join)


def feed(cutter: LineCutter, data: bytes, sizes: list[int] | None = None) -> list[Line | OversizedLine]:
    items: list[Line | OversizedLine] = []
    position, turn = 0, 0
    while position < len(data):
        room = cutter.room()
        count = min(len(room), sizes[turn % len(sizes)] if sizes else len(room), len(data) - position)
        room[:count] = data[position : position + count]
        items += cutter.cut(count)
        position, turn = position + count, turn + 1
    return items


def cutter_at(offset: int = 0, **limits: int) -> LineCutter:
    cutter = LineCutter(**limits)
    cutter.start("ai.log", 7, offset)
    return cutter


def expected(data: bytes, longest: int) -> list[tuple[int, bytes | None]]:
    """What a reader with all memory in the world would say: offset and text, None for a too long line."""
    lines, offset = [], 0
    for raw in data.split(b"\n")[:-1]:
        text = raw.lstrip(b"\0")
        lines.append((offset + len(raw) - len(text), text if len(text) <= longest else None))
        offset += len(raw) + 1
    return lines


def seen(items: list[Line | OversizedLine]) -> list[tuple[int, bytes | None]]:
    return [(item.origin.offset, item.data if isinstance(item, Line) else None) for item in items]


def test_complete_lines_come_out_with_their_place():
    """A line knows its file and the byte range it came from."""
    first, second = feed(cutter_at(100), b"one\ntwo\nthr")
    assert first == Line("ai.log", 7, 100, b"one")
    assert second.origin == Origin("ai.log", 7, 104, 4)


def test_an_unfinished_line_waits_for_its_end():
    """Half a record is never given out, and is whole when its rest comes."""
    # covers LIN-01
    cutter = cutter_at()
    assert feed(cutter, b'{"half":') == []
    assert (cutter.offset, cutter.position) == (0, 8)
    assert [line.data for line in feed(cutter, b"1}\n")] == [b'{"half":1}']


def test_a_carriage_return_stays_with_its_line():
    """JSON readers ignore it, so that the bytes of a line are exactly those of the file."""
    # covers LIN-05
    for cut in range(1, 6):
        assert [line.data for line in feed(cutter_at(), b"ab\r\nc\n", [cut])] == [b"ab\r", b"c"]


@given(TEXT, PIECES, st.sampled_from([1, 7, 64, 1 << 20]), st.sampled_from([0, 5, 200, 1 << 20]))
def test_the_same_lines_come_out_however_the_bytes_are_divided(data, sizes, chunk_bytes, longest):
    """The lines, their places and the position reached depend on the bytes alone."""
    # covers LIN-04, LIN-05, LIN-12
    cutter = cutter_at(chunk_bytes=chunk_bytes, max_line_bytes=longest)
    items = feed(cutter, data, sizes)
    assert seen(items) == expected(data, longest)
    assert cutter.position == len(data)
    for item in items:
        assert data[: item.origin.offset + item.origin.length].endswith(item.tail)
        assert len(item.tail) == min(MARKER_BYTES, item.origin.length)


@given(TEXT, PIECES, st.integers(0, 400))
def test_a_line_can_be_left_and_taken_up_again(data, sizes, leave_at):
    """Whoever reads many files with one cutter returns to a line by its offset and what was skipped of it."""
    # covers LIN-02
    cutter = cutter_at(chunk_bytes=16, max_line_bytes=40)
    items = feed(cutter, data[:leave_at], sizes)
    offset, skipped = cutter.offset, cutter.skipped
    cutter.start("other.log", 8, 5)
    feed(cutter, b"something else\nand more", sizes)
    cutter.start("ai.log", 7, offset, skipped)
    items += feed(cutter, data[cutter.position :], sizes)
    assert seen(items) == expected(data, 40)


def test_a_line_over_the_limit_comes_out_once_by_reference():
    """Its neighbours are not touched, its content is not kept."""
    # covers LIN-06
    before, long, after = feed(cutter_at(chunk_bytes=64, max_line_bytes=500), b"a\n" + b"x" * 5000 + b"\nb\n")
    assert (before.data, after.data) == (b"a", b"b")
    assert long.origin == Origin("ai.log", 7, 2, 5001)
    assert long.tail == b"x" * (MARKER_BYTES - 1) + b"\n"


def test_a_line_of_exactly_the_limit_is_a_line():
    """The limit is the longest line that is given out."""
    assert [type(i) for i in feed(cutter_at(max_line_bytes=5), b"12345\n123456\n")] == [Line, OversizedLine]


def test_an_endless_line_needs_no_more_memory_than_the_limit():
    """Memory stays flat, and the line counts once, when it ends."""
    # covers LIN-07
    cutter = cutter_at(chunk_bytes=1 << 16, max_line_bytes=1 << 20)
    piece = b"x" * (1 << 16)
    tracemalloc.start()
    for _ in range(1600):
        assert feed(cutter, piece) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 << 20
    assert len(cutter.room()) <= 1 << 16, "the buffer has shrunk again"
    (item,) = feed(cutter, b"\n")
    assert item.origin == Origin("ai.log", 7, 0, 1600 * (1 << 16) + 1)


def test_the_buffer_shrinks_after_a_long_line():
    """One long line does not cost its memory for ever."""
    cutter = cutter_at(chunk_bytes=1024, max_line_bytes=1 << 20)
    (line,) = feed(cutter, b"x" * 300_000 + b"\n")
    assert len(line.data) == 300_000
    assert len(cutter.room()) == 1024


def test_a_hole_of_zeros_is_passed_over_in_constant_memory():
    """A file truncated under a writer that does not append begins with a hole of any size."""
    # covers TRU-09, LIN-12
    cutter = cutter_at(chunk_bytes=1 << 16, max_line_bytes=1 << 17)
    for _ in range(64):
        assert feed(cutter, bytes(1 << 16)) == []
    assert cutter.offset == cutter.position == 64 << 16
    (line,) = feed(cutter, b'\0\0{"a":1}\n')
    assert line == Line("ai.log", 7, (64 << 16) + 2, b'{"a":1}')


def test_zeros_inside_a_line_stay():
    """Only what stands before a line is nobody's."""
    # covers LIN-12
    assert [line.data for line in feed(cutter_at(), b"a\0b\0\n\0\0\n")] == [b"a\0b\0", b""]


def test_the_last_line_can_be_given_out_without_its_newline():
    """When nobody will end a file's last line any more, it is a line."""
    # covers LIN-03
    cutter = cutter_at()
    feed(cutter, b"one\ntw")
    assert [line.data for line in cutter.finish()] == [b"tw"]
    assert cutter.finish() == []


def test_a_marker_is_of_the_last_bytes_only():
    """An offset is recognised by at most 256 bytes before it."""
    text = bytes(range(250)) * 4
    assert marker_of(text) == marker_of(text[-MARKER_BYTES:])
    assert marker_of(text[-20:]) != marker_of(text)
    assert EMPTY_MARKER.length == 0
