"""What an operator names, as places of files: files, patterns, directories, URLs, pipes."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.archives import ArchiveError, Place
from kong_ai_tracing.remotestores import is_url, named_by
from kong_ai_tracing.statedir import StateLock, as_store_error, prepare_state_dir

STDIN = "-"

_LOG_LIKE = re.compile(r"(?:^|[._-])(?:logs?|jsonl?|ndjson)(?:[._-]|$)", re.IGNORECASE)
"""`ai.log`, `ai.log.1`, `ai.log-20260101`, `ai-20260101.log`, `calls.jsonl`: rotated names included."""
_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 1 << 20
_PART = "part"


class Named(contextlib.ExitStack):
    """The files that an operator's words stand for; closed when they were dealt with.

    A pipe can be read once only, so its content is kept in a private file under `spool_directory` until
    `done` is called: a run that was cut off goes on with it, or with the same content through a pipe again.
    """

    def __init__(self, spool_directory: Path, *, free_space_floor_bytes: int) -> None:
        super().__init__()
        self._directory = spool_directory
        self._floor_bytes = free_space_floor_bytes
        self.spooled: list[Path] = []

    def paths(self, words: Sequence[str | Path]) -> list[Place]:
        """Raises ArchiveError or RemoteError for a word that stands for nothing."""
        found: dict[Place, None] = {}
        for word in map(str, words):
            try:
                found |= dict.fromkeys(self._paths_of(word))
            except PermissionError as error:
                raise ArchiveError(f"{error.filename or word} cannot be read: {error.strerror}") from error
        return list(found)

    def done(self) -> None:
        """Everything was delivered: what came through a pipe is needed no longer."""
        while self.spooled:
            self.spooled.pop().unlink(missing_ok=True)

    def _paths_of(self, word: str) -> Iterator[Place]:
        if word == STDIN:
            yield self._spool(sys.stdin.buffer)
            return
        if is_url(word):
            yield from named_by(word, _is_log_like)
            return
        path = Path(word)
        if path.is_dir():
            yield from _files_below(path)
        elif _is_pipe(path):
            with path.open("rb") as stream:
                yield self._spool(stream)
        elif not path.exists() and glob.has_magic(word):
            yield from _matching(word)
        else:
            yield path

    def _spool(self, stream: BinaryIO) -> Path:
        if not self.spooled:
            prepare_state_dir(self._directory)
            self.callback(StateLock(self._directory).close)
            for left in self._directory.glob(f"*.{_PART}"):
                left.unlink()
        with as_store_error(self._directory):
            path = self._write(stream)
        self.spooled.append(path)
        return path

    def _write(self, stream: BinaryIO) -> Path:
        """A file with the content, named by its beginning: the same content has the same name again."""
        part = self._directory / f"stdin.{_PART}"
        head = b""
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                while piece := stream.read(_PIECE_BYTES):
                    head += piece[: _HEAD_BYTES - len(head)]
                    self._check_room()
                    file.write(piece)
            path = self._directory / f"stdin-{blake2b(head, digest_size=6).hexdigest()}.log"
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _check_room(self) -> None:
        if shutil.disk_usage(self._directory).free < self._floor_bytes + _PIECE_BYTES:
            raise ArchiveError(
                f"what comes through the pipe does not fit into {self._directory}; write it to a file on a "
                "larger disk and name that file"
            )


@contextlib.contextmanager
def named(state_directory: Path, *, free_space_floor_bytes: int, keeps_nothing: bool) -> Iterator[Named]:
    """`keeps_nothing`: what comes through a pipe goes to a temporary directory, and is gone at the end."""
    with contextlib.ExitStack() as stack:
        directory = state_directory
        if keeps_nothing:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kong-ai-tracing-")))
        yield stack.enter_context(Named(directory, free_space_floor_bytes=free_space_floor_bytes))


def _is_pipe(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _files_below(directory: Path) -> list[Path]:
    """What looks like a log in a directory and those in it, rotated and compressed ones included."""

    def refuse(error: OSError) -> None:
        raise ArchiveError(f"{error.filename} cannot be listed: {error.strerror}") from error

    found = []
    for folder, folders, names in os.walk(directory, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if _is_log_like(name)]
    files = [path for path in found if path.is_file()]
    if not files:
        raise ArchiveError(
            f"{directory} holds no file that is called like a log (ai.log, ai.log.1.gz, ai-20260101.log, "
            "calls.jsonl); name the files themselves"
        )
    return files


def _is_log_like(name: str) -> bool:
    if name.startswith(".") or name.endswith(("~", ".swp", ".tmp")):
        return False
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return _LOG_LIKE.search(name) is not None


def _matching(pattern: str) -> list[Path]:
    """A quoted pattern that the shell did not expand; `**` goes into directories."""
    found = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - it may be absolute
    files = [path for path in found if not path.is_dir()]
    if not files:
        raise ArchiveError(f"no file is called {pattern}")
    return files
