"""llama.cpp's own `/completion` and `/infill`: a prompt in, `content` out, whole or piece by piece."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, object_text
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    parameters_of,
    raw_text,
)
from kong_ai_tracing.payloads.prompts import asked_text, set_texts
from kong_ai_tracing.payloads.values import settings_of, text_or_none, values_of

_INFILL = ("input_prefix", "input_suffix", "input_extra")
_OWN_SETTINGS = ("n_predict", "n_keep", "cache_prompt", "samplers", "json_schema", "grammar", "id_slot")
_ENDS = {"stopped_eos": "eos", "stopped_word": "word", "stopped_limit": "limit"}
"""Older servers have a flag for each end instead of a `stop_type`."""


def _is_request(fields: Fields) -> bool:
    return "prompt" in fields or "input_prefix" in fields


def _is_response(fields: Fields) -> bool:
    return "content" in fields and "stop" in fields


def _is_event(event: dict[str, Any]) -> bool:
    return ("content" in event and "stop" in event) or "error" in event


def _read_request(fields: Fields) -> Asked:
    settings = settings_of(parameters_of(fields) | values_of(fields, _OWN_SETTINGS))
    asked = asked_text(fields, fields.get("prompt"), settings)
    if infill := {name: raw_text(fields[name]) for name in _INFILL if name in fields}:
        asked.input = object_text(infill | ({"prompt": asked.input} if asked.input else {}))
    return asked


def _read_response(fields: Fields) -> Answered:
    return _read([values_of(fields, fields)], gap=None, ended=False)


def _read_events(stream: EventStream) -> Answered:
    return _read(stream.values, gap=stream.gap, ended=stream.done)


def _read(answers: list[dict[str, Any]], *, gap: int | None, ended: bool) -> Answered:
    found = Answered()
    texts: dict[int, list[str]] = {}
    for number, answer in enumerate(answers):
        if number == gap:
            for each in texts.values():
                each.append(GAP)
        if isinstance(text := answer.get("content"), str):
            index = answer.get("index")
            texts.setdefault(index if isinstance(index, int) else 0, []).append(text)
        found.failure = failure_in(answer.get("error")) or found.failure
        found.model = text_or_none(answer.get("model")) or found.model
        if answer.get("stop") is True:
            ended = True
            found.finish_reason = _end(answer)
            found.usage = {
                "prompt_tokens": answer.get("tokens_evaluated"),
                "completion_tokens": answer.get("tokens_predicted"),
            }
    found.partial = not (ended or found.failure)
    return set_texts(found, ["".join(each) for _, each in sorted(texts.items())])


def _end(answer: dict[str, Any]) -> str | None:
    reason = text_or_none(answer.get("stop_type"))
    return reason or next((name for flag, name in _ENDS.items() if answer.get(flag) is True), None)


DIALECT = Dialect(
    name="llama.cpp",
    operation="completion",
    provider="llama.cpp",
    paths=re.compile(r"/(?:completion|infill)/?$"),
    is_request=_is_request,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

DIALECTS = (DIALECT,)
