"""`kong-ai-tracing status`: how far reading and delivery are, from the state on disk alone.

Another process asks, so it works for a running daemon, a hanging one and a stopped one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct, field

from kong_ai_tracing.checks.logaccess import matching_files
from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.config import Config
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.statedir import LOCK_NAME
from kong_ai_tracing.storestatus import StoreStatus, read_status

EXIT_CODES = {"healthy": 0, "problems": 3, "never_run": 3, "destination_down": 4}

_STALLED_SECONDS = 30.0
_DOWN_SECONDS = 60.0
_NEARLY_FULL = 0.8
_COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip")
_LOCKS = Path("/proc/locks")
_STARTED_AT = re.compile(rb'"started_at":(\d{1,15})\b')
_LOOK_BYTES = 1 << 20

State: TypeAlias = Literal["healthy", "problems", "never_run", "destination_down"]


class FileLag(Struct, frozen=True):
    """One log file. `size` is None when it was renamed out of sight, deleted, or is a compressed one."""

    path: str
    offset: int
    size: int | None
    lag_bytes: int | None
    lag_seconds: float | None = None
    """How long ago the oldest unread request began; None when nothing is unread or it cannot be seen."""


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


def look(config: Config) -> Report:
    """The report of this moment. Raises StoreError when the state cannot be read."""
    running = is_running(config.state_dir)
    return report_of(config, read_status(config.state_dir), now=time.time(), running=running)


def as_json(report: Report) -> str:
    """The report for programs."""
    return msgspec.json.format(msgspec.json.encode(report)).decode()


def report_of(config: Config, status: StoreStatus | None, *, now: float, running: bool | None) -> Report:
    """What the numbers mean at `now` (epoch seconds)."""
    files = _lags(config, status.files if status else [], now)
    lag = sum(file.lag_bytes or 0 for file in files)
    lag_seconds = max((file.lag_seconds for file in files if file.lag_seconds is not None), default=None)
    if status is None:
        hint = (
            "nothing has run with this state_dir yet: systemctl start kong-ai-tracing, or kong-ai-tracing run"
        )
        return Report(
            "never_run",
            [hint],
            str(config.state_dir),
            running,
            lag_bytes=lag,
            lag_seconds=lag_seconds,
            files=files,
        )
    outbox = Outbox(
        status.outbox_batches, status.outbox_spans, status.outbox_bytes, config.delivery.outbox_max_bytes
    )
    targets = {name: _target(health, now) for name, health in status.health.items()}
    current = targets.get("langfuse" if config.langfuse_enabled else "local", Target())
    quiet_seconds = max(0.0, now - status.updated_at_ms / 1000)
    down = list(_down(current, outbox))
    problems = down + list(_problems(current, outbox, lag, quiet_seconds, running))
    return Report(
        state="destination_down" if down else "problems" if problems else "healthy",
        problems=problems,
        state_dir=str(config.state_dir),
        running=running,
        updated_at=_timestamp(status.updated_at_ms),
        updated_seconds_ago=round(quiet_seconds, 1),
        lag_bytes=lag,
        lag_seconds=lag_seconds,
        files=files,
        outbox=outbox,
        destinations=targets,
        waiting_calls=status.held,
        refused_spans=status.refused,
        set_aside_lines=status.set_aside,
        counters=status.counters,
    )


def is_running(state_dir: Path, locks: Path = _LOCKS) -> bool | None:
    """Whether somebody holds the lock of the state directory.

    Looked up, not tried: to take the lock for a moment could make a starting daemon give up.
    """
    try:
        inode = (state_dir / LOCK_NAME).stat().st_ino
        table = locks.read_text()
    except FileNotFoundError:
        return False if locks.exists() else None
    except OSError:
        return None
    return any(f":{inode} " in line and " FLOCK " in line for line in table.splitlines())


def _lags(config: Config, records: list[FileRecord], now: float) -> list[FileLag]:
    # A truncated file has two records until the old one is retired; the later one is about what is there.
    known = {
        (_unsigned(record.device), _unsigned(record.inode)): record
        for record in sorted(records, key=lambda record: record.file_id)
        if not record.is_history
    }
    files = [
        _lag(record.path, record.offset, _size_of(Path(record.path), identity), now)
        for identity, record in known.items()
    ]
    for path in _readable_matches(config):
        status = path.stat()
        if (status.st_dev, status.st_ino) not in known and path.suffix not in _COMPRESSED:
            files.append(_lag(str(path), 0, status.st_size, now))
    return sorted(files, key=lambda file: file.path)


def _readable_matches(config: Config) -> Iterator[Path]:
    for pattern in config.log_paths:
        try:
            yield from matching_files(pattern)
        except OSError:
            continue  # closed to whoever asks; the daemon may well see more


def _lag(path: str, offset: int, size: int | None, now: float) -> FileLag:
    if path.endswith(COMPRESSED_SUFFIXES):
        size = None  # The offset counts its content, whose size nobody knows yet.
    unread = None if size is None else max(0, size - offset)
    return FileLag(path, offset, size, unread, _oldest_unread_seconds(path, offset, now) if unread else None)


def _oldest_unread_seconds(path: str, offset: int, now: float) -> float | None:
    """The age of the first unread request, by its own `started_at`: only the beginning of a line is read."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            started_at = _STARTED_AT.search(file.read(_LOOK_BYTES))
    except OSError:
        return None
    return round(max(0.0, now - int(started_at[1]) / 1000), 1) if started_at else None


def _size_of(path: Path, identity: tuple[int, int]) -> int | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if (status.st_dev, status.st_ino) == identity else None


def _unsigned(number: int) -> int:
    # SQLite's integers are signed.
    return number & 0xFFFF_FFFF_FFFF_FFFF


def _target(health: Mapping[str, Any], now: float) -> Target:
    accepted_ms = health.get("last_accepted_ms")
    return Target(
        state=health.get("state", "unknown"),
        reason=health.get("reason"),
        paused=health.get("paused"),
        last_accepted_at=_timestamp(accepted_ms) if accepted_ms else None,
        last_accepted_seconds_ago=round(max(0.0, now - accepted_ms / 1000), 1) if accepted_ms else None,
    )


def _down(target: Target, outbox: Outbox) -> Iterator[str]:
    """The destination is the problem."""
    if target.state == "holding":
        yield f"the destination takes nothing until somebody acts: {target.reason}"
    elif target.state == "retrying" and _nothing_accepted_lately(target) and outbox.batches:
        yield f"the destination has taken nothing for a while: {target.reason}"


def _problems(
    target: Target, outbox: Outbox, lag: int, quiet_seconds: float, running: bool | None
) -> Iterator[str]:
    if running is False and (lag or outbox.batches):
        yield "the daemon is not running, and there is something to deliver"
    elif lag and quiet_seconds > _STALLED_SECONDS:
        yield f"{lag} bytes are unread, and nothing has moved for {quiet_seconds:.0f} seconds"
    if target.paused:
        yield f"reading is paused: {target.paused}"
    if outbox.bytes >= outbox.max_bytes * _NEARLY_FULL:
        yield "the outbox is nearly full; when it is full, reading pauses"
    if outbox.batches and target.state == "ok" and _nothing_accepted_lately(target) and running:
        yield "the outbox is not being emptied"


def _nothing_accepted_lately(target: Target) -> bool:
    return target.last_accepted_seconds_ago is None or target.last_accepted_seconds_ago > _DOWN_SECONDS


def _timestamp(epoch_ms: int) -> str:
    return (
        datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
