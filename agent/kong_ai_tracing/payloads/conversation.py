"""Conversations in the form in which everybody shows them: OpenAI's messages.

Readers put the messages of other dialects together here, piece by piece, so that a streamed answer becomes
the same message as one that came whole. Nothing here raises on values of another type than the
one they should have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kong_ai_tracing.jsontext import Fields, dump, value_of
from kong_ai_tracing.payloads.dialect import Answered, text_length
from kong_ai_tracing.payloads.turns import file_part, image_part, text_part

Message = dict[str, Any]

_MAX_SETTING_BYTES = 2000
"""A schema may be a setting too, but it is not one to filter by."""


class Draft:
    """One message as it is put together; thoughts, calls and citations stand beside its content."""

    def __init__(self, role: str = "assistant") -> None:
        self.role = role
        self.calls: list[Message] = []
        self.more: Message = {}
        self._parts: list[Message | list[str]] = []
        self._thoughts: list[str] = []

    def add_text(self, text: Any) -> None:
        """The next piece of the text."""
        if isinstance(text, str):
            if not self._parts or not isinstance(self._parts[-1], list):
                self._parts.append([])
            last = self._parts[-1]
            if isinstance(last, list):
                last.append(text)

    def add_part(self, part: Message) -> None:
        """A part of its own: a picture, a document, a text that is kept apart."""
        self._parts.append(part)

    def add_thought(self, text: Any) -> None:
        """The next piece of what the model thought."""
        if isinstance(text, str):
            self._thoughts.append(text)

    def add_more(self, name: str, items: Any) -> None:
        """Items of a list that stands beside the content, such as citations."""
        if isinstance(items, list) and items:
            self.more.setdefault(name, []).extend(items)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said in it."""
        return not (self._parts or self._thoughts or self.calls or self.more)

    @property
    def message(self) -> Message:
        """The message. Its content is a text where that is all there is, else the list of its parts."""
        message: Message = {"role": self.role, "content": self._content()}
        if thoughts := "".join(self._thoughts):
            message["thinking"] = thinking_of(thoughts)
        if self.calls:
            message["tool_calls"] = self.calls
        return message | self.more

    def _content(self) -> str | list[Message] | None:
        parts = [text_part("".join(part)) if isinstance(part, list) else part for part in self._parts]
        if len(parts) == 1 and parts[0].keys() == {"type", "text"} and isinstance(parts[0]["text"], str):
            return parts[0]["text"] or (None if self.calls else "")
        if self.calls:
            parts = [part for part in parts if part.get("text") != ""]
        return parts or None


def thinking_of(thoughts: Any) -> list[Message]:
    """What a model thought, in the form in which Langfuse shows it."""
    return [{"type": "thinking", "content": thoughts}]


def picture_part(url: str, media_type: Any = None) -> Message:
    """A picture by its address."""
    given = {"url": url} if media_type is None else {"url": url, "format": media_type}
    return {"type": "image_url", "image_url": given}


def media_part(data: str, media_type: str) -> Message:
    """A picture or another file that stands in the body as base64."""
    if media_type.startswith("image/"):
        return image_part(media_type, data, {})
    return file_part(media_type, data, None, {})


def tool_call(name: Any, arguments: Any, call_id: Any = None) -> Message:
    """A call of a function; its arguments are JSON text."""
    call: Message = {} if call_id is None else {"id": call_id}
    return call | {"type": "function", "function": {"name": name, "arguments": as_text(arguments)}}


def tool_result(name: Any, content: Any, call_id: Any = None) -> Message:
    """What a function returned."""
    head = {"role": "tool", "name": name, "tool_call_id": call_id}
    return {key: value for key, value in head.items() if value is not None} | {"content": as_text(content)}


def function_tool(name: Any, description: Any, parameters: Any) -> Message:
    """The definition of a function that the model may call."""
    function = {"name": name, "description": description, "parameters": parameters}
    known = {key: value for key, value in function.items() if value is not None}
    return {"type": "function", "function": known}


def as_text(value: Any) -> str:
    """A text as it is, anything else as its JSON."""
    return value if isinstance(value, str) else dump(value).decode()


def text_or_none(value: Any) -> str | None:
    """A string that says something."""
    return value.strip() or None if isinstance(value, str) else None


def dicts_of(value: Any) -> list[dict[str, Any]]:
    """The objects in a list, or the one that stands in a list's place."""
    if isinstance(value, dict):
        return [value] if value else []
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def table_of(value: Any) -> dict[str, Any]:
    """An object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def conversation(messages: list[Message], **beside: Any) -> bytes:
    """The messages alone, or an object of messages, tools and whatever else was handed to the model."""
    given = {name: value for name, value in beside.items() if value}
    return dump({"messages": messages} | given) if given else dump(messages)


def length_of(messages: Iterable[Message]) -> int:
    """Characters of text in messages."""
    return sum(text_length(message.get("content")) for message in messages)


def set_messages(found: Answered, drafts: Iterable[Draft]) -> None:
    """Make one message the output, or the list of several."""
    messages = [draft.message for draft in drafts if not draft.is_empty]
    if messages:
        found.output = dump(messages[0] if len(messages) == 1 else messages)
        found.response_length = length_of(messages)


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are set, without the very long ones."""
    return {
        name: value
        for name, value in sorted(settings.items())
        if value is not None
        and value not in ({}, [])
        and not (isinstance(value, dict | list | str) and len(dump(value)) > _MAX_SETTING_BYTES)
    }


def values_of(fields: Fields, names: Iterable[str]) -> dict[str, Any]:
    """The values of some members of a body."""
    return {name: value_of(fields[name]) for name in names if name in fields}


def vectors_output(count: int, dimensions: int | None) -> bytes | None:
    """What is said of embeddings in place of their numbers."""
    if not count:
        return None
    return dump({"count": count} if dimensions is None else {"count": count, "dimensions": dimensions})
