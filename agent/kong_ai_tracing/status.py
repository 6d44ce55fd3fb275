"""`kong-ai-tracing status`: how far reading and delivery are, from the state on disk alone.

Another process asks, so it works for a running daemon, a hanging one and a stopped one.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.checks.logaccess import matching_files
from kong_ai_tracing.checks.units import unit_is_installed
from kong_ai_tracing.commands import about_the_service, command, service_command
from kong_ai_tracing.config import Config
from kong_ai_tracing.copies import Heads
from kong_ai_tracing.identity import HEAD_BYTES, TELLING_BYTES, FileRecord
from kong_ai_tracing.patterns import family_of
from kong_ai_tracing.projects import projects_of
from kong_ai_tracing.quantities import readable_span
from kong_ai_tracing.rotationrisk import WARNING_SECONDS, Rotations, about
from kong_ai_tracing.statedir import LOCK_NAME
from kong_ai_tracing.statusreport import FileLag, Outbox, Report, Target, together
from kong_ai_tracing.storerepair import Damage, damages
from kong_ai_tracing.storestatus import StoreStatus, read_status
from kong_ai_tracing.storetrouble import Trouble, read_trouble
from kong_ai_tracing.tracejson import rfc3339

_STALLED_SECONDS = 30.0
_DOWN_SECONDS = 60.0
_NEARLY_FULL = 0.8
_COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip")
_LOCKS = Path("/proc/locks")
_STARTED_AT = re.compile(rb'"started_at":(\d{1,15})\b')
_LOOK_BYTES = 1 << 20


class Seen(Struct, frozen=True):
    """What the state of one destination shows."""

    status: StoreStatus | None
    trouble: Trouble | None = None
    damages: list[Damage] = field(default_factory=list)


def look(config: Config) -> Report:
    """The report of this moment. Raises StoreError when the state cannot be read."""
    return together(look_at_each(config), str(config.state_dir))


def look_at_each(config: Config) -> dict[str, Report]:
    """The report of each destination. Raises StoreError when a state cannot be read."""
    running, now = is_running(config.state_dir), time.time()
    reports = {}
    for project in projects_of(config):
        directory = project.config.state_dir
        seen = Seen(read_status(directory), read_trouble(directory), damages(directory))
        reports[project.name] = report_of(project.config, seen, name=project.name, now=now, running=running)
    return reports


def report_of(config: Config, seen: Seen, *, name: str, now: float, running: bool | None) -> Report:
    """What the numbers of one destination mean at `now` (epoch seconds)."""
    status = seen.status
    files = _lags(config, name, status.files if status else [], now)
    if status is not None:
        files = [_with_deletion(file, status.rotations, now) for file in files]
    report = Report(
        "never_run",
        [f"nothing has run with this state_dir yet: {_first_step(config)}"],
        str(config.state_dir),
        running,
        lag_bytes=sum(file.lag_bytes or 0 for file in files),
        lag_seconds=max((file.lag_seconds for file in files if file.lag_seconds is not None), default=None),
        files=files,
        damaged_states=[damage.folder for damage in seen.damages],
    )
    if status is None:
        return report
    outbox = Outbox(
        status.outbox_batches, status.outbox_spans, status.outbox_bytes, config.delivery.outbox_max_bytes
    )
    health = status.health | (seen.trouble.health if seen.trouble else {})
    kind = "langfuse" if config.langfuse_enabled else "local"
    target = _target(health.get(name, health.get(kind, {})), outbox, status.refused, now)
    # Without a commit the state has only just been made.
    updated_at_ms = status.updated_at_ms or int(now * 1000)
    quiet_seconds = max(0.0, now - updated_at_ms / 1000)
    down = list(_down(target, outbox))
    problems = [
        *down,
        *_state_problems(seen, now),
        *_problems(
            target,
            outbox,
            report.lag_bytes,
            quiet_seconds,
            running,
            drops_oldest=config.delivery.on_full == "drop_oldest",
        ),
        *_threats(files, waits=running is False or bool(target.paused) or quiet_seconds > _STALLED_SECONDS),
    ]
    return replace(
        report,
        state="destination_down" if down else "problems" if problems else "healthy",
        problems=problems,
        updated_at=rfc3339(updated_at_ms),
        updated_seconds_ago=round(quiet_seconds, 1),
        outbox=outbox,
        destinations={name: target},
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


def _lags(config: Config, name: str, records: list[FileRecord], now: float) -> list[FileLag]:
    # A truncated file has two records until the old one is retired; the later one is about what is there.
    known = {
        (record.device, record.inode): record
        for record in sorted(records, key=lambda record: record.file_id)
        if not record.is_history
    }
    files = []
    for identity, record in known.items():
        path = _path_now(record.path, identity)
        files.append(_lag(str(path), record.offset, _size_of(path, identity), now))
    heads = Heads(record for record in known.values() if record.head_length >= TELLING_BYTES)
    for path in _readable_matches(config):
        status = path.stat()
        if (status.st_dev, status.st_ino) in known or path.suffix in _COMPRESSED:
            continue
        # A copy waits until its original is gone: it is not behind.
        if not heads.find(_head_of(path)):
            files.append(_lag(str(path), 0, status.st_size, now))
    return [replace(file, destination=name) for file in sorted(files, key=lambda file: file.path)]


def _readable_matches(config: Config) -> Iterator[Path]:
    for pattern in config.log_paths:
        try:
            yield from matching_files(pattern)
        except OSError:
            continue  # closed to whoever asks; the daemon may well see more


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _lag(path: str, offset: int, size: int | None, now: float) -> FileLag:
    if path.endswith(COMPRESSED_SUFFIXES):
        size = None  # The offset counts its content, whose size nobody knows yet.
    unread = None if size is None else max(0, size - offset)
    return FileLag(path, offset, size, unread, _oldest_unread_seconds(path, offset, now) if unread else None)


def _with_deletion(file: FileLag, rotations: Mapping[str, Rotations], now: float) -> FileLag:
    """A lag with what rotation will make of it."""
    known = rotations.get(family_of(file.path))
    if known is None or not file.lag_bytes:
        return file
    seconds = known.deleted_in_seconds(_younger_generations(Path(file.path)), now)
    return file if seconds is None else replace(file, deleted_in_seconds=round(seconds))


def _younger_generations(path: Path) -> int:
    family = family_of(str(path))
    try:
        written_ns = path.stat().st_mtime_ns
        return sum(
            family_of(str(other)) == family and other.stat().st_mtime_ns > written_ns
            for other in path.parent.iterdir()
        )
    except OSError:
        return 0


def _threats(files: list[FileLag], *, waits: bool) -> Iterator[str]:
    """What rotation will delete when reading goes on to wait."""
    for file in files:
        seconds = file.deleted_in_seconds
        if waits and seconds is not None and seconds < WARNING_SECONDS:
            yield (
                f"{file.lag_bytes} unread bytes of {file.path} will be deleted by rotation in "
                f"{about(seconds)} at this pace: keep more generations (logrotate's rotate)"
            )


def _oldest_unread_seconds(path: str, offset: int, now: float) -> float | None:
    """The age of the first unread request, by its own `started_at`: only the beginning of a line is read."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            started_at = _STARTED_AT.search(file.read(_LOOK_BYTES))
    except OSError:
        return None
    return round(max(0.0, now - int(started_at[1]) / 1000), 1) if started_at else None


