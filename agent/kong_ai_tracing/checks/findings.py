"""What a check finds, and what it is given to look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct, field

from kong_ai_tracing.checks.viewers import Viewer, myself, seen_by
from kong_ai_tracing.config import Config

if TYPE_CHECKING:
    import httpx

Severity: TypeAlias = Literal["ok", "warning", "error"]

MAX_WAIT_SECONDS = 2.0
"""A check is looked at by a person: no step of a request may take longer."""


class Finding(Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at."""

    id: str
    """Stable, for programs: subject and case, `log.unreadable`."""
    severity: Severity
    what: str
    why: str = ""
    """What happens if it stays like this."""
    fix: str = ""
    """What to change, in words."""
    command: str = ""
    """The shell command that does it, or the first step of it."""


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
        timeout=min(config.langfuse_timeout / 1000, MAX_WAIT_SECONDS),
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
    viewer: Viewer = field(default_factory=myself)
    """As whom the daemon runs."""
    etc: Path = Path("/etc")
    proc: Path = Path("/proc")


Check: TypeAlias = Callable[[Surroundings], Iterator[Finding]]


def as_the_service(check: Callable[[Surroundings], Iterable[Finding]]) -> Check:
    """The check with the rights of the daemon's user: root may look at everything, the daemon may not."""

    @wraps(check)
    def looking(here: Surroundings) -> Iterator[Finding]:
        with seen_by(here.viewer):
            found = list(check(here))
        return iter(found)

    return looking
