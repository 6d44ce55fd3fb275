"""Who has the log open: a worker of Kong that still writes to a file which rotation took away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.logaccess import matching_files, rotated_files
from kong_ai_tracing.checks.processes import OpenFile, identity_of, open_files
from kong_ai_tracing.checks.rotation import block_for
from kong_ai_tracing.patterns import family_of
from kong_ai_tracing.quantities import counted

_DELETED = " (deleted)"
_OPEN_ANEW = (
    "let Kong open its log anew, and set reopen=true in the file-log plugin so that it does so by itself"
)
_SET_REOPEN = (
    "for id in $(curl -s 'http://localhost:8001/plugins?size=1000' | python3 -c 'import json, sys;"
    ' print(*[p["id"] for p in json.load(sys.stdin)["data"] if p["name"] == "file-log"])\'); do'
    " curl -s -X PATCH http://localhost:8001/plugins/$id -d config.reopen=true; done"
)


def check_writers(here: Surroundings) -> Iterator[Finding]:
    """Descriptors, not names: where they can be seen, the rest of this question has an answer."""
    for pattern in here.config.log_paths:
        try:
            live, rotated = matching_files(pattern), rotated_files(pattern)
        except PermissionError:
            continue
        folders = {str(path.parent.resolve()) for path in (*live, *rotated)}
        writers = [one for one in open_files(here.proc, folders) if one.writing]
        yield from _judge(here, live, rotated, writers)


def _judge(
    here: Surroundings, live: list[Path], rotated: list[Path], writers: list[OpenFile]
) -> Iterator[Finding]:
    families = {family_of(str(path.resolve())) for path in live}
    old = {identity for path in rotated if (identity := identity_of(path)) is not None}
    now = {identity for path in live if (identity := identity_of(path)) is not None} - old
    late = [one for one in writers if one.identity in old]
    gone = [
        one
        for one in writers
        if one.path.endswith(_DELETED) and family_of(one.path.removesuffix(_DELETED)) in families
    ]
    if gone:
        yield Finding(
            "rotation.writer_on_deleted",
            "error",
            f"{_who(gone)} {_write(gone)} to a log that was deleted ({gone[0].path.removesuffix(_DELETED)})",
            "its lines take room on the disk and are lost when it ends or is reloaded",
            _OPEN_ANEW,
            "kong reload",
        )
    if late:
        yield Finding(
            "rotation.writer_on_rotated",
            "warning",
            f"{_who(late)} still {_write(late)} to {Path(late[0].path).name}, which was rotated",
            "the lines are read, but they are lost once rotation has compressed or deleted that file",
            _OPEN_ANEW,
            "kong reload",
        )
    kept = [one for one in writers if one.identity in now]
    if kept and not (late or gone):
        yield from _keeps_open(here, live, kept)


def _keeps_open(here: Surroundings, live: list[Path], kept: list[OpenFile]) -> Iterator[Finding]:
    """With `reopen` a file is open for the moment of a write; who is seen twice keeps it."""
    folders = {str(Path(one.path).parent) for one in kept}
    again = {(one.pid, one.identity) for one in open_files(here.proc, folders) if one.writing}
    kept = [one for one in kept if (one.pid, one.identity) in again]
    blocks = [block for path in live if (block := block_for(here, path)) is not None]
    by_rename = [
        block
        for block in blocks
        if "copytruncate" not in block.options and "kong reload" not in block.scripts
    ]
    if kept and by_rename:
        yield Finding(
            "rotation.reopen_off",
            "warning",
            f"{Path(kept[0].path).name} is kept open (reopen=false) by {_who(kept)}, and"
            f" {by_rename[0].file} rotates it by rename",
            "after the rotation Kong goes on writing to the old file, and one rotation later into a file that"
            " is compressed and deleted; the signal USR1 of Kong's own logrotate file does not help",
            "set reopen=true in the file-log plugin; on a DB-less gateway in its declarative file",
            _SET_REOPEN,
        )


def _who(writers: list[OpenFile]) -> str:
    first, *others = sorted({(one.pid, one.program) for one in writers})
    return f"process {first[0]} ({first[1]})" + (f" and {counted(len(others), 'other')}" if others else "")


def _write(writers: list[OpenFile]) -> str:
    return "writes" if len({one.pid for one in writers}) == 1 else "write"
