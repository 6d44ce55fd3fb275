"""Bedrock's `invoke`: whatever the family of the model speaks, in a body that Bedrock does not look at.

Claude, Nova and those that speak like OpenAI have readers of their own; the families that take a prompt and
give a text (Titan, Llama, Mistral, Cohere's older ones) are read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, value_of
from kong_ai_tracing.payloads import anthropic, anthropiccomplete, bedrock, coarse, cohere
from kong_ai_tracing.payloads.chat import DIALECT as CHAT
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    failure_of,
    parameters_of,
    prompt_text_length,
    raw_text,
)

_COUNTS = "amazon-bedrock-invocationMetrics"


def _is_coheres(fields: Fields) -> bool:
    """Command R: nobody else is asked with one message and its history."""
    return "message" in fields and "messages" not in fields


def _is_coheres_event(event: dict[str, Any]) -> bool:
    """Command's older models stream `is_finished` as well, but no type."""
    return "event_type" in event


_COHERE = replace(cohere.DIALECT, is_request=_is_coheres, is_event=_is_coheres_event)
_REQUESTS = (bedrock.BY_SHAPE, anthropic.BY_SHAPE, anthropiccomplete.BY_SHAPE, _COHERE, CHAT)
_ANSWERS = (bedrock.BY_SHAPE, anthropic.BY_SHAPE, anthropiccomplete.DIALECT, _COHERE, CHAT)
_PROMPTS = ("prompt", "inputText")
_SETTINGS = {
    "max_gen_len": "max_tokens",
    "maxTokenCount": "max_tokens",
    "maxTokens": "max_tokens",
    "topP": "top_p",
    "p": "top_p",
    "k": "top_k",
    "stopSequences": "stop_sequences",
}


# -- the request


def _is_request(fields: Fields) -> bool:
    return "messages" in fields or "message" in fields or any(name in fields for name in _ASKED)


_ASKED = (*_PROMPTS, "textToImageParams", "text_prompts", "taskType")


def _read_request(fields: Fields) -> Asked:
    reader = next((each for each in _REQUESTS if each.is_request(fields)), None)
    if reader is not None:
        asked = reader.read_request(fields)
    elif prompt := next((fields[name] for name in _PROMPTS if name in fields), None):
        asked = Asked(input=raw_text(prompt), prompt_length=prompt_text_length(prompt))
    else:
        asked = coarse.UNKNOWN.read_request(fields)
    asked.parameters = asked.parameters | _parameters(fields)
    return asked


def _parameters(fields: Fields) -> dict[str, Any]:
    """The settings under the names that other dialects have for them."""
    members = dict(fields)
    for name, value in table(value_of(fields.get("textGenerationConfig"))).items():
        members[name] = Raw(dump(value))
    return parameters_of({_SETTINGS.get(name, name): raw for name, raw in members.items()})


def _streamed(read: Callable[[Fields], Asked]) -> Callable[[Fields], Asked]:
    """That an answer is streamed is said by the path alone."""

    def read_streamed(fields: Fields) -> Asked:
        asked = read(fields)
        asked.streamed = True
        return asked

    return read_streamed


# -- the answer


def _is_response(fields: Fields) -> bool:
    if any(each.is_response(fields) for each in _ANSWERS) or not _GIVEN.isdisjoint(fields):
        return True
    return bedrock.failure_named(fields) is not None


_GIVEN = frozenset(
    (
        "results",
        "outputText",
        "generation",
        "outputs",
        "generations",
        "completions",
        "text",
        "images",
        "artifacts",
    )
)


def _read_response(fields: Fields) -> Answered:
    if failure := failure_of(fields) or bedrock.failure_named(fields):
        return Answered(failure=failure)
    reader = next((each for each in _ANSWERS if each.is_response(fields)), None)
    if reader is not None:
        return reader.read_response(fields)
    found = _joined([_Piece({name: value_of(raw) for name, raw in fields.items()})])
    found.partial = False
    return coarse.UNKNOWN.read_response(fields) if found.output is None else found


class _Piece:
    """What one object says, be it a whole answer or one event of a stream."""

    def __init__(self, value: dict[str, Any]) -> None:
        inner = next(
            (
                item
                for name in ("results", "outputs", "generations", "completions")
                if (item := _first(value, name))
            ),
            {},
        )
        # AI21's older models have the text a level deeper, and an object for the reason.
        places = (value, inner, table(inner.get("data")), _renamed(inner.get("finishReason")))
        self.text = next(
            (text for place in places for name in _TEXT_NAMES if (text := _text(place, name))), ""
        )
        self.reason = next((word for place in places for name in _ENDS if (word := _text(place, name))), None)
        self.response_id = _text(value, "generation_id") or _text(value, "id") or None
        self.usage = _usage(value, inner)
        self.ended = self.reason is not None or _COUNTS in value
        self.error = value.get("error") if "error" in value else _exception(value)


