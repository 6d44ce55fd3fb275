"""What is wrong with the state directory, told in a place that a full disk cannot take away.

`status` reads the database, but while that cannot be written it says how things were before. So a small file
beside it has its room from the beginning, and is written anew in place.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

FILE_NAME = "trouble"
_BYTES = 4096


class Trouble(Struct, frozen=True):
    """Since when the database cannot be written, and what could not be written of health."""

    since_ms: int
    at_ms: int
    reason: str
    health: dict[str, dict[str, Any]] = field(default_factory=dict)


class TroubleNote:
    """The file, for the process that owns the state. Nothing here raises for what a disk can do."""

    def __init__(self, state_dir: Path | None) -> None:
        self._since_ms: int | None = None
        # What an earlier process noted is so until the database has been written.
        self._is_blank = False
        self._descriptor: int | None = None
        if state_dir is not None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                self._descriptor = os.open(state_dir / FILE_NAME, flags, 0o600)
                if os.fstat(self._descriptor).st_size < _BYTES:
                    self.over()

    def tell(self, reason: str, health: dict[str, dict[str, Any]]) -> None:
        """The database could not be written."""
        now_ms = time.time_ns() // 1_000_000
        self._since_ms = self._since_ms or now_ms
        text = msgspec.json.encode(Trouble(self._since_ms, now_ms, reason, health))
        if len(text) > _BYTES:
            text = msgspec.json.encode(Trouble(self._since_ms, now_ms, reason[: _BYTES // 8]))
        self._write(text)
        self._is_blank = False

    def over(self) -> None:
        """It can be written."""
        if not self._is_blank:
            self._since_ms = None
            self._write(b"")
            self._is_blank = True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, text: bytes) -> None:
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):  # the operator's log has it as well
            os.pwrite(self._descriptor, text.ljust(_BYTES), 0)


def read_trouble(state_dir: Path) -> Trouble | None:
    """What the daemon noted last; None when all is well, or when that cannot be seen."""
    try:
        text = (state_dir / FILE_NAME).read_bytes()
        return msgspec.json.decode(text, type=Trouble) if text.strip() else None
    except (OSError, msgspec.MsgspecError):
        return None
