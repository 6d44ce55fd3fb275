"""Which trace a call belongs to: the first key that the caller, or tracing on the way, gave to it."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.entries import LogEntry, first_text, table, text
from kong_ai_tracing.ids import trace_id_from, trace_id_from_seed
from kong_ai_tracing.offers import Offers

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})(?:-.*)?")
_HEX = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_B3_SINGLE = re.compile(r"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-.*)?")
_UBER = re.compile(r"([0-9a-f]{1,32}):([0-9a-f]{1,16}):.*")
_KONG_FORMATS = ("w3c", "b3", "jaeger", "ot", "datadog", "gcp", "aws", "instana")
_LARGEST_TRACE = 2**128
_UNIQUE_CHARACTERS = 16
"""A message id shorter than this is a number within its chat, not an id."""

TraceKey = tuple[str, str]
"""Trace id and the source that gave it."""


def trace_key_of(
    entry: LogEntry, headers: dict[str, Any], offers: Offers, *, by_correlation_id: bool
) -> TraceKey | None:
    """The trace that the caller named, or None: then the call is a trace by itself."""
    return (
        _explicit(offers)
        or _context(entry, headers)
        or _message(offers)
        or (_correlation(entry) if by_correlation_id else None)
    )


def parent_span_of(headers: dict[str, Any], offers: Offers) -> str | None:
    """The caller's own span, kept as metadata."""
    if found := offers.text("parent_span_id"):
        return found
    if "traceparent" in headers and (match := _TRACEPARENT.fullmatch(_header(headers, "traceparent"))):
        return match[2]
    return _header(headers, "x-b3-spanid") or None


def _explicit(offers: Offers) -> TraceKey | None:
    named = offers.text("trace_id")
    trace_id = trace_id_from(named) if named else None
    return (trace_id, offers.source("trace_id") or "") if trace_id else None


def _context(entry: LogEntry, headers: dict[str, Any]) -> TraceKey | None:
    if "traceparent" in headers:
        parent = _TRACEPARENT.fullmatch(_header(headers, "traceparent"))
        if parent and (trace_id := trace_id_from(parent[1])):
            return trace_id, "header traceparent"
    if "trace_id" in entry.record:
        logged = table(entry.record["trace_id"])
        for name in _KONG_FORMATS:
            if trace_id := _from_kong(name, text(logged.get(name))):
                return trace_id, f"kong trace_id.{name}"
    if _OTHER_HEADERS.keys().isdisjoint(headers):
        return None
    for name, read in _OTHER_HEADERS.items():
        if (value := _header(headers, name)) and (trace_id := read(value)):
            return trace_id, f"header {name}"
    return None


def _from_kong(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    return _from_decimal(value) if name == "datadog" else _from_hex(value)


def _from_hex(value: str) -> str | None:
    bare = value.lower().replace("-", "")
    return trace_id_from(bare) if _HEX.fullmatch(bare) else None


def _from_decimal(value: str) -> str | None:
    if not value.isdecimal() or len(value) > 39:
        return None
    number = int(value)
    return f"{number:032x}" if 0 < number < _LARGEST_TRACE else None


def _from_b3(value: str) -> str | None:
    match = _B3_SINGLE.fullmatch(value.lower())
    return trace_id_from(match[1]) if match else None


def _from_uber(value: str) -> str | None:
    match = _UBER.fullmatch(value.lower())
    return trace_id_from(match[1].zfill(32)) if match else None


_OTHER_HEADERS = {
    "x-b3-traceid": _from_hex,
    "b3": _from_b3,
    "x-datadog-trace-id": _from_decimal,
    "uber-trace-id": _from_uber,
    "ot-tracer-traceid": _from_hex,
}


def _message(offers: Offers) -> TraceKey | None:
    """One user turn of a chat is one trace."""
    message = offers.text("message_id")
    if message is None:
        return None
    if len(message) < _UNIQUE_CHARACTERS:
        chat = offers.text("chat_id") or offers.text("session_id") or offers.text("user_id")
        message = f"{chat}:{message}" if chat else message
    return trace_id_from_seed(message), offers.source("message_id") or ""


def _correlation(entry: LogEntry) -> TraceKey | None:
    trace_id = trace_id_from(text(entry.record.get("correlation_id")) or "")
    return (trace_id, "kong correlation_id") if trace_id else None


def _header(headers: dict[str, Any], name: str) -> str:
    return (first_text(headers.get(name)) or "").lower() if name in headers else ""
