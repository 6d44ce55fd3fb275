"""What a whole answer of Cohere's chat says, in either version: text, calls, citations, counts."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.payloads.dialect import Answered, failure_in
from kong_ai_tracing.payloads.parts import Message, tool_call
from kong_ai_tracing.payloads.turns import Turn, set_messages
from kong_ai_tracing.payloads.values import dicts_of, text_or_none

BESIDE_THE_TEXT = ("citations", "documents", "search_queries", "search_results")
_FAILED = ("ERROR", "ERROR_TOXIC", "TIMEOUT")
"""Ends of an answer that is none."""


def whole_answer(value: dict[str, Any]) -> Answered:
    """What a whole answer of either version says."""
    turn = Turn()
    message = table(value.get("message"))
    turn.add_text(value.get("text"))
    _add_content(turn, message.get("content"))
    turn.calls += calls_of(message.get("tool_calls") or value.get("tool_calls"))
    if plan := text_or_none(message.get("tool_plan")):
        turn.more["tool_plan"] = plan
    for name in BESIDE_THE_TEXT:
        turn.add_more(name, message.get(name) or value.get(name))
    found = Answered(
        model=text_or_none(value.get("model")),
        usage=usage_of(value.get("usage") or value.get("meta")),
        response_id=text_or_none(value.get("response_id")) or text_or_none(value.get("id")),
    )
    set_end(found, value)
    set_messages(found, [turn])
    return found


def _add_content(turn: Turn, content: Any) -> None:
    turn.add_text(content)
    for part in dicts_of(content):
        if part.get("type") == "thinking":
            turn.add_thought_piece(part.get("thinking"))
        elif part.keys() <= {"type", "text"}:
            turn.add_text(part.get("text"))
        else:
            turn.add_part(part)


def set_end(found: Answered, value: dict[str, Any]) -> None:
    """Why an answer ended, and what went wrong where it says so."""
    reason = text_or_none(value.get("finish_reason"))
    found.finish_reason = reason or found.finish_reason
    if reason in _FAILED:
        error = value.get("error") or value.get("text") or reason
        found.failure = failure_in(error) or found.failure


def usage_of(meta: Any) -> dict[str, Any]:
    """What Cohere bills, which is what it priced; else what it counted."""
    counted = table(meta)
    billed, tokens = table(counted.get("billed_units")), table(counted.get("tokens"))
    for counts, cached in ((billed, None), (tokens, counted.get("cached_tokens"))):
        if "input_tokens" in counts or "output_tokens" in counts:
            usage = {name: counts.get(name) for name in ("input_tokens", "output_tokens")}
            return usage | ({"input_tokens_details": {"cached_tokens": cached}} if cached else {})
    return {}


def calls_of(calls: Any) -> list[Message]:
    """Tool calls of either version: the first has bare names and parameters."""
    return [
        call if "function" in call else tool_call(call.get("name"), call.get("parameters") or {})
        for call in dicts_of(calls)
    ]
