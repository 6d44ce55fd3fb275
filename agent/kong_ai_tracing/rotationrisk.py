"""How long unread bytes will still be there, from the rhythm in which a log was seen to rotate.

What comes in is the table of streams after each scan; what goes out is an estimate for each file that is
behind, and the rhythm itself, for the next run and for `status`. It needs two rotations to know the rhythm,
and one at which the number of generations stayed the same to know how many are kept: before that nothing
is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from statistics import median

from msgspec import Struct, field
from msgspec.structs import replace

from kong_ai_tracing.streams import Stream

WARNING_SECONDS = 6 * 3600.0
"""Unread bytes that will be deleted sooner, at this pace, are worth a word."""

_ROTATIONS_REMEMBERED = 6
_PACE_SECONDS = 10.0
"""The pace of reading is taken over so long."""


class RotationRisk(Struct, frozen=True):
    """Unread bytes of one file, and when rotation will have deleted them at this pace."""

    log: str
    """The name that its generations share."""
    path: str
    unread_bytes: int
    deleted_in_seconds: float
    read_in_seconds: float | None
    """When they will have been read; None when nothing is being read."""

    @property
    def is_late(self) -> bool:
        """Will they be deleted before they are read?"""
        return self.read_in_seconds is None or self.read_in_seconds > self.deleted_in_seconds

    @property
    def threatens(self) -> bool:
        """Will that be soon?"""
        return self.is_late and self.deleted_in_seconds < WARNING_SECONDS


class Rotations(Struct):
    """What is known of the generations of one log."""

    log: str
    """The name that they share."""
    live_id: int = 0
    count: int = 0
    rotated_at: list[float] = field(default_factory=list)
    """Epoch seconds, the last ones."""
    kept: int | None = None
    """So many generations stay, the live one counted."""

    def deleted_in_seconds(self, younger: int, now: float) -> float | None:
        """How long a generation will be there when so many are younger; None when that is not known."""
        if self.kept is None or len(self.rotated_at) < 2:
            return None
        interval = max(1.0, median(later - earlier for earlier, later in pairwise(self.rotated_at)))
        # While nobody looked, rotation went on: one may be due now, those before it have been.
        unseen = max(0, int((now - self.rotated_at[-1]) // interval) - 1)
        due = self.rotated_at[-1] + (self.kept - younger + unseen) * interval
        return max(0.0, due - now)


class _Pace(Struct):
    since: float
    read_to: int
    bytes_per_second: float | None = None
    """None until it was measured: new bytes are no backlog."""


class RotationWatch:
    """Looks at the streams after each scan. `known` is what earlier runs learned."""

    def __init__(self, known: Iterable[Rotations] = (), clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._families = {one.log: one for one in known}
        self._changed: dict[str, Rotations] = {}
        self._paces: dict[int, _Pace] = {}
        self.risks: list[RotationRisk] = []
        """Of the files that are behind, as far as something can be said."""

    def observe(self, streams: Iterable[Stream]) -> None:
        """Take note of what rotation has done since the last time."""
        now = self._clock()
        families: dict[str, list[Stream]] = {}
        for stream in streams:
            if stream.links:
                families.setdefault(stream.family, []).append(stream)
        for name, members in families.items():
            self._note_rotation(self._families.setdefault(name, Rotations(name)), members, now)
        behind = [
            one for members in families.values() for one in members if one.behind and not one.compressed
        ]
        self._paces = {one.file_id: self._pace_of(one, now) for one in behind}
        risks = [self._risk_of(one, families[one.family], now) for one in behind]
        self.risks = [risk for risk in risks if risk is not None]

    def take_changed(self) -> list[Rotations]:
        """What was learned since the last call."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _note_rotation(self, family: Rotations, members: list[Stream], now: float) -> None:
        live_id = max((one.file_id for one in members if not one.is_history), default=family.live_id)
        if live_id != family.live_id:
            if family.live_id:
                family.rotated_at = [*family.rotated_at, now][-_ROTATIONS_REMEMBERED:]
                family.kept = len(members) if len(members) == family.count else None
            family.live_id = live_id
            family.count = len(members)
            self._changed[family.log] = replace(family)

    def _pace_of(self, stream: Stream, now: float) -> _Pace:
        pace = self._paces.get(stream.file_id)
        if pace is None:
            return _Pace(now, stream.read_to)
        if 0 <= now - pace.since < _PACE_SECONDS:
            return pace
        if now < pace.since:
            return _Pace(now, stream.read_to)  # the clock was put back
        return _Pace(now, stream.read_to, max(0, stream.read_to - pace.read_to) / (now - pace.since))

    def _risk_of(self, stream: Stream, members: list[Stream], now: float) -> RotationRisk | None:
        family, pace = self._families[stream.family], self._paces[stream.file_id].bytes_per_second
        younger = sum(one.file_id > stream.file_id and not one.is_history for one in members)
        deleted_in = family.deleted_in_seconds(younger, now)
        if pace is None or deleted_in is None:
            return None
        unread = stream.size - stream.read_to
        return RotationRisk(stream.family, stream.path, unread, deleted_in, unread / pace if pace else None)


def about(seconds: float) -> str:
    """A time that an operator can plan with: "about 3 h"."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"about {seconds / length:.0f} {unit}"
    return "less than a minute"
