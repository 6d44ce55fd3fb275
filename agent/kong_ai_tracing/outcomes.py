"""What can become of one request, as the sender must treat it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct, field


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


class TooLarge(Struct, frozen=True):
    """These bytes are too many for one request."""

    reason: str
    max_bytes: int | None = None
    """How many a span may have at most, where that is known."""


class Partly(Struct, frozen=True):
    """Answered span by span. Spans are named by their place in the body; the others were accepted."""

    refused: dict[int, str] = field(default_factory=dict)
    """Those that will never pass, with the reason."""
    later: tuple[int, ...] = ()
    """Those that may pass later."""
    reason: str = ""
    """Why later."""


Outcome: TypeAlias = Accepted | TryLater | Hold | Refused | TooLarge | Partly
