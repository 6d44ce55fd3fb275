"""The state directory: made private, used by one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kong_ai_tracing.errors import OperatorError

LOCK_NAME = "lock"


class StoreError(OperatorError):
    """The state directory cannot be used; the text says why and what to do."""


class StateLock:
    """One process for each state directory.

    Raises StoreError when another one holds it.
    """

    def __init__(self, state_dir: Path) -> None:
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
