"""JSON in, the same JSON without what must not leave out, and the number of each kind.

Clean text costs one pass of the finder. Only when something can match is a text taken apart, and then only
those strings are written anew in which something was found: every other byte stays as it was. A string that
holds JSON itself is treated as such, so that it stays JSON as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from msgspec import Raw
from msgspec.json import Decoder

from kong_ai_tracing.jsontext import end_of_string, exact, string_of, value_of
from kong_ai_tracing.redaction.named import is_secret, kind_of_name
from kong_ai_tracing.redaction.rules import Rule
from kong_ai_tracing.redaction.texts import SHORTEST, Counts, TextCleaner, placeholder
from kong_ai_tracing.redaction.work import STRING_STEPS, UNSEARCHED, TooMuchWorkError, Work

_WHOLE_STRINGS = re.compile(rb'(?:[^"]*+"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_COLON = re.compile(rb"\s*+:\s*+")
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*+")
_ANY_JSON = Decoder(Raw)
_SHORTEST_NUMBER = 12
_MARGIN = 64
"""How much white space may stand before JSON in a string."""
_MAX_DEPTH = 4
"""How deep JSON in strings of JSON is taken apart."""


class Cleaner:
    """Takes out what some rules, and the operator's own expressions by their names, describe."""

    def __init__(self, rules: Sequence[Rule], names: frozenset[str], own: Sequence[tuple[str, str]]) -> None:
        self._texts = TextCleaner(rules, own)
        self._names = names
        """The kinds for which a member's name is enough."""

    @property
    def searches(self) -> bool:
        """Whether there is anything to be looked for."""
        return self._texts.searches

    def may_change(self, json_text: bytes) -> bool:
        """Whether it is worth taking a JSON text apart."""
        return self._texts.hint(json_text, 0) < len(json_text) or self._may_be_own(json_text)

    def clean_json(self, text: bytes, counts: Counts) -> bytes:
        """A valid JSON text, still valid."""
        every = self._may_be_own(text)
        if not every and self._texts.hint(text, 0) == len(text):
            return text
        found: Counts = Counter()
        try:
            text = self._clean_json(text, found, Work(len(text)), 0, every=every)
        except TooMuchWorkError:
            found = Counter((UNSEARCHED,))
            text = _quoted(placeholder(UNSEARCHED))
        counts.update(found)
        return text

    def clean_text(self, text: bytes, counts: Counts) -> bytes:
        """Any text."""
        found: Counts = Counter()
        try:
            text = self._texts.clean(text, found, Work(len(text)))
        except TooMuchWorkError:
            found = Counter((UNSEARCHED,))
            text = placeholder(UNSEARCHED)
        counts.update(found)
        return text

    def _may_be_own(self, json_text: bytes) -> bool:
        """The operator's expressions may match anything that an escape hides, and so have to see all strings
        as they read: in one text, because a call for each would cost ten times as much."""
        if self._texts.own is None:
            return False
        return self._texts.own.may_match("\n".join(_texts_in(json_text)).encode("utf-8", "replace"))

    def _clean_json(self, text: bytes, counts: Counts, work: Work, depth: int, *, every: bool) -> bytes:
        """Goes from string to string, and looks into every one, or into those where a hint lies and those
        which a name announced."""
        written = _Rewriting(text)
        hint, position = self._texts.hint(text, 0), 0
        kind: str | None = None
        if not every:
            position = _before(text, position, hint)
        while (start := text.find(b'"', position)) >= 0:
            if hint < start or kind is not None or every:
                self._clean_numbers(written, position, start, kind, counts, work, every=every)
            if hint == len(text) and kind is None and not every:
                break
            end = end_of_string(text, start)
            if hint < end or kind is not None or every:
                work.spend(STRING_STEPS)
                value = _unescaped(text, start, end)
                named = kind if start == position else None
                cleaned = self._clean_string(value, named, counts, work, depth, every=every)
                written.replace(start, end, cleaned)
                kind, position = self._name(text, value, end)
                if hint < end:
                    hint = self._texts.hint(text, end)
            else:
                position = end
            if not every and kind is None:
                position = _before(text, position, hint)
        if hint < len(text) or kind is not None or every:
            self._clean_numbers(written, position, len(text), kind, counts, work, every=every)
        return written.text()

    def _name(self, text: bytes, value: bytes, end: int) -> tuple[str | None, int]:
        """What a string says of the value behind it, if it is a name, and where that value begins."""
        if self._names and text[end : end + 1] in (b":", b" ", b"\n", b"\r", b"\t"):
            colon = _COLON.match(text, end)
            kind = kind_of_name(value) if colon else None
            if colon and kind in self._names:
                return kind, colon.end()
        return None, end

    def _clean_string(
        self, value: bytes, kind: str | None, counts: Counts, work: Work, depth: int, *, every: bool
    ) -> bytes | None:
        """The new value of a string; None when it stays as it is."""
        if len(value) < SHORTEST and kind is None and not every:
            return None
        if depth < _MAX_DEPTH and value[:_MARGIN].lstrip()[:1] in (b"{", b"[") and _is_json(value):
            cleaned = self._clean_json(value, counts, work, depth + 1, every=every)
        else:
            cleaned = self._texts.clean(value, counts, work)
        return _unless_named(value, cleaned, kind, counts)

    def _clean_numbers(
        self,
        written: _Rewriting,
        start: int,
        end: int,
        kind: str | None,
        counts: Counts,
        work: Work,
        *,
        every: bool,
    ) -> None:
        """The numbers between two strings: a card number may have lost its quotes, a password may be one."""
        for match in _NUMBER.finditer(written.original, start, end):
            number, named = match[0], kind if match.start() == start else None
            if every or named is not None or (len(number) >= _SHORTEST_NUMBER and number.isdigit()):
                work.spend(STRING_STEPS)
                cleaned = _unless_named(number, self._texts.clean(number, counts, work), named, counts)
                written.replace(match.start(), match.end(), cleaned)


