"""How delivery goes: told in the log when it changes, written down for `status` with every step."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from kong_ai_tracing.commands import command
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.progress import Refusal

log = logging.getLogger(__name__)


class DeliveryHealth:
    """What an operator is told of one destination, and of reading that waits for it."""

    def __init__(
        self,
        name: str,
        gate: Gate,
        ledger: Ledger,
        *,
        last_accepted_ms: int | None,
        clock: Callable[[], float],
    ) -> None:
        self.last_accepted_ms = last_accepted_ms
        self._name = name
        self._gate = gate
        self._ledger = ledger
        self._clock = clock
        self._has_accepted = False
        """Whether the destination accepted something in this run."""
        self._said: str | None = None
        """What the log last said of the destination."""
        self._paused: str | None = None
        """What the log last said of why reading waits."""
        self._waiting_since: float | None = None
        self._waited_seconds = 0.0

    @property
    def answers(self) -> bool:
        """Has the destination accepted something in this run, and nothing gone wrong since?"""
        return self._gate.healthy and self._has_accepted

    @property
    def pause_seconds(self) -> float:
        """How long reading has waited for room, all in all."""
        waiting = 0.0 if self._waiting_since is None else self._clock() - self._waiting_since
        return self._waited_seconds + waiting

    @contextlib.contextmanager
    def timed_pause(self) -> Iterator[None]:
        """What passes in here is time that reading waits."""
        self._waiting_since = self._clock()
        try:
            yield
        finally:
            self._waited_seconds, self._waiting_since = self.pause_seconds, None

    def tell_answer(self, pause_reason: str | None, *, accepted: bool) -> None:
        """A request was answered, or was not."""
        if accepted:
            self._has_accepted = True
            self.last_accepted_ms = time.time_ns() // 1_000_000
        reason = self._gate.reason
        if reason != self._said:
            self._said = reason
            if reason is None:
                log.info("delivery.resumed destination=%s", self._name)
            else:
                log.warning("delivery.failing destination=%s reason=%r", self._name, reason)
        self.note(pause_reason)

    def tell_refused(self, refusals: Sequence[Refusal]) -> None:
        """Spans were set aside for good."""
        # Without the server's words, which may repeat what was sent: the store has them.
        status, _, _ = refusals[0].reason.partition(" ")
        log.error(
            "delivery.refused destination=%s spans=%d reason=%r note=%r",
            self._name,
            len(refusals),
            status if status.isdigit() else refusals[0].reason,
            f"see {command('refused list')}",
        )

    def tell_dropped(self) -> None:
        """A batch went out of the outbox undelivered, as the operator wants it when it is full."""
        reason = "the outbox is full, and delivery.on_full is drop_oldest"
        log.warning("delivery.dropping destination=%s reason=%r", self._name, reason)

    def tell_pause(self, reason: str | None) -> None:
        """Reading has waited for a while."""
        if reason is not None and reason != self._paused:
            log.warning("reading.paused reason=%r", reason)
            self._paused = reason
            self.note(reason)

    def tell_resumed(self, pause_reason: str | None) -> None:
        """Reading goes on."""
        if self._paused is not None:
            log.info("reading.resumed")
            self._paused = None
            self.note(pause_reason)

    def note(self, pause_reason: str | None) -> None:
        """Write down how it goes, with the next commit."""
        gate = self._gate
        state = "ok" if gate.healthy else "holding" if gate.holding else "retrying"
        health = {
            "state": state,
            "reason": gate.reason,
            "retry_in_seconds": round(gate.wait_seconds, 1),
            "last_accepted_ms": self.last_accepted_ms,
            "paused": pause_reason,
            "at_ms": time.time_ns() // 1_000_000,
        }
        self._ledger.note_health(self._name, health)
