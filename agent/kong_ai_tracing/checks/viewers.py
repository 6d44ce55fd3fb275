"""Through whose eyes a check looks: root sees everything, the daemon's user does not.

The kernel is asked, not computed: for the length of a look the process takes the daemon's user and groups, so
that groups, access lists and security modules all have their say.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from kong_ai_tracing import commands
from kong_ai_tracing.checks.units import drop_ins

SERVICE_USER = commands.SERVICE_USER
_MORE_GROUPS = re.compile(r"^SupplementaryGroups=(.*)$", re.MULTILINE)


class Viewer(Struct, frozen=True):
    """A user with groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def all_groups(self) -> frozenset[int]:
        return frozenset((self.gid, *self.groups))


def myself() -> Viewer:
    """Whoever runs this process."""
    uid = os.geteuid()
    return Viewer(_name_of(uid), uid, os.getegid(), tuple(os.getgroups()))


def daemons_user(pid: int | None, proc: Path = Path("/proc"), etc: Path = Path("/etc")) -> Viewer:
    """As whom the daemon runs or will run: the running one, else the unit's user when root asks, else whoever
    asks.
    """
    if os.geteuid() != 0:
        return myself()
    if pid is not None and (running := user_of(pid, proc)) is not None:
        return running
    return user_named(SERVICE_USER, _groups_of_the_unit(etc)) or myself()


def user_of(pid: int, proc: Path = Path("/proc")) -> Viewer | None:
    """The effective user and groups of a process; None when it is gone."""
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    uid, gid = int(fields["Uid"].split()[1]), int(fields["Gid"].split()[1])
    return Viewer(_name_of(uid), uid, gid, tuple(map(int, fields["Groups"].split())))


def user_named(name: str, more_groups: tuple[int, ...] = ()) -> Viewer | None:
    """A user of this machine by name."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Viewer(name, entry.pw_uid, entry.pw_gid, (*os.getgrouplist(name, entry.pw_gid), *more_groups))


@contextlib.contextmanager
def seen_by(viewer: Viewer) -> Iterator[None]:
    """Look with the rights of another user, where this process may; else with its own."""
    if os.geteuid() != 0 or viewer.uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(viewer.groups)
        os.setegid(viewer.gid)
        os.seteuid(viewer.uid)
    except PermissionError:  # root in a container without these capabilities
        pass
    try:
        yield
    finally:
        os.seteuid(0)
        with contextlib.suppress(PermissionError):
            os.setegid(gid)
            os.setgroups(groups)


def group_name(gid: int) -> str:
    """The name of a group, or its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def group_number(name: str) -> int | None:
    """The number of a group of this machine."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _groups_of_the_unit(etc: Path) -> tuple[int, ...]:
    """What an administrator added to the unit."""
    names: list[str] = []
    for text in drop_ins(etc):
        for words in _MORE_GROUPS.findall(text):
            names = [*names, *words.split()] if words.strip() else []
    numbers = (group_number(name) for name in names)
    return tuple(number for number in numbers if number is not None)
