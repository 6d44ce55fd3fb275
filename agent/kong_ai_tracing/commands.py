"""Commands that an operator is told to run: each must work as it is printed.

So they name the configuration file that this program was given, and ask for root where only root sees what
the service sees.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from shlex import quote

from msgspec import Struct

SERVICE_USER = "kong-ai-tracing"
"""As whom the packaged service runs."""

_SUDO = Path("/usr/bin/sudo")


class _Given(Struct):
    config: Path | None = None


_given = _Given()


def use_config(path: Path | None) -> None:
    """Remember which configuration file this program was given; None when it was not told."""
    _given.config = path


def about_the_service() -> bool:
    """Whether the configuration is the system's, so that the state is that of the packaged service."""
    return _given.config is None and not os.environ.get("KONG_AI_TRACING_CONFIG")


def command(words: str) -> str:
    """For example `status` → `kong-ai-tracing status --config /srv/kong/tracing.toml`."""
    option = "" if _given.config is None else f" --config {quote(str(_given.config))}"
    return f"{_sudo()}kong-ai-tracing {words}{option}"


def service_command(verb: str) -> str:
    """For example `restart` → `systemctl restart kong-ai-tracing`."""
    return f"{_sudo()}systemctl {verb} kong-ai-tracing"


def _sudo() -> str:
    """The service's state and keys are closed to others; an own configuration file is somebody's own."""
    if os.geteuid() == 0 or not about_the_service():
        return ""
    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return ""
    return "sudo " if _SUDO.exists() else ""
