"""Which trace a call belongs to, and under which span: what the caller, or tracing on the way, gave to it."""

from __future__ import annotations

from kong_ai_tracing.entries import LogEntry, text
from kong_ai_tracing.ids import observation_id_from, trace_id_from, trace_id_from_seed
from kong_ai_tracing.offers import Offers
from kong_ai_tracing.places import MESSAGE_SOURCES
from kong_ai_tracing.traceids import belong_together

_UNIQUE_CHARACTERS = 16
"""A message id shorter than this is a number within its chat, not an id."""

TraceKey = tuple[str, str]
"""Trace id and the source that gave it."""


def trace_key_of(entry: LogEntry, offers: Offers, *, by_correlation_id: bool) -> TraceKey | None:
    """The trace that the caller named, or None: then the call is a trace by itself."""
    if (source := offers.source("trace_id")) is not None:
        return (_of_message(offers) if source in MESSAGE_SOURCES else offers.get("trace_id")), source
    if by_correlation_id and (trace_id := trace_id_from(text(entry.record.get("correlation_id")) or "")):
        return trace_id, "kong correlation_id"
    return None


def parent_id_of(offers: Offers, key: TraceKey | None) -> str | None:
    """The caller's own span as an observation's id, if it is in the trace that the caller named."""
    span, source = offers.text("parent_span_id"), offers.source("parent_span_id")
    if key is None or span is None or source is None or not belong_together(source, key[1]):
        return None
    return observation_id_from(span)


def _of_message(offers: Offers) -> str:
    """One user turn of a chat is one trace."""
    message = offers.text("trace_id") or ""
    if len(message) < _UNIQUE_CHARACTERS:
        chat = offers.text("chat_id") or offers.text("session_id") or offers.text("user_id")
        message = f"{chat}:{message}" if chat else message
    return trace_id_from_seed(message)
