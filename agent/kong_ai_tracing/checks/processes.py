"""What /proc shows of other processes: who keeps a log open, which daemons run. Root sees all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from msgspec import Struct

from kong_ai_tracing.statedir import LOCK_NAME

_PATIENCE_SECONDS = 1.0
_ACCESS_MODE = 0o3

Identity = tuple[int, int]
"""Device and inode."""


class OpenFile(Struct, frozen=True):
    """A file that a process keeps open."""

    pid: int
    program: str
    path: str
    """As the kernel names it: its present name, with ` (deleted)` behind it when it has none."""
    identity: Identity
    writing: bool


class Daemon(Struct, frozen=True):
    """A process that runs this program."""

    pid: int
    command: str


def identity_of(path: Path) -> Identity | None:
    """Which file has that name now."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_files(proc: Path, directories: AbstractSet[str]) -> Iterator[OpenFile]:
    """Files in these directories that processes keep open, as far as this user may look, for a second."""
    until = time.monotonic() + _PATIENCE_SECONDS
    for pid in _pids(proc):
        if time.monotonic() > until:
            return
        yield from _open_files_of(proc / str(pid), directories)


def daemons(proc: Path) -> list[Daemon]:
    """The daemons of this program."""
    found = []
    for pid in _pids(proc):
        words = _command(proc / str(pid))
        if _is_daemon(words) and pid != os.getpid():
            found.append(Daemon(pid, " ".join(words)))
    return found


def daemon_of(state_dir: Path, proc: Path) -> int | None:
    """The process that uses a state directory; None when there is none or that cannot be seen."""
    try:
        pid = int((state_dir / LOCK_NAME).read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_daemon(_command(proc / str(pid))) else None


def kongs_worker(proc: Path) -> int | None:
    """A worker of a running Kong."""
    for pid in _pids(proc):
        command = " ".join(_command(proc / str(pid)))
        if command.startswith("nginx: worker process") and _is_kongs(proc, pid):
            return pid
    return None


def _is_kongs(proc: Path, pid: int) -> bool:
    """Whether the worker's master is the OpenResty that Kong brings."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return False
    parents = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
    return bool(parents) and "/openresty/" in " ".join(_command(proc / parents[0]))


def _pids(proc: Path) -> list[int]:
    try:
        return sorted(int(each.name) for each in proc.iterdir() if each.name.isdigit())
    except OSError:
        return []


def _command(process: Path) -> list[str]:
    try:
        data = (process / "cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode("utf-8", "replace") for word in data.split(b"\0") if word]


def _is_daemon(words: list[str]) -> bool:
    """`kong-ai-tracing run`, also through an interpreter or as a module."""
    for place, word in enumerate(words[:5]):
        if word.rpartition("/")[2] in ("kong-ai-tracing", "kong_ai_tracing"):
            rest = words[place + 1 :]
            return "run" in rest and "--dry-run" not in rest
    return False


def _open_files_of(process: Path, directories: AbstractSet[str]) -> Iterator[OpenFile]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # gone, or somebody else's
        return
    for descriptor in descriptors:
        try:
            target = str(descriptor.readlink())
            if target.rpartition("/")[0] not in directories:
                continue
            status = descriptor.stat()
            flags = (process / "fdinfo" / descriptor.name).read_text()
        except OSError:
            continue
        words = _command(process)
        yield OpenFile(
            int(process.name),
            words[0] if words else "?",
            target,
            (status.st_dev, status.st_ino),
            _mode(flags) != os.O_RDONLY,
        )


def _mode(fdinfo: str) -> int:
    for line in fdinfo.splitlines():
        name, _, value = line.partition(":")
        if name == "flags":
            return int(value, 8) & _ACCESS_MODE
    return os.O_RDONLY
