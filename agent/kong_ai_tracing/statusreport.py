"""What `status` says, of one destination and of several together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, field

State: TypeAlias = Literal["healthy", "problems", "never_run", "destination_down"]

EXIT_CODES = {"healthy": 0, "problems": 3, "never_run": 3, "destination_down": 4}
_BADNESS: tuple[State, ...] = ("healthy", "never_run", "problems", "destination_down")


class FileLag(Struct, frozen=True):
    """One log file. `size` is None when it was renamed out of sight, deleted, or is a compressed one."""

    path: str
    offset: int
    size: int | None
    lag_bytes: int | None
    lag_seconds: float | None = None
    """How long ago the oldest unread request began; None when nothing is unread or it cannot be seen."""
    deleted_in_seconds: float | None = None
    """When rotation will delete unread bytes, at the pace that was seen; None when nothing can be said."""
    destination: str = ""
    """Whose position it is: each destination reads for itself."""


class Outbox(Struct, frozen=True):
    """Batches on disk that Langfuse has not taken yet."""

    batches: int = 0
    spans: int = 0
    bytes: int = 0
    max_bytes: int = 0


class Target(Struct, frozen=True):
    """Where traces go, as the daemon last saw it."""

    state: str = "unknown"
    """`ok`, `retrying`, `holding` (an operator must act) or `unknown` (nothing was sent yet)."""
    reason: str | None = None
    paused: str | None = None
    """Why reading waits, when it does."""
    last_accepted_at: str | None = None
    last_accepted_seconds_ago: float | None = None
    outbox: Outbox = field(default_factory=Outbox)
    refused_spans: int = 0


class Report(Struct, frozen=True):
    """The contract of `status --json`."""

    state: State
    problems: list[str]
    state_dir: str
    running: bool | None
    """Whether a daemon holds the state directory; None when that cannot be seen."""
    updated_at: str | None = None
    updated_seconds_ago: float | None = None
    lag_bytes: int = 0
    lag_seconds: float | None = None
    files: list[FileLag] = field(default_factory=list)
    outbox: Outbox = field(default_factory=Outbox)
    destinations: dict[str, Target] = field(default_factory=dict)
    waiting_calls: int = 0
    refused_spans: int = 0
    set_aside_lines: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    damaged_states: list[str] = field(default_factory=list)
    """Folders with a damaged database that nobody has removed yet."""


def as_json(report: Report) -> str:
    """The report for programs."""
    return msgspec.json.format(msgspec.json.encode(report)).decode()


def together(reports: Mapping[str, Report], state_dir: str) -> Report:
    """One report of several destinations: as bad as the worst of them."""
    every = list(reports.values())
    if len(every) == 1:
        return every[0]
    lags = [one.lag_seconds for one in every if one.lag_seconds is not None]
    newest = min(every, key=lambda one: one.updated_seconds_ago or 0.0)
    counters: Counter[str] = Counter()
    for one in every:
        counters.update(one.counters)
    return Report(
        state=max((one.state for one in every), key=_BADNESS.index),
        problems=[f"{name}: {problem}" for name, one in reports.items() for problem in one.problems],
        state_dir=state_dir,
        running=newest.running,
        updated_at=newest.updated_at,
        updated_seconds_ago=newest.updated_seconds_ago,
        lag_bytes=max(one.lag_bytes for one in every),
        lag_seconds=max(lags, default=None),
        files=[file for one in every for file in one.files],
        outbox=Outbox(
            sum(one.outbox.batches for one in every),
            sum(one.outbox.spans for one in every),
            sum(one.outbox.bytes for one in every),
            sum(one.outbox.max_bytes for one in every),
        ),
        destinations={name: target for one in every for name, target in one.destinations.items()},
        waiting_calls=sum(one.waiting_calls for one in every),
        refused_spans=sum(one.refused_spans for one in every),
        set_aside_lines=sum(one.set_aside_lines for one in every),
        counters=dict(counters),
        damaged_states=[folder for one in every for folder in one.damaged_states],
    )
