"""Can the configured logs be found and read, and by nobody else?"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings, counted, daemon_user

_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - recognised, not used
# Membership in Kong's own group is write access to Kong's program; root's group is worse.
_GROUPS_NOT_TO_JOIN = ("kong", "root")
# Closing these for others would cut off more than us.
_SHARED_DIRECTORIES = ("/", "/var", "/var/log", "/tmp", "/var/tmp", "/usr/local/kong", "/srv", "/opt")  # noqa: S108
_OWN_DIRECTORY = "install -d -o kong -g kong-ai-tracing -m 2750 /var/log/kong-ai"


def matching_files(pattern: str) -> list[Path]:
    """The regular files that a pattern names now, sorted by name."""
    found = glob(pattern, recursive=True)  # noqa: PTH207 - the pattern is absolute
    return sorted(path for path in map(Path, found) if path.is_file())


def check_log_access(here: Surroundings) -> Iterator[Finding]:
    """Each pattern: a folder that can be searched, files that can be read, and no reader too many."""
    for pattern in here.config.log_paths:
        yield from _check_pattern(pattern)


def _check_pattern(pattern: str) -> Iterator[Finding]:
    if pattern.startswith(_TEMPORARY):
        yield Finding(
            "log.in_tmp",
            "warning",
            f"{pattern} is in a temporary folder",
            "Kong's unit and ours each have a private /tmp: as services they do not see each other's",
            f"{_OWN_DIRECTORY}, then set the file-log plugin's path to /var/log/kong-ai/ai.log",
        )
    directory = _fixed_directory(pattern)
    closed = _closed_directory(directory)
    if closed is not None:
        yield closed
        return
    files = _matching(pattern)
    if not files:
        yield _nothing_matches(pattern, directory)
        return
    unreadable = [finding for path in files if (finding := _unreadable(path))]
    yield from unreadable
    if len(unreadable) < len(files):
        readable = counted(len(files) - len(unreadable), "file")
        yield Finding("log.readable", "ok", f"{pattern}: {readable} readable")
    yield from _open_to_everybody(pattern, files)


def _matching(pattern: str) -> list[Path]:
    # A file behind a closed folder does not match; the folder was looked at before.
    try:
        return matching_files(pattern)
    except PermissionError:
        return []


def _fixed_directory(pattern: str) -> Path:
    """The part of the path before the first wildcard."""
    parts = Path(pattern).parent.parts
    fixed = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
    return Path(*parts[:fixed])


def _closed_directory(directory: Path) -> Finding | None:
    """The first folder on the way that cannot be entered, or the last one if it cannot be listed."""
    user = daemon_user()
    for folder in [*reversed(directory.parents), directory]:
        try:
            os.stat(f"{folder}/.")  # noqa: PTH116 - Path would drop the dot, which asks to enter
        except FileNotFoundError:
            return Finding(
                "log.no_directory",
                "error",
                f"{folder} does not exist",
                "Kong does not create the folder of its log: every line is lost until it is there",
                f"install -d -o kong -g kong-ai-tracing -m 2750 {quote(str(directory))}",
            )
        except NotADirectoryError:
            return Finding("log.no_directory", "error", f"{folder} is not a folder", "", "correct log_paths")
        except PermissionError:
            return Finding(
                "log.directory_closed",
                "error",
                f"{folder} cannot be entered by {user}",
                "the log in it cannot be seen",
                f"setfacl -m u:{user}:x {quote(str(folder))}",
            )
    if not os.access(directory, os.R_OK, effective_ids=True):
        return Finding(
            "log.directory_unlistable",
            "error",
            f"{directory} cannot be listed by {user}",
            "new and rotated files in it are not found",
            f"setfacl -m u:{user}:rx,d:u:{user}:r {quote(str(directory))}",
        )
    return None


def _nothing_matches(pattern: str, directory: Path) -> Finding:
    return Finding(
        "log.missing",
        "warning",
        f"{pattern} matches no file",
        f"nothing is read until one appears in {directory}; the daemon waits for it",
        "send a request through a service with Kong's file-log plugin, and compare the plugin's path"
        ' with log_paths: curl -s http://localhost:8001/plugins | grep -o \'"path":"[^"]*"\'',
    )


def _unreadable(path: Path) -> Finding | None:
    user = daemon_user()
    try:
        with path.open("rb"):
            return None
    except FileNotFoundError:
        return None  # rotated away meanwhile
    except PermissionError:
        return Finding(
            "log.unreadable",
            "error",
            f"{path} cannot be read by {user}",
            "its lines are not delivered",
            _grant(path, user),
        )
    except OSError as error:
        return Finding(
            "log.unreadable", "error", f"{path} cannot be read: {error.strerror}", "", "repair the disk"
        )


def _grant(path: Path, user: str) -> str:
    status = path.stat()
    if status.st_mode & stat.S_IRGRP:
        try:
            group = grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            group = ""
        if group and group not in _GROUPS_NOT_TO_JOIN:
            return f"usermod -aG {quote(group)} {user}, then start the daemon again"
    folder = quote(str(path.parent))
    return f"setfacl -m u:{user}:r {quote(str(path))} && setfacl -m u:{user}:rx,d:u:{user}:r {folder}"


def _open_to_everybody(pattern: str, files: list[Path]) -> Iterator[Finding]:
    exposed = [path for path in files if _everybody_can_read(path)]
    if not exposed:
        return
    folder = exposed[0].parent
    user = daemon_user()
    if str(folder) in _SHARED_DIRECTORIES or user == "root":
        fix = f"{_OWN_DIRECTORY}, then set the file-log plugin's path to /var/log/kong-ai/ai.log"
    else:
        where = quote(str(folder))
        fix = f"setfacl -m u:{user}:rx,d:u:{user}:r {where} && chmod o-rwx {where}"
    yield Finding(
        "log.world_readable",
        "warning",
        f"{pattern}: {exposed[0]} can be read by every user of this machine",
        "prompts and answers are in it",
        fix,
    )


def _everybody_can_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
        )
    except OSError:
        return False
