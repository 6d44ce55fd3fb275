"""Can the configured logs be found, listed and read by the daemon, written by Kong, and by nobody else?"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings, as_the_service
from kong_ai_tracing.checks.processes import kongs_worker
from kong_ai_tracing.checks.units import drop_ins
from kong_ai_tracing.checks.viewers import (
    SERVICE_USER,
    Viewer,
    group_name,
    group_number,
    seen_by,
    user_named,
    user_of,
)
from kong_ai_tracing.notices import Notices
from kong_ai_tracing.patterns import Patterns
from kong_ai_tracing.quantities import counted

_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - recognised, not used
_OPENED_HOME = re.compile(r"^ProtectHome=(no|false|off|0|read-only)", re.MULTILINE)
_HIDDEN_FROM_THE_UNIT = ("/home/", "/root/", "/run/user/")
# Membership in Kong's own group is write access to Kong's program; root's group is worse.
_GROUPS_NOT_TO_JOIN = ("kong", "root")
# Closing these for others would cut off more than us.
_SHARED_DIRECTORIES = ("/", "/var", "/var/log", "/tmp", "/var/tmp", "/usr/local/kong", "/srv", "/opt")  # noqa: S108
_OWN_LOG = "/var/log/kong-ai/ai.log"


def matching_files(pattern: str) -> list[Path]:
    """The regular files that a pattern names now, sorted by name."""
    found = glob(pattern, recursive=True)  # noqa: PTH207 - the pattern is absolute
    return sorted(path for path in map(Path, found) if path.is_file())


def rotated_files(pattern: str) -> list[Path]:
    """What rotation made of the files that a pattern names, as far as the folder can be listed."""
    candidates = Patterns([pattern], Notices()).look(frozenset()).candidates.values()
    return sorted(Path(one.path) for one in candidates if one.kind == "sibling")


def making(folder: Path | str) -> str:
    """The command that makes a folder which Kong writes, the daemon reads and nobody else enters."""
    owner = f"-o {'kong' if user_named('kong') else 'root'}"
    group = SERVICE_USER if group_number(SERVICE_USER) is not None else group_name(os.getegid())
    return f"install -d {owner} -g {quote(group)} -m 2750 {quote(str(folder))}"


@as_the_service
def check_log_access(here: Surroundings) -> Iterator[Finding]:
    """Each pattern: a folder that can be searched, files that can be read, and no reader too many."""
    for pattern in here.config.log_paths:
        yield from _check_pattern(here, pattern)
    yield from _dangerous_group(here.viewer)


def check_kongs_access(here: Surroundings) -> Iterator[Finding]:
    """Kong's worker, not its master, creates the log: may it? Only root can look with its eyes."""
    worker = kongs_worker(here.proc)
    kong = user_named("kong") if worker is None else user_of(worker, here.proc)
    if kong is None or os.geteuid() != 0 or kong.uid == 0:
        return
    for pattern in here.config.log_paths:
        folder = fixed_directory(pattern)
        with seen_by(kong):
            closed = folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        if closed:
            yield Finding(
                "log.folder_closed_to_kong",
                "error",
                f"Kong's user {kong.name} cannot create files in {folder}",
                "file-log opens its file in a worker: the first line, or the first after a rotation, fails"
                " with 'failed to open the file' in Kong's error.log, and lines are lost",
                "give the folder to Kong's user",
                f"chown {kong.name} {quote(str(folder))} && chmod u+rwx {quote(str(folder))}",
            )


def _check_pattern(here: Surroundings, pattern: str) -> Iterator[Finding]:
    yield from _out_of_sight(here, pattern)
    directory = fixed_directory(pattern)
    closed = _closed_directory(directory, here.viewer)
    if closed is not None:
        yield closed
        return
    files = _matching(pattern)
    if not files:
        yield _nothing_matches(pattern, directory)
        return
    unreadable = [finding for path in files if (finding := _unreadable(path, here.viewer))]
    yield from unreadable
    if len(unreadable) < len(files):
        readable = counted(len(files) - len(unreadable), "file")
        yield Finding("log.readable", "ok", f"{pattern}: {readable} readable by {here.viewer.name}")
    yield from _rotated_unreadable(pattern, here.viewer, set(files))
    yield from _open_to_everybody(pattern, files, here.viewer)


def _out_of_sight(here: Surroundings, pattern: str) -> Iterator[Finding]:
    if pattern.startswith(_TEMPORARY):
        yield Finding(
            "log.in_tmp",
            "warning",
            f"{pattern} is in a temporary folder",
            "Kong's unit and ours each have a private /tmp: as services they do not see each other's",
            f"use a folder of its own, and set the file-log plugin's path and log_paths to {_OWN_LOG}",
            making("/var/log/kong-ai"),
        )
    opened = any(_OPENED_HOME.search(text) for text in drop_ins(here.etc))
    if pattern.startswith(_HIDDEN_FROM_THE_UNIT) and here.viewer.name == SERVICE_USER and not opened:
        yield Finding(
            "log.in_home",
            "error",
            f"{pattern} is below a home folder",
            "the unit has ProtectHome=yes: as a service the daemon does not see it",
            f"use a folder of its own, and set the file-log plugin's path and log_paths to {_OWN_LOG}",
            making("/var/log/kong-ai"),
        )


def _matching(pattern: str) -> list[Path]:
    # A file behind a closed folder does not match; the folder was looked at before.
    try:
        return matching_files(pattern)
    except PermissionError:
        return []


def fixed_directory(pattern: str) -> Path:
    """The part of the path before the first wildcard."""
    parts = Path(pattern).parent.parts
    fixed = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
    return Path(*parts[:fixed])


