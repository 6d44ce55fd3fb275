"""Running text in, the same text without what must not leave out, and the number of each kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kong_ai_tracing.redaction.finder import Finder, OwnFinder
from kong_ai_tracing.redaction.rules import Rule, Span
from kong_ai_tracing.redaction.work import PLACE_STEPS, Work

_ESCAPED_ASCII = rb"\\u00[2-7][0-9A-Fa-f]"
"""Some writers escape `@`, `+` or quotes; what they hide shows only after decoding."""
_DIGITS = re.compile(rb"[0-9]*+")
_MARGIN = 64
"""How much of a text is looked at to see which rules apply at a place."""
SHORTEST = 6
"""No kind is shorter."""

Counts = Counter[str]
Place = tuple[Span, str]


def placeholder(kind: str) -> bytes:
    """What stands in a text for what was taken out."""
    return b"[REDACTED:%s]" % kind.encode()


class TextCleaner:
    """Takes out what some rules, and the operator's own expressions by their names, describe."""

    def __init__(self, rules: Sequence[Rule], own: Sequence[tuple[str, str]]) -> None:
        self._rules = tuple(rules)
        self._finder = Finder([*(rule.trigger for rule in rules), _ESCAPED_ASCII]) if rules else None
        self._own_names = [name for name, _ in own]
        self.own = OwnFinder([expression for _, expression in own]) if own else None

    @property
    def searches(self) -> bool:
        """Whether there is anything to be looked for."""
        return self._finder is not None or self.own is not None

    def hint(self, text: bytes, position: int) -> int:
        """Where in a text, or in JSON as it is written, the next thing begins that a rule may remove; the
        length of the text when there is none."""
        place = self._finder.next(text, position) if self._finder else None
        return place[0] if place else len(text)

    def clean(self, text: bytes, counts: Counts, work: Work) -> bytes:
        """The text with placeholders; raises TooMuchWorkError when it is not worth it."""
        if places := self._places(text, work):
            text = _replaced(text, places, counts)
        if self.own is not None:
            text = valid_utf8(text)
            for number, name in enumerate(self._own_names):
                if spans := self.own.places(number, text):
                    work.spend(PLACE_STEPS * len(spans))
                    text = _replaced(text, [(span, name) for span in spans], counts)
        return text

    def _places(self, text: bytes, work: Work) -> list[Place]:
        places: list[Place] = []
        finder, position = self._finder, 0
        while finder and (hint := finder.next(text, position)):
            work.spend(PLACE_STEPS)
            start, end = hint
            for rule in self._rules_for(finder, text[start : end + _MARGIN]):
                if span := rule.locate(text, start, position):
                    places += self._places_before(text, start, span[0], work)
                    places.append((span, self._special_kind(finder, rule, text[span[0] : span[1]])))
                    position = span[1]
                    break
            else:
                # Nothing begins within a row of digits.
                position = max(start + 1, _end(_DIGITS, text, start) - 1)
        return places

    def _places_before(self, text: bytes, start: int, end: int, work: Work) -> list[Place]:
        """What else stands between the place where a rule begins and what it removes, as a user's name."""
        if end - start < SHORTEST:
            return []
        found = self._places(text[start:end], work)
        return [((start + first, start + last), kind) for (first, last), kind in found]

    def _rules_for(self, finder: Finder, piece: bytes) -> Iterator[Rule]:
        return (self._rules[number] for number in finder.which(piece) if number < len(self._rules))

    def _special_kind(self, finder: Finder, rule: Rule, value: bytes) -> str:
        """Whose token it is that stood behind `Bearer` or `api_key:`."""
        if rule.by_context:
            for other in self._rules_for(finder, value[: 2 * _MARGIN]):
                if not other.by_context and other.locate(value, 0, 0) == (0, len(value)):
                    return other.kind
        return rule.kind


def _replaced(text: bytes, places: list[Place], counts: Counts) -> bytes:
    parts: list[bytes] = []
    copied = 0
    for (start, end), kind in places:
        counts[kind] += 1
        parts += (text[copied:start], placeholder(kind))
        copied = end
    return b"".join((*parts, text[copied:]))


def _end(pattern: re.Pattern[bytes], text: bytes, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def valid_utf8(text: bytes) -> bytes:
    """The operator's expressions count in characters, which takes valid UTF-8."""
    return text if text.isascii() else text.decode("utf-8", "replace").encode()
