"""A trace in its JSON form in, the rows of its tree with their bars out."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from msgspec import Struct

_MAX_ROWS = 1000


class Bar(Struct, frozen=True):
    """A stretch of the timeline, in parts of a thousand of its width."""

    kind: str
    """`kong`, `provider`, `answer` or `whole`."""
    left: float
    width: float
    label: str


class Step(Struct, frozen=True):
    """One observation in the tree."""

    observation: dict[str, Any]
    depth: int
    bars: list[Bar]
    first_token: float | None
    """Where on the timeline the first token came."""
    duration_ms: int

    @property
    def id(self) -> str:
        return str(self.observation["id"])


class Timeline(Struct, frozen=True):
    steps: list[Step]
    duration_ms: int
    left_out: int = 0


def timeline(trace: dict[str, Any]) -> Timeline:
    observations = trace["observations"]
    started = min(_ms(each["startTime"]) for each in observations)
    ended = max(_ms(each.get("endTime", each["startTime"])) for each in observations)
    scale = 1000 / max(1, ended - started)
    ordered = _in_tree(observations)
    steps = [_step(each, depth, started, scale) for each, depth in ordered[:_MAX_ROWS]]
    return Timeline(steps, ended - started, max(0, len(ordered) - _MAX_ROWS))


def _in_tree(observations: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    children: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    known = {each["id"] for each in observations}
    for each in observations:
        parent = each.get("parentObservationId")
        children[parent if parent in known and parent != each["id"] else None].append(each)
    ordered: list[tuple[dict[str, Any], int]] = []
    stack = [(each, 0) for each in reversed(children.pop(None, []))]
    while stack:
        here, depth = stack.pop()
        ordered.append((here, depth))
        # popped, so that ids in a circle cannot hang us
        stack += [(each, depth + 1) for each in reversed(children.pop(here["id"], []))]
    return ordered + [(each, 0) for circle in children.values() for each in circle]


def _step(observation: dict[str, Any], depth: int, origin: int, scale: float) -> Step:
    started = _ms(observation["startTime"])
    ended = max(started, _ms(observation.get("endTime", observation["startTime"])))
    first = observation.get("completionStartTime")
    return Step(
        observation,
        depth,
        [
            Bar(kind, (begin - origin) * scale, max(2.0, (end - begin) * scale), f"{kind} {end - begin} ms")
            for kind, begin, end in _stretches(observation, started, ended)
        ],
        (_ms(first) - origin) * scale if first else None,
        ended - started,
    )


def _stretches(observation: dict[str, Any], started: int, ended: int) -> list[tuple[str, int, int]]:
    """Kong's own time first, then the provider's until its first byte, then its answer."""
    metadata = observation.get("metadata", {})
    kong, proxy, receive = (
        value if isinstance(value := metadata.get(name), int | float) and value > 0 else 0
        for name in ("kong_latency_ms", "proxy_latency_ms", "receive_latency_ms")
    )
    if not proxy and not kong:
        return [("whole", started, ended)]
    stretches = []
    position = started
    for kind, length in (("kong", kong), ("provider", proxy), ("answer", receive)):
        end = min(ended, position + int(length))
        if end > position:
            stretches.append((kind, position, end))
        position = end
    if position < ended and not receive:
        stretches.append(("answer", position, ended))
    return stretches or [("whole", started, ended)]


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
