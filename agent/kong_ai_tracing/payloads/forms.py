"""A form that was uploaded (`multipart/form-data`) as the members of an object.

Text fields become strings, files what is said of them: their contents are of no use to a reader here.
"""

from __future__ import annotations

import re

from msgspec import Raw

from kong_ai_tracing.jsontext import Fields, dump

_NAME = re.compile(r';\s*(name|filename)="([^"]*)"', re.IGNORECASE)
_TYPE = re.compile(r"^content-type:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


def is_form(text: str) -> bool:
    """Whether a body is a form: a boundary, and the head of a part."""
    return text.startswith("--") and "content-disposition:" in text[:400].lower()


def form_fields(text: str) -> Fields | None:
    """The members of a form; of one that was cut as well."""
    boundary = text.partition("\n")[0].rstrip("\r")
    found: dict[str, list[object]] = {}
    for part in text.split(boundary)[1:]:
        head, _, content = part.lstrip("\r\n").replace("\r\n", "\n").partition("\n\n")
        names = {match[1].lower(): match[2] for match in _NAME.finditer(head)}
        if "name" in names:
            found.setdefault(names["name"], []).append(_value(names, head, content))
    return {name: Raw(dump(_one_or_all(values))) for name, values in found.items()} or None


def _value(names: dict[str, str], head: str, content: str) -> object:
    if "filename" not in names:
        return content.removesuffix("\n")
    kind = _TYPE.search(head)
    return {"filename": names["filename"]} | ({"content_type": kind[1]} if kind else {})


def _one_or_all(values: list[object]) -> object:
    return values[0] if len(values) == 1 else values
