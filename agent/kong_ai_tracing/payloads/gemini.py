"""Google's Gemini API, which Vertex AI speaks too: contents of parts in, candidates of parts out.

Google takes and gives members in camel case and, as protocol buffers allow, in snake case. An answer of
`streamGenerateContent` is a list of answers, as server-sent events or as one JSON list; each holds the
next parts of its candidates. So a whole answer is read as a stream of one event.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import Answered, Asked, Dialect, failure_in
from kong_ai_tracing.payloads.googlevalues import member, model_name, snake, usage_of
from kong_ai_tracing.payloads.parts import (
    Message,
    function_tool,
    media_part,
    picture_part,
    text_part,
    tool_call,
    tool_result,
)
from kong_ai_tracing.payloads.turns import Turn, conversation, length_of, set_messages
from kong_ai_tracing.payloads.values import as_text, dicts_of, settings_of, text_or_none

_ROLES = {"model": "assistant", "function": "tool"}
_SIGNATURES = ("thought", "thoughtSignature", "thought_signature")
_BESIDE = ("groundingMetadata", "citationMetadata", "urlContextMetadata")
_REFUSALS = frozenset(
    (
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    )
)
"""Reasons for which Google withholds an answer."""


def _field(fields: Fields, name: str) -> Any:
    return value_of(fields.get(name) or fields.get(snake(name)))


def _is_request(fields: Fields) -> bool:
    return "contents" in fields


def _is_response(fields: Fields) -> bool:
    return any(name in fields for name in _RESPONSE_MEMBERS)


def _is_event(event: dict[str, Any]) -> bool:
    return any(name in event for name in _RESPONSE_MEMBERS) or "error" in event


_RESPONSE_MEMBERS = ("candidates", "usageMetadata", "promptFeedback", "usage_metadata", "prompt_feedback")


def _has_candidates(fields: Fields) -> bool:
    """Known by its shape alone."""
    return "candidates" in fields or "promptFeedback" in fields


def _holds_candidates(event: dict[str, Any]) -> bool:
    return "candidates" in event or "promptFeedback" in event


def _read_request(fields: Fields) -> Asked:
    messages = _system_message(_field(fields, "systemInstruction"))
    for content in _contents_of(_field(fields, "contents")):
        messages += _messages_of(content)
    return Asked(
        input=conversation(messages, tools=_tools(_field(fields, "tools"))),
        model=model_name(value_of(fields.get("model"))),
        parameters=_parameters(fields),
        message_count=len(messages),
        prompt_length=length_of(messages),
    )


def _read_stream_request(fields: Fields) -> Asked:
    found = _read_request(fields)
    found.streamed = True
    return found


def _system_message(instruction: Any) -> list[Message]:
    content = {"parts": [{"text": instruction}]} if isinstance(instruction, str) else table(instruction)
    return _messages_of(content | {"role": "system"}) if content else []


def _contents_of(contents: Any) -> list[dict[str, Any]]:
    """The turns; the SDKs' short forms, a bare text for one, are read as well."""
    if isinstance(contents, str):
        return [{"parts": [{"text": contents}]}]
    if isinstance(contents, list):
        return dicts_of([{"parts": [{"text": each}]} if isinstance(each, str) else each for each in contents])
    return dicts_of(contents)


def _messages_of(content: dict[str, Any]) -> list[Message]:
    """The messages in one content: what it says, and one for each result of a function."""
    role = text_or_none(content.get("role")) or "user"
    turn = Turn(_ROLES.get(role, role))
    for part in dicts_of(content.get("parts")):
        if isinstance(response := member(part, "functionResponse"), dict):
            result = as_text(response.get("response"))
            turn.add_result(tool_result(result, response.get("id"), response.get("name")))
        elif isinstance(text := part.get("text"), str) and part.get("thought") is not True:
            turn.add_part(text_part(text))
        else:
            _add_part(turn, part)
    return turn.messages()


def _add_part(turn: Turn, part: dict[str, Any]) -> None:
    if isinstance(text := part.get("text"), str):
        (turn.add_thought_piece if part.get("thought") is True else turn.add_text)(text)
    elif isinstance(call := member(part, "functionCall"), dict):
        turn.calls.append(tool_call(call.get("name"), call.get("args") or {}, call.get("id")))
    elif (file := _media(part)) is not None:
        turn.add_part(file)
    elif kept := {name: value for name, value in part.items() if name not in _SIGNATURES}:
        turn.add_part({"type": snake(next(iter(kept))), **kept})


