"""The systemd unit: whether it is there, what an administrator has added to it, and what it passes on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from kong_ai_tracing.config.loading import CONFIG_VARIABLE, SYSTEM_CONFIG

DROP_INS = "systemd/system/kong-ai-tracing.service.d"
_UNIT = "systemd/system/kong-ai-tracing.service"
_VARIABLES = "default/kong-ai-tracing"
_PROXIES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
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


def as_the_service_has_it(path: Path | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """For root's question about the service: with the variables of the unit beside those of the shell."""
    is_the_services = path in (None, SYSTEM_CONFIG) and not environ.get(CONFIG_VARIABLE)
    if os.geteuid() != 0 or not is_the_services or not unit_is_installed():
        return environ
    passed = unit_environment(Path("/etc"))
    for name, value in passed.items():
        if name.lower() in _PROXIES:  # the HTTP client reads these by itself
            os.environ.setdefault(name, value)
    return {**passed, **environ}


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
