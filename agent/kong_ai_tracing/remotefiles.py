"""One object of a remote store as a file that is read forward, a block at a time and one block ahead.

Never more than two blocks are in memory, and nothing goes to disk. What was cut off is asked for again from
the byte it was cut at. An object that is replaced while it is read is noticed before a byte of the other one
is given out.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from concurrent.futures import Future
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from msgspec import Struct

from kong_ai_tracing.archivefiles import Seekable
from kong_ai_tracing.remotestores import RemoteChangedError, RemoteFile, RemoteStore, store_of

FIRST_BLOCK_BYTES = 256 << 10
"""Enough to know a file by; of most files no more is read before it is decided what to do with them."""
BLOCK_BYTES = 4 << 20

_MODIFIED = ("LastModified", "last_modified", "mtime")
_TAGS = ("ETag", "etag", "generation", *_MODIFIED)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_PART = 206
_NO_SUCH_RANGE = 416


class Version(Struct, frozen=True):
    """What tells one content under a name from the next."""

    tag: str
    size: int | None


class _Blocks(Protocol):
    """Bytes of one version of an object."""

    async def open(self) -> None: ...

    async def fetch(self, position: int, length: int) -> bytes:
        """As many bytes, or less at the end. Called again after it failed."""
        ...

    def close(self) -> None: ...

    @property
    def version(self) -> Version: ...

    @property
    def modified_ms(self) -> float: ...


class RemoteReader(Seekable):
    """Reads one object; any thread, one at a time. Raises RemoteError."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._store = store = store_of(file.scheme)
        self._blocks: _Blocks = (_Download if store.kind == "http" else _Ranges)(store, file)
        self._start = 0
        self._block = b""
        self._pending: Future[bytes] | None = None
        self._ahead: tuple[int, Future[bytes]] | None = None
        store.wait(store.trying(file, self._blocks.open))

    @property
    def size(self) -> int:
        """0 when the server does not say."""
        return self._blocks.version.size or 0

    @property
    def modified_ms(self) -> float:
        return self._blocks.modified_ms

    def readinto(self, room: Any) -> int:
        view = memoryview(room)
        within = self._position - self._start
        if not 0 <= within < len(self._block):
            self._load()
            within = 0
        piece = memoryview(self._block)[within : within + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        """Also while another thread waits for bytes: it gets CancelledError."""
        if not self.closed:
            if self._pending is not None:
                self._pending.cancel()
            self._forget_ahead()
            # Not waited for: a reader that nobody holds is closed by whatever thread finds it.
            self._store.loop.call_soon_threadsafe(self._blocks.close)
        super().close()

    def _load(self) -> None:
        """The block at the position, and begin with the one behind it."""
        position = self._position
        follows = position > 0 and position == self._start + len(self._block)
        if self._ahead is not None and self._ahead[0] == position:
            self._pending, self._ahead = self._ahead[1], None
        else:
            self._forget_ahead()
            self._pending = self._ask(position, BLOCK_BYTES if position else FIRST_BLOCK_BYTES)
        self._block = b""  # so that there are never three
        self._block, self._start = self._pending.result(), position
        self._pending = None
        if follows and self._block:
            end = position + len(self._block)
            self._ahead = end, self._ask(end, BLOCK_BYTES)

    def _ask(self, position: int, length: int) -> Future[bytes]:
        fetching = self._store.trying(self._file, lambda: self._blocks.fetch(position, length))
        return asyncio.run_coroutine_threadsafe(fetching, self._store.loop)

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None


class _Ranges:
    """An object store gives any range of bytes. Each is followed by a look whether the object is the same."""

    def __init__(self, store: RemoteStore, file: RemoteFile) -> None:
        self._store = store
        self._file = file
        self.version = Version("", None)
        self.modified_ms = 0.0

    async def open(self) -> None:
        info = await self._store.info(self._file)
        self.version = _version_of(info)
        modified = next((info[name] for name in _MODIFIED if info.get(name)), None)
        if isinstance(modified, datetime):
            self.modified_ms = modified.timestamp() * 1000

    async def fetch(self, position: int, length: int) -> bytes:
        end = min(position + length, self.version.size or 0)
        if position >= end:
            return b""
        path = self._store.path_of(self._file)
        data: bytes = await self._store.filesystem._cat_file(path, start=position, end=end)
        if _version_of(await self._store.info(self._file)) != self.version:
            raise _changed(self._file)
        if len(data) != end - position:
            raise EOFError(f"{len(data)} of {end - position} bytes came")
        return data

    def close(self) -> None:
        """Nothing is held open."""


class _Download:
    """A web server gives a file from its beginning; many give it from any byte on."""

    def __init__(self, store: RemoteStore, file: RemoteFile) -> None:
        self._store = store
        self._file = file
        self._response: Any = None
        self._position = 0
        self._until = 0.0
        """Where the answer ends, which may be before the file does."""
        self._is_known = False
        self.version = Version("", None)
        self.modified_ms = 0.0

    async def open(self) -> None:
        """Asks for no more than the beginning: often no more is read."""
        try:
            await self._ask(0, f"bytes=0-{FIRST_BLOCK_BYTES - 1}")
        except BaseException:
            self.close()
            raise

    async def fetch(self, position: int, length: int) -> bytes:
        if self._is_known and self.version.size is not None and position >= self.version.size:
            return b""
        try:
            if self._response is None or self._position != position or position >= self._until:
                await self._ask(position, f"bytes={position}-")
            data = await self._take(length)
        except BaseException:
            self.close()
            raise
        self._position += len(data)
        return data

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    async def _take(self, length: int) -> bytes:
        data = bytearray()
        if self._response.status == _NO_SUCH_RANGE:
            return b""
        while len(data) < length and (piece := await self._response.content.read(length - len(data))):
            data += piece
        return bytes(data)

    async def _ask(self, position: int, wanted: str) -> None:
        self.close()
        filesystem = self._store.filesystem
        session = await filesystem.set_session()
        url = filesystem.encode_url(self._file.url.reveal())
        response = self._response = await session.get(url, headers={"Range": wanted})
        if response.status != _NO_SUCH_RANGE:  # it is empty, or ends here
            response.raise_for_status()
        start, size = _extent(response, position)
        if start not in (0, position):
            raise EOFError(f"bytes from {start} on instead of {position}")
        self._note(response, size)
        self._position = start
        length = response.content_length
        self._until = float("inf") if length is None else start + length
        while self._position < position:  # it does not know ranges
            passed = await self._take(min(BLOCK_BYTES, position - self._position))
            if not passed:
                raise EOFError(f"it ended at byte {self._position} instead of {position}")
            self._position += len(passed)

    def _note(self, response: Any, size: int | None) -> None:
        headers = response.headers
        version = Version(headers.get("ETag") or headers.get("Last-Modified") or "", size)
        if self._is_known and version != self.version:
            raise _changed(self._file)
        self.version, self._is_known = version, True
        with contextlib.suppress(TypeError, ValueError):
            self.modified_ms = parsedate_to_datetime(headers.get("Last-Modified")).timestamp() * 1000


def _extent(response: Any, position: int) -> tuple[int, int | None]:
    """Where an answer begins, and how long the whole is."""
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if found is None or response.status not in (_PART, _NO_SUCH_RANGE):
        return 0, response.content_length
    return int(found[1] or position), None if found[2] == "*" else int(found[2])


def _version_of(info: dict[str, Any]) -> Version:
    return Version(str(next((info[name] for name in _TAGS if info.get(name)), "")), info.get("size"))


def _changed(file: RemoteFile) -> RemoteChangedError:
    return RemoteChangedError(
        f"{file.name} was replaced while it was read: give the same command again when nobody writes to it"
    )
