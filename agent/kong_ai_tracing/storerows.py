"""Rows of the state database to values and back, and whether a row is what was written."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, cast

import msgspec
import orjson
from isal import igzip, igzip_lib
from msgspec import Struct, msgpack

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.lines import Origin
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.tracememory import RememberedTrace

_ISAL_ERROR = cast("type[Exception]", igzip_lib.IsalError)
FILE_COLUMNS = (
    "file_id, path, device, inode, generation, head_length, head_digest, offset, marker_length,"
    " marker_digest, begun, calls"
)


class HeldCall(Struct, frozen=True):
    """A call that waited for company at the last commit; `call` is None when only its place is known."""

    call_id: str
    origin: Origin
    call: AICall | None


def file_row(record: FileRecord) -> tuple[Any, ...]:
    """Of a file that is new: nothing was found in it yet."""
    return (
        record.file_id,
        record.path,
        _signed(record.device),
        _signed(record.inode),
        record.generation,
        record.head_length,
        record.head_digest,
        record.offset,
        record.marker.length,
        record.marker.digest,
        record.begun,
        0,
    )


def file_record(row: tuple[Any, ...]) -> FileRecord:
    """The record of a row. Raises msgspec.ValidationError when it holds something else than was written."""
    (
        file_id,
        path,
        device,
        inode,
        generation,
        head_length,
        head_digest,
        offset,
        length,
        digest,
        begun,
        calls,
    ) = row
    values = {
        "file_id": file_id,
        "path": path,
        "device": _unsigned(device),
        "inode": _unsigned(inode),
        "generation": generation,
        "head_length": head_length,
        "head_digest": head_digest,
        "offset": offset,
        "marker": {"length": length, "digest": digest},
        "begun": begun,
        "calls": calls,
    }
    return msgspec.convert(values, FileRecord, builtin_types=(bytes,))


def held_row(call: AICall, *, whole: bool) -> tuple[Any, ...]:
    origin = call.observation.origin
    assert origin is not None, "every call that was read from a line knows its place"
    return (
        call.id,
        origin.file_id,
        origin.file,
        origin.offset,
        origin.length,
        msgpack.encode(call) if whole else None,
    )


def held_call(row: tuple[Any, ...]) -> HeldCall:
    call_id, file_id, file, offset, length, blob = row
    call = None if blob is None else msgpack.decode(blob, type=AICall)
    return HeldCall(call_id, Origin(file, file_id, offset, length), call)


def body_digest(body: bytes, *facts: int | str) -> bytes:
    """What tells a body with its facts from one that changed on disk."""
    digest = blake2b(repr(facts).encode(), digest_size=8)
    digest.update(body)
    return digest.digest()


def body_is_intact(digest: bytes, body: bytes, *facts: int | str) -> bool:
    """Is a body with its facts what was written? Of rows of format 1 that is not known."""
    return not digest or digest == body_digest(body, *facts)


def unpacked(body: bytes) -> bytes | None:
    """A packed body as it was; None when it is damaged."""
    try:
        data: bytes = igzip.decompress(body)  # type: ignore[no-untyped-call]
    except (EOFError, OSError, _ISAL_ERROR):
        return None
    return data


def is_intact(table: str, row: Mapping[str, Any]) -> bool:
    """Does the content of a row make sense, as far as that can be said? For rows of a damaged database."""
    try:
        match table:
            case "files":
                file_record(tuple(row.get(name) for name in FILE_COLUMNS.split(", ")))
            case "outbox":
                return _body_is_intact(row, row["number"], row["spans"], row["follows"])
            case "refused":
                return _body_is_intact(row, row.get("destination", ""), row["spans"])
            case "held" if row["call"] is not None:
                msgpack.decode(row["call"], type=AICall)
            case "remembered":
                RememberedTrace.read(row["trace"])
            case "rotations":
                msgspec.json.decode(row["value"], type=Rotations)
            case "health":
                orjson.loads(row["value"])
    except (msgspec.MsgspecError, ValueError):
        return False
    return True


def _body_is_intact(row: Mapping[str, Any], *facts: int | str) -> bool:
    if not row.get("digest"):
        return unpacked(row["body"]) is not None
    return body_is_intact(row["digest"], row["body"], *facts)


def _signed(number: int) -> int:
    """SQLite's integers are signed; some filesystems use all 64 bits of an inode number."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: Any) -> Any:
    return number + (1 << 64) if isinstance(number, int) and number < 0 else number
