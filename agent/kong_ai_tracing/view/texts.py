"""Texts that strangers wrote in, pieces that a page can show: what is code, what was taken out, what is text.

Escaping is the template's work. Here control characters become visible signs, so that nothing can turn the
reading direction or hide in a page, and a text of any size becomes a piece of bounded size.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from msgspec import Struct

MAX_CHARACTERS = 20_000
_MAX_LINE = 2000

_FENCE = re.compile(r"^```([\w.+-]{0,30})[^\n]*\n(.*?)(?:^```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_MARKED = re.compile(
    r"(?P<redacted>\[REDACTED:[\w.-]{1,60}\])"
    r"|(?P<medium>\[[\w.+-]{1,40}/[\w.+-]{1,80}, [\d,]{1,20} bytes, sha256:[0-9a-f]{12}\]"
    r"|@@@langfuseMedia:[^@\s]{1,300}@@@)"
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


class Piece(Struct, frozen=True):
    """A part of a text. `kind`: text, code, redacted, medium, json."""

    kind: str
    text: str
    language: str = ""


def visible(text: str) -> str:
    """The same text with a sign for each character that would not be seen, or do more than be seen."""
    return _UNSEEN.sub(_sign, text.replace("\r\n", "\n"))


def shortened(text: str, max_characters: int = MAX_CHARACTERS) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left out."""
    return text[:max_characters], max(0, len(text) - max_characters)


def pieces(text: str) -> list[Piece]:
    """A text of bounded size, in parts."""
    folded = _as_json(text)
    if folded:
        return [Piece("json", folded)]
    found: list[Piece] = []
    position = 0
    for fence in _FENCE.finditer(text):
        found += _marked(text[position : fence.start()])
        found.append(Piece("code", visible(fence[2]), fence[1]))
        position = fence.end()
    return found + _marked(text[position:])


def pretty(value: Any) -> str:
    """JSON for people, with the signs of `visible`."""
    return visible(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _as_json(text: str) -> str | None:
    """The text in a readable form when it is a JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return pretty(value) if value and isinstance(value, dict | list) else None


def marked(text: str) -> list[Piece]:
    """A line of text with what was taken out of it as parts of their own."""
    return _marked(text)


def _marked(text: str) -> list[Piece]:
    found: list[Piece] = []
    position = 0
    for mark in _MARKED.finditer(text):
        found.append(Piece("text", visible(text[position : mark.start()])))
        found.append(Piece(mark.lastgroup or "text", mark[0].strip("[]")))
        position = mark.end()
    found.append(Piece("text", visible(text[position:])))
    return [piece for piece in found if piece.text.strip() or piece.kind != "text"]


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"
