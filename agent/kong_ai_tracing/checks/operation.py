"""Is the daemon there, is it the only one, and does the host give it what it needs?"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.logaccess import fixed_directory, matching_files, rotated_files
from kong_ai_tracing.checks.processes import Daemon, daemon_of, daemons, identity_of, open_files
from kong_ai_tracing.checks.units import unit_is_installed
from kong_ai_tracing.checks.viewers import seen_by
from kong_ai_tracing.quantities import counted
from kong_ai_tracing.watcher import start_observer

_ENOUGH_DESCRIPTORS = 1024


def check_daemon(here: Surroundings) -> Iterator[Finding]:
    """The process that holds the state directory, and others that read the same logs."""
    pid = daemon_of(here.config.state_dir, here.proc)
    if pid is not None:
        yield Finding("daemon.running", "ok", f"the daemon runs (process {pid})")
    elif unit_is_installed():
        yield Finding(
            "daemon.stopped",
            "warning",
            "the daemon does not run",
            "nothing is read; the log keeps what Kong writes until rotation deletes it",
            "start it; when it stops again, journalctl -u kong-ai-tracing says why",
            "systemctl enable --now kong-ai-tracing",
        )
    else:
        yield Finding("daemon.stopped", "ok", "the daemon does not run yet")
    yield from _several(here)


def _several(here: Surroundings) -> Iterator[Finding]:
    others = daemons(here.proc)
    if len(others) < 2:
        return
    logs = [path for pattern in here.config.log_paths for path in _files(pattern)]
    wanted = {identity for path in logs if (identity := identity_of(path)) is not None}
    folders = {str(path.parent.resolve()) for path in logs}
    readers = {one.pid for one in open_files(here.proc, folders) if one.identity in wanted}
    reading = [daemon for daemon in others if daemon.pid in readers]
    if len(reading) > 1:
        yield Finding(
            "daemon.several",
            "error",
            f"{len(reading)} daemons read the same log: {', '.join(map(_described, reading))}",
            "every call is sent as often; in one project Langfuse sees the same ids and replaces, in two it"
            " stays twice, and each is billed",
            "stop all but one; for several projects one daemon with [[destination]] tables is enough",
            f"kill {reading[-1].pid}",
        )


def _described(daemon: Daemon) -> str:
    return f"process {daemon.pid} ({daemon.command[:80]})"


def check_descriptors(here: Surroundings) -> Iterator[Finding]:
    """Each unread file takes one, and half of the limit is for logs."""
    files = sum(len({*_files(pattern), *rotated_files(pattern)}) for pattern in here.config.log_paths)
    pid = daemon_of(here.config.state_dir, here.proc)
    limit = _limit_of(here.proc / str(pid) / "limits") if pid is not None else None
    whose = f"process {pid}" if limit is not None else "this shell"
    limit = limit if limit is not None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files > limit // 2:
        yield Finding(
            "host.descriptors",
            "warning",
            f"{counted(files, 'log file')} match, but {whose} may open {limit}, half of them for logs",
            "files are closed and opened again in turn, and a deleted one that was closed cannot be read on",
            "raise LimitNOFILE of the unit, or narrow log_paths",
            f"systemctl edit kong-ai-tracing  # [Service] LimitNOFILE={max(4 * files, _ENOUGH_DESCRIPTORS)}",
        )


def check_file_events(here: Surroundings) -> Iterator[Finding]:
    """A watch is begun as the daemon would do it. A running daemon has its own already."""
    import watchdog.observers  # noqa: F401 - while this program may still be read

    folders = {str(fixed_directory(pattern)) for pattern in here.config.log_paths}
    try:
        with seen_by(here.viewer):
            start_observer(sorted(filter(_can_be_watched, folders)), _ignore).stop()
    except OSError as error:
        yield Finding(
            "host.file_events",
            "warning",
            f"{here.viewer.name} cannot watch folders: {error.strerror or error}",
            "new and rotated files are found by polling, up to two seconds later; nothing is lost",
            "raise the limits of inotify, and write them to /etc/sysctl.d to keep them",
            "sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=262144",
        )


def _can_be_watched(folder: str) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)


def _ignore() -> None:
    """Nobody waits."""


def _limit_of(limits: Path) -> int | None:
    try:
        lines = limits.read_text().splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith("Max open files")), [])
    return int(words[3]) if len(words) > 3 and words[3].isdigit() else None


def _files(pattern: str) -> list[Path]:
    try:
        return matching_files(pattern)
    except PermissionError:
        return []
