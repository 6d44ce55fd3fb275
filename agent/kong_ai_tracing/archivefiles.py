"""The content of one archive, plain or gzip-compressed, up to its end or up to where it is damaged.

The fast decompressor gives nothing of the block in which it meets a damage. What stands before it is read
by the slow one, down to the last byte: a file that was cut while it was compressed keeps its lines.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO, cast

from isal import igzip, igzip_lib

GZIP_MAGIC = b"\x1f\x8b"
DAMAGE = (OSError, EOFError, zlib.error, cast(type[Exception], igzip_lib.IsalError))
"""What reading a broken file raises."""

_GZIP = 31  # zlib's number for: with a gzip header
_INPUT_BYTES = 64 << 10


def open_content(path: str, *, compressed: bool | None = None) -> tuple[BinaryIO, BinaryIO]:
    """The file itself and what gives its content. Without `compressed` its first bytes decide."""
    raw = open(path, "rb", buffering=0)  # noqa: SIM115
    if compressed is None:
        compressed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
    if not compressed:
        return cast(BinaryIO, raw), cast(BinaryIO, raw)
    return cast(BinaryIO, raw), cast(BinaryIO, igzip.IGzipFile(fileobj=raw, mode="rb"))  # type: ignore[no-untyped-call]


class Content:
    """Reads forward only. Raises OSError when the file cannot be opened; reading itself raises nothing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        self.damage: str | None = None
        """Why there is nothing more to read, when that is not the end of the file."""
        self._raw, self._file = open_content(path)
        self.compressed = self._file is not self._raw
        self._salvage: _Salvage | None = None

    @property
    def read_bytes(self) -> int:
        """How much of the file itself was read."""
        return self._raw.tell()

    def read_into(self, room: memoryview) -> int:
        """Fill some of the room; 0 at the end."""
        count = self._read_into(room)
        self.position += count
        return count

    def read(self, max_bytes: int) -> bytes:
        """Some of the next bytes; none at the end."""
        room = bytearray(max_bytes)
        return bytes(room[: self.read_into(memoryview(room))])

    def close(self) -> None:
        self._file.close()
        self._raw.close()

    def _read_into(self, room: memoryview) -> int:
        if self._salvage is not None:
            return self._salvage.read_into(room)
        try:
            # Once only: reading on until the room is full would meet a damage that stands behind good lines.
            read = getattr(self._file, "readinto1", None) or self._file.readinto  # type: ignore[attr-defined]
            return cast(int, read(room))
        except DAMAGE as error:
            if self.damage is not None or not self.compressed:
                self.damage = str(error)
                return 0
            self.damage = str(error)
        self._salvage = _Salvage(self._raw)
        left = self.position
        while left and (count := self._salvage.read_into(memoryview(bytearray(min(left, 1 << 20))))):
            left -= count
        return self._salvage.read_into(room)


class _Salvage:
    """Decompresses a damaged file in ever smaller steps, up to the last byte before the damage."""

    def __init__(self, raw: BinaryIO) -> None:
        raw.seek(0)
        self._raw = raw
        self._input = b""
        self._inflate = zlib.decompressobj(_GZIP)

    def read_into(self, room: memoryview) -> int:
        step = len(room)
        while self._input or self._refill():
            before = self._inflate.copy()
            try:
                data = self._inflate.decompress(self._input, step)
            except zlib.error:
                self._inflate = before
                if step == 1:
                    return 0
                step = max(1, step // 16)
                continue
            self._input = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._input = self._inflate.unused_data
                self._inflate = zlib.decompressobj(_GZIP)
            if data:
                room[: len(data)] = data
                return len(data)
        return 0

    def _refill(self) -> bool:
        try:
            self._input = self._raw.read(_INPUT_BYTES)
        except OSError:
            return False
        return bool(self._input)
