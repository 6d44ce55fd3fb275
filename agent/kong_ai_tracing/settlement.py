"""Batches that have ended in, progress out: the only place where it moves, and only in order."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kong_ai_tracing.batches import Batch
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.outgoing import Live, Outgoing
from kong_ai_tracing.progress import Progress


class DeliveryLimits(Struct, frozen=True):
    """How much may be on the way, and how long before it rests on disk."""

    spill_after_seconds: float = 2.0
    commit_interval_seconds: float = 0.5
    max_in_flight_bytes: int = 4 << 20
    max_merged_bytes: int = 2 << 20
    """Bodies of the outbox are sent together up to this size."""
    max_concurrency: int = 4
    outbox_max_bytes: int = 1 << 30
    free_space_floor_bytes: int = 256 << 20
    on_full: Literal["pause", "drop_oldest"] = "pause"


class Settlement:
    """Moves over the longest run of batches that have ended: acknowledged, or spilled to the outbox."""

    def __init__(self, outgoing: Outgoing, ledger: Ledger, limits: DeliveryLimits, first_number: int) -> None:
        self._outgoing = outgoing
        self._ledger = ledger
        self._limits = limits
        self._acknowledged: dict[int, Progress] = {}
        self._missing_bytes: int | None = None
        """What the next body needs, when the outbox has no room for it."""
        self.next_number = first_number
        """The first batch that has not ended."""

    @property
    def is_full(self) -> bool:
        """Whether a batch must stay in memory because the outbox has no room for it."""
        return self._missing_bytes is not None

    @property
    def must_drop(self) -> bool:
        """Whether the outbox is at its own limit and the operator prefers what is new.

        A disk that others have filled is another matter: there dropping would free nothing, because the
        file does not shrink.
        """
        missing = self._missing_bytes
        if missing is None or self._limits.on_full != "drop_oldest":
            return False
        return self._ledger.outbox_bytes + missing > self._limits.outbox_max_bytes

    def unsettled_files(self) -> set[int]:
        """The files of which it has not moved to the end of a batch."""
        progress = [
            *self._acknowledged.values(),
            *(live.batch.progress for live in self._outgoing.live.values()),
        ]
        return {file_id for each in progress for file_id in each.positions}

    def nothing_to_send(self, batch: Batch) -> None:
        """A batch without a body has ended when all before it have."""
        self._acknowledged[batch.number] = batch.progress
        self.settle()

    def has_ended(self, number: int, outcome: Progress) -> None:
        """A batch was delivered or dropped.

        What came of it is written down together with its progress, or its going from the outbox: after a
        crash in between it is sent again, and must not be counted twice.
        """
        live = self._outgoing.live.get(number)
        if live is not None:
            live.batch.progress.merge(outcome)
            self._acknowledged[number] = live.batch.progress
        else:
            self._outgoing.end(number)
            self._ledger.delivered(number)
            self._ledger.settle(outcome)
        self.settle()

    def settle(self) -> None:
        """Move over all batches that have ended, in the order in which they were read."""
        self._missing_bytes = None
        while True:
            number = self.next_number
            live = self._outgoing.live.get(number)
            if number in self._acknowledged:
                self._ledger.settle(self._acknowledged.pop(number))
                if live is not None:
                    self._outgoing.end_live(number)
            elif live is not None and live.spill and self._spill(live):
                self._ledger.settle(live.batch.progress)
                self._outgoing.rest_on_disk(number)
            else:
                return
            self.next_number += 1

    def _spill(self, live: Live) -> bool:
        """Put a body into the next commit, if the outbox has room for it."""
        body = live.body.pack()
        has_room = self._ledger.has_room(
            len(body.data),
            max_bytes=self._limits.outbox_max_bytes,
            free_space_floor_bytes=self._limits.free_space_floor_bytes,
        )
        if has_room:
            self._ledger.spill(live.batch.number, body)
        else:
            self._missing_bytes = len(body.data)
        return has_room