class _Rewriting:
    """A JSON text, of which some values are replaced by strings."""

    def __init__(self, text: bytes) -> None:
        self.original = text
        self._parts: list[bytes] = []
        self._copied = 0

    def replace(self, start: int, end: int, value: bytes | None) -> None:
        if value is not None:
            self._parts += (self.original[self._copied : start], _quoted(value))
            self._copied = end

    def text(self) -> bytes:
        return b"".join((*self._parts, self.original[self._copied :])) if self._parts else self.original


def _texts_in(json_text: bytes) -> list[str]:
    """All strings and numbers in a JSON text, also those in JSON that strings hold."""
    texts: list[str] = []
    waiting: list[tuple[Any, int]] = [(value_of(json_text), 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
            if depth < _MAX_DEPTH and value[:_MARGIN].lstrip()[:1] in ("{", "["):
                waiting.append((value_of(value), depth + 1))
        elif isinstance(value, dict):
            texts.extend(value)
            waiting.extend((item, depth) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth) for item in value)
        elif value is not None:
            texts.append(str(value))
    return texts


def _unless_named(value: bytes, cleaned: bytes, kind: str | None, counts: Counts) -> bytes | None:
    """What replaces a value: nothing, its cleaned form, or the placeholder that its name asks for."""
    if cleaned != value:
        return cleaned
    if kind is None or not is_secret(kind, value):
        return None
    counts[kind] += 1
    return placeholder(kind)


def _before(text: bytes, position: int, place: int) -> int:
    """The end of the last string that ends before a place, counted from a position between two strings."""
    match = _WHOLE_STRINGS.match(text, position, place) if place < len(text) else None
    return match.end() if match else position


def _unescaped(text: bytes, start: int, end: int) -> bytes:
    content = text[start + 1 : end - 1]
    if b"\\" not in content:
        return content
    value = string_of(Raw(text[start:end]))
    return content if value is None else value.encode("utf-8", "replace")


def _quoted(value: bytes) -> bytes:
    return exact(orjson.dumps(value.decode("utf-8", "replace")))


def _is_json(text: bytes) -> bool:
    try:
        _ANY_JSON.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
