"""Servers that generate at `/generate`: Hugging Face's TGI, and in their own forms vLLM and SGLang.

TGI streams tokens and repeats the whole text with the last; it answers with one object or a list of them.
vLLM and SGLang repeat in each event all the text so far, and vLLM's begins with the prompt.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    parameters_of,
)
from kong_ai_tracing.payloads.prompts import asked_text, set_texts
from kong_ai_tracing.payloads.values import dicts_of, settings_of, text_or_none, values_of

_PROMPTS = ("inputs", "prompt", "text", "input_ids", "prompt_token_ids")
_NESTED_SETTINGS = ("parameters", "sampling_params", "options")


def _is_request(fields: Fields) -> bool:
    return any(name in fields for name in _PROMPTS)


def _is_certain_request(fields: Fields) -> bool:
    return "inputs" in fields


def _read_request(fields: Fields) -> Asked:
    prompt = next((fields[name] for name in _PROMPTS if name in fields), None)
    nested = [table(value_of(fields.get(name))) for name in _NESTED_SETTINGS]
    settings = parameters_of(fields) | {k: v for each in nested for k, v in each.items()}
    asked = asked_text(fields, prompt, settings_of(settings))
    asked.streamed = asked.streamed or any(each.get("stream") is True for each in nested)
    return asked


def _is_response(fields: Fields) -> bool:
    return "generated_text" in fields or "token" in fields or "text" in fields


def _is_event(event: dict[str, Any]) -> bool:
    return not _EVENT_MEMBERS.isdisjoint(event)


_EVENT_MEMBERS = frozenset(("token", "generated_text", "text", "error"))


def _read_response(fields: Fields) -> Answered:
    return _read([values_of(fields, fields)], gap=None, ended="token" not in fields)


def _read_events(stream: EventStream) -> Answered:
    return _read(stream.values, gap=stream.gap, ended=stream.done)


def _read(answers: list[dict[str, Any]], *, gap: int | None, ended: bool) -> Answered:
    found = Answered()
    tokens: list[str] = []
    wholes: list[str] = []
    """The texts of a list of answers, one each."""
    so_far: dict[int, list[str]] = {}
    for number, answer in enumerate(answers):
        if number == gap:
            tokens.append(GAP)
        if isinstance(token := answer.get("token"), dict):
            tokens.append(_token_text(token))
        if isinstance(text := answer.get("generated_text"), str):
            wholes += [text, *_other_sequences(answer)]
            found.finish_reason = found.finish_reason or "stop"
        elif (texts := _texts(answer.get("text"))) is not None:
            index = answer.get("index")
            so_far[index if isinstance(index, int) else 0] = texts
        _read_beside(answer, found)
    so_far_texts = [text for _, texts in sorted(so_far.items()) for text in texts]
    set_texts(found, wholes or (["".join(tokens)] if tokens else so_far_texts))
    # vLLM has no mark for the end: what it sent is all there is to know.
    ended = ended or (bool(so_far) and not any("meta_info" in answer for answer in answers))
    found.partial = not (ended or found.finish_reason or found.failure)
    return found


def _token_text(token: dict[str, Any]) -> str:
    """The text of a token, unless it is one that only ends the text."""
    text = token.get("text")
    return text if isinstance(text, str) and token.get("special") is not True else ""


def _texts(text: Any) -> list[str] | None:
    if isinstance(text, str):
        return [text]
    return [each for each in text if isinstance(each, str)] if isinstance(text, list) else None


def _other_sequences(answer: dict[str, Any]) -> list[str]:
    sequences = dicts_of(table(answer.get("details")).get("best_of_sequences"))
    return [text for each in sequences if isinstance(text := each.get("generated_text"), str)]


def _read_beside(answer: dict[str, Any], found: Answered) -> None:
    details, meta = table(answer.get("details")), table(answer.get("meta_info"))
    reason = text_or_none(details.get("finish_reason"))
    if isinstance(end := meta.get("finish_reason"), dict):
        reason = text_or_none(end.get("type"))
    if reason:
        found.finish_reason = reason
    if "generated_tokens" in details:
        prefill = details.get("prefill")
        prefilled = len(prefill) if isinstance(prefill, list) and prefill else None
        found.usage = {
            "prompt_tokens": details.get("input_length") or prefilled,
            "completion_tokens": details["generated_tokens"],
        }
    elif "completion_tokens" in meta:
        found.usage = {name: meta.get(name) for name in ("prompt_tokens", "completion_tokens")}
        found.usage["prompt_tokens_details"] = {"cached_tokens": meta.get("cached_tokens")}
    found.response_id = text_or_none(meta.get("id")) or found.response_id
    found.failure = failure_in(answer.get("error"), text_or_none(answer.get("error_type"))) or found.failure


DIALECT = Dialect(
    name="generate",
    operation="generate",
    paths=re.compile(r"/generate(?:_stream)?/?$"),
    is_request=_is_request,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

BY_SHAPE = replace(DIALECT, is_request=_is_certain_request)
"""TGI's `inputs` on a path that says nothing."""

DIALECTS = (DIALECT,)
