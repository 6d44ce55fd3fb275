"""The events of Cohere's chat, in either version, put together to the answer they make.

The version of 2023 streams JSON objects line by line, each with an `event_type`; the last holds the whole
answer. That of 2024 streams server-sent events whose fragments stand deep in a `delta.message`.
"""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.cohereanswer import BESIDE_THE_TEXT, calls_of, set_end, usage_of, whole_answer
from kong_ai_tracing.payloads.dialect import Answered, failure_in
from kong_ai_tracing.payloads.parts import tool_call
from kong_ai_tracing.payloads.turns import Turn, set_messages
from kong_ai_tracing.payloads.values import as_text, text_or_none


def is_event(event: dict[str, Any]) -> bool:
    """Whether an event is one of either version."""
    if "event_type" in event or "is_finished" in event:
        return True
    return event.get("type") in _NEW_EVENTS if isinstance(event.get("type"), str) else False


_NEW_EVENTS = frozenset(
    (
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "citation-end",
        "message-end",
        "debug",
    )
)


def read_events(stream: EventStream) -> Answered:
    """What a stream says."""
    return _read(stream.values, gap=stream.gap, ended=stream.done)


def read_event(event: dict[str, Any]) -> Answered:
    """An answer of which only the first event is there."""
    return _read([event], gap=None, ended=False)


def _read(events: list[dict[str, Any]], *, gap: int | None, ended: bool) -> Answered:
    found = Answered()
    turn = Turn()
    for number, event in enumerate(events):
        if number == gap:
            turn.add_text(GAP)
        found.failure = failure_in(event.get("error")) or found.failure
        if isinstance(event.get("event_type"), str) or "is_finished" in event:
            if isinstance(response := event.get("response"), dict) and gap is None:
                whole = whole_answer(response)
                set_end(whole, event)
                return whole
            _add_old_event(turn, found, event)
        else:
            _add_new_event(turn, found, event)
    found.partial = not (ended or found.finish_reason or found.failure)
    set_messages(found, [turn])
    return found


def _add_old_event(turn: Turn, found: Answered, event: dict[str, Any]) -> None:
    kind = event.get("event_type")
    found.response_id = found.response_id or text_or_none(event.get("generation_id"))
    if kind in ("text-generation", None):
        turn.add_text(event.get("text"))
    elif kind == "tool-calls-generation":
        turn.calls = calls_of(event.get("tool_calls"))
    for name in BESIDE_THE_TEXT:
        turn.add_more(name, event.get(name))
    if event.get("is_finished") is True:
        response = table(event.get("response"))
        found.usage = usage_of(response.get("meta")) or found.usage
        found.response_id = text_or_none(response.get("response_id")) or found.response_id
        set_end(found, event)


def _add_new_event(turn: Turn, found: Answered, event: dict[str, Any]) -> None:
    kind, delta = event.get("type"), table(event.get("delta"))
    message = table(delta.get("message"))
    if kind == "message-start":
        found.response_id = text_or_none(event.get("id"))
    elif kind in ("content-start", "content-delta"):
        content = table(message.get("content"))
        turn.add_text(content.get("text"))
        turn.add_thought_piece(content.get("thinking"))
    elif kind == "tool-plan-delta" and isinstance(plan := message.get("tool_plan"), str):
        turn.more["tool_plan"] = turn.more.get("tool_plan", "") + plan
    elif kind in ("tool-call-start", "tool-call-delta"):
        _add_call(turn, table(message.get("tool_calls")), begins=kind == "tool-call-start")
    elif kind == "citation-start":
        turn.add_more("citations", [message.get("citations")])
    elif kind == "message-end":
        found.usage = usage_of(delta.get("usage"))
        found.failure = failure_in(delta.get("error")) or found.failure
        set_end(found, delta)


def _add_call(turn: Turn, call: dict[str, Any], *, begins: bool) -> None:
    """Calls come one after the other: a fragment belongs to the last that began."""
    function = table(call.get("function"))
    if begins or not turn.calls:
        turn.calls.append(tool_call(function.get("name"), function.get("arguments") or "", call.get("id")))
    elif isinstance(more := function.get("arguments"), str):
        last = table(turn.calls[-1].get("function"))
        last["arguments"] = as_text(last.get("arguments") or "") + more
