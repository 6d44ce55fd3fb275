"""Does rotation lose lines, or lock the daemon out? What logrotate is told about the log."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.futurefiles import Created, can_read, created_like
from kong_ai_tracing.checks.logaccess import matching_files, rotated_files
from kong_ai_tracing.checks.logrotateconf import Block, read_blocks, why_ignored
from kong_ai_tracing.checks.viewers import SERVICE_USER, Viewer, group_number, user_named
from kong_ai_tracing.quantities import readable_size

_LARGE_BYTES = 64 << 20
_KONGS_OWN = "kong/kong.logrotate"
_SNIPPET = (
    "{pattern} {{",
    "    daily",
    "    rotate 14",
    "    maxsize 1G",
    "    missingok",
    "    notifempty",
    "    compress",
    "    delaycompress",
    "    su kong {group}",
    "    create 0640 kong {group}",
    "}}",
)


def snippet(pattern: str) -> list[str]:
    """What logrotate is to be told about logs like these."""
    return [line.format(pattern=pattern, group=SERVICE_USER) for line in _SNIPPET]


def check_rotation(here: Surroundings) -> Iterator[Finding]:
    """The newest live log of each pattern, and what will be done with it."""
    blocks = list(read_blocks(here.etc / "logrotate.conf"))
    for pattern in here.config.log_paths:
        try:
            log = _newest(matching_files(pattern))
        except PermissionError:
            continue
        if log is not None:
            yield from _check_log(here, pattern, log, blocks)


def block_for(here: Surroundings, log: Path) -> Block | None:
    """What rotates a log; None when logrotate knows nothing of it."""
    blocks = read_blocks(here.etc / "logrotate.conf")
    return next((block for block in blocks if block.covers(log) and not why_ignored(block.file)), None)


def _newest(files: list[Path]) -> Path | None:
    def changed(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    return max(files, key=changed, default=None)


def _check_log(here: Surroundings, pattern: str, log: Path, blocks: list[Block]) -> Iterator[Finding]:
    found = [block for block in blocks if block.covers(log)]
    taken = [block for block in found if why_ignored(block.file) is None]
    if not found:
        yield from _not_rotated(here, pattern, log)
        return
    if not taken:
        yield Finding(
            "rotation.ignored",
            "warning",
            f"logrotate passes over {found[0].file}: {why_ignored(found[0].file)}",
            f"{log} is not rotated and grows until the disk is full",
            "make it root's, and writable for root alone",
            f"chown root: {_quoted(found[0])} && chmod 0644 {_quoted(found[0])}",
        )
        return
    block = taken[0]
    problems = list(_judge(block, log, here.viewer))
    if not problems:
        yield Finding("rotation.fine", "ok", f"{log} is rotated by {block.file}")
    yield from problems


def _not_rotated(here: Surroundings, pattern: str, log: Path) -> Iterator[Finding]:
    kongs = here.etc / _KONGS_OWN
    if any(block.covers(log) for block in read_blocks(kongs)):
        yield Finding(
            "rotation.not_linked",
            "warning",
            f"{kongs} would rotate {log}, but logrotate does not know of it",
            "Kong's package leaves it there: the log grows until the disk is full",
            "copy it: a link would be passed over, because the group kong may write the file. Put"
            " delaycompress into the copy",
            f"install -m 0644 {quote(str(kongs))} {quote(str(here.etc / 'logrotate.d/kong'))}",
        )
        return
    size = log.stat().st_size
    if rotated_files(pattern):
        yield Finding("rotation.other", "ok", f"{log} is rotated, though not by this host's logrotate")
        return
    lines = " ".join(quote(line) for line in snippet(f"{log.parent}/*{log.suffix}"))
    yield Finding(
        "rotation.none",
        "warning" if size >= _LARGE_BYTES else "ok",
        f"nothing rotates {log} ({readable_size(size)})",
        "it grows until the disk is full",
        "rotate it by rename, compressed one rotation later",
        f"printf '%s\\n' {lines} > {quote(str(here.etc / 'logrotate.d/kong-ai'))}",
    )


def _judge(block: Block, log: Path, viewer: Viewer) -> Iterator[Finding]:
    options = block.options
    yield from _skipped(block, log)
    if "copytruncate" in options:
        yield Finding(
            "rotation.copytruncate",
            "warning",
            f"{block.file} rotates {log} with copytruncate",
            "what Kong writes between the copy and the cut is lost, and nobody can tell how much; it is not"
            " needed, since file-log can reopen its file",
            "rotate by rename, and set reopen=true in the file-log plugin",
            f"sed -i 's/^\\( *\\)copytruncate/\\1create/' {_quoted(block)}",
        )
    elif "compress" in options and "delaycompress" not in options:
        yield Finding(
            "rotation.compressed_at_once",
            "warning",
            f"{block.file} compresses {log} in the moment of its rotation",
            "a worker that still writes to the old file writes into one that is gone: its lines are lost",
            "compress one rotation later",
            f"sed -i '0,/^ *compress/s//    delaycompress\\n&/' {_quoted(block)}"
            if "compress" in block.own
            else "",
        )
    if options.get("rotate") == "0":
        yield Finding(
            "rotation.keeps_nothing",
            "warning",
            f"{block.file} deletes {log} at once when it is rotated (rotate 0)",
            "what was unread is only reachable as long as the daemon runs",
            "keep as many generations as the longest outage needs",
            f"sed -i 's/^\\( *\\)rotate 0/\\1rotate 14/' {_quoted(block)}",
        )
    rotated = f"{log}.1"
    if any(PurePath(rotated).match(pattern) for pattern in block.patterns):
        yield Finding(
            "rotation.rotates_again",
            "warning",
            f"{block.file} also matches what it made itself, {Path(rotated).name}",
            "rotated files are rotated again, and nothing is ever deleted",
            f"name the logs more narrowly, for example {log.parent}/*{log.suffix}",
        )
    yield from _rights(block, log, viewer)


def _skipped(block: Block, log: Path) -> Iterator[Finding]:
    folder = log.parent.stat()
    open_to_group = folder.st_mode & stat.S_IWGRP and folder.st_gid != 0
    if "su" not in block.options and (open_to_group or folder.st_mode & stat.S_IWOTH):
        yield Finding(
            "rotation.skipped",
            "warning",
            f"logrotate skips {log}: others than root may write to {log.parent}, and {block.file} has no su",
            "the log grows until the disk is full; logrotate says so only in the mail of a cron job",
            "say as whom it is to be rotated",
            f"sed -i '0,/{{/s//{{\\n    su kong {_group()}/' {_quoted(block)}",
        )


def _rights(block: Block, log: Path, viewer: Viewer) -> Iterator[Finding]:
    """Who may use the file that is there after the next rotation."""
    created = _created(block, log)
    mend = f"sed -i 's/^\\( *\\)create .*/\\1create 0640 kong {_group()}/' {_quoted(block)}"
    told = bool(block.options.get("create"))
    if not can_read(viewer, created, log.parent):
        yield Finding(
            "rotation.created_unreadable",
            "error" if told else "warning",
            f"after the next rotation {viewer.name} cannot read the new {log.name}: it will have the mode"
            f" {created.mode:04o}" + (f", as {block.file} says" if told else ""),
            "reading ends there",
            f"let new files be the group's {_group()}"
            if told
            else "let what is created in the folder be readable",
            mend if told else f"setfacl -m d:u:{viewer.name}:r {quote(str(log.parent))}",
        )
    kong = user_named("kong")
    owner_writes = kong is not None and kong.uid == created.uid and created.mode & stat.S_IWUSR
    group_writes = kong is not None and created.gid in kong.all_groups and created.mode & stat.S_IWGRP
    if told and kong is not None and not (owner_writes or group_writes or created.mode & stat.S_IWOTH):
        yield Finding(
            "rotation.created_unwritable",
            "error",
            f"after the next rotation Kong's user kong cannot write the new {log.name}, as {block.file} says",
            "file-log fails to open it, and lines are lost",
            "let new files be Kong's",
            mend,
        )


def _created(block: Block, log: Path) -> Created:
    """What `create MODE OWNER GROUP` makes; what is left out is as it was."""
    like = created_like(log)
    words = block.options.get("create", "").split()
    if "create" not in block.options or "copytruncate" in block.options:
        return like
    before = log.stat()
    mode, uid, gid = stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid
    if words and words[0].isdigit():
        mode = int(words.pop(0), 8)
    if words and (owner := user_named(words.pop(0))) is not None:
        uid = owner.uid
    if words and (group := group_number(words.pop(0))) is not None:
        gid = group
    return Created(mode, uid, gid)


def _group() -> str:
    return SERVICE_USER if group_number(SERVICE_USER) is not None else "kong"


def _quoted(block: Block) -> str:
    return quote(os.fspath(block.file))
