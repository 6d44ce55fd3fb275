"""Amazon's binary event stream in, the same events as server-sent events out.

A frame is a length, the length of its headers, a checksum of both, the headers, the payload and a checksum
of all. Bedrock streams its answers in such frames; written as server-sent events they are read like any
other stream. A torn last frame is left out; after a damaged or missing stretch reading goes on with the
next frame that is whole.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from zlib import crc32

import orjson
from msgspec import Struct

from kong_ai_tracing.jsontext import dump, value_of

_PRELUDE = struct.Struct(">III")
_CHECKSUM_BYTES = 4
_SMALLEST_FRAME = _PRELUDE.size + _CHECKSUM_BYTES
_LARGEST_FRAME = 25 << 20
_LARGEST_HEADERS = 128 << 10
_FIRST_HEADER = re.compile(rb"[\x00-\xff]{12}[\x05-\x20]:[a-z]")
"""Where a frame may begin: all names of headers that AWS itself sets begin with a colon."""

_REPEATED_HEADERS = 256

_STRING, _BYTES = 7, 6
_VALUE_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""How long the values of the other types of headers are."""


class Frame(Struct, frozen=True):
    """One event: its headers that are texts, and its payload."""

    headers: dict[str, str]
    payload: bytes


def is_frames(data: bytes) -> bool:
    """Whether a body begins with a frame."""
    return _frame_length(data, 0) is not None


def frames_of(data: bytes) -> Iterator[Frame]:
    """The whole frames of a body, in order."""
    position = 0
    while position < len(data):
        length = _frame_length(data, position)
        frame = _frame(data, position, length) if length is not None else None
        if frame is not None and length is not None:
            yield frame
            position += length
        else:
            position = _next_frame(data, position + 1)


def event_stream_of(data: bytes) -> str:
    """The events of a body of frames as server-sent events."""
    return "".join(_event_text(frame) for frame in frames_of(data))


def _frame_length(data: bytes, position: int) -> int | None:
    if len(data) - position < _PRELUDE.size:
        return None
    length, headers_length, checksum = _PRELUDE.unpack_from(data, position)
    if not _SMALLEST_FRAME + headers_length <= length <= _LARGEST_FRAME or headers_length > _LARGEST_HEADERS:
        return None
    return length if crc32(data[position : position + 8]) == checksum else None


def _frame(data: bytes, position: int, length: int) -> Frame | None:
    """The frame at a position; None when its end is missing or it is damaged."""
    end = position + length - _CHECKSUM_BYTES
    checked = data[position : end + _CHECKSUM_BYTES]
    if len(checked) < length or crc32(checked[:-_CHECKSUM_BYTES]) != int.from_bytes(
        checked[-_CHECKSUM_BYTES:], "big"
    ):
        return None
    payload_at = _PRELUDE.size + _PRELUDE.unpack_from(checked)[1]
    head = checked[_PRELUDE.size : payload_at]
    headers = _headers_again(head) if len(head) <= _REPEATED_HEADERS else _headers(head)
    return Frame(headers, checked[payload_at:-_CHECKSUM_BYTES])


def _next_frame(data: bytes, position: int) -> int:
    while match := _FIRST_HEADER.search(data, position):
        if _frame_length(data, match.start()) is not None:
            return match.start()
        position = match.start() + 1
    return len(data)


@lru_cache(64)
def _headers_again(data: bytes) -> dict[str, str]:
    """The events of a stream have the same few headers again and again."""
    return _headers(data)


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    try:
        while position < len(data):
            value_at = position + 1 + data[position] + 1
            name, kind = data[position + 1 : value_at - 1], data[value_at - 1]
            if kind in (_STRING, _BYTES):
                length = int.from_bytes(data[value_at : value_at + 2], "big")
                value_at, position = value_at + 2, value_at + 2 + length
                if kind == _STRING:
                    found[name.decode("utf-8", "replace")] = data[value_at:position].decode(
                        "utf-8", "replace"
                    )
            else:
                position = value_at + _VALUE_BYTES[kind]
    except (IndexError, KeyError):
        # A type of header that nobody has defined: the ones before it still count.
        pass
    return found


def _event_text(frame: Frame) -> str:
    """One event of an answer, an event of the model's own in a chunk of bytes, or an error."""
    headers = frame.headers
    if headers.get(":message-type") in ("exception", "error"):
        return f"event: error\ndata: {dump({'error': _error(frame)}).decode()}\n\n"
    name = headers.get(":event-type", "")
    payload = frame.payload
    if name == "chunk" and (inner := _inner(payload)) is not None:
        return f"data: {_one_line(inner)}\n\n"
    return f"event: {_one_line(name.encode())}\ndata: {_one_line(payload)}\n\n"


def _inner(payload: bytes) -> bytes | None:
    try:
        return b64decode(orjson.loads(payload)["bytes"])
    except (ValueError, TypeError, KeyError):
        return None


def _error(frame: Frame) -> dict[str, Any]:
    headers, told = frame.headers, value_of(frame.payload)
    members = told if isinstance(told, dict) else {}
    message = members.get("message") or members.get("Message") or headers.get(":error-message")
    kind = headers.get(":exception-type") or headers.get(":error-code")
    return {name: value for name, value in (("message", message), ("type", kind)) if value}


def _one_line(data: bytes) -> str:
    """The text of a JSON value without line breaks, which there can only stand between its parts."""
    return data.decode("utf-8", "replace").replace("\r", " ").replace("\n", " ")
