"""The account that closes a backfill: every sum in it must come out, or something was lost."""

from __future__ import annotations

from msgspec import Struct

from kong_ai_tracing.store import Store


class Account(Struct, frozen=True):
    """What became of every line, call and span. All sums must come out, or something was lost."""

    lines: int
    lines_calls: int
    lines_other: int
    lines_malformed: int
    calls: int
    delivered: int
    already_there: int
    set_aside: int
    """Refused by the destination, damaged on the way, or gone before they were delivered."""
    filtered: int
    sampled_out: int
    repeated: int
    """Read twice, and sent once with the others of their trace."""
    waiting: int
    roots: int
    children: int
    uncounted_bytes: int
    """Already there as well, but how many calls they hold is not known."""
    retried: int
    """Spans that were refused by an earlier run and asked for again."""
    spans_delivered: int
    spans_set_aside: int
    spans_waiting: int

    @property
    def adds_up(self) -> bool:
        return (
            self.lines == self.lines_calls + self.lines_other + self.lines_malformed
            and self.calls
            == self.delivered
            + self.already_there
            + self.set_aside
            + self.filtered
            + self.sampled_out
            + self.repeated
            + self.waiting
            and self.spans == self.spans_delivered + self.spans_set_aside + self.spans_waiting
        )

    @property
    def spans(self) -> int:
        passed_over = self.already_there + self.filtered + self.sampled_out + self.repeated
        return self.calls - passed_over + self.roots + self.children + self.retried

    def text(self) -> str:
        sent = self.spans - self.roots - self.children - self.retried
        rows = [
            _sum(
                "lines",
                self.lines,
                ("with calls", self.lines_calls),
                ("other", self.lines_other),
                ("malformed, set aside", self.lines_malformed),
            ),
            _sum(
                "calls",
                self.calls,
                ("delivered", self.delivered),
                ("already there", self.already_there),
                ("set aside", self.set_aside),
                ("filtered", self.filtered),
                *_if_any("outside of the sample", self.sampled_out),
                *_if_any("repeated", self.repeated),
                *_if_any("waiting", self.waiting),
            ),
            _sum(
                "spans",
                self.spans,
                ("calls", sent),
                ("roots of shared traces", self.roots),
                *_if_any("within calls", self.children),
                *_if_any("asked for again", self.retried),
            ),
            _sum(
                "spans",
                self.spans,
                ("delivered", self.spans_delivered),
                ("set aside", self.spans_set_aside),
                ("waiting", self.spans_waiting),
            ),
        ]
        if self.uncounted_bytes:
            rows.append(
                f"{self.uncounted_bytes:,} bytes more were already there; their calls are not counted"
            )
        return "\n".join(rows)


def account_of(store: Store) -> Account:
    """The sums since the account was begun: over all runs that it took."""
    status = store.status()

    def count(*names: str) -> int:
        return sum(status.counters.get(name, 0) for name in names)

    return Account(
        lines=count("lines"),
        lines_calls=count("lines_calls"),
        lines_other=count("lines_other"),
        lines_malformed=count("lines_malformed"),
        calls=count("calls_found"),
        delivered=count("calls_delivered"),
        already_there=count("calls_already_there"),
        set_aside=count("calls_refused", "calls_rotten", "calls_dropped", "calls_lost"),
        filtered=count("calls_filtered"),
        sampled_out=count("calls_sampled_out"),
        repeated=count("calls_repeated"),
        waiting=status.held + status.outbox_calls,
        roots=count("roots"),
        children=count("children"),
        uncounted_bytes=count("bytes_already_there"),
        retried=count("spans_retried"),
        spans_delivered=count("spans_delivered"),
        spans_set_aside=count("spans_refused", "spans_rotten", "spans_dropped", "calls_lost"),
        spans_waiting=status.held + status.outbox_spans,
    )


def _sum(name: str, total: int, *parts: tuple[str, int]) -> str:
    return f"{name} {total:,} = " + " + ".join(f"{part} {count:,}" for part, count in parts)


def _if_any(name: str, count: int) -> list[tuple[str, int]]:
    return [(name, count)] if count else []
