"""Commands that an operator is told to run: each must work as it is printed.

So they name the configuration file that this program was given, and ask for root where only root sees what
the service sees.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from pathlib import Path
from shlex import quote

from msgspec import Struct

_NAME = "kong-ai-tracing"
SERVICE_USER = "kong-ai-tracing"
"""As whom the packaged service runs."""

_SUDO = Path("/usr/bin/sudo")


class _Given(Struct):
    config: Path | None = None
    read_elsewhere: bool = False


_given = _Given()


def use_config(path: Path | None, *, read_elsewhere: bool = False) -> None:
    """Remember which configuration file this program was given; None when it was not told.

    What a daemon says is read in another folder than it was started in.
    """
    _given.config = path.absolute() if path and read_elsewhere else path
    _given.read_elsewhere = read_elsewhere


def program() -> str:
    """How this program is called from here: by its name, or by its path where no shell would find it."""
    called = Path(sys.argv[0])
    if called.name != _NAME or shutil.which(_NAME) == str(called.absolute()):
        return _NAME
    path = called.absolute()
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) and not _given.read_elsewhere else path)


def about_the_service() -> bool:
    """Whether the configuration is the system's, so that the state is that of the packaged service."""
    return _given.config is None and not os.environ.get("KONG_AI_TRACING_CONFIG")


def command(words: str) -> str:
    """For example `status` → `kong-ai-tracing status --config /srv/kong/tracing.toml`."""
    option = "" if _given.config is None else f" --config {quote(str(_given.config))}"
    return f"{_sudo()}{quote(program())} {words}{option}"


def service_command(verb: str) -> str:
    """For example `restart` → `systemctl restart kong-ai-tracing`."""
    return f"{_sudo()}systemctl {verb} {_NAME}"


def _sudo() -> str:
    """The service's state and keys are closed to others; an own configuration file is somebody's own."""
    if os.geteuid() == 0 or not about_the_service():
        return ""
    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return ""
    return "sudo " if _SUDO.exists() else ""
