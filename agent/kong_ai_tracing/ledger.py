"""What is settled, and its way to the disk: one commit at a time, each whole or kept for the next try."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from msgspec import Struct

from kong_ai_tracing.batches import Body
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.media import Attachment
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.statedir import DamagedStoreError, StoreError, as_store_error
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.threads import to_its_end, within

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 2.0
_SLOW_SECONDS = 2.0
"""A commit that takes longer is told: a slow disk, or another program in the database."""


class _ByPlace(Struct, frozen=True):
    """A held call of which the store has no more than the place of its line, and since when."""

    call: AICall
    since: float


class Ledger:
    """Collects what is settled and commits it a little later, so that many small steps are one write.

    `moved` is notified whenever a commit ended. A waiting call is first written by its place only; when it
    has waited for `whole_after_seconds`, whether anything else happens or not, or its file is about to
    vanish, it is written whole.
    """

    def __init__(
        self,
        store: Store,
        *,
        moved: asyncio.Condition,
        interval_seconds: float,
        whole_after_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._moved = moved
        self._interval_seconds = interval_seconds
        self._whole_after_seconds = whole_after_seconds
        self._clock = clock
        self._next = Commit()
        self._writing: Commit | None = None
        self._due = asyncio.Event()
        self._due_since: float | None = None
        self._acting_since: float | None = None
        """Since when a thread has been busy with the store."""
        self._at_once = asyncio.Event()
        self._lock = asyncio.Lock()
        self._by_place: OrderedDict[str, _ByPlace] = OrderedDict()
        """The longest waiting first."""
        self.outbox_bytes, self.outbox_spans = store.outbox_size()
        """What the outbox takes on disk, and how many spans it holds, with the bodies of the next commit."""
        self.media_bytes = store.media_bytes()
        """What the media take, with those for which room was taken."""
        self.unwritten_media_bytes = 0
        self.media_waiting = store.media_waiting()
        """How many media of the lines that are settled were not uploaded."""
        self._searched: tuple[int, int] | None = None
        """How the store's files were when it was last searched for what an operator marked."""
        self.commits = 0
        self.failing_since: float | None = None
        """Since when the disk does not take what is settled."""

    # -- what is settled

    def settle(self, progress: Progress) -> None:
        """A step forward; steps must come in the order in which they were read."""
        now = self._clock()
        for call_id in progress.released:
            self._by_place.pop(call_id, None)
            self._next.held_by_value.pop(call_id, None)
        for call_id, call in progress.held.items():
            self._by_place[call_id] = _ByPlace(call, now)
            self._by_place.move_to_end(call_id)
        if progress.retired:
            # In the same commit: after it, nobody knows any more where their lines are.
            self.keep_whole(progress.retired)
        self._next.progress.merge(progress)
        self.media_waiting += len(progress.media)
        self._is_due()

    def spill(self, number: int, body: Body) -> None:
        """A packed body rests on disk from the next commit on."""
        self._next.spilled[number] = body
        self._next.progress.counts["batches_spilled"] += 1
        self.outbox_bytes += len(body.data)
        self.outbox_spans += body.spans
        self._is_due()

    def announce(self, number: int, roots: dict[str, int]) -> None:
        """Write down soon which roots a batch will send for the first time."""
        self._next.new_roots[number] = roots
        self._is_due()
        self.hurry()

    def delivered(self, number: int) -> None:
        """A spilled body may go."""
        self._next.delivered.append(number)
        self._is_due()

    def uploaded(self, number: int, outcome: Progress) -> None:
        """A medium may go."""
        self._next.uploaded.append(number)
        self.media_waiting -= 1
        self.settle(outcome)

    def note_health(self, destination: str, value: dict[str, Any]) -> None:
        self._next.health[destination] = value
        self._is_due()

    def note_rotations(self, rotations: Iterable[Rotations]) -> None:
        self._next.rotations.update((one.log, one) for one in rotations)
        self._is_due()

    def keep_whole(self, file_ids: Collection[int] | None = None) -> None:
        """Waiting calls of these files (of all, without) are written whole with the next commit."""
        for call_id, waiting in list(self._by_place.items()):
            origin = waiting.call.observation.origin
            if file_ids is None or (origin is not None and origin.file_id in file_ids):
                self._write_whole(call_id)

    def _write_whole(self, call_id: str) -> None:
        self._next.held_by_value[call_id] = self._by_place.pop(call_id).call
        self._is_due()

    def _write_old_ones_whole(self) -> float | None:
        """Those that have waited long enough; gives after how many seconds the next one has."""
        while self._by_place:
            call_id, waiting = next(iter(self._by_place.items()))
            left_seconds = waiting.since + self._whole_after_seconds - self._clock()
            if left_seconds > 0:
                return left_seconds
            self._write_whole(call_id)
        return None

    def _is_due(self) -> None:
        if self._due_since is None:
            self._due_since = self._clock()
        self._due.set()

    @property
    def still_for_seconds(self) -> float:
        """How long the store has been at one thing, or something settled has waited to be tried."""
        since = min(
            (each for each in (self._due_since, self._acting_since) if each is not None), default=None
        )
        return 0.0 if since is None else self._clock() - since

    # -- to the disk and back

    def is_written(self, number: int) -> bool:
        """Whether a spilled body can be read back."""
        return number not in self._next.spilled and (
            self._writing is None or number not in self._writing.spilled
        )

    def is_announced(self, number: int) -> bool:
        """Whether the roots of a batch are on disk, so that it may be sent."""
        return number not in self._next.new_roots and (
            self._writing is None or number not in self._writing.new_roots
        )

    @property
    def _commits(self) -> tuple[Commit, ...]:
        """What is not on disk: the next commit, and the one under way."""
        return (self._next, self._writing) if self._writing is not None else (self._next,)

    @property
    def unwritten_body_bytes(self) -> int:
        """What the bodies take that are on their way to the disk."""
        return sum(len(body.data) for commit in self._commits for body in commit.spilled.values())

    @property
    def unwritten(self) -> Commit:
        """What is settled and not on disk, after `write` found the store damaged."""
        return self._next

    def unwritten_files(self) -> set[int]:
        """The files of which a position is settled and not on disk."""
        return {file_id for commit in self._commits for file_id in commit.progress.positions}

    async def body(self, number: int) -> Body | None:
        """A spilled body; None when it rotted on the disk, and was set aside."""
        return await self._on_store(lambda: self._store.body(number))

    async def take_marked(self) -> list[int]:
        """Bodies that an operator wants to be sent again, by the numbers that they have in the outbox now."""
        stamp = self._store.stamp()
        if stamp is not None and stamp == self._searched:
            return []  # nobody has written anything: the usual case, which costs no thread
        numbers = await self._on_store(self._store.take_marked)
        self._searched = stamp
        if numbers:
            await self._count_outbox()
        return numbers

    def has_room(self, size: int, *, max_bytes: int, free_space_floor_bytes: int) -> bool:
        """Whether the outbox may take another `size` bytes."""
        free_bytes = self._store.free_bytes() - size
        return self.outbox_bytes + size <= max_bytes and free_bytes >= free_space_floor_bytes

    def take_room_for_medium(self, size: int, *, max_bytes: int, free_space_floor_bytes: int) -> bool:
        """Whether a medium of this size may rest in the store, as it will from then on."""
        free_bytes = self._store.free_bytes() - self.unwritten_media_bytes - size
        has_room = self.media_bytes + size <= max_bytes and free_bytes >= free_space_floor_bytes
        if has_room:
            self.media_bytes += size
            self.unwritten_media_bytes += size
        return has_room

    async def oldest_medium(self, besides: Collection[int]) -> tuple[int, Attachment] | None:
        """The medium on disk that has waited longest and has not been uploaded, with its number."""
        gone = {*besides, *self._next.uploaded, *(self._writing.uploaded if self._writing else ())}
        return await self._on_store(lambda: self._store.oldest_medium(gone))

    def hurry(self) -> None:
        """Do not wait for the interval to be over."""
        self._at_once.set()

    async def run(self) -> None:
        """Commit what is settled, a little later, until cancelled."""
        while True:
            while not self._due.is_set():
                await within(self._write_old_ones_whole(), self._due.wait())
            await within(self._interval_seconds, self._at_once.wait())
            self._at_once.clear()
            if not await to_its_end(self.write()):
                await asyncio.sleep(_RETRY_SECONDS)

    async def written(self) -> None:
        """Wait until everything that is settled is on disk."""
        self.hurry()
        async with self._moved:
            await self._moved.wait_for(lambda: not self._next and self._writing is None)

    async def write(self) -> bool:
        """One commit now. False when the disk would not take it; then it is kept for the next try."""
        self._write_old_ones_whole()
        self._writing, self._next = self._next, Commit()
        self._due.clear()
        self._due_since = None
        commit = self._writing
        began = self._clock()
        try:
            await self._on_store(lambda: self._store.commit(commit))
        except StoreError as error:
            commit.merge(self._next)
            self._next, self._writing = commit, None
            if isinstance(error, DamagedStoreError) or not isinstance(
                error.__cause__, sqlite3.OperationalError
            ):
                raise
            self._note_failure(str(error.__cause__), commit)
        else:
            self._note_success(self._clock() - began)
            self.unwritten_media_bytes -= commit.progress.media_bytes
            if commit.delivered:
                await self._count_outbox()
            if commit.uploaded or commit.progress.media:
                self.media_bytes = self.unwritten_media_bytes + await self._on_store(self._store.media_bytes)
            self._writing = None
            self.commits += 1
        async with self._moved:
            self._moved.notify_all()
        return self.failing_since is None

    def _note_failure(self, reason: str, kept: Commit) -> None:
        if self.failing_since is None:
            self.failing_since = self._clock()
            log.error("store.failing path=%s reason=%r reading=paused", self._store.path, reason)
        self._store.trouble.tell(reason, kept.health)
        self._is_due()

    def _note_success(self, seconds: float) -> None:
        if self.failing_since is not None:
            log.info("store.resumed path=%s", self._store.path)
            self.failing_since = None
        elif seconds > _SLOW_SECONDS:
            log.warning("store.slow path=%s seconds=%.0f", self._store.path, seconds)
        self._store.trouble.over()

    async def _count_outbox(self) -> None:
        unwritten = list(self._next.spilled.values())
        size, spans = await self._on_store(self._store.outbox_size)
        self.outbox_bytes = size + sum(len(body.data) for body in unwritten)
        self.outbox_spans = spans + sum(body.spans for body in unwritten)

    async def _on_store(self, act: Callable[[], T]) -> T:
        """SQLite off the event loop, one act at a time."""
        async with self._lock:
            self._acting_since = self._clock()
            try:
                with as_store_error(self._store.path):
                    return await to_its_end(asyncio.to_thread(act))
            finally:
                self._acting_since = None
