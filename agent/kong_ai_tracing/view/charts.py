"""An overview in, charts out: shapes in a box of fixed size, which a template writes as SVG."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from kong_ai_tracing.view import formats
from kong_ai_tracing.view.overview import Overview, Sums

WIDTH, HEIGHT = 560, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 6, 10, 24
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
_DAY_MS = 86_400_000


class Rectangle(Struct, frozen=True):
    x: float
    y: float
    width: float
    height: float
    style: str
    title: str


class Line(Struct, frozen=True):
    points: str
    """For a polyline."""
    dots: list[tuple[float, float, str]]
    style: str


class Tick(Struct, frozen=True):
    at: float
    text: str


class Chart(Struct):
    title: str
    rectangles: list[Rectangle]
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    legend: list[tuple[str, str]]
    """Style and name."""
    head: list[str]
    table: list[list[str]]
    """The same in words, by time."""


Measure = Callable[[Sums], float]


def charts_of(seen: Overview) -> list[Chart]:
    return [
        _stacked(seen, "Calls", lambda sums: sums.calls, formats.count),
        _stacked(seen, "Errors", lambda sums: sums.errors, formats.count),
        _stacked(seen, "Tokens", lambda sums: sums.tokens, formats.count),
        _stacked(seen, "Cost", lambda sums: sums.cost, lambda dollars: formats.cost(dollars) or "$0"),
        _latencies(seen),
    ]


def _stacked(seen: Overview, title: str, measure: Measure, text: Callable[[float], str]) -> Chart:
    top = _round_up(max((measure(sums) for sums in seen.by_bar.values()), default=0))
    width = _PLOT_WIDTH / seen.bars
    rectangles = []
    for bar in range(seen.bars):
        base = 0.0
        for number, group in enumerate(seen.groups):
            sums = seen.by_both.get((group, bar))
            value = measure(sums) if sums else 0
            if value:
                height = value / top * _PLOT_HEIGHT
                base += height
                told = f"{_moment(seen, bar)} · {group}: {text(value)}"
                x, y = _LEFT + bar * width, _TOP + _PLOT_HEIGHT - base
                rectangles.append(
                    Rectangle(
                        round(x, 1),
                        round(y, 1),
                        max(1.0, round(width - 1, 1)),
                        round(height, 1),
                        f"c{number}",
                        told,
                    )
                )
    table = [
        [
            _moment(seen, bar),
            *(text(measure(seen.by_both.get((group, bar), Sums()))) for group in seen.groups),
        ]
        for bar in sorted(seen.by_bar)
    ]
    legend = [(f"c{number}", group) for number, group in enumerate(seen.groups)]
    return Chart(
        title, rectangles, [], _x_ticks(seen), _y_ticks(top, text), legend, ["Time", *seen.groups], table
    )


def _latencies(seen: Overview) -> Chart:
    told = {
        name: {bar: sums.percentile(share) or 0 for bar, sums in seen.by_bar.items()}
        for name, share in _PERCENTILES
    }
    top = _round_up(max((max(values.values()) for values in told.values()), default=0))
    lines = []
    for number, (name, values) in enumerate(told.items()):
        dots = [
            (
                round(_LEFT + (bar + 0.5) * _PLOT_WIDTH / seen.bars, 1),
                round(_TOP + _PLOT_HEIGHT * (1 - values[bar] / top), 1),
                f"{_moment(seen, bar)} · {name}: {formats.duration(values[bar])}",
            )
            for bar in sorted(values)
        ]
        lines.append(Line(" ".join(f"{x},{y}" for x, y, _ in dots), dots, f"p{number}"))
    table = [
        [_moment(seen, bar), *(formats.duration(told[name][bar]) for name in told)]
        for bar in sorted(seen.by_bar)
    ]
    legend = [(f"p{number}", name) for number, name in enumerate(told)]
    return Chart(
        "Latency", [], lines, _x_ticks(seen), _y_ticks(top, formats.duration), legend, ["Time", *told], table
    )


def _y_ticks(top: float, text: Callable[[float], str]) -> list[Tick]:
    return [Tick(round(_TOP + _PLOT_HEIGHT * (1 - part), 1), text(top * part)) for part in (0, 0.5, 1)]


def _x_ticks(seen: Overview) -> list[Tick]:
    every = max(1, seen.bars // 5)
    return [
        Tick(round(_LEFT + bar * _PLOT_WIDTH / seen.bars, 1), _moment(seen, bar, short=True))
        for bar in range(0, seen.bars, every)
        if bar / seen.bars < 0.9  # a label at the edge would be cut
    ]


def _moment(seen: Overview, bar: int, *, short: bool = False) -> str:
    moment = datetime.fromtimestamp((seen.since_ms + bar * seen.step_ms) / 1000, UTC)
    if not short:
        return moment.strftime("%Y-%m-%d %H:%M")
    return moment.strftime("%H:%M" if seen.step_ms * seen.bars <= 1.5 * _DAY_MS else "%b %d")


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10 and their tenfolds, so that half of it is a number to read as well."""
    if value <= 0:
        return 1.0
    power = 10.0 ** len(str(int(value))[1:]) if value >= 1 else 10.0 ** -len(f"{1 / value:.0f}")
    return next(step * power for step in (1, 2, 4, 6, 8, 10, 100) if step * power >= value)
