"""How one project is at this moment, as its own process sees it; for whoever watches the daemon."""

from __future__ import annotations

from msgspec import Struct, field

from kong_ai_tracing.files import FileStatus, LogFiles
from kong_ai_tracing.rotationrisk import RotationRisk
from kong_ai_tracing.service import Service

_STUCK_SECONDS = 30.0


class Vitals(Struct, frozen=True, kw_only=True):
    """What the memory of the process knows, and the state on disk does not, or only later."""

    name: str
    following: bool = True
    """Nothing that is written from now on can be missed."""
    stuck: str | None = None
    """The part that has not moved for half a minute, although it could."""
    disk_fails: bool = False
    """The state cannot be written."""
    reason: str | None = None
    """Why the destination takes nothing."""
    holding: bool = False
    """Only an operator can mend that."""
    paused: str | None = None
    """Why reading waits."""
    pause_seconds: float = 0.0
    requests_failed: int = 0
    requests_under_way: int = 0
    last_accepted_ms: int | None = None
    files: list[FileStatus] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    risks: list[RotationRisk] = field(default_factory=list)


def vitals_of(name: str, service: Service, files: LogFiles) -> Vitals:
    """Costs no I/O."""
    delivery = service.delivery
    return Vitals(
        name=name,
        following=service.following,
        stuck=service.stuck(_STUCK_SECONDS),
        disk_fails=delivery.disk_fails,
        reason=delivery.gate.reason,
        holding=delivery.gate.holding,
        paused=delivery.pause_reason,
        pause_seconds=delivery.health.pause_seconds,
        requests_failed=delivery.gate.requests_failed,
        requests_under_way=delivery.gate.under_way,
        last_accepted_ms=delivery.health.last_accepted_ms,
        files=files.files(),
        unreadable=files.unreadable,
        risks=list(files.risks),
    )
