"""Anthropic's older text completions: a prompt in, text out."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.payloads.anthropic import is_event
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Dialect,
    failure_in,
    failure_of,
)
from kong_ai_tracing.payloads.prompts import is_prompt, read_prompt, set_texts
from kong_ai_tracing.payloads.values import text_or_none


def _is_certain_prompt(fields: Fields) -> bool:
    return "prompt" in fields and "max_tokens_to_sample" in fields


def _is_completion(fields: Fields) -> bool:
    return "completion" in fields


def _read_completion(fields: Fields) -> Answered:
    found = _completed({name: value_of(raw) for name, raw in fields.items()})
    found.failure = failure_of(fields)
    return found


def _completed(value: dict[str, Any]) -> Answered:
    found = Answered(
        model=text_or_none(value.get("model")),
        usage=table(value.get("usage")),
        finish_reason=text_or_none(value.get("stop_reason")),
        response_id=text_or_none(value.get("id")) or text_or_none(value.get("log_id")),
    )
    return set_texts(found, [value.get("completion")])


def _read_completion_events(stream: EventStream) -> Answered:
    whole: dict[str, Any] = {}
    error: Any = None
    texts: list[str] = []
    for value in stream.values:
        whole |= {name: item for name, item in value.items() if item is not None}
        error = value.get("error") or error
        if isinstance(text := value.get("completion"), str):
            texts.append(text)
    if texts:
        # The version of 2023-01-01, which alone ends with [DONE], repeats the whole text in each event.
        whole["completion"] = texts[-1] if stream.done else "".join(texts)
    found = _completed(whole)
    found.failure = failure_in(error)
    found.partial = not (stream.done or found.finish_reason or found.failure)
    return found


DIALECT = Dialect(
    name="anthropic",
    operation="completion",
    provider="anthropic",
    paths=re.compile(r"/v1/complete/?$"),
    is_request=is_prompt,
    is_response=_is_completion,
    is_event=is_event,
    read_request=read_prompt,
    read_response=_read_completion,
    read_events=_read_completion_events,
)

BY_SHAPE = replace(DIALECT, is_request=_is_certain_prompt)
"""The same on a path that says nothing."""

DIALECTS = (DIALECT,)
