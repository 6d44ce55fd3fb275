"""The query of an address in, the wishes for a list out. What is not understood is left out, not raised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from msgspec import Struct, field

from kong_ai_tracing.localsummary import KINDS

SORTS = {"time": "started_ms", "latency": "latency_ms", "tokens": "tokens", "cost": "cost"}
RANGES = {"15m": 15 * 60, "1h": 3600, "24h": 86_400, "7d": 7 * 86_400}
_MAX_CHARACTERS = 500
_CURSOR = re.compile(r"(-?[0-9.e+-]{1,30})~([0-9]{1,18})")


class Filters(Struct, frozen=True):
    """Which traces, in which order, from where on."""

    labels: dict[str, str] = field(default_factory=dict)
    """By kind."""
    text: str = ""
    range: str = ""
    """A key of RANGES, or nothing for all; `since` and `until` come before it."""
    since: str = ""
    until: str = ""
    sort: str = "time"
    ascending: bool = False
    after: tuple[float, int] | None = None
    """The sorted value and the number of the last trace of the page before."""

    @property
    def column(self) -> str:
        return SORTS[self.sort]

    @property
    def uses_more(self) -> bool:
        """Whether anything is wished for that is folded away at first."""
        return bool(
            self.labels.keys() - {"model", "status", "user"} or self.since or self.until or self.ascending
        )

    def bounds_ms(self, now_ms: int) -> tuple[int, int] | None:
        """The first and the last start that is wanted, or None for any."""
        since, until = _epoch_ms(self.since), _epoch_ms(self.until)
        if since is None and until is None and self.range:
            since = now_ms - RANGES[self.range] * 1000
        if since is None and until is None:
            return None
        return since or 0, until if until is not None else 1 << 62

    def address(self, path: str = "/", **changes: str | None) -> str:
        """The address of a page with these wishes, some of them changed. A change leads to the first page."""
        said = {**self.labels, "q": self.text, "range": self.range, "since": self.since, "until": self.until}
        said |= {"sort": self.sort if self.sort != "time" else "", "up": "1" if self.ascending else ""}
        said |= {name: value or "" for name, value in changes.items()}
        query = urlencode({name: value for name, value in said.items() if value})
        return f"{path}?{query}" if query else path


def read_filters(query: Mapping[str, str]) -> Filters:
    def said(name: str) -> str:
        return query.get(name, "").strip()[:_MAX_CHARACTERS]

    cursor = _CURSOR.fullmatch(said("after"))
    return Filters(
        labels={kind: said(kind) for kind in KINDS if said(kind)},
        text=said("q"),
        range=said("range") if said("range") in RANGES else "",
        since=said("since") if _epoch_ms(said("since")) is not None else "",
        until=said("until") if _epoch_ms(said("until")) is not None else "",
        sort=said("sort") if said("sort") in SORTS else "time",
        ascending=said("up") == "1",
        after=(_number(cursor[1]), int(cursor[2])) if cursor else None,
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _epoch_ms(text: str) -> int | None:
    """`2026-11-23T08:00`, in UTC where nothing else is said."""
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
