"""Cohere's text generation of 2022: a prompt in, generations out."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.cohere import parameters
from kong_ai_tracing.payloads.cohereanswer import set_end, usage_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
)
from kong_ai_tracing.payloads.prompts import asked_text, is_prompt, set_texts
from kong_ai_tracing.payloads.values import dicts_of, text_or_none


def _is_response(fields: Fields) -> bool:
    return "generations" in fields or "is_finished" in fields


def _is_event(event: dict[str, Any]) -> bool:
    return "is_finished" in event


def _read_request(fields: Fields) -> Asked:
    return asked_text(fields, fields.get("prompt"), parameters(fields))


def _read_response(fields: Fields) -> Answered:
    value = {name: value_of(raw) for name, raw in fields.items()}
    if "is_finished" in value:
        return _read([value], gap=None, ended=False)
    found = _answered(value)
    found.failure = found.failure or failure_of(fields)
    return found


def _answered(value: dict[str, Any]) -> Answered:
    generations = dicts_of(value.get("generations"))
    found = Answered(
        model=text_or_none(value.get("model")),
        usage=usage_of(value.get("meta")),
        response_id=text_or_none(value.get("id")),
    )
    for generation in generations[:1]:
        set_end(found, generation)
    set_texts(found, [generation.get("text") for generation in generations])
    return found


def _read_events(stream: EventStream) -> Answered:
    return _read(stream.values, gap=stream.gap, ended=stream.done)


def _read(events: list[dict[str, Any]], *, gap: int | None, ended: bool) -> Answered:
    found = Answered()
    texts: dict[int, list[str]] = {}
    for number, event in enumerate(events):
        if number == gap:
            for each in texts.values():
                each.append(GAP)
        if isinstance(response := event.get("response"), dict):
            whole = _answered(response)
            set_end(whole, event)
            if gap is None:
                return whole
            found.usage, found.response_id = whole.usage, whole.response_id
        if event.get("is_finished") is True:
            set_end(found, event)
        elif isinstance(text := event.get("text"), str):
            index = event.get("index")
            texts.setdefault(index if isinstance(index, int) else 0, []).append(text)
    found.partial = not (ended or found.finish_reason or found.failure)
    set_texts(found, ["".join(each) for _, each in sorted(texts.items())])
    return found


DIALECT = Dialect(
    name="cohere",
    operation="completion",
    provider="cohere",
    paths=re.compile(r"/v1/generate/?$"),
    is_request=is_prompt,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

DIALECTS = (DIALECT,)
