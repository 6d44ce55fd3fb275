"""What `verify` found of each destination."""

from __future__ import annotations

from msgspec import Struct, field


class Hour(Struct):
    """The calls that began in one hour, and what became of them."""

    hour: str
    calls: int = 0
    accepted: int = 0
    """Acknowledged by the destination."""
    waiting: int = 0
    """In the outbox, waiting for company, or in a file that the daemon is reading."""
    refused: int = 0
    filtered: int = 0
    """Left out by a backfill with a selection, and delivered by nobody."""
    unknown: int = 0
    """Read by an older version, or by runs with the same `--since 2h`: which were sent is not noted."""
    missing: int = 0


class Finding(Struct):
    """What `verify --json` prints of one destination."""

    destination: str
    hours: list[Hour] = field(default_factory=list)
    calls: int = 0
    missing: int = 0
    lines: int = 0
    malformed_lines: int = 0
    """Whether they held calls cannot be said, nor of which hour."""
    left_out: int = 0
    """Calls that are not wanted: filtered here, of another destination, or outside of the sample."""
    unattributed_batches: int = 0
    """Waiting or refused, but they do not say which calls they hold."""
    dropped_spans: int = 0
    """Let go by a full outbox, of hours that were not noted: their calls count as accepted."""
