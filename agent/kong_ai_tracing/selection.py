"""Which calls of the history are wanted: of a time, of places, of models."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import translate
from hashlib import blake2b

from msgspec import Struct

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.entries import LogEntry
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.matching import Match, matcher_of, place_of

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

IsWanted = Callable[[LogEntry, AICall], bool]


class MomentError(OperatorError):
    """A text that is no moment."""

    exit_code = 2


class Selection(Struct, frozen=True, kw_only=True):
    """What is wanted: all that is given must fit; nothing given wants every call."""

    since_ms: float | None = None
    until_ms: float | None = None
    """Calls that began before it."""
    match: Match = Match()
    models: tuple[str, ...] = ()
    """Shell patterns."""
    since_text: str = ""
    """How the beginning was said: `2h` stands for another moment each time."""

    @property
    def name(self) -> str:
        """The same for what is the same selection tomorrow; empty when every call is wanted.

        A relative beginning only moves on, so what it left out stays left out; a relative end does not.
        """
        if self == Selection():
            return ""
        facts = (self.since_text, self.until_ms, self.match, self.models)
        return blake2b(repr(facts).encode(), digest_size=6).hexdigest()

    def test(self) -> IsWanted | None:
        """A quick test of one call; None when every call is wanted."""
        if self == Selection():
            return None
        since_ms = float("-inf") if self.since_ms is None else self.since_ms
        until_ms = float("inf") if self.until_ms is None else self.until_ms
        is_place = matcher_of(self.match) if self.match != Match() else None
        is_model = re.compile("|".join(map(translate, self.models))).match if self.models else None

        def is_wanted(entry: LogEntry, call: AICall) -> bool:
            observation = call.observation
            return (
                since_ms <= observation.started_at_ms < until_ms
                and (is_place is None or is_place(place_of(entry)))
                and (is_model is None or is_model(observation.model or "") is not None)
            )

        return is_wanted


def selection_of(
    *,
    since: str | None = None,
    until: str | None = None,
    services: Sequence[str] = (),
    routes: Sequence[str] = (),
    models: Sequence[str] = (),
    now: datetime | None = None,
) -> Selection:
    """What an operator asked for, in their words. Raises MomentError."""
    now = now or datetime.now(UTC)
    since_ms = None if since is None else epoch_ms(since, now)
    until_ms = None if until is None else epoch_ms(until, now)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise MomentError(f"nothing lies between {moment_text(since_ms)} and {moment_text(until_ms)}")
    return Selection(
        since_ms=since_ms,
        until_ms=until_ms,
        match=Match(service=tuple(services), route=tuple(routes)),
        models=tuple(models),
        since_text=since or "",
    )


def epoch_ms(text: str, now: datetime) -> float:
    """`2026-11-23T08:00:00Z`, `2026-11-23` (its midnight in UTC), `2h` and `3d` (ago). Raises MomentError."""
    if ago := _AGO.fullmatch(text.strip()):
        number, unit = ago.groups()
        try:
            return (now - timedelta(**{_UNITS[unit]: float(number)})).timestamp() * 1000
        except OverflowError:
            raise _no_moment(text) from None
    try:
        if len(text) == len("2026-11-23"):
            return datetime.combine(date.fromisoformat(text), time(), UTC).timestamp() * 1000
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _no_moment(text) from None
    if moment.tzinfo is None:
        raise MomentError(f"{text} has no time zone; write {text}Z or {text}+01:00")
    return moment.timestamp() * 1000


def moment_text(epoch_ms: float) -> str:
    """RFC 3339 in UTC, as it can be given again."""
    return (
        datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _no_moment(text: str) -> MomentError:
    return MomentError(
        f"{text!r} is no time; write 2026-11-23T08:00:00Z, 2026-11-23, or 2h, 3d for so long ago"
    )
