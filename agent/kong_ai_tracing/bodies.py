"""Where the bodies of a call are in a log entry, as text.

Kong logs no bodies by itself. They come from the `capture` object that our own Kong configuration
writes, from the older loose fields (`request.body`, `response.body`), or from hand-made ones
(`request_body`, `response_body`). What goes out is text, decoded and inflated within a byte budget, and
where there is none, or not all of it, the reason.
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from typing import Any

from msgspec import Struct

from kong_ai_tracing.awsframes import event_stream_of, is_frames
from kong_ai_tracing.entries import LogEntry, first_text, integer, table, text
from kong_ai_tracing.jsontext import dump

INFLATED_BYTES = 16 << 20
"""How large one body may become when it is inflated."""

_DEFLATED = {"gzip": zlib.MAX_WBITS | 32, "x-gzip": zlib.MAX_WBITS | 32, "deflate": zlib.MAX_WBITS}
_LONG_CHARACTERS = 1 << 20
_RAW_DEFLATE = -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"


class Body(Struct, frozen=True):
    """One body. `note` says why there is no text, or why it is not all of it."""

    content: str | bytes | None = None
    """A long text may be UTF-8."""
    tail: str | None = None
    """The end of a long answer whose middle was left out."""
    note: str | None = None

    @property
    def is_there(self) -> bool:
        return self.content is not None

    @property
    def text(self) -> str | None:
        """The same as characters; of a long text another copy, which may be four times as large."""
        return self.content.decode("utf-8", "replace") if isinstance(self.content, bytes) else self.content


class Captured(Struct, frozen=True):
    """Both bodies of an exchange, and what the capture measured (milliseconds since the start)."""

    request: Body = Body()
    response: Body = Body()
    first_token_ms: int | None = None
    complete: bool | None = None
    """False when the end of the response was not seen; None when the log does not say."""


NOT_LOGGED = Body(note="not logged")
_NOTHING = Captured(NOT_LOGGED, NOT_LOGGED)


def captured_of(entry: LogEntry) -> Captured:
    """The bodies that something beside ai-proxy put on the line."""
    record = entry.record
    if isinstance(capture := record.get("capture"), dict):
        return _from_capture(entry, capture)
    request, response = entry.request, entry.response
    if "body" in request or "body" in response or "body_omitted" in request:
        return _from_loose_fields(entry, request, response)
    if "request_body" in record or "response_body" in record:
        return Captured(_hand_made(record.get("request_body")), _hand_made(record.get("response_body")))
    return _NOTHING


def _from_capture(entry: LogEntry, capture: dict[str, Any]) -> Captured:
    request = _captured_body(capture, "request", _content_encoding(entry.request))
    if not request.is_there and (skip := text(capture.get("skip"))):
        request = Body(note=f"not captured: {skip}")
    response = _captured_body(capture, "response", _content_encoding(entry.response))
    tail, dropped = _captured_tail(entry, capture), integer(capture.get("dropped"))
    if tail is not None and response.is_there:
        response = Body(response.content, tail, f"{dropped or 'some'} bytes in the middle left out")
    complete = capture.get("complete")
    return Captured(
        request,
        response,
        first_token_ms=integer(capture.get("ttft_ms")),
        complete=complete if isinstance(complete, bool) else None,
    )


def _captured_tail(entry: LogEntry, capture: dict[str, Any]) -> str | None:
    """The end of a long answer. That of a compressed one cannot be read without its beginning."""
    plain, encoded = capture.get("response_tail"), capture.get("response_tail_b64")
    if isinstance(plain, str):
        return plain
    if not isinstance(encoded, str) or _content_encoding(entry.response) not in (None, "identity"):
        return None
    try:
        data = b64decode(encoded)
    except ValueError:
        return None
    return event_stream_of(data) or data.decode("utf-8", "replace")


def _captured_body(capture: dict[str, Any], side: str, encoding: str | None) -> Body:
    plain = light_text(capture, side)
    if plain is not None:
        size = integer(capture.get(f"{side}_size"))
        # Bytes are never fewer than characters, so most bodies need not be encoded to be counted.
        cut = size is not None and size > len(plain) and size > len(_utf8(plain))
        if not cut:
            return Body(plain) if plain else Body(note="empty")
        return Body(plain, note=f"cut, {size} bytes in all")
    encoded = capture.get(f"{side}_b64")
    return _decoded(encoded, encoding) if isinstance(encoded, str) else NOT_LOGGED


def light_text(holder: dict[str, Any], name: str) -> str | bytes | None:
    """A text that is logged under a name; None when there is none.

    One picture of a smile makes each character of a text take four bytes. A long text is kept as UTF-8, from
    here on in the record, too.
    """
    value = holder.get(name)
    if type(value) is str:
        if len(value) >= _LONG_CHARACTERS and not value.isascii():
            value = holder[name] = _utf8(value)
        return value
    return value if type(value) is bytes else None


def _utf8(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _from_loose_fields(entry: LogEntry, request: dict[str, Any], response: dict[str, Any]) -> Captured:
    first_chunk_at = integer(response.get("first_chunk_at"))
    started_at = integer(entry.record.get("started_at"))
    return Captured(
        _loose_body(request, request.get("body_omitted")),
        _loose_body(response, response.get("body_omitted")),
        first_token_ms=None if first_chunk_at is None or started_at is None else first_chunk_at - started_at,
    )


def _loose_body(message: dict[str, Any], omitted: Any) -> Body:
    body = message.get("body")
    if text(message.get("body_encoding")) == "base64" and isinstance(body, str):
        found = _decoded(body, _content_encoding(message))
    else:
        found = _hand_made(body)
    if not found.is_there:
        return Body(note=text(omitted) or found.note)
    return Body(found.content, note="cut") if message.get("body_truncated") is True else found


def _hand_made(body: Any) -> Body:
    if isinstance(body, str):
        return Body(body) if body else Body(note="empty")
    if isinstance(body, dict | list):
        return Body(dump(body).decode())
    return NOT_LOGGED


def _content_encoding(message: dict[str, Any]) -> str | None:
    return first_text(table(message.get("headers")).get("content-encoding"))


def _decoded(encoded: str, encoding: str | None) -> Body:
    try:
        data = b64decode(encoded)
    except ValueError:
        return Body(note="unreadable base64")
    return inflated(data, encoding)


def inflated(data: bytes, encoding: str | None, max_bytes: int = INFLATED_BYTES) -> Body:
    """The text of a body that went over the wire. A bomb stops at the budget; what was read stays."""
    encodings = [name for part in (encoding or "").split(",") if (name := part.strip().lower())]
    if not encodings and data.startswith(_GZIP_MAGIC):
        encodings = ["gzip"]
    cut = False
    for name in reversed(encodings):
        if name == "identity":
            continue
        if name not in _DEFLATED:
            return Body(note=f"compressed ({name[:20]})")
        try:
            data, ended = _inflate(data, _DEFLATED[name], max_bytes)
        except zlib.error:
            return Body(note="unreadable compression")
        cut = cut or not ended
    if not data:
        return Body(note="empty")
    if is_frames(data):
        text = event_stream_of(data)
        return Body(text, note="cut" if cut else None) if text else Body(note="cut within its first event")
    return Body(data.decode("utf-8", "replace"), note="cut" if cut else None)


def _inflate(data: bytes, window_bits: int, max_bytes: int) -> tuple[bytes, bool]:
    stream = zlib.decompressobj(window_bits)
    try:
        return stream.decompress(data, max_bytes), stream.eof
    except zlib.error:
        # `deflate` was meant to be zlib's format, but some servers send it bare.
        if window_bits != zlib.MAX_WBITS:
            raise
        stream = zlib.decompressobj(_RAW_DEFLATE)
        return stream.decompress(data, max_bytes), stream.eof