def _closed_directory(directory: Path, viewer: Viewer) -> Finding | None:
    """The first folder on the way that cannot be entered, or the last one if it cannot be listed."""
    for folder in [*reversed(directory.parents), directory]:
        try:
            os.stat(f"{folder}/.")  # noqa: PTH116 - Path would drop the dot, which asks to enter
        except FileNotFoundError:
            return Finding(
                "log.no_directory",
                "error",
                f"{folder} does not exist",
                "Kong does not create the folder of its log: every line is lost until it is there",
                "make it, writable for Kong's user" + ("" if user_named("kong") else " (-o names it)"),
                making(directory),
            )
        except NotADirectoryError:
            return Finding("log.no_directory", "error", f"{folder} is not a folder", "", "correct log_paths")
        except PermissionError:
            return Finding(
                "log.directory_closed",
                "error",
                f"{folder} cannot be entered by {viewer.name}",
                "the log in it cannot be seen",
                f"let {viewer.name} pass",
                f"setfacl -m u:{viewer.name}:x {quote(str(folder))}",
            )
    if not os.access(directory, os.R_OK, effective_ids=True):
        return Finding(
            "log.directory_unlistable",
            "error",
            f"{directory} cannot be listed by {viewer.name}",
            "new and rotated files in it are not found",
            f"let {viewer.name} list it, and read what will be created in it",
            f"setfacl -m u:{viewer.name}:rx,d:u:{viewer.name}:r {quote(str(directory))}",
        )
    return None


def _nothing_matches(pattern: str, directory: Path) -> Finding:
    return Finding(
        "log.missing",
        "warning",
        f"{pattern} matches no file",
        f"nothing is read until one appears in {directory}; the daemon waits for it",
        "send a request through a service with Kong's file-log plugin; when there still is no file, compare"
        " the plugin's path with log_paths, and look for 'failed to open the file' in Kong's error.log",
        """curl -s http://localhost:8001/plugins | grep -o '"path":"[^"]*"'""",
    )


def _unreadable(path: Path, viewer: Viewer) -> Finding | None:
    try:
        with path.open("rb"):
            return None
    except FileNotFoundError:
        return None  # rotated away meanwhile
    except PermissionError:
        fix, command = _grant(path, viewer)
        return Finding(
            "log.unreadable",
            "error",
            f"{path} cannot be read by {viewer.name}",
            "its lines are not delivered",
            fix,
            command,
        )
    except OSError as error:
        return Finding(
            "log.unreadable", "error", f"{path} cannot be read: {error.strerror}", "", "repair the disk"
        )


def _rotated_unreadable(pattern: str, viewer: Viewer, live: set[Path]) -> Iterator[Finding]:
    """Rotation has made files that the daemon cannot read: what it had not read of them is out of reach."""
    closed = [
        path for path in rotated_files(pattern) if path not in live and _unreadable(path, viewer) is not None
    ]
    if closed:
        names = " ".join(quote(str(path)) for path in closed)
        yield Finding(
            "log.rotated_unreadable",
            "error",
            f"{counted(len(closed), 'rotated file')} of {pattern} cannot be read by {viewer.name},"
            f" for example {closed[0].name}",
            "what was unread when they were rotated is not delivered",
            "grant it, and let logrotate create files that the group may read (create 0640 kong"
            f" {SERVICE_USER})",
            f"setfacl -m u:{viewer.name}:r {names}",
        )


def _grant(path: Path, viewer: Viewer) -> tuple[str, str]:
    status = path.stat()
    if status.st_mode & stat.S_IRGRP:
        group = group_name(status.st_gid)
        if not group.isdigit() and group not in _GROUPS_NOT_TO_JOIN:
            return "join the log's group, then start the daemon again", (
                f"usermod -aG {quote(group)} {viewer.name}"
            )
    folder = quote(str(path.parent))
    user = viewer.name
    return f"let {user} read it, and what will be created beside it", (
        f"setfacl -m u:{user}:r {quote(str(path))} && setfacl -m u:{user}:rx,d:u:{user}:r {folder}"
    )


def _open_to_everybody(pattern: str, files: list[Path], viewer: Viewer) -> Iterator[Finding]:
    exposed = [path for path in files if _everybody_can_read(path)]
    if not exposed:
        return
    folder = exposed[0].parent
    if str(folder) in _SHARED_DIRECTORIES:
        fix = f"use a folder of its own, and set the file-log plugin's path and log_paths to {_OWN_LOG}"
        command = making("/var/log/kong-ai")
    else:
        fix, where = "close the folder for others", quote(str(folder))
        command = f"chmod o-rwx {where}"
        if viewer.uid not in (0, folder.stat().st_uid):
            command = f"setfacl -m u:{viewer.name}:rx,d:u:{viewer.name}:r {where} && {command}"
    yield Finding(
        "log.world_readable",
        "warning",
        f"{exposed[0]} can be read by every user of this machine",
        "prompts and answers are in it",
        fix,
        command,
    )


def _everybody_can_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
        )
    except OSError:
        return False


def _dangerous_group(viewer: Viewer) -> Iterator[Finding]:
    kong = group_number("kong")
    if viewer.uid != 0 and viewer.name != "kong" and kong is not None and kong in viewer.all_groups:
        yield Finding(
            "log.group_kong",
            "warning",
            f"{viewer.name} is in the group kong",
            "Kong's package lets that group write Kong's own program and configuration: who takes over the"
            " daemon takes over the gateway",
            "grant the log's folder alone, and leave the group (or remove SupplementaryGroups=kong from the"
            " unit)",
            f"gpasswd -d {viewer.name} kong",
        )
