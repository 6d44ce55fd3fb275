"""Values in TOML's notation, the way an operator would write them."""

from __future__ import annotations

import json


def toml(value: object) -> str:
    """The value as it stands behind the `=` of a TOML file."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= 10_000:
            return f"{value:_}"
        case int() | float():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case dict():
            return "{…}" if value else "{}"
        case _:
            # TOML's basic strings are escaped like JSON's, and DEL too.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
