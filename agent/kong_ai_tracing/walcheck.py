"""Is SQLite's write-ahead log whole? SQLite itself takes a damaged one for one that ends earlier.

That is right after a power loss, when the end was never written. But a commit that lies behind the first
frame that SQLite does not take was written once: what is between them was damaged later.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

from msgspec import Struct

_HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint, two salts, two checksums
_FRAME = struct.Struct(">4I")  # page number, size of the database after a commit or 0, two salts
_FRAME_HEADER_BYTES = 24
_MAGIC_LITTLE_ENDIAN = 0x377F0682


class WalFrames(Struct, frozen=True):
    """What the log claims to hold."""

    header_holds: bool
    last_commit: int
    """The number of the newest frame that ends a transaction and belongs to this log."""


def wal_frames(wal: Path) -> WalFrames | None:
    """Look into a write-ahead log before SQLite does; None when there is nothing in it."""
    try:
        with wal.open("rb") as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return None
            magic, _, page_bytes, _, *salts_and_sums = _HEADER.unpack(header)
            salts, sums = tuple(salts_and_sums[:2]), tuple(salts_and_sums[2:])
            little = magic == _MAGIC_LITTLE_ENDIAN
            if sums != _checksum(header[:24], little=little) or magic & ~1 != _MAGIC_LITTLE_ENDIAN:
                return WalFrames(header_holds=False, last_commit=0)
            last = 0
            frames = (wal.stat().st_size - _HEADER.size) // (_FRAME_HEADER_BYTES + page_bytes)
            for number in range(1, frames + 1):
                _, commit_pages, *found = _FRAME.unpack(file.read(_FRAME.size))
                if commit_pages and tuple(found) == salts:
                    last = number
                file.seek(_FRAME_HEADER_BYTES - _FRAME.size + page_bytes, 1)
    except FileNotFoundError:
        return None
    return WalFrames(header_holds=True, last_commit=last)


def wal_was_damaged(db: sqlite3.Connection, frames: WalFrames | None) -> bool:
    """Did SQLite, which has just opened the database, take less than what was seen before?"""
    if frames is None:
        return False
    _, taken, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not frames.header_holds or taken < frames.last_commit


def _checksum(data: bytes, *, little: bool) -> tuple[int, int]:
    first = second = 0
    words = struct.unpack(f"{'<' if little else '>'}{len(data) // 4}I", data)
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFF_FFFF
        second = (second + two + first) & 0xFFFF_FFFF
    return first, second
