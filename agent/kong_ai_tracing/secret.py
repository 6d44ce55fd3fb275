"""A text that must not be printed: an API key.

It travels like a value, and whatever prints it (an f-string, a traceback, `repr` of a whole
configuration) shows a mask. Only `reveal` gives the text, so that every use is easy to find.
"""

from __future__ import annotations

MASK = "********"
_PREFIXES = ("pk-lf-", "sk-lf-")


class Secret:
    """Holds a text and shows only a mask."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __str__(self) -> str:
        # Langfuse's own prefix is no secret and tells a swapped pair of keys at a glance.
        prefix = next((known for known in _PREFIXES if self._text.startswith(known)), "")
        return prefix + MASK

    def __repr__(self) -> str:
        return f"Secret('{self}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
