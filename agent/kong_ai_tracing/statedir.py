"""The state directory: made private, used by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from kong_ai_tracing.errors import OperatorError

LOCK_NAME = "lock"


class StoreError(OperatorError):
    """The state directory cannot be used; the text says why and what to do."""


@contextlib.contextmanager
def as_store_error(path: Path) -> Iterator[None]:
    """What the disk or SQLite says, as a StoreError that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path} cannot be used: {error}; see that the disk has room and can be written, and that no "
            "other program keeps the file locked, then start again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path} is damaged: {error}; move it and its -wal and -shm files away and start again. "
            "Log files are then read as at a first start (tailing.start_at): what is sent again has the same "
            "ids; what waited in its outbox is lost, unless its lines are still in the log files"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be used: {error.strerror}; see that the disk has room and can be written"
        ) from error


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
    """Create the directory (0700) when it is missing. Raises StoreError when that is impossible."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as error:
        raise StoreError(
            f"state_dir {state_dir} cannot be used: {error.strerror}; "
            "create it for this user or set state_dir"
        ) from error
