"""The content blocks of one turn in, messages in OpenAI's form out, because Langfuse shows those as a chat.

Anthropic and Bedrock write a turn as a list of blocks: text, thoughts, tool calls, tool results, pictures.
Calls become `tool_calls`, each result a message of the role `tool`, thoughts a member `thinking` that
Langfuse knows. What has no such form stays a part of the content, so that nothing is lost.
"""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.jsontext import dump


class Turn:
    """What one side said in one go, block by block."""

    def __init__(self, role: str, more: dict[str, Any] | None = None) -> None:
        self._role = role
        self._more = more or {}
        self._messages: list[dict[str, Any]] = []
        self._clear()

    def _clear(self) -> None:
        self._parts: list[Any] = []
        self._thoughts: list[dict[str, Any]] = []
        self._redacted: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []

    def add_part(self, part: Any) -> None:
        """A part of the content: `{"type": "text", "text": …}` or any other."""
        self._parts.append(part)

    def add_thought(self, text: Any, signature: Any = None) -> None:
        """A piece of the model's reasoning."""
        thought = {"type": "thinking", "content": text}
        self._thoughts.append(thought | ({"signature": signature} if signature else {}))

    def add_redacted_thought(self, data: Any) -> None:
        """A piece of reasoning that only the provider can read."""
        self._redacted.append({"type": "redacted_thinking", "data": data})

    def add_call(self, call_id: Any, name: Any, given: Any, more: dict[str, Any]) -> None:
        """A tool call. Arguments that are text already are those of a call that was cut."""
        arguments = given if isinstance(given, str) else dump({} if given is None else given).decode()
        function = {"name": name, "arguments": arguments}
        self._calls.append({"id": call_id, "type": "function", "function": function} | more)

    def add_result(self, call_id: Any, content: Any, more: dict[str, Any]) -> None:
        """What a tool gave back: a message of its own, in the order of the blocks."""
        self._end_message()
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": content} | more)

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the turn; one at least."""
        self._end_message(always=not self._messages)
        return self._messages

    def _end_message(self, *, always: bool = False) -> None:
        members = {
            "thinking": self._thoughts,
            "redacted_thinking": self._redacted,
            "tool_calls": self._calls,
        }
        found = {name: blocks for name, blocks in members.items() if blocks}
        if self._parts or found or always:
            content = content_of(self._parts, joined=self._role == "assistant")
            self._messages.append({"role": self._role, "content": content} | self._more | found)
            self._more = {}
            self._clear()


def content_of(parts: list[Any], *, joined: bool = False) -> Any:
    """The content of a message: a text where its parts are no more than that, None where there are none.

    Several texts stay parts, but those of an answer are one text that the provider cut to cite sources.
    """
    if not parts:
        return None
    texts = [part["text"] for part in parts if _is_plain_text(part)]
    if len(texts) == len(parts) and (joined or len(texts) == 1):
        return "".join(texts)
    return parts


def _is_plain_text(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return False
    return all(name in ("type", "text") or value is None for name, value in part.items())


def text_part(text: Any, **more: Any) -> dict[str, Any]:
    """A text as a part of a content."""
    return {"type": "text", "text": text} | more


def image_part(media_type: str, data: Any, more: dict[str, Any]) -> dict[str, Any]:
    """A picture in base64, as the address that shows it."""
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}} | more


def file_part(media_type: str, data: Any, filename: Any, more: dict[str, Any]) -> dict[str, Any]:
    """A document in base64."""
    file = {"file_data": f"data:{media_type};base64,{data}"}
    return {"type": "file", "file": ({"filename": filename} if filename else {}) | file} | more
