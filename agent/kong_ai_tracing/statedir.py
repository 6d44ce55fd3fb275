"""The state directory: made private, used by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
from msgspec import MsgspecError

from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.mounts import network_filesystem_of

LOCK_NAME = "lock"


_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""What the surroundings do to a database that is whole; anything else is damage."""


class StoreError(OperatorError):
    """The state directory cannot be used; the text says why and what to do."""


class NewerStoreError(StoreError):
    """The state is in a newer program's format: to start again is no use, and the exit code says so."""

    exit_code = 78


class DamagedStoreError(StoreError):
    """What is in the state database cannot be what was written to it."""


@contextlib.contextmanager
def as_store_error(path: Path) -> Iterator[None]:
    """What the disk or SQLite says, as a StoreError that says what to do."""
    try:
        yield
    except (sqlite3.Error, MsgspecError, UnicodeDecodeError, orjson.JSONDecodeError) as error:
        if not is_damage(error):
            raise StoreError(
                f"{path} cannot be used: {error}; see that the disk has room and can be written, and that no "
                "other program keeps the file locked, then start again"
            ) from error
        raise DamagedStoreError(
            f"{path} is damaged: {error}; when the daemon (or the backfill) starts, it moves it into a "
            "folder beside it and takes over what can still be read"
        ) from error
    except PermissionError as error:
        raise StoreError(
            f"{path} cannot be used: {error.strerror}; ask as root, or as the user whose state it is"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be used: {error.strerror}; see that the disk has room and can be written"
        ) from error


def is_damage(error: Exception) -> bool:
    """Is the content wrong, or only something around it?"""
    if not isinstance(error, sqlite3.OperationalError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python's own: of a text that is none
        return "decode" in str(error)
    return code & 0xFF not in _PASSING


class StateLock:
    """One process for each state directory.

    Raises StoreError when another one holds it.
    """

    def __init__(self, state_dir: Path) -> None:
        with as_store_error(state_dir):
            self._descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreError(
                f"{state_dir} is in use by another kong-ai-tracing (process {owner or 'unknown'}); "
                "stop it first, or give this one a state_dir of its own"
            ) from None
        # Only for that message: on a full disk it is left out.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, str(os.getpid()).encode())

    def close(self) -> None:
        os.close(self._descriptor)


def prepare_state_dir(state_dir: Path) -> None:
    """Create the directory (0700) when it is missing. Raises StoreError when it cannot hold the state."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.statvfs(state_dir).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
    except OSError as error:
        raise StoreError(
            f"state_dir {state_dir} cannot be used: {error.strerror}; "
            "create it for this user on a disk that can be written, or set another state_dir"
        ) from error
    if (kind := network_filesystem_of(state_dir)) is not None:
        raise StoreError(
            f"state_dir {state_dir} is on a network filesystem ({kind}): locks and shared memory do not hold "
            "there, and the state would be damaged. Set state_dir to a directory on a disk of this host"
        )
