"""Cohere's chat, in the version of 2023 (a message and its history) and that of 2024 (messages)."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.jsontext import Fields, is_empty, value_of
from kong_ai_tracing.payloads.cohereanswer import calls_of, whole_answer
from kong_ai_tracing.payloads.coherestream import is_event, read_event, read_events
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    is_streamed,
    parameters_of,
    word_of,
)
from kong_ai_tracing.payloads.parts import Message, function_tool, tool_result
from kong_ai_tracing.payloads.turns import conversation, length_of
from kong_ai_tracing.payloads.values import as_text, dicts_of, settings_of, text_or_none, values_of

_ROLES = {"chatbot": "assistant", "user": "user", "system": "system", "tool": "tool"}
_BESIDE = ("documents", "connectors")
_OWN_SETTINGS = (
    "p",
    "k",
    "stop_sequences",
    "safety_mode",
    "prompt_truncation",
    "citation_options",
    "thinking",
)
# -- the request


def _is_request(fields: Fields) -> bool:
    return "message" in fields or "messages" in fields


def _is_certain_request(fields: Fields) -> bool:
    """Known by its shape alone: a message with a history, or with a model that shall answer it."""
    return "messages" not in fields and (
        "chat_history" in fields or ("message" in fields and ("model" in fields or "preamble" in fields))
    )


def _read_request(fields: Fields) -> Asked:
    messages = _old_messages(fields) if "messages" not in fields else _new_messages(fields)
    beside = {name: value_of(fields[name]) for name in _BESIDE if not is_empty(fields.get(name))}
    return Asked(
        input=conversation(messages, tools=_tools(value_of(fields.get("tools"))), **beside),
        model=word_of(fields.get("model")),
        parameters=parameters(fields),
        streamed=is_streamed(fields),
        message_count=len(messages),
        prompt_length=length_of(messages),
    )


def parameters(fields: Fields) -> dict[str, Any]:
    """The settings among the members of a request; some have names of Cohere's own."""
    return settings_of(parameters_of(fields) | values_of(fields, _OWN_SETTINGS))


def _old_messages(fields: Fields) -> list[Message]:
    """Preamble, history, what tools returned, and the message itself: one conversation."""
    messages: list[Message] = []
    if preamble := word_of(fields.get("preamble")):
        messages.append({"role": "system", "content": preamble})
    for entry in dicts_of(value_of(fields.get("chat_history"))):
        messages += _old_turn(entry)
    messages += _results(value_of(fields.get("tool_results")))
    if (said := value_of(fields.get("message"))) not in (None, "") or not messages:
        messages.append({"role": "user", "content": said})
    return messages


def _old_turn(entry: dict[str, Any]) -> list[Message]:
    role = (text_or_none(entry.get("role")) or "user").lower()
    results = _results(entry.get("tool_results"))
    if results:
        return results
    message: Message = {"role": _ROLES.get(role, role), "content": entry.get("message")}
    if calls := calls_of(entry.get("tool_calls")):
        message["tool_calls"] = calls
    return [message]


def _results(results: Any) -> list[Message]:
    return [
        tool_result(as_text(result.get("outputs")), None, table(result.get("call")).get("name"))
        for result in dicts_of(results)
    ]


def _new_messages(fields: Fields) -> list[Message]:
    """These have OpenAI's form already, but for the plan that the model made before it called tools."""
    return dicts_of(value_of(fields.get("messages")))


def _tools(tools: Any) -> list[Message]:
    return [_tool(tool) for tool in dicts_of(tools)]


def _tool(tool: dict[str, Any]) -> Message:
    definitions = tool.get("parameter_definitions")
    if "function" in tool or not (definitions is None or isinstance(definitions, dict)):
        return tool
    return function_tool(tool.get("name"), tool.get("description"), _schema(definitions or {}))


def _schema(definitions: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a tool as the JSON schema that everybody else writes."""
    properties = {
        name: {key: value for key, value in definition.items() if key != "required"}
        if isinstance(definition, dict)
        else definition
        for name, definition in definitions.items()
    }
    required = [name for name, each in definitions.items() if table(each).get("required") is True]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


# -- the answer


def _is_response(fields: Fields) -> bool:
    if "event_type" in fields or "is_finished" in fields:
        return True
    if "text" in fields and not fields.keys().isdisjoint(("generation_id", "response_id", "chat_history")):
        return True
    return "message" in fields and ("finish_reason" in fields or "usage" in fields)


def _read_response(fields: Fields) -> Answered:
    value = {name: value_of(raw) for name, raw in fields.items() if name != "chat_history"}
    if "event_type" in value or "is_finished" in value:
        # A stream that was cut after its first line.
        return read_event(value)
    found = whole_answer(value)
    found.failure = found.failure or failure_of(fields)
    return found


DIALECT = Dialect(
    name="cohere",
    operation="chat",
    provider="cohere",
    paths=re.compile(r"/v[12]/chat/?$"),
    is_request=_is_request,
    is_response=_is_response,
    is_event=is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=read_events,
)

BY_SHAPE = replace(DIALECT, is_request=_is_certain_request)
"""The first version on a path that says nothing."""

DIALECTS = (DIALECT,)
