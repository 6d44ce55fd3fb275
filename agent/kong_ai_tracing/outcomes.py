"""What can become of one request, as the sender must treat it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Accepted(Struct, frozen=True):
    """The destination has it."""


class TryLater(Struct, frozen=True):
    """The same bytes may pass later: overload, outage, a cut connection."""

    reason: str
    after_seconds: float | None = None
    """How long the destination asked us to wait."""


class Hold(Struct, frozen=True):
    """Nothing will pass until an operator acts (a revoked key, a wrong path): keep all, probe slowly."""

    reason: str
    probe_after_seconds: float


class Refused(Struct, frozen=True):
    """These bytes will never pass as they are."""

    reason: str


Outcome: TypeAlias = Accepted | TryLater | Hold | Refused
