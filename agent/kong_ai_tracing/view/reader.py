"""The local store, as the threads of a web server read it while somebody else writes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kong_ai_tracing import localschema
from kong_ai_tracing.commands import command
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.localstore import LocalTraces

_MAX_SECONDS = 15.0
_LOOK_EACH_STEPS = 100_000


class TooBroadError(Exception):
    """A question that would take too long."""


class Reader:
    """One read-only connection for each thread, opened when there is a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()

    def last_change(self) -> int:
        """A number that grows with each trace that is written; 0 without a store."""
        with self.reading() as db:
            return int(db.execute("SELECT last_change FROM state").fetchone()[0]) if db else 0

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        with self.reading() as db:
            return self._traces().trace(trace_id) if db else None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """One view of the store for several statements; None as long as there is none.

        Raises TooBroadError when they take too long.
        """
        if not self.path.exists():
            yield None
            return
        db = self._traces().connection
        deadline = time.monotonic() + _MAX_SECONDS
        db.set_progress_handler(lambda: time.monotonic() > deadline, _LOOK_EACH_STEPS)
        db.execute("BEGIN")
        try:
            yield db
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TooBroadError from error
            raise
        finally:
            db.rollback()

    def _traces(self) -> LocalTraces:
        traces: LocalTraces | None = getattr(self._mine, "traces", None)
        if traces is None:
            traces = self._mine.traces = LocalTraces(self.path)
        return traces


def check_version(path: Path) -> None:
    """Raise OperatorError for a store that this version cannot read."""
    if not path.exists():
        return
    try:
        traces = LocalTraces(path)
        [version] = traces.connection.execute("PRAGMA user_version").fetchone()
        traces.close()
    except sqlite3.Error as error:
        raise OperatorError(f"{path} cannot be read: {error}") from error
    if version != localschema.VERSION:
        whose = "an older" if version < localschema.VERSION else "a later"
        raise OperatorError(
            f"{path} was written by {whose} version of kong-ai-tracing; "
            f"let `{command('run')}` of this version open it once, or upgrade"
        )