def _path_now(known: str, identity: tuple[int, int]) -> Path:
    """The name that a file has now: while reading waits, rotation renames it and nobody writes that down."""
    path, family = Path(known), family_of(known)
    if _size_of(path, identity) is None:
        with contextlib.suppress(OSError):
            for other in path.parent.iterdir():
                if family_of(str(other)) == family and _size_of(other, identity) is not None:
                    return other
    return path


def _size_of(path: Path, identity: tuple[int, int]) -> int | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if (status.st_dev, status.st_ino) == identity else None


def _first_step(config: Config) -> str:
    if not config.log_paths:
        return f"{command('check')} says what is missing"
    return service_command("start") if about_the_service() and unit_is_installed() else command("run")


def _target(health: Mapping[str, Any], outbox: Outbox, refused_spans: int, now: float) -> Target:
    accepted_ms = health.get("last_accepted_ms")
    return Target(
        state=health.get("state", "unknown"),
        reason=health.get("reason"),
        paused=health.get("paused"),
        last_accepted_at=rfc3339(accepted_ms) if accepted_ms else None,
        last_accepted_seconds_ago=round(max(0.0, now - accepted_ms / 1000), 1) if accepted_ms else None,
        outbox=outbox,
        refused_spans=refused_spans,
    )


def _state_problems(seen: Seen, now: float) -> Iterator[str]:
    """The disk is the problem, or was."""
    if seen.trouble is not None:
        seconds = max(0.0, now - seen.trouble.since_ms / 1000)
        yield (
            f"the state cannot be written for {readable_span(seconds)} ({seen.trouble.reason}): "
            "reading waits and nothing is claimed"
        )
    for damage in seen.damages:
        kept = "what it held was taken over"
        if damage.salvaged.incomplete:
            kept = f"a part of {', '.join(damage.salvaged.incomplete)} is missing"
        yield (
            f"the state was damaged and built anew ({damage.reason.splitlines()[-1]}): {kept}; see "
            f"{damage.folder}, and remove it when you have"
        )


def _down(target: Target, outbox: Outbox) -> Iterator[str]:
    """The destination is the problem."""
    if target.state == "holding":
        yield f"the destination takes nothing until somebody acts: {target.reason}"
    elif target.state == "retrying" and _nothing_accepted_lately(target) and outbox.batches:
        yield f"the destination has taken nothing for a while: {target.reason}"


def _problems(
    target: Target,
    outbox: Outbox,
    lag: int,
    quiet_seconds: float,
    running: bool | None,
    *,
    drops_oldest: bool,
) -> Iterator[str]:
    if running is False and (lag or outbox.batches):
        yield "the daemon is not running, and there is something to deliver"
    elif lag and quiet_seconds > _STALLED_SECONDS:
        yield f"{lag} bytes are unread, and nothing has moved for {readable_span(quiet_seconds)}"
    if target.paused:
        yield f"reading is paused: {target.paused}"
    elif outbox.bytes >= outbox.max_bytes * _NEARLY_FULL:
        then = "its oldest batches are dropped" if drops_oldest else "reading pauses"
        yield f"the outbox is nearly full; when it is full, {then}"
    if outbox.batches and target.state == "ok" and _nothing_accepted_lately(target) and running:
        yield "the outbox is not being emptied"


def _nothing_accepted_lately(target: Target) -> bool:
    return target.last_accepted_seconds_ago is None or target.last_accepted_seconds_ago > _DOWN_SECONDS
