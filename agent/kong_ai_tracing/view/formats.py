"""Values as people read them: the filters of the templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from kong_ai_tracing.view.texts import marked, pretty, shortened, visible

_MAX_VALUE = 4000
_MAX_WORD = 300


def moment(epoch_ms: int) -> str:
    """`2026-11-23 08:00:12`, in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")


def duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def count(number: float) -> str:
    return f"{number:,.0f}"


def cost(dollars: float) -> str:
    if not dollars:
        return ""
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.6f}".rstrip("0").rstrip(".")


def value(said: Any) -> str:
    """Any value of metadata or parameters."""
    text = visible(said) if isinstance(said, str) else pretty(said)
    shown, left_out = shortened(text, _MAX_VALUE)
    return f"{shown} … {left_out:,} characters more" if left_out else shown


def word(said: str) -> str:
    """A name or a label."""
    shown, left_out = shortened(said, _MAX_WORD)
    return visible(shown) + ("…" if left_out else "")


def breakable(said: str) -> Markup:
    """A name whose words may stand below each other: metadata's are long, and its column is narrow."""
    return Markup("_<wbr>").join(word(said).split("_"))


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "iso": iso,
    "duration": duration,
    "count": count,
    "cost": cost,
    "value": value,
    "visible": word,
    "breakable": breakable,
    "marked": marked,
}
