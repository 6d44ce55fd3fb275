"""The systemd unit: whether it is there, what an administrator has added to it, and what it passes on."""

from __future__ import annotations

import shlex
from pathlib import Path

DROP_INS = "systemd/system/kong-ai-tracing.service.d"
_UNIT = "systemd/system/kong-ai-tracing.service"
_VARIABLES = "default/kong-ai-tracing"
_PLACES = (Path("/usr/lib"), Path("/lib"), Path("/etc"))


def unit_is_installed() -> bool:
    """Whether systemd knows the service."""
    return any((place / _UNIT).exists() for place in _PLACES)


def drop_ins(etc: Path) -> list[str]:
    """The texts of the drop-ins, in the order in which they count."""
    try:
        return [path.read_text() for path in sorted((etc / DROP_INS).glob("*.conf"))]
    except OSError:  # there are none, or they are not for this user
        return []


def unit_environment(etc: Path) -> dict[str, str]:
    """The variables that the unit passes to the daemon: what root's shell has is another matter."""
    try:
        lines = (etc / _VARIABLES).read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, given, value = line.strip().partition("=")
        if given and name.isidentifier():
            try:
                found[name] = " ".join(shlex.split(value))
            except ValueError:  # systemd passes over such a line as well
                continue
    return found
