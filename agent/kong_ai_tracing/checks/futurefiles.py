"""Will the next file in a log's folder be readable? What Kong creates takes its rights from the folder."""

from __future__ import annotations

import os
import pwd
import stat
import struct
from pathlib import Path

from msgspec import Struct

from kong_ai_tracing.checks.viewers import Viewer

_DEFAULT_LIST = "system.posix_acl_default"
_NAMED_USER, _OWNING_GROUP, _NAMED_GROUP, _OTHERS = 0x02, 0x04, 0x08, 0x20
_READ = 4


class Created(Struct, frozen=True):
    """A file as it will be created: its mode, owner and group by number; None where the folder decides."""

    mode: int
    uid: int
    gid: int


def created_like(newest: Path) -> Created:
    """What its writer makes of the next file. Raises OSError."""
    status, folder = newest.stat(), newest.parent.stat()
    if folder.st_mode & stat.S_ISGID:
        group = folder.st_gid
    else:
        try:
            group = pwd.getpwuid(status.st_uid).pw_gid
        except KeyError:
            group = status.st_gid
    return Created(stat.S_IMODE(status.st_mode), status.st_uid, group)


def can_read(viewer: Viewer, file: Created, folder: Path) -> bool:
    """Whether a file that is created so in this folder can be read by this user."""
    if viewer.uid == 0 or (viewer.uid == file.uid and file.mode & stat.S_IRUSR):
        return True
    if inherited := _default_list(folder):
        return _granted(inherited, viewer, file)
    if file.gid in viewer.all_groups:
        return bool(file.mode & stat.S_IRGRP)
    return bool(file.mode & stat.S_IROTH)


def _granted(entries: list[tuple[int, int, int]], viewer: Viewer, file: Created) -> bool:
    """By the rules of access lists; the group bits of the mode are the mask of the new file."""
    masked = bool(file.mode & stat.S_IRGRP)
    for tag, rights, number in entries:
        if tag == _NAMED_USER and number == viewer.uid:
            return masked and bool(rights & _READ)
    groups = [
        rights
        for tag, rights, number in entries
        if (tag == _NAMED_GROUP and number in viewer.all_groups)
        or (tag == _OWNING_GROUP and file.gid in viewer.all_groups)
    ]
    if groups:
        return masked and any(rights & _READ for rights in groups)
    others = any(tag == _OTHERS and rights & _READ for tag, rights, _ in entries)
    return others and bool(file.mode & stat.S_IROTH)


def _default_list(folder: Path) -> list[tuple[int, int, int]]:
    """The access list that new files inherit: tag, rights and number of each entry."""
    try:
        data = os.getxattr(folder, _DEFAULT_LIST)
    except OSError:
        return []
    return list(struct.iter_unpack("<HHI", data[4:]))
