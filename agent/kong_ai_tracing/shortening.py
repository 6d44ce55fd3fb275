"""A span that is too large in, the same span with its longest texts cut out, encoded or before that.

Texts are cut where they stand, so that messages stay messages and JSON stays JSON. They are cut between
characters: neither an escape nor a surrogate pair is ever torn.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import orjson
from msgspec.structs import replace

from kong_ai_tracing.jsontext import dump, long_strings
from kong_ai_tracing.spans import Span

SHORTENED = "kong_ai_tracing.shortened"
"""Metadata: names of the values that were cut."""

_METADATA = "langfuse.observation.metadata"
_OBJECTS = frozenset(
    (
        _METADATA,
        "langfuse.trace.metadata",
        "langfuse.observation.model.parameters",
        "langfuse.observation.usage_details",
        "langfuse.observation.cost_details",
    )
)
_JSON = _OBJECTS | {"langfuse.observation.input", "langfuse.observation.output"}
_SHORTEST = 64
"""Texts are not cut below this many characters."""
_LONG = 1024
"""Shorter strings of a large JSON text are left as they are."""
_WHOLE_CHARACTERS = re.compile(
    rb'[^"\\]*+(?:\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|u(?![dD][89abAB])[0-9a-fA-F]{4}|[^u])'
    rb'[^"\\]*+)*+'
)
_BACKSLASH = 92
_NOTE_BYTES = 64
_NEAR = 64
"""Longer than any character as it is written in JSON."""


def fitted(span: Span, max_bytes: int) -> Span:
    """The span with input and output that take at most about so much in OTLP's JSON form.

    Done on the texts as they stand: to parse megabytes takes several times their size.
    """
    question, answer = span.observation.input or b"", span.observation.output or b""
    if (len(question) + len(answer)) * 2 <= max_bytes:
        return span
    texts = {"input": question, "output": answer}
    sizes = {name: _wire_bytes(text) for name, text in texts.items()}
    longest = max_bytes - _NOTE_BYTES
    cut = {}
    while sum(sizes.values()) > max_bytes and longest > _LONG:
        for name, text in texts.items():
            if sizes[name] > longest:
                # From the whole text again: what was cut before may leave room for more.
                cut[name] = _cut_raw(text, longest * len(text) // _wire_bytes(text))
                sizes[name] = _wire_bytes(cut[name])
        longest = longest * 3 // 4
    if not cut:
        return span
    metadata = {**span.observation.metadata, SHORTENED: ",".join(sorted(cut))}
    return replace(span, observation=replace(span.observation, metadata=metadata, **cut))


def _wire_bytes(text: bytes) -> int:
    """Nearly: a quote and a backslash take one more in a JSON string."""
    return len(text) + text.count(b'"') + text.count(b"\\")


def _cut_raw(text: bytes, limit: int) -> bytes:
    """A JSON text in at most `limit` bytes: its longest strings are cut, or else all of it is one that is."""
    places = [(start + 1, end - 1) for start, end in long_strings(text, _LONG)]
    rest = len(text) - sum(end - start for start, end in places)
    longest = _longest_that_fits([end - start for start, end in places], limit - rest)
    if longest < _LONG:
        return dump(_cut(text[:limit].decode("utf-8", "replace"), limit // 4))
    parts: list[bytes] = []
    copied = 0
    for start, end in places:
        if end - start > longest:
            kept = _whole_characters(text, start, start + longest - _NOTE_BYTES)
            note = f"\u2026 [{end - kept} bytes cut: too large for Langfuse]".encode()
            parts += (text[copied:kept], note)
            copied = end
    return b"".join((*parts, text[copied:]))


def _longest_that_fits(lengths: list[int], room: int) -> int:
    """To which length the longest must be cut for all to take no more than the room."""
    lengths = sorted(lengths)
    shorter = accumulate(lengths, initial=0)
    for number, (length, below) in enumerate(zip(lengths, shorter, strict=False)):
        share = (room - below) // (len(lengths) - number)
        if length > share:
            return share
    return lengths[-1] if lengths else 0


def _whole_characters(text: bytes, start: int, end: int) -> int:
    """Where the last whole character of a string ends that ends at `end` or before."""
    while text[end] & 0xC0 == 0x80:
        end -= 1
    # In the middle of an escape what is left of it reads as plain letters, but not behind its backslash.
    near = max(start, end - _NEAR)
    while near > start and text[near - 1] == _BACKSLASH:
        near -= 1
    match = _WHOLE_CHARACTERS.match(text, near, end)
    return match.end() if match else start


def shorten(span: bytes, max_bytes: int) -> bytes | None:
    """The span in at most `max_bytes`; None when its texts are not what makes it large."""
    limit = max_bytes
    while limit > _SHORTEST:
        parsed = orjson.loads(span)
        _cut_attributes(parsed, limit)
        shorter = orjson.dumps(parsed)
        if len(shorter) <= max_bytes:
            return shorter
        limit //= 2
    return None


def _cut_attributes(span: dict[str, Any], limit: int) -> None:
    attributes = {each["key"]: each["value"] for each in span["attributes"]}
    cut = []
    for key, value in attributes.items():
        text = value.get("stringValue", "")
        if len(text) > limit:
            value["stringValue"] = (
                _cut_json(text, limit, key in _OBJECTS) if key in _JSON else _cut(text, limit)
            )
            cut.append(key.removeprefix("langfuse.").removeprefix("observation."))
    if cut:
        _note(span, attributes, ",".join(sorted(cut)))
    status = span.get("status")
    if status and len(status.get("message", "")) > limit:
        status["message"] = _cut(status["message"], limit)


def _note(span: dict[str, Any], attributes: dict[str, Any], names: str) -> None:
    if _METADATA not in attributes:
        attributes[_METADATA] = {"stringValue": "{}"}
        span["attributes"].append({"key": _METADATA, "value": attributes[_METADATA]})
    metadata = orjson.loads(attributes[_METADATA]["stringValue"])
    said = metadata.get(SHORTENED, "").split(",")
    metadata[SHORTENED] = ",".join(sorted({*said, *names.split(",")} - {""}))
    attributes[_METADATA]["stringValue"] = orjson.dumps(metadata).decode()


def _cut_json(text: str, limit: int, is_object: bool) -> str:
    """JSON of at most about `limit` characters: its longest texts are cut, or else all of it is."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return "{}" if is_object else orjson.dumps(_cut(text, limit)).decode()
    longest = limit
    while longest > _SHORTEST:
        longest //= 2
        shorter = orjson.dumps(cut_texts(value, longest)).decode()
        if len(shorter) <= limit:
            return shorter
    return "{}" if is_object else orjson.dumps(_cut(text, limit // 2)).decode()


def cut_texts(value: Any, longest: int) -> Any:
    """The same value with every text in it of at most `longest` characters, but for the note at its end."""
    if isinstance(value, str):
        return _cut(value, longest)
    if isinstance(value, list):
        return [cut_texts(each, longest) for each in value]
    if isinstance(value, dict):
        return {key: cut_texts(each, longest) for key, each in value.items()}
    return value


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… [{len(text) - longest} characters cut: too large for Langfuse]"
