"""Values in, values that Langfuse takes out: ids and names within its limits, flat metadata.

Langfuse's readers drop what is too long and turn a wrong environment into `default`, both silently. So it
is mended here, and the caller of these functions says in the metadata that it was.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from kong_ai_tracing.entries import text
from kong_ai_tracing.jsontext import dump, value_of

MAX_CHARACTERS = 200
_KEPT_CHARACTERS = 180
_NOT_PLAIN = re.compile(r"[^ -~]+")
_NOT_ENVIRONMENT = re.compile(r"[^a-z0-9_-]+")
_RESERVED_PREFIX = re.compile(r"(?:langfuse[-_]*)+")
_MAX_ENVIRONMENT = 40
_MAX_TAGS = 50
_MAX_KEYS = 100
_MAX_KEY = 200
_MAX_VALUE = 1000
_MAX_DEPTH = 5
_SECRET = re.compile(
    r"secret|passw|api[-_]?key|authorization|credential|cookie|(?:^|[-_.])token$", re.IGNORECASE
)
_DROPPED_KEYS = frozenset(("__proto__", "constructor", "prototype"))


def limited(value: str) -> str:
    """An id or a name in ASCII of at most 200 characters; of a longer one the beginning and a digest."""
    if len(value) <= MAX_CHARACTERS and value.isascii() and value.isprintable():
        return value
    plain = _NOT_PLAIN.sub(lambda match: quote(match[0], safe="", errors="replace"), value)
    if len(plain) <= MAX_CHARACTERS:
        return plain
    digest = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{plain[:_KEPT_CHARACTERS]}~{digest}"


def limited_all(values: dict[str, str]) -> dict[str, str]:
    """The same for several, nearly always as they are: then they need not be looked at one by one."""
    together = "".join(values.values())
    if len(together) <= MAX_CHARACTERS and together.isascii() and together.isprintable():
        return values.copy()
    return {name: limited(value) for name, value in values.items()}


@lru_cache(1024)
def environment_of(value: str) -> str:
    """A name that Langfuse accepts for an environment; empty when nothing is left of it."""
    plain = _NOT_ENVIRONMENT.sub("-", value.strip().lower())
    return _RESERVED_PREFIX.sub("", plain, count=1)[:_MAX_ENVIRONMENT] if plain else ""


def tags_of(value: Any) -> list[str]:
    """Tags from a list, a JSON list or a text with commas."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = value_of(value) or value
    parts = value if isinstance(value, list) else [value]
    words = (word.strip() for part in parts if (found := text(part)) for word in found.split(","))
    return list(dict.fromkeys(limited(word) for word in words if word))[:_MAX_TAGS]


def speaks_of_secret(name: str) -> bool:
    """Whether a name is one under which keys and passwords are kept."""
    return _SECRET.search(name) is not None


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Labels one level deep, nested names joined with dots. Names that speak of secrets stay behind."""
    found: dict[str, Any] = {}
    _flatten("", values, found, 0)
    return found


def _flatten(prefix: str, values: dict[str, Any], found: dict[str, Any], depth: int) -> None:
    for name, value in values.items():
        if len(found) >= _MAX_KEYS:
            return
        if value is None or speaks_of_secret(name):
            continue
        key = prefix + (f"_{name}" if name in _DROPPED_KEYS else name)
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            _flatten(key + ".", value, found, depth + 1)
        else:
            found[key[:_MAX_KEY]] = label(value)


def label(value: Any) -> Any:
    """One metadata value: numbers and truth values as they are, all else as text of bounded length."""
    if isinstance(value, bool | int | float):
        return value
    words = (value if isinstance(value, str) else dump(value).decode()).replace("\x00", "\ufffd")
    return words if len(words) <= _MAX_VALUE else f"{words[:_MAX_VALUE]}… ({len(words)} characters)"
