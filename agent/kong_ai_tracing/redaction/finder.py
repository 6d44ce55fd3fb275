"""Expressions in, the places where any of them matches and which ones these are out.

The engine is RE2: an automaton without backtracking, so that no expression and no text makes it slower than
the text's length times a constant, and its memory is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import re2

from kong_ai_tracing.redaction.rules import Span

_MAX_MEMORY = 2 << 20
"""For each automaton; one that needs more begins anew, which costs time and no memory."""
_MAX_PLACES = 5000
_WINDOW = 64 << 10
_LONGEST_MATCH = 16 << 10
"""RE2 may look ahead to the end of a text for each single place of an operator's expression. So the number of
places is bounded, a text with more of them being given as one, and how far it may look ahead."""
_WORDS = b"The quick brown fox jumps over 12 lazy dogs, at half past nine; and it costs 12.50 EUR.".split()
"""What is in every text. An expression that takes most of each is a mistake."""


class _Expression(Protocol):
    """What is used of a compiled expression."""

    def search(self, text: bytes, pos: int = 0) -> re.Match[bytes] | None: ...
    def fullmatch(self, text: bytes) -> re.Match[bytes] | None: ...
    def finditer(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Iterator[re.Match[bytes]]: ...


class Finder:
    """Looks for many expressions at once. They are read as bytes."""

    def __init__(self, expressions: Sequence[bytes]) -> None:
        options = _options(re2.Options.Encoding.LATIN1)
        self._any: _Expression = re2.compile(b"|".join(b"(?:%s)" % each for each in expressions), options)
        self._set = re2.Set.SearchSet(options)
        for expression in expressions:
            self._set.Add(expression)
        self._set.Compile()
        self._count = len(expressions)

    def next(self, text: bytes, position: int = 0) -> Span | None:
        """The next place where any expression matches."""
        match = self._any.search(text, position)
        return match.span() if match else None

    def which(self, text: bytes) -> Sequence[int]:
        """Numbers of the expressions that match in a short piece of text, in their order."""
        found: list[int] | None = self._set.Match(text)
        # The set gives nothing, too, when its automaton outgrows its memory; then it may be any of them.
        return sorted(found) if found else range(self._count)


class OwnFinder:
    """Looks for the operator's expressions. They are read as UTF-8, and so are the texts."""

    def __init__(self, expressions: Sequence[str]) -> None:
        self._expressions = [_compiled(expression) for expression in expressions]
        # Anchors mean a text's ends; among many texts these are ends of lines, and \A and \z tell nothing.
        anchored = any("\\A" in expression or "\\z" in expression for expression in expressions)
        self._any = None if anchored else _compiled("|".join(f"(?m:{each})" for each in expressions))

    def may_match(self, lines: bytes) -> bool:
        """Whether any expression can match in a text that is one or more of these lines."""
        return self._any is None or self._any.search(lines) is not None

    def places(self, number: int, text: bytes) -> list[Span]:
        """Where one expression matches, in order."""
        places: list[Span] = []
        for span in _spans(self._expressions[number], text):
            if len(places) == _MAX_PLACES:
                return [(0, len(text))]
            places.append(span)
        return places


def _spans(expression: _Expression, text: bytes) -> Iterator[Span]:
    """Where it matches, in order; what is longer than some thousand bytes may be found in part."""
    start = end = 0
    while end < len(text):
        end = min(start + _WINDOW, len(text))
        settled = start
        for match in expression.finditer(text, start, end):
            first, last = match.span()
            if first == last:
                continue
            if last == end < len(text) and first > start:
                settled = first  # it may go on
                break
            settled = last
            yield first, last
        start = max(settled, end - _LONGEST_MATCH)


def problem_of(expression: str) -> str | None:
    """Why an operator's expression is not taken; None when it is."""
    try:
        compiled = _compiled(expression)
        spans = [match.span() for text in (b"", *_WORDS) for match in compiled.finditer(text)]
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    except re2.error as error:
        reason = error.args[0] if error.args else "no reason given"
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    if any(start == end for start, end in spans):
        return "it also matches nothing at all"
    if 2 * sum(end - start for start, end in spans) > sum(map(len, _WORDS)):
        return "it takes most words of an ordinary text"
    return None


def _compiled(expression: str) -> _Expression:
    compiled: _Expression = re2.compile(expression.encode(), _options(re2.Options.Encoding.UTF8))
    return compiled


def _options(encoding: int) -> re2.Options:
    options = re2.Options()
    options.encoding = encoding
    options.max_mem = _MAX_MEMORY
    options.never_capture = True
    options.log_errors = False
    return options
