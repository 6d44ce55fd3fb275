"""JSON kept as the text it already is.

What comes in is one JSON text, as a log, a client or a model server wrote it. What goes out are its
top-level fields as raw slices, so that messages and answers travel on without being decoded and encoded
again. Nothing here raises on bad input: what no reader can make sense of is None or empty.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import orjson
from msgspec import Raw
from msgspec.json import Decoder

Fields: TypeAlias = dict[str, Raw]
"""The members of one JSON object, each value as the text it was."""

_FIELDS = Decoder(Fields)
_LIST_OF_FIELDS = Decoder(list[Fields])
_LIST = Decoder(list[Raw])
_STRING: Decoder[str | None] = Decoder(str | None)
_UNREADABLE = (ValueError, RecursionError)
"""msgspec's, orjson's and the standard library's errors, and UnicodeError, are all ValueErrors."""

_BACKSLASH = 92
_LARGEST_INTEGER = 2**63
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""A pattern, because it is found in a third of the time that `in` takes for its first two characters."""
_ESCAPES = re.compile(
    rb"\\(?:u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|([dD][89a-fA-F][0-9a-fA-F]{2}|0000))|.)",
    re.DOTALL,
)


def clean(text: bytes) -> bytes:
    """The same JSON text with lone surrogate escapes and NUL escapes replaced by U+FFFD.

    Either of them makes a whole insert fail further on, together with its healthy neighbours.
    """
    if _SUSPICIOUS.search(text):
        return _ESCAPES.sub(lambda match: b"\\ufffd" if match[1] else match[0], text)
    return text


def parse(text: str | bytes | memoryview) -> Any:
    """The value of a JSON text; also of one with NaN, control characters, lone surrogates or huge numbers.

    Numbers that no double can hold become None. Raises ValueError when it is no JSON at all.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text)
    try:
        return json.loads(
            clean(raw).decode("utf-8", "replace"),
            strict=False,
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=_sane_integer,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _sane_integer(digits: str) -> int | float | None:
    if len(digits) < 19:
        return int(digits)
    value = _finite(digits)
    return int(digits) if value is not None and abs(value) < _LARGEST_INTEGER / 2 else value


def dump(value: Any) -> bytes:
    """JSON text of a value made of plain Python types."""
    try:
        return exact(clean(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)))
    except TypeError:
        pass
    try:
        return clean(json.dumps(value, default=str).encode("utf-8", "replace"))
    except RecursionError:
        # What can be read need not be fit to be written: readers go deeper than writers.
        return b'"[nested too deeply]"'


def exact(text: bytes) -> bytes:
    """The same text in a block of its own size: orjson leaves at least 4 KB to each text it makes."""
    return bytes(memoryview(text))


def fields_of(text: str | bytes | Raw) -> Fields | None:
    """The members of a JSON object, or None when it is something else."""
    try:
        return _FIELDS.decode(text)
    except _UNREADABLE:
        pass
    if not _begins_object(text):
        return None
    value = value_of(text)
    if not isinstance(value, dict):
        return None
    return {key: Raw(dump(item)) for key, item in value.items()}


def _begins_object(text: str | bytes | Raw) -> bool:
    if isinstance(text, str):
        return text.lstrip()[:1] == "{"
    return bytes(memoryview(text)[:256]).lstrip()[:1] == b"{"


def objects_of(text: Raw | None) -> list[Fields]:
    """The objects of a JSON list; Kong's encoder writes `{}` for an empty one."""
    if text is None:
        return []
    try:
        return _LIST_OF_FIELDS.decode(text)
    except _UNREADABLE:
        return [fields for item in items_of(text) if (fields := fields_of(item)) is not None]


def items_of(text: Raw | None) -> list[Raw]:
    """The items of a JSON list as texts."""
    if text is None:
        return []
    try:
        return _LIST.decode(text)
    except _UNREADABLE:
        value = value_of(text)
        return [Raw(dump(item)) for item in value] if isinstance(value, list) else []


def string_of(text: Raw | None) -> str | None:
    """The value of a JSON string."""
    if text is None:
        return None
    try:
        return _STRING.decode(text)
    except _UNREADABLE:
        if bytes(memoryview(text)[:1]) != b'"':
            return None
        value = value_of(text)
        return value if isinstance(value, str) else None


def value_of(text: str | bytes | Raw | None) -> Any:
    """The value of any JSON text; None when there is none or it cannot be read."""
    if text is None:
        return None
    try:
        return parse(memoryview(text) if isinstance(text, Raw) else text)
    except _UNREADABLE:
        return None


def object_text(members: Mapping[str, bytes]) -> bytes:
    """A JSON object of members that are JSON texts already."""
    return b"{" + b",".join(b"%b:%b" % (dump(name), text) for name, text in members.items()) + b"}"


def end_of_string(text: bytes, start: int) -> int:
    """The index behind the quote that ends the string which begins at `start`; the end of a cut text."""
    end = text.find(b'"', start + 1)
    if end >= 0 and text[end - 1] != _BACKSLASH:
        return end + 1
    match = _REST_OF_STRING.match(text, start + 1)
    return match.end() if match else len(text)


def long_strings(text: bytes, shortest: int) -> Iterator[tuple[int, int]]:
    """Where strings of so many bytes begin and end in a JSON text, with their quotes; the last may be cut."""
    start = text.find(b'"')
    while start >= 0:
        end = end_of_string(text, start)
        if end - start >= shortest:
            yield start, end
        start = text.find(b'"', end)


def is_empty(text: Raw | None) -> bool:
    """Whether there is nothing in it: no value, `null`, `""`, `[]` or `{}`."""
    return text is None or bytes(memoryview(text)[:4]) in (b"null", b'""', b"[]", b"{}")


_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*("?)|[{}\[\]]', re.DOTALL)
_TORN_ESCAPE = re.compile(r"((?:^|[^\\])(?:\\\\)*)\\u[0-9a-fA-F]{0,3}$")
_TORN_LITERAL = re.compile(r"[-+.\w]*$")
_TORN_COMMA = re.compile(r",\s*$")
_CLOSER = {"{": "}", "[": "]"}
_END = 500
"""How much of the end is looked at for the torn piece; a limit because the patterns are not linear."""


def completed(text: str) -> str | None:
    """A JSON object that was cut off, closed so that it can be read again; None when that does not help."""
    open_brackets: list[str] = []
    torn_string = None
    for match in _STRUCTURE.finditer(text):
        token = match[0]
        if token[0] == '"':
            torn_string = None if match[1] else match
        elif token in _CLOSER:
            open_brackets.append(_CLOSER[token])
        elif open_brackets:
            open_brackets.pop()
    if not open_brackets:
        return None
    if torn_string:
        text = text[: torn_string.end()]
        text = text[:-_END] + _TORN_ESCAPE.sub(r"\1", text[-_END:]) + '"'
    closers = "".join(reversed(open_brackets))
    head, end = text[:-_END], text[-_END:]
    nulled = _TORN_LITERAL.sub("null", end, count=1)
    for ending in (end, f"{end}:null", nulled, _TORN_COMMA.sub("", end)):
        if fields_of(closed := head + ending + closers) is not None:
            return closed
    return None
