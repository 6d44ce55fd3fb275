"""The input or the output of an observation in, the messages of a conversation out."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.view.texts import MAX_CHARACTERS, Piece, pieces, pretty, shortened, visible

_MAX_MESSAGES = 200


class ToolCall(Struct, frozen=True):
    name: str
    id: str
    arguments: str


class Message(Struct):
    """What one side said. `role` is whatever the body calls it."""

    role: str
    name: str = ""
    pieces: list[Piece] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    left_out: int = 0
    """Characters that are not shown."""

    def say(self, text: str) -> None:
        room = MAX_CHARACTERS - sum(len(piece.text) for piece in self.pieces)
        shown, left_out = shortened(text, max(0, room))
        self.left_out += left_out
        if shown:
            self.pieces += pieces(shown)


class Conversation(Struct, frozen=True):
    messages: list[Message]
    earlier: int = 0
    """Messages at the beginning that are not shown."""
    tools: str = ""
    """The tools that were offered, as JSON."""


def conversation(value: Any, role: str) -> Conversation:
    """Messages as they are; anything else as one message of that role."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        rest = {name: each for name, each in value.items() if name != "messages"}
        shown = _shown(value["messages"], role)
        return Conversation(shown, _earlier(value["messages"]), _bounded(rest) if rest else "")
    if isinstance(value, list) and value and all(_is_message(each) for each in value):
        return Conversation(_shown(value, role), _earlier(value))
    return Conversation([_message(value, role)])


def _shown(messages: list[Any], role: str) -> list[Message]:
    return [_message(each, role) for each in messages[-_MAX_MESSAGES:]]


def _earlier(messages: list[Any]) -> int:
    return max(0, len(messages) - _MAX_MESSAGES)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and ("role" in value or isinstance(value.get("message"), dict))


def _message(value: Any, role: str) -> Message:
    if isinstance(value, dict) and isinstance(value.get("message"), dict):  # one of several choices
        value = value["message"]
    if not (isinstance(value, dict) and "role" in value):
        message = Message(role)
        _add_part(message, value)
        return message
    message = Message(_word(value["role"]), _word(value.get("name") or value.get("tool_call_id") or ""))
    content = value.get("content")
    for part in content if isinstance(content, list) else [content]:
        _add_part(message, part)
    for name in ("reasoning_content", "thinking", "refusal"):
        if isinstance(value.get(name), str):
            message.say(f"{name}: {value[name]}")
    calls = value.get("tool_calls")
    message.tool_calls = (
        [_tool_call(call) for call in calls[:_MAX_MESSAGES]] if isinstance(calls, list) else []
    )
    rest = {
        name: each for name, each in value.items() if name not in _KNOWN and each not in (None, [], {}, "")
    }
    if rest:
        message.pieces.append(Piece("json", _bounded(rest)))
    return message


def _add_part(message: Message, part: Any) -> None:
    if part is None:
        return
    if isinstance(part, str):
        message.say(part)
    elif isinstance(part, dict) and isinstance(part.get("text"), str) and len(part) <= 2:
        message.say(part["text"])
    elif isinstance(part, dict) and (address := _address(part)):
        message.pieces.append(Piece("medium", visible(address)))
    else:
        message.pieces.append(Piece("json", _bounded(part)))


def _address(part: dict[str, Any]) -> str | None:
    """What stands for a picture: it is named, never loaded."""
    for name in ("image_url", "source", "input_audio", "file"):
        held = part.get(name)
        text = held.get("url") or held.get("data") if isinstance(held, dict) else held
        if isinstance(text, str):
            return text.strip("[]")[:300]
    return None


def _tool_call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ToolCall("tool call", "", _bounded(call))
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        text = shortened(arguments)[0]
        parts = pieces(text)
        shown = parts[0].text if parts and parts[0].kind == "json" else visible(text)
    else:
        shown = _bounded(arguments)
    return ToolCall(_word(function.get("name")), _word(call.get("id") or ""), shown)


def _bounded(value: Any) -> str:
    text, left_out = shortened(pretty(value))
    return f"{text}\n… {left_out:,} characters more" if left_out else text


def _word(value: Any) -> str:
    return visible(str(value))[:200]


_KNOWN = frozenset(
    {"role", "name", "tool_call_id", "content", "reasoning_content", "thinking", "refusal", "tool_calls"}
)