def _media(part: dict[str, Any]) -> Message | None:
    """A picture or a document, in the body or by its address."""
    blob, file = member(part, "inlineData"), member(part, "fileData")
    if isinstance(blob, dict) and isinstance(data := blob.get("data"), str):
        return media_part(text_or_none(member(blob, "mimeType")) or "application/octet-stream", data)
    if isinstance(file, dict) and isinstance(uri := member(file, "fileUri"), str):
        media_type = member(file, "mimeType")
        if isinstance(media_type, str) and media_type.startswith("image/"):
            return picture_part(uri, media_type)
        return {"type": "file", "file": {"file_id": uri, "format": media_type}}
    return None


def _tools(tools: Any) -> list[Message]:
    """Functions one by one as everybody else defines them, Google's own tools as they are."""
    found: list[Message] = []
    for tool in dicts_of(tools):
        for function in dicts_of(member(tool, "functionDeclarations")):
            schema = function.get("parameters") or member(function, "parametersJsonSchema")
            found.append(function_tool(function.get("name"), function.get("description"), schema))
        for name, value in tool.items():
            if snake(name) != "function_declarations":
                found.append({"type": snake(name), snake(name): value})
    return found


def _parameters(fields: Fields) -> dict[str, Any]:
    config = table(_field(fields, "generationConfig"))
    settings = {snake(name): value for name, value in config.items()}
    for name in ("toolConfig", "safetySettings", "cachedContent"):
        settings[snake(name)] = _field(fields, name)
    return settings_of(settings)


def _read_response(fields: Fields) -> Answered:
    return _read([{name: value_of(raw) for name, raw in fields.items()}], gap=None, ended=True)


def _read_events(stream: EventStream) -> Answered:
    return _read(stream.values, gap=stream.gap, ended=stream.done)


def _read(answers: list[dict[str, Any]], *, gap: int | None, ended: bool) -> Answered:
    found = Answered()
    turns: dict[int, Turn] = {}
    for number, answer in enumerate(answers):
        if number == gap:
            for turn in turns.values():
                turn.add_text(GAP)
        found.model = found.model or model_name(member(answer, "modelVersion"))
        found.response_id = found.response_id or text_or_none(member(answer, "responseId"))
        found.failure = failure_in(answer.get("error")) or found.failure
        found.usage = usage_of(member(answer, "usageMetadata")) or found.usage
        for candidate in dicts_of(answer.get("candidates")):
            index = candidate.get("index")
            turn = turns.setdefault(index if isinstance(index, int) else 0, Turn())
            _read_candidate(turn, candidate, found)
        if reason := _block_reason(answer, turns):
            found.finish_reason = reason
    found.partial = not (ended or found.finish_reason or found.failure)
    set_messages(found, (turn for _, turn in sorted(turns.items())))
    return found


def _read_candidate(turn: Turn, candidate: dict[str, Any], found: Answered) -> None:
    content = table(candidate.get("content"))
    for part in dicts_of(content.get("parts")):
        _add_part(turn, part)
    for name in _BESIDE:
        if beside := member(candidate, name):
            turn.more[snake(name)] = beside
    if reason := text_or_none(member(candidate, "finishReason")):
        found.finish_reason = found.finish_reason or reason
        if turn.is_empty:
            # Without a text there is a message all the same: it says why.
            turn.more.update(_refusal(reason, member(candidate, "finishMessage")))


def _refusal(reason: str, message: Any) -> dict[str, Any]:
    said = text_or_none(message)
    return {"refusal": said or reason} if said or reason in _REFUSALS else {}


def _block_reason(answer: dict[str, Any], turns: dict[int, Turn]) -> str | None:
    """Why the prompt itself was refused: then there are no candidates."""
    feedback = table(member(answer, "promptFeedback"))
    reason = text_or_none(member(feedback, "blockReason"))
    if reason and not turns:
        turn = turns[0] = Turn()
        turn.more["refusal"] = text_or_none(member(feedback, "blockReasonMessage")) or reason
    return reason


_MODEL = r"/(?:models|endpoints|tunedModels)/[^/:]+:"

DIALECT = Dialect(
    name="gemini",
    operation="chat",
    paths=re.compile(_MODEL + r"generateContent$"),
    distinctive=True,
    is_request=_is_request,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

STREAM = replace(
    DIALECT, paths=re.compile(_MODEL + r"streamGenerateContent$"), read_request=_read_stream_request
)
"""Here the path says it, and not the body, that the answer is a stream."""

BY_SHAPE = replace(DIALECT, is_response=_has_candidates, is_event=_holds_candidates)
"""A chat on a path that says nothing."""

DIALECTS = (DIALECT, STREAM)
