"""Bedrock's Converse API, which Amazon's Nova models speak on `invoke` as well.

A content block is an object with one member that names its kind. A request becomes the messages of a chat,
settings get the names that other dialects have for them, and a stream is put together to the message that
the call would have given unstreamed.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, is_empty, items_of, value_of
from kong_ai_tracing.payloads.bedrockblocks import ONLY_CONVERSE, add_blocks, tools_text
from kong_ai_tracing.payloads.bedrockstream import answer_of_stream, is_event
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    Failure,
    failure_in,
    failure_of,
    is_streamed,
    messages_input,
    parameters_of,
    text_length,
    word_of,
)
from kong_ai_tracing.payloads.turns import Turn, set_messages

_OWN_MEMBERS = frozenset(("inferenceConfig", "toolConfig", "additionalModelRequestFields", "guardrailConfig"))


# -- the request


def _is_request(fields: Fields) -> bool:
    return "messages" in fields


def _is_certain_request(fields: Fields) -> bool:
    """Known by its shape alone: by settings that nobody else has, or by blocks without a type."""
    messages = fields.get("messages")
    if messages is None:
        return False
    if not _OWN_MEMBERS.isdisjoint(fields):
        return True
    first = next(iter(items_of(messages)), None)
    content = table(value_of(first)).get("content")
    blocks = content if isinstance(content, list) else []
    return any(
        isinstance(block, dict) and "type" not in block and not ONLY_CONVERSE.isdisjoint(block)
        for block in blocks
    )


def _read_request(fields: Fields) -> Asked:
    messages: list[dict[str, Any]] = []
    if not is_empty(fields.get("system")):
        messages += _messages({"role": "system", "content": value_of(fields.get("system"))})
    for item in items_of(fields.get("messages")):
        messages += _messages(value_of(item))
    tool_config = table(value_of(fields.get("toolConfig")))
    return Asked(
        input=messages_input(dump(messages), _tools(fields, tool_config)),
        model=word_of(fields.get("model")),
        parameters=_parameters(fields, tool_config),
        streamed=is_streamed(fields),
        message_count=len(messages),
        prompt_length=sum(text_length(message.get("content")) for message in messages),
    )


def _read_streamed_request(fields: Fields) -> Asked:
    """That an answer is streamed is said by the path alone."""
    asked = _read_request(fields)
    asked.streamed = True
    return asked


def _messages(message: Any) -> list[dict[str, Any]]:
    if not isinstance(message, dict):
        return [{"role": "user", "content": message}]
    return _turn(message).messages() if isinstance(message.get("content"), list) else [message]


def _turn(message: dict[str, Any]) -> Turn:
    content, role = message.get("content"), message.get("role")
    more = {name: value for name, value in message.items() if name not in ("role", "content")}
    turn = Turn(role if isinstance(role, str) and role else "user", more)
    add_blocks(turn, content if isinstance(content, list) else [{"text": content}])
    return turn


def _tools(fields: Fields, tool_config: dict[str, Any]) -> Raw | None:
    """The tools; of a request that Kong logged before it translated it, those in OpenAI's form."""
    return tools_text(tool_config.get("tools")) or fields.get("tools")


_SETTINGS = {
    "maxTokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop_sequences",
}


def _parameters(fields: Fields, tool_config: dict[str, Any]) -> dict[str, Any]:
    members = dict(fields)
    for name in ("inferenceConfig", "additionalModelRequestFields"):
        for setting, value in table(value_of(fields.get(name))).items():
            members[_SETTINGS.get(setting, setting)] = Raw(dump(value))
    for name, value in (
        ("tool_choice", tool_config.get("toolChoice")),
        ("service_tier", table(value_of(fields.get("serviceTier"))).get("type")),
        ("latency", table(value_of(fields.get("performanceConfig"))).get("latency")),
    ):
        if value is not None:
            members[name] = Raw(dump(value))
    return parameters_of(members)


# -- the answer


def _is_response(fields: Fields) -> bool:
    return "stopReason" in fields or _is_certain_response(fields) or failure_named(fields) is not None


def _is_certain_response(fields: Fields) -> bool:
    output = fields.get("output")
    return output is not None and "message" in table(value_of(output))


def _read_response(fields: Fields) -> Answered:
    found = _answered({name: value_of(raw) for name, raw in fields.items()})
    found.failure = failure_of(fields) or failure_named(fields)
    return found


def failure_named(fields: Fields) -> Failure | None:
    """The error in an answer of Amazon's gateways: they write `Message`, or name it as `__type`."""
    kind = word_of(fields.get("__type"))
    message = word_of(fields.get("Message")) or (word_of(fields.get("message")) if kind else None)
    return Failure(message, kind.rpartition("#")[2] if kind else None) if message else None


def _answered(answer: dict[str, Any]) -> Answered:
    """What an answer says, be it a whole body or the sum of a stream."""
    router = table(table(answer.get("trace")).get("promptRouter"))
    model, reason = router.get("invokedModelId"), answer.get("stopReason")
    found = Answered(
        model=model_named(model) if isinstance(model, str) and model else None,
        usage=table(answer.get("usage")),
        finish_reason=reason if isinstance(reason, str) and reason else None,
    )
    message = table(answer.get("output")).get("message")
    if isinstance(message, dict) and not is_blank(message.get("content")):
        set_messages(found, [_turn({"role": "assistant"} | message)])
    return found


_MODEL_IN_ARN = re.compile(r"^arn:aws[a-z-]*:bedrock:.*:(?:foundation-model|inference-profile)/(.+)$")


def model_named(name: str) -> str:
    """The model that an ARN names. What else one may name is known to its owner alone, and stays whole."""
    named = _MODEL_IN_ARN.match(name)
    return named[1] if named else name


def is_blank(content: Any) -> bool:
    """Whether a message says nothing at all; Kong writes `{}` for an empty list."""
    return content in (None, [], {})


def _read_events(stream: EventStream) -> Answered:
    answer, error, ended = answer_of_stream(stream)
    found = _answered(answer)
    found.failure = failure_in(error)
    found.partial = not ended and found.failure is None
    return found


# An ARN has a slash, which clients encode and some proxies decode.
MODEL = r"/model/(?:arn:[^/]+/[^/]+|[^/]+)/"

CONVERSE = Dialect(
    name="bedrock",
    operation="chat",
    provider="bedrock",
    paths=re.compile(MODEL + r"converse$"),
    distinctive=True,
    is_request=_is_request,
    is_response=_is_response,
    is_event=is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

CONVERSE_STREAM = replace(
    CONVERSE, paths=re.compile(MODEL + r"converse-stream$"), read_request=_read_streamed_request
)

BY_SHAPE = replace(CONVERSE, is_request=_is_certain_request, is_response=_is_certain_response)
"""The Converse API on a path that says nothing."""

DIALECTS = (CONVERSE, CONVERSE_STREAM)
