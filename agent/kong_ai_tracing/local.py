"""The local store as a destination: what would go to Langfuse stays on this machine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence

from msgspec import MsgspecError

from kong_ai_tracing import localrecords
from kong_ai_tracing.batches import Body
from kong_ai_tracing.commands import command
from kong_ai_tracing.localstore import LocalStore
from kong_ai_tracing.outcomes import Accepted, Outcome, Refused, TryLater
from kong_ai_tracing.spans import Span


class Local:
    """Writes bodies into a trace store, which is opened with the first of them."""

    name = "local"
    patience_seconds = 0.0
    """A disk either takes it or says no."""
    max_span_bytes = None

    def __init__(self, open_store: Callable[[], LocalStore]) -> None:
        self._open_store = open_store
        self._store: LocalStore | None = None

    def encode(self, span: Span) -> bytes:
        return localrecords.encode(span)

    def join(self, spans: Sequence[bytes]) -> bytes:
        return b"\n".join(spans)

    def merge(self, bodies: Sequence[bytes]) -> bytes | None:
        """A disk counts no requests."""
        return None

    def split(self, data: bytes) -> list[bytes]:
        return data.split(b"\n")

    def shorten(self, span: bytes, max_bytes: int) -> bytes | None:
        """Nothing is too large for a disk that takes anything at all."""
        return None

    async def send(self, body: Body) -> Outcome:
        try:
            await asyncio.to_thread(self._write, body)
        except (sqlite3.Error, OSError) as error:
            return TryLater(str(error))
        except MsgspecError:
            return Refused(
                "it was made for Langfuse, while langfuse_enabled was true: set it again, then"
                f" {command('refused retry --all')}"
            )
        return Accepted()

    async def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _write(self, body: Body) -> None:
        if self._store is None:
            self._store = self._open_store()
        self._store.write(body.unpack().data)
