"""Can the state be kept, privately, and is there room for an outage?"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings, as_the_service
from kong_ai_tracing.checks.units import DROP_INS, drop_ins, unit_is_installed
from kong_ai_tracing.config.loading import SYSTEM_CONFIG, SYSTEM_STATE_DIR
from kong_ai_tracing.mounts import network_filesystem_of
from kong_ai_tracing.projects import projects_of
from kong_ai_tracing.quantities import readable_size
from kong_ai_tracing.storerepair import damages


@as_the_service
def check_state_dir(here: Surroundings) -> Iterator[Finding]:
    """The state directory: there or to be made, ours, closed to others, with room for the outbox."""
    directory, user = here.config.state_dir, here.viewer.name
    where = quote(str(directory))
    existing = _nearest_existing(directory)
    if existing != directory:
        if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
            yield Finding(
                "state.cannot_be_made",
                "error",
                f"state_dir {directory} does not exist and {user} cannot create it in {existing}",
                "the daemon does not start",
                f"make it for {user} (the systemd unit does so by itself)",
                f"install -d -o {user} -m 0700 {where}",
            )
            return
        yield Finding("state.will_be_made", "ok", f"state_dir {directory} will be created by the first run")
    elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        yield Finding(
            "state.not_writable",
            "error",
            f"state_dir {directory} cannot be written by {user}",
            "the daemon does not start",
            f"give it to {user}",
            f"chown -R {user} {where} && chmod 0700 {where}",
        )
        return
    elif directory.stat().st_mode & stat.S_IRWXO:
        yield Finding(
            "state.not_private",
            "warning",
            f"state_dir {directory} is open to every user of this machine",
            "undelivered prompts and the local traces are in it",
            "close it for others",
            f"chmod o-rwx {where}",
        )
    else:
        yield Finding("state.writable", "ok", f"state_dir {directory} is private and writable by {user}")
        yield from _files_of_others(directory, user)
    if (kind := network_filesystem_of(existing)) is not None:
        yield Finding(
            "state.network_filesystem",
            "error",
            f"state_dir {directory} is on a network filesystem ({kind})",
            "the daemon does not start: locks and shared memory do not hold there",
            "set state_dir to a directory on a disk of this host",
        )
    yield from _closed_by_the_unit(here)
    yield from _damaged(here)
    yield _check_room(here, existing)


def _nearest_existing(path: Path) -> Path:
    for candidate in (path, *path.parents):
        try:
            if candidate.exists():
                return candidate
        except PermissionError:
            continue
    return Path("/")


def _files_of_others(directory: Path, user: str) -> Iterator[Finding]:
    """A `run` by root leaves files that the service cannot write."""
    closed = [
        path
        for path in sorted(directory.iterdir())
        if path.is_file() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True)
    ]
    if closed:
        yield Finding(
            "state.files_of_others",
            "error",
            f"{closed[0]} cannot be written by {user}",
            "the daemon does not start; somebody else, perhaps root, has run it with this state_dir",
            f"give them to {user}",
            f"chown -R {user}: {quote(str(directory))}",
        )


def _closed_by_the_unit(here: Surroundings) -> Iterator[Finding]:
    """The unit may write to its own state directory alone, whoever owns another one."""
    directory = here.config.state_dir
    if here.config_path != SYSTEM_CONFIG or directory.is_relative_to(SYSTEM_STATE_DIR):
        return
    text = "\n".join(drop_ins(here.etc))
    if unit_is_installed() and str(directory) not in text:
        where = here.etc / DROP_INS
        yield Finding(
            "state.closed_by_unit",
            "error",
            f"state_dir {directory} is not {SYSTEM_STATE_DIR}, and the unit may write nowhere else",
            "the service does not start",
            "open it for the unit, then restart",
            f"install -d {quote(str(where))}"
            f" && printf '[Service]\\nReadWritePaths=%s\\n' {quote(str(directory))}"
            f" > {quote(str(where / 'state.conf'))} && systemctl daemon-reload",
        )


def _damaged(here: Surroundings) -> Iterator[Finding]:
    folders = [
        damage.folder for project in projects_of(here.config) for damage in damages(project.config.state_dir)
    ]
    if folders:
        yield Finding(
            "state.was_damaged",
            "warning",
            f"the state was damaged and built anew; what was damaged is in {folders[0]}",
            "a broken disk, or a program that wrote into it; what is missing can be delivered with backfill",
            "look at report.json in it, then remove the folder",
            f"rm -r {quote(str(folders[0]))}",
        )


def _check_room(here: Surroundings, directory: Path) -> Finding:
    config = here.config
    free = shutil.disk_usage(directory).free
    projects = [project.config for project in projects_of(config)]
    remote = [each.delivery.outbox_max_bytes for each in projects if each.langfuse_enabled]
    wanted = sum(remote) + (config.local.max_bytes if len(remote) < len(projects) else 0)
    key = "delivery.outbox_max_bytes" if remote else "local.max_bytes"
    floor = config.delivery.free_space_floor_bytes
    told = f"{key} is {readable_size(wanted)}" + (" for all destinations" if len(remote) > 1 else "")
    if os.statvfs(directory).f_favail == 0 and os.statvfs(directory).f_files:
        free = 0
    if free >= wanted + floor:
        return Finding(
            "state.room", "ok", f"{readable_size(free)} free for the state, {readable_size(wanted)} wanted"
        )
    return Finding(
        "state.no_room",
        "error" if free <= floor else "warning",
        f"{readable_size(free)} free on the disk of {directory}, but {told} and {readable_size(floor)} stay"
        " free",
        "in a long outage reading pauses before the outbox is full, and the log has to hold the rest",
        f"make room, move state_dir to another disk, or lower {key}",
        f"df -h {quote(str(directory))}",
    )
