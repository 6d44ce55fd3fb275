"""Can the state be kept, privately, and is there room for an outage?"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings, daemon_user, readable_size
from kong_ai_tracing.mounts import network_filesystem_of


def check_state_dir(here: Surroundings) -> Iterator[Finding]:
    """The state directory: there or to be made, ours, closed to others, with room for the outbox."""
    directory = here.config.state_dir
    where = quote(str(directory))
    existing = _nearest_existing(directory)
    if existing != directory:
        if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
            yield Finding(
                "state.cannot_be_made",
                "error",
                f"state_dir {directory} does not exist and {daemon_user()} cannot create it in {existing}",
                "the daemon does not start",
                f"install -d -o {daemon_user()} -m 0700 {where}",
            )
            return
        yield Finding("state.will_be_made", "ok", f"state_dir {directory} will be created by the first run")
    elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        yield Finding(
            "state.not_writable",
            "error",
            f"state_dir {directory} cannot be written by {daemon_user()}",
            "the daemon does not start",
            f"chown -R {daemon_user()} {where} && chmod 0700 {where}",
        )
        return
    elif directory.stat().st_mode & stat.S_IRWXO:
        yield Finding(
            "state.not_private",
            "warning",
            f"state_dir {directory} is open to every user of this machine",
            "undelivered prompts and the local traces are in it",
            f"chmod o-rwx {where}",
        )
    else:
        yield Finding("state.writable", "ok", f"state_dir {directory} is private and writable")
    if (kind := network_filesystem_of(existing)) is not None:
        yield Finding(
            "state.network_filesystem",
            "error",
            f"state_dir {directory} is on a network filesystem ({kind})",
            "the daemon does not start: locks and shared memory do not hold there",
            "set state_dir to a directory on a disk of this host",
        )
    yield _check_room(here, existing)


def _nearest_existing(path: Path) -> Path:
    for candidate in (path, *path.parents):
        try:
            if candidate.exists():
                return candidate
        except PermissionError:
            continue
    return Path("/")


def _check_room(here: Surroundings, directory: Path) -> Finding:
    config = here.config
    free = shutil.disk_usage(directory).free
    wanted = config.delivery.outbox_max_bytes if config.langfuse_enabled else config.local.max_bytes
    key = "delivery.outbox_max_bytes" if config.langfuse_enabled else "local.max_bytes"
    floor = config.delivery.free_space_floor_bytes
    if free >= wanted + floor:
        return Finding(
            "state.room", "ok", f"{readable_size(free)} free for the state, {readable_size(wanted)} wanted"
        )
    return Finding(
        "state.no_room",
        "error" if free <= floor else "warning",
        f"{readable_size(free)} free on the disk of {directory}, but {key} is {readable_size(wanted)}"
        f" and {readable_size(floor)} stay free",
        "in a long outage reading pauses before the outbox is full, and the log has to hold the rest",
        f"make room, move state_dir to another disk, or lower {key}",
    )
