"""Trace and span ids in the forms in which tracers hand them on: W3C, B3, Datadog, Jaeger.

Each reader takes the text of a header, or what Kong logged of it, and gives an id in Langfuse's form; None
for an id that is none, as all zeros are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from kong_ai_tracing.ids import trace_id_from

Reader = Callable[[str], str | None]


def _form(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """What matches a header as a whole. Remembers: one header is asked for its trace and for its span."""
    match = re.compile(pattern).fullmatch
    return lru_cache(4)(lambda value: match(value.lower()))


_TRACEPARENT = _form(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})(?:-.*)?")
_B3_SINGLE = _form(r"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-.*)?")
_UBER = _form(r"([0-9a-f]{1,32}):([0-9a-f]{1,16}):.*")
_HEX = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")
_LARGEST_TRACE = 2**128
_LARGEST_SPAN = 2**64
_NO_SPAN = "0" * 16


def _part(form: Callable[[str], re.Match[str] | None], group: int, digits: int) -> Reader:
    """A reader of one group of a form, filled up with zeros to its digits."""
    nothing = "0" * digits

    def of_part(value: str) -> str | None:
        match = form(value)
        if match is None:
            return None
        found = match[group].zfill(digits)
        return found if found != nothing else None

    return of_part


def _hex_trace(value: str) -> str | None:
    bare = value.lower().replace("-", "")
    return trace_id_from(bare) if _HEX.fullmatch(bare) else None


def _decimal_trace(value: str) -> str | None:
    number = _decimal(value)
    return f"{number:032x}" if 0 < number < _LARGEST_TRACE else None


def _hex_span(value: str) -> str | None:
    bare = value.lower()
    return bare if _SPAN.fullmatch(bare) and bare != _NO_SPAN else None


def _decimal_span(value: str) -> str | None:
    number = _decimal(value)
    return f"{number:016x}" if 0 < number < _LARGEST_SPAN else None


def _decimal(value: str) -> int:
    return int(value) if value.isdecimal() and len(value) < 40 else 0


TRACE_READERS: dict[str, Reader] = {
    "header traceparent": _part(_TRACEPARENT, 1, 32),
    **dict.fromkeys(
        (f"kong trace_id.{name}" for name in ("w3c", "b3", "jaeger", "ot", "gcp", "aws", "instana")),
        _hex_trace,
    ),
    "kong trace_id.datadog": _decimal_trace,
    "header x-b3-traceid": _hex_trace,
    "header b3": _part(_B3_SINGLE, 1, 32),
    "header x-datadog-trace-id": _decimal_trace,
    "header uber-trace-id": _part(_UBER, 1, 32),
    "header ot-tracer-traceid": _hex_trace,
}
"""By the source that carries it. Any other source has an id as it is, or a seed of one."""

SPAN_READERS: dict[str, Reader] = {
    "header traceparent": _part(_TRACEPARENT, 2, 16),
    "header x-b3-spanid": _hex_span,
    "header b3": _part(_B3_SINGLE, 2, 16),
    "header x-datadog-parent-id": _decimal_span,
    "header uber-trace-id": _part(_UBER, 2, 16),
}

_FAMILIES = tuple(
    frozenset(family)
    for family in (
        ("header traceparent", "kong trace_id.w3c"),
        ("header x-b3-spanid", "header b3", "header x-b3-traceid", "kong trace_id.b3"),
        ("header x-datadog-parent-id", "header x-datadog-trace-id", "kong trace_id.datadog"),
        ("header uber-trace-id", "kong trace_id.jaeger"),
    )
)


def belong_together(span_source: str, trace_source: str) -> bool:
    """Whether a span told by one source is of the trace told by another.

    A tracer's header tells of its own trace only; a span that is named otherwise is taken at its word.
    """
    if span_source not in SPAN_READERS:
        return True
    return any(span_source in family and trace_source in family for family in _FAMILIES)
