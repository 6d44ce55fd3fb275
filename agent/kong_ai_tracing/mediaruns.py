"""Text in, the places of long base64 in it out: after `data:…;base64,`, as a whole value, or pasted in prose.

Slashes and line breaks may be escaped, as often as the text was put into another JSON text. A text without
any is passed in leaps: whatever is long covers a multiple of the leap. All of it takes linear time.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterator

from msgspec import Struct

SHORTEST = 1024
"""Fewer characters are left as they are: a small icon, a token, a digest."""

_LEAP = SHORTEST // 2
_LOOK = 32
_LETTERS = rb"A-Za-z0-9+/_-"
# With what escapes, line breaks and padding are made of: more than base64, never less.
_ANY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-=\\\r\n"
_OTHER = re.compile(
    rb"(?:.{%d}(?![A-Za-z0-9+/_=\\\r\n-]{%d}).{%d})*+" % (_LEAP - _LOOK, _LOOK, _LOOK), re.DOTALL
)
"""Leaps over what is no base64 at their ends."""
_ALL = re.compile(rb"[A-Za-z0-9+/_=\\\r\n-]*")
_FEW = re.compile(rb"[A-Za-z0-9+/_=\\\r\n-]{0,%d}" % SHORTEST)
# Fifteen backslashes are an escape in an escape in an escape in an escape.
_ESCAPED = rb"(?<!\\)\\{1,15}(?:/|u002[bBfF])"
_LINE = re.compile(rb"(?:[%b]+|%b)+" % (_LETTERS, _ESCAPED))
_PADDING = re.compile(rb"(?:=|\\{1,15}u003[dD]){1,2}")
_BREAK = re.compile(rb"\r?\n|(?:\\{1,15}r)?\\{1,15}n")
_LINE_WIDTHS = range(48, 129)
_ADDRESS = re.compile(rb"data:([\w.+*/\\-]{0,100})((?:;[\w.+= -]{0,60}){0,4});\s?base64,\Z", re.IGNORECASE)
_LONGEST_ADDRESS = 400
_ENCLOSED = (b'"', b"'", b"")
_PART_OF_MORE = frozenset(b".%~@&?#$")
"""Next to such a character it is a piece of an address or of a token."""
_ESCAPE = re.compile(rb"\\{1,15}(?:u00([23][bBdDfF])|/|[nr])|[\r\n=]")
_MIXED = (re.compile(rb"[A-Z]"), re.compile(rb"[a-z]"), re.compile(rb"[0-9]"))
_MUCH = 4096


class Run(Struct, frozen=True):
    """Where base64 stands in a text, with the `data:` before it, and what is said of its type there."""

    start: int
    end: int
    encoded: bytes
    said: str | None
    is_address: bool

    @property
    def looks_random(self) -> bool:
        """Whether it looks like base64 and not like a word of many letters, a number, or a gene."""
        return all(pattern.search(self.encoded, 0, _MUCH) for pattern in _MIXED)

    def decoded(self) -> bytes:
        """The bytes. Of a text that was cut, as many as can be told."""
        text = self.encoded
        # Padding at the end needs no copy of megabytes.
        if b"\\" in text or b"\n" in text or text.find(b"=", 0, -2) >= 0:
            text = _ESCAPE.sub(_plain, text)
        text = text.replace(b"-", b"+").replace(b"_", b"/")
        text = text[:-1] if len(text) % 4 == 1 else text
        return a2b_base64(text + b"=" * (-len(text) % 4))


def may_hold(text: bytes) -> bool:
    """Whether it is worth looking for runs."""
    # Most texts are passed in one go, without asking anybody else.
    passed = _end(_OTHER.match(text)) + _LEAP >= len(text)
    return not passed and next(_candidates(text, _FEW), None) is not None


def runs_in(text: bytes) -> Iterator[Run]:
    """All long runs, in order."""
    done = 0
    for start, end in _candidates(text, _ALL):
        for run in _runs_between(text, max(start, done), end):
            done = run.end
            yield run


def _candidates(text: bytes, rest: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Long stretches of characters that may be base64, or what escapes and breaks it."""
    size, position = len(text), 0
    while (place := _end(_OTHER.match(text, position)) + _LEAP) < size:
        before = max(position, place - SHORTEST)
        start = before + len(text[before : place - _LOOK].rstrip(_ANY))
        position = _end(rest.match(text, place))
        if position - start >= SHORTEST:
            yield start, position


def _end(match: re.Match[bytes] | None) -> int:
    assert match is not None, "both patterns match nothing, too"
    return match.end()


def _runs_between(text: bytes, start: int, end: int) -> Iterator[Run]:
    address = _ADDRESS.search(text[max(0, start - _LONGEST_ADDRESS) : start])
    is_whole = text[start - 1 : start] in _ENCLOSED if start else True
    if address or is_whole:
        stop = _end_of_block(text, start)
        if address and stop > start:
            said = address[1].replace(b"\\", b"").decode("ascii", "replace")
            yield Run(start - len(address[0]), stop, text[start:stop], said or None, True)
            start = stop
        elif stop - start >= SHORTEST and _ends_value(text, stop):
            yield Run(start, stop, text[start:stop], None, False)
            start = stop
    position = start
    while line := _LINE.search(text, position, end):
        first, position = line.span()
        if position - first >= SHORTEST and not _is_part(text, first, position):
            padding = _PADDING.match(text, position)
            position = padding.end() if padding else position
            yield Run(first, position, text[first:position], None, False)


def _ends_value(text: bytes, end: int) -> bool:
    last_break = _BREAK.match(text, end)
    end = last_break.end() if last_break else end
    return text[end : end + 1] in (*_ENCLOSED, b"\\")


def _is_part(text: bytes, start: int, end: int) -> bool:
    around = text[max(0, start - 1) : start] + text[end : end + 1]
    return any(character in _PART_OF_MORE for character in around)


def _end_of_block(text: bytes, start: int) -> int:
    """The end of base64 that begins here and may be broken into lines of one width."""
    line = _LINE.match(text, start)
    if line is None:
        return start
    width, end = line.end() - start, line.end()
    while width in _LINE_WIDTHS and (gap := _BREAK.match(text, end)):
        line = _LINE.match(text, gap.end(), gap.end() + width)
        if line is None:
            break
        end = line.end()
        if end - line.start() < width:
            break
    padding = _PADDING.match(text, end)
    return padding.end() if padding else end


def _plain(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return b"" if match[1] in (b"3d", b"3D") else bytes((int(match[1], 16),))
    return b"/" if match[0][-1:] == b"/" else b""
