"""What a check finds, and what it is given to look at."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

from kong_ai_tracing.config import Config

if TYPE_CHECKING:
    import httpx

SERVICE_USER = "kong-ai-tracing"

Severity: TypeAlias = Literal["ok", "warning", "error"]


class Finding(Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at."""

    id: str
    """Stable, for programs: subject and case, `log.unreadable`."""
    severity: Severity
    what: str
    why: str = ""
    """What happens if it stays like this."""
    fix: str = ""
    """The command or the change that repairs it."""


def open_client(config: Config) -> httpx.Client:
    """The HTTP client of the checks; redirects are findings, so they are not followed.

    Raises OperatorError when a certificate cannot be used.
    """
    import httpx

    from kong_ai_tracing import __version__
    from kong_ai_tracing.assembly import connection_of
    from kong_ai_tracing.httpclient import tls_of

    return httpx.Client(
        verify=tls_of(connection_of(config)),
        timeout=config.langfuse_timeout / 1000,
        headers={"user-agent": f"kong-ai-tracing/{__version__}"},
    )


class Surroundings(Struct, frozen=True):
    """The configuration and the world around it. Tests hand in their own."""

    config: Config
    environ: Mapping[str, str]
    config_path: Path | None = None
    offline: bool = False
    now: Callable[[], float] = time.time
    client: Callable[[Config], httpx.Client] = open_client


Check: TypeAlias = Callable[[Surroundings], Iterator[Finding]]


def daemon_user() -> str:
    """Whom access must be granted to: the service's user when root asks and it exists, else whoever asks."""
    if os.geteuid() == 0:
        try:
            return pwd.getpwnam(SERVICE_USER).pw_name
        except KeyError:
            return "root"
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def readable_size(size: int) -> str:
    """A number of bytes for people."""
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
