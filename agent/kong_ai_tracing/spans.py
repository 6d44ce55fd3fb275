"""A span: one observation with its ids and the values of its trace, before it takes a wire form."""

from __future__ import annotations

from msgspec import Struct

from kong_ai_tracing.calls import Context, Observation


class Span(Struct, frozen=True):
    """What a destination receives. `parent_id` is None for the root of a trace."""

    trace_id: str
    id: str
    parent_id: str | None
    context: Context
    observation: Observation
