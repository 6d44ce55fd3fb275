"""The content of one log file, plain or compressed, up to its end or up to where it is damaged.

The fast decompressor for gzip gives nothing of the block in which it meets a damage. What stands before it
is read by the slow one, down to the last byte: a file that was cut while it was compressed keeps its lines.
"""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from isal import igzip, igzip_lib

GZIP_MAGIC = b"\x1f\x8b"
DAMAGE = (OSError, EOFError, zlib.error, cast(type[Exception], igzip_lib.IsalError))
"""What reading a broken file raises."""
COMPRESSED_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")
"""Of files whose content can be read here."""

_GZIP = 31  # zlib's number for: with a gzip header
_INPUT_BYTES = 64 << 10


def _open_gzip(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, igzip.IGzipFile(fileobj=raw, mode="rb"))  # type: ignore[no-untyped-call]


def _open_zstd(raw: BinaryIO) -> BinaryIO:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast(BinaryIO, _Decoded(zstd.ZstdFile(raw), zstd.ZstdError))


def _open_xz(raw: BinaryIO) -> BinaryIO:
    import lzma

    return cast(BinaryIO, _Decoded(lzma.LZMAFile(raw), lzma.LZMAError))


def _open_bzip2(raw: BinaryIO) -> BinaryIO:
    import bz2

    return cast(BinaryIO, bz2.BZ2File(raw))


_OPENERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    GZIP_MAGIC: _open_gzip,
    b"\x28\xb5\x2f\xfd": _open_zstd,
    b"\xfd7zXZ\x00": _open_xz,
    b"BZh": _open_bzip2,
}


def open_content(path: str, raw: BinaryIO | None = None) -> tuple[BinaryIO, BinaryIO]:
    """The file itself and what gives its content; its first bytes decide which form it has."""
    raw = raw or cast(BinaryIO, open(path, "rb", buffering=0))  # noqa: SIM115
    magic = raw.read(6)
    raw.seek(0)
    for beginning, opener in _OPENERS.items():
        if magic.startswith(beginning):
            return raw, opener(raw)
    return raw, raw


class Seekable(io.RawIOBase):
    """A file that is read from a position of its own. Who derives says its size, and what stands where."""

    _position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    @property
    def size(self) -> int:
        raise NotImplementedError


class Descriptor(Seekable):
    """A file by an open descriptor, so that nobody else's position is moved.

    Closing it leaves the descriptor open unless it was told to `own` it.
    """

    def __init__(self, fd: int, *, own: bool = False) -> None:
        self._fd = fd
        self._own = own

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def readinto(self, room: Any) -> int:
        count = os.preadv(self._fd, [room], self._position)
        self._position += count
        return count

    def close(self) -> None:
        if self._own and not self.closed:
            os.close(self._fd)
        super().close()


class Content:
    """Reads forward only. Raises OSError when the file cannot be opened; reading itself raises nothing."""

    def __init__(self, path: str, raw: BinaryIO | None = None) -> None:
        self.path = path
        self.position = 0
        self.damage: str | None = None
        """Why there is nothing more to read, when that is not the end of the file."""
        self.cut = False
        """The damage is that the file ends too early: it may still be being written."""
        self._raw, self._file = open_content(path) if raw is None else open_content(path, raw)
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

    def skip_to(self, offset: int) -> bool:
        """Go to an offset without reading what stands before it; False where that cannot be."""
        if not self.compressed:
            self._raw.seek(offset)
            self.position = offset
        return not self.compressed

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
            again = self.damage is not None
            self.damage, self.cut = str(error), isinstance(error, EOFError)
            if again or not isinstance(self._file, igzip.IGzipFile):
                return 0
        self._salvage = _Salvage(self._raw)
        left = self.position
        while left and (count := self._salvage.read_into(memoryview(bytearray(min(left, 1 << 20))))):
            left -= count
        return self._salvage.read_into(room)


def content_head(fd: int, max_bytes: int) -> bytes:
    """How the content of a compressed file begins; nothing as long as that cannot be said.

    A file that is being compressed shows only a part of it for a moment: that would look like another file.
    """
    content = Content("", cast(BinaryIO, Descriptor(fd)))
    if not content.compressed:
        return b""
    head = b""
    while len(head) < max_bytes and (piece := content.read(max_bytes - len(head))):
        head += piece
    return head if len(head) == max_bytes or content.damage is None else b""


class _Decoded(io.RawIOBase):
    """A decompressing file whose own kind of error is an OSError to its reader."""

    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file = file
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        try:
            return cast(int, self._file.readinto1(room))
        except self._error as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        self._file.close()
        super().close()


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
