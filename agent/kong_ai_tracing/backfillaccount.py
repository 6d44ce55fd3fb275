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
    calls_found: int
    calls: int
    """Those of them that were wanted: they became spans."""
    filtered: int
    sampled_out: int
    roots: int
    children: int
    delivered: int
    refused: int
    waiting: int
    lost: int

    @property
    def adds_up(self) -> bool:
        return (
            self.lines == self.lines_calls + self.lines_other + self.lines_malformed
            and self.calls_found == self.calls + self.filtered + self.sampled_out
            and self.spans == self.delivered + self.refused + self.waiting + self.lost
        )

    @property
    def spans(self) -> int:
        return self.calls + self.roots + self.children

    def text(self) -> str:
        spans = self.spans
        return (
            f"lines {self.lines:,} = with calls {self.lines_calls:,} + other {self.lines_other:,}"
            f" + malformed, set aside {self.lines_malformed:,}\n"
            f"calls {self.calls_found:,} = wanted {self.calls:,} + filtered {self.filtered:,}"
            + (f" + outside of the sample {self.sampled_out:,}" if self.sampled_out else "")
            + f"\nspans {spans:,} = calls {self.calls:,} + roots of shared traces {self.roots:,}"
            + (f" + within calls {self.children:,}" if self.children else "")
            + "\n"
            f"spans {spans:,} = delivered {self.delivered:,} + refused, set aside"
            f" {self.refused:,} + waiting {self.waiting:,}" + (f" + lost {self.lost:,}" if self.lost else "")
        )


def account_of(store: Store) -> Account:
    """The sums since the account was begun: over all runs that it took."""
    status = store.status()
    counters = status.counters
    return Account(
        lines=counters.get("lines", 0),
        lines_calls=counters.get("lines_calls", 0),
        lines_other=counters.get("lines_other", 0),
        lines_malformed=counters.get("lines_malformed", 0),
        calls_found=counters.get("calls_found", 0),
        calls=counters.get("calls", 0),
        filtered=counters.get("calls_filtered", 0),
        sampled_out=counters.get("calls_sampled_out", 0),
        roots=counters.get("roots", 0),
        children=counters.get("children", 0),
        delivered=counters.get("spans_delivered", 0),
        refused=counters.get("spans_refused", 0),
        waiting=status.held + status.outbox_spans,
        lost=counters.get("calls_lost", 0),
    )