_TEXT_NAMES = ("outputText", "generation", "text", "completion")
_ENDS = ("completionReason", "stop_reason", "finish_reason")


def _renamed(reason: Any) -> dict[str, Any]:
    return {"finish_reason": table(reason).get("reason")}


def _first(value: dict[str, Any], name: str) -> dict[str, Any]:
    items = value.get(name)
    return table(items[0]) if isinstance(items, list) and items else {}


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _exception(value: dict[str, Any]) -> Any:
    return next((item for name, item in value.items() if name.endswith("Exception")), None)


def _usage(value: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    counts = table(value.get(_COUNTS))
    usage = {
        "input_tokens": _number(
            counts.get("inputTokenCount"), value.get("inputTextTokenCount"), value.get("prompt_token_count")
        ),
        "output_tokens": _number(
            counts.get("outputTokenCount"),
            value.get("totalOutputTextTokenCount"),
            value.get("generation_token_count"),
            inner.get("tokenCount"),
        ),
        "cacheReadInputTokens": counts.get("cacheReadInputTokenCount"),
        "cacheWriteInputTokens": counts.get("cacheWriteInputTokenCount"),
    }
    return {name: count for name, count in usage.items() if count is not None}


def _number(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _joined(pieces: Iterable[_Piece], gap: int | None = None) -> Answered:
    found = Answered(partial=True)
    texts: list[str] = []
    for number, piece in enumerate(pieces):
        if number == gap:
            texts.append(GAP)
        texts.append("" if piece.ended and piece.text == "".join(texts) else piece.text)
        found.finish_reason = piece.reason or found.finish_reason
        found.response_id = piece.response_id or found.response_id
        found.usage = found.usage | piece.usage
        found.failure = failure_in(piece.error) or found.failure
        found.partial = found.partial and not piece.ended
    if text := "".join(texts):
        found.output = dump(text)
        found.response_length = len(text)
    found.partial = found.partial and found.failure is None
    return found


def _stop_reason(choices: Any) -> str | None:
    first = table(choices[0]) if isinstance(choices, list) and choices else {}
    return _text(first, "stop_reason") or None


def _is_event(event: dict[str, Any]) -> bool:
    return any(each.is_event(event) for each in _ANSWERS) or _COUNTS in event or not _GIVEN.isdisjoint(event)


def _read_events(stream: EventStream) -> Answered:
    values = stream.values
    counts = next((counts for value in reversed(values) if (counts := _usage(value, {}))), {})
    for reader in _STREAMS:
        if any(reader.is_event(value) for value in values if "error" not in value):
            found = reader.read_events(stream)
            found.usage = found.usage or counts
            if reader is CHAT:
                reasons = (_stop_reason(value.get("choices")) for value in values)
                found.finish_reason = found.finish_reason or next((each for each in reasons if each), None)
                found.partial = found.partial and found.finish_reason is None
            return found
    return _joined(map(_Piece, values), stream.gap)


def _is_completion(event: dict[str, Any]) -> bool:
    return "completion" in event


_STREAMS = (
    replace(anthropiccomplete.DIALECT, is_event=_is_completion),
    anthropic.DIALECT,
    CHAT,
    _COHERE,
    bedrock.CONVERSE,
)


# A model of a known maker, or an ARN, stands in no other path.
_KNOWN = (
    r"/model/(?:arn(?::|%3A)aws[^/]*(?:/[^/]+)?|(?:[a-z-]+\.)?(?:amazon|anthropic|meta|mistral|cohere|ai21"
    r"|deepseek|openai|qwen|stability|writer|luma|twelvelabs|nvidia|google|minimax|moonshot|zai)\.[^/]+)/"
)
_ACTIONS = (("invoke", _read_request), ("invoke-with-response-stream", _streamed(_read_request)))


def _dialect(model: str, action: str, read: Callable[[Fields], Asked], *, distinctive: bool) -> Dialect:
    return Dialect(
        name="bedrock",
        operation="invoke",
        provider="bedrock",
        paths=re.compile(f"{model}{action}$", re.IGNORECASE),
        distinctive=distinctive,
        is_request=_is_request,
        is_response=_is_response,
        is_event=_is_event,
        read_request=read,
        read_response=_read_response,
        read_events=_read_events,
    )


DIALECTS = (
    *(_dialect(_KNOWN, action, read, distinctive=True) for action, read in _ACTIONS),
    *(_dialect(bedrock.MODEL, action, read, distinctive=False) for action, read in _ACTIONS),
)
