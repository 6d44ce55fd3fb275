"""What a whole answer of Cohere's chat says, in either version: text, calls, citations, counts."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.payloads.conversation import (
    Draft,
    Message,
    dicts_of,
    set_messages,
    table_of,
    text_or_none,
    tool_call,
)
from kong_ai_tracing.payloads.dialect import Answered, failure_in

BESIDE_THE_TEXT = ("citations", "documents", "search_queries", "search_results")
_FAILED = ("ERROR", "ERROR_TOXIC", "TIMEOUT")
"""Ends of an answer that is none."""


def whole_answer(value: dict[str, Any]) -> Answered:
    """What a whole answer of either version says."""
    draft = Draft()
    message = table_of(value.get("message"))
    draft.add_text(value.get("text"))
    _add_content(draft, message.get("content"))
    draft.calls += calls_of(message.get("tool_calls") or value.get("tool_calls"))
    if plan := text_or_none(message.get("tool_plan")):
        draft.more["tool_plan"] = plan
    for name in BESIDE_THE_TEXT:
        draft.add_more(name, message.get(name) or value.get(name))
    found = Answered(
        model=text_or_none(value.get("model")),
        usage=usage_of(value.get("usage") or value.get("meta")),
        response_id=text_or_none(value.get("response_id")) or text_or_none(value.get("id")),
    )
    set_end(found, value)
    set_messages(found, [draft])
    return found


def _add_content(draft: Draft, content: Any) -> None:
    draft.add_text(content)
    for part in dicts_of(content):
        if part.get("type") == "thinking":
            draft.add_thought(part.get("thinking"))
        elif part.keys() <= {"type", "text"}:
            draft.add_text(part.get("text"))
        else:
            draft.add_part(part)


def set_end(found: Answered, value: dict[str, Any]) -> None:
    """Why an answer ended, and what went wrong where it says so."""
    reason = text_or_none(value.get("finish_reason"))
    found.finish_reason = reason or found.finish_reason
    if reason in _FAILED:
        error = value.get("error") or value.get("text") or reason
        found.failure = failure_in(error) or found.failure


def usage_of(meta: Any) -> dict[str, Any]:
    """What Cohere bills, which is what it priced; else what it counted."""
    counted = table_of(meta)
    billed, tokens = table_of(counted.get("billed_units")), table_of(counted.get("tokens"))
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
