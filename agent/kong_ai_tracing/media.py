"""A JSON text in, the same text with words in place of the pictures, sounds and documents in it out.

A medium is a long run of base64, wherever it stands: what carries it is not asked, so that every dialect's
form is found, also in JSON inside of strings and in text that was cut. Only the strings that hold one are
written anew; every other byte stays as it was. Texts without media cost one pass in leaps.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256

import orjson
from msgspec import Raw, Struct
from msgspec.json import Decoder

from kong_ai_tracing.jsontext import long_strings, string_of
from kong_ai_tracing.mediaruns import SHORTEST, Run, may_hold, runs_in
from kong_ai_tracing.mediatypes import UNKNOWN, beginning_of, type_of_word

_BACKSLASH = 92
_TYPED = re.compile(
    rb'"(?:media_?type|mime_?type|content_?type|format|output_format)"\s*:\s*"([\w.+*/\\-]{2,100})"',
    re.IGNORECASE,
)
_NAMED = re.compile(
    rb'"(?:data|bytes|file_data|fileData|b64_json|image|images|audio|video|partial_image_b64|imageBytes'
    rb'|videoBytes|bytesBase64Encoded|image_base64|audioContent)"\s*:\s*(?:\[\s*)?\Z'
)
_NEAR = 300
"""How far from a string a member of the same object is looked for that tells its type."""
_BRACES = re.compile(rb"[{}]")
_MARGIN = 64
_MAX_DEPTH = 4
"""How deep JSON in strings of JSON is taken apart."""
_ANY_JSON = Decoder(Raw)
_MEDIA_ID_CHARACTERS = 22
_SHOWN_DIGITS = 12
"""Fewer than a card number has, so that no redaction takes one for it."""


class Medium(Struct, frozen=True):
    """One picture, sound or document: what kind it is, its bytes, and how it stood in the text."""

    content_type: str
    data: bytes
    digest: bytes
    """SHA-256."""
    source: str
    """`base64_data_uri` or `bytes`, as Langfuse names it."""

    @property
    def sha256_base64(self) -> str:
        return b64encode(self.digest).decode()

    @property
    def media_id(self) -> str:
        """Langfuse's id, which its SDKs derive from the content."""
        return urlsafe_b64encode(self.digest).decode()[:_MEDIA_ID_CHARACTERS]

    @property
    def reference(self) -> str:
        """What Langfuse shows as the medium, once it was uploaded."""
        return f"@@@langfuseMedia:type={self.content_type}|id={self.media_id}|source={self.source}@@@"

    @property
    def placeholder(self) -> str:
        """What a person reads instead of it."""
        digest = self.digest.hex()[:_SHOWN_DIGITS]
        return f"[{self.content_type}, {len(self.data):,} bytes, sha256:{digest}]"


class Attachment(Struct, frozen=True):
    """A medium that is to be uploaded, and the place at which it stood."""

    trace_id: str
    observation_id: str
    field: str
    """`input` or `output`."""
    medium: Medium


Naming = Callable[[Medium], str]
"""What is written in place of a medium."""


def may_have_media(text: bytes | None) -> bool:
    """False for most texts, at little cost."""
    return text is not None and len(text) >= SHORTEST and may_hold(text)


def without_media(text: bytes, name: Naming) -> bytes:
    """A JSON text with every medium replaced by what `name` gives for it."""
    return _rewritten(text, name, 0) if may_have_media(text) else text


def _rewritten(text: bytes, name: Naming, depth: int) -> bytes:
    parts: list[bytes] = []
    copied = 0
    for start, end in long_strings(text, SHORTEST):
        string = text[start:end]
        if not may_hold(string):
            continue
        is_closed = _is_closed(string)
        value = _value_of(string, is_closed)
        del string  # it may be most of a line of megabytes
        if depth < _MAX_DEPTH and value[:_MARGIN].lstrip()[:1] in (b"{", b"[") and _is_json(value):
            new = _rewritten(value, name, depth + 1)
        else:
            new = _replaced(value, text, start, end, name)
        if new is not value:
            written = orjson.dumps(new.decode("utf-8", "replace"))
            parts += (text[copied:start], written if is_closed else written[:-1])
            copied = end
    return b"".join((*parts, text[copied:])) if parts else text


def _replaced(value: bytes, text: bytes, start: int, end: int, name: Naming) -> bytes:
    """The value of a string that stands in a text from `start` to `end`."""
    parts: list[bytes] = []
    copied = 0
    for run in runs_in(value):
        is_whole = run.start == 0 and not run.is_address
        if is_whole:
            before, after = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
        else:
            before, after = value[max(0, run.start - _NEAR) : run.start], value[run.end : run.end + _NEAR]
        if medium := _medium_of(run, before, after):
            parts += (value[copied : run.start], name(medium).encode())
            copied = run.end
    return b"".join((*parts, value[copied:])) if parts else value


def _medium_of(run: Run, before: bytes, after: bytes) -> Medium | None:
    """None for what only happens to be written in letters."""
    data = run.decoded()
    before = _BRACES.split(before.replace(b"\\", b""))[-1]
    after = _BRACES.split(after.replace(b"\\", b""), maxsplit=1)[0]
    said = type_of_word(run.said) if run.said else _type_beside(before, after)
    known = said or beginning_of(data)
    if not (known or run.is_address or run.looks_random or _NAMED.search(before.rstrip(b'"'))):
        return None
    source = "base64_data_uri" if run.is_address else "bytes"
    return Medium(known or UNKNOWN, data, sha256(data).digest(), source)


def _type_beside(before: bytes, after: bytes) -> str | None:
    """What another member of the same object says of the type."""
    found = _TYPED.findall(before)[-1:] or _TYPED.findall(after)[:1]
    return type_of_word(found[0].decode("ascii", "replace")) if found else None


def _is_escaped(text: bytes, place: int) -> bool:
    first = place
    while text[first - 1] == _BACKSLASH:
        first -= 1
    return (place - first) % 2 == 1


def _is_closed(string: bytes) -> bool:
    return string[-1:] == b'"' and not _is_escaped(string, len(string) - 1)


def _value_of(string: bytes, is_closed: bool) -> bytes:
    """What a JSON string says; the text as it stands when it was cut."""
    value = string_of(Raw(string)) if b"\\" in string else None
    if value is None:
        return string[1:-1] if is_closed else string[1:]
    return value.encode("utf-8", "replace")


def _is_json(text: bytes) -> bool:
    try:
        _ANY_JSON.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
