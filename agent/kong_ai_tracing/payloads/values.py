"""Values of bodies as readers need them, whatever type they turn out to have. Nothing here raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kong_ai_tracing.jsontext import Fields, dump, value_of


def text_or_none(value: Any) -> str | None:
    """A string that says something."""
    return value.strip() or None if isinstance(value, str) else None


def as_text(value: Any) -> str:
    """A text as it is, anything else as its JSON."""
    return value if isinstance(value, str) else dump(value).decode()


def dicts_of(value: Any) -> list[dict[str, Any]]:
    """The objects in a list, or the one that stands in a list's place."""
    if isinstance(value, dict):
        return [value] if value else []
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def values_of(fields: Fields, names: Iterable[str]) -> dict[str, Any]:
    """The values of some members of a body."""
    return {name: value_of(fields[name]) for name in names if name in fields}


MAX_SETTING_BYTES = 2000
_MAX_MEMBER_BYTES = 500
_SCHEMAS_DEPTH = 2
"""How deep in a setting a schema stands: `response_format.json_schema.schema`, `text.format.schema`."""


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are set, without what is very long in them."""
    return {
        name: shortened(value)
        for name, value in sorted(settings.items())
        if value is not None and value not in ({}, [])
    }


def shortened(value: Any) -> Any:
    """A setting as one can filter by it: of a long schema its name and kind, and how long it is."""
    if not isinstance(value, dict | list | str) or len(dump(value)) <= MAX_SETTING_BYTES:
        return value
    short = _shortened(value, 0)
    return short if len(dump(short)) <= MAX_SETTING_BYTES else _length_of(value)


def _shortened(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list | str) or len(dump(value)) <= _MAX_MEMBER_BYTES:
        return value
    if isinstance(value, dict) and depth < _SCHEMAS_DEPTH:
        return {name: _shortened(item, depth + 1) for name, item in value.items()}
    return _length_of(value)


def _length_of(value: Any) -> str:
    return f"[{len(dump(value))} bytes]"
