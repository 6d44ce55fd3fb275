"""What one side said in one go, piece by piece, in; messages in OpenAI's form out.

A streamed answer becomes the same message as one that came whole. Calls become `tool_calls`, each result a
message of the role `tool`, thoughts of every dialect the members `thinking` and `redacted_thinking` that
Langfuse knows. What has no such form stays a part of the content, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.payloads.dialect import Answered, text_length
from kong_ai_tracing.payloads.parts import Message, redacted_block, text_part, thinking_block


class _Text(list[str]):
    """A text in pieces, among the parts of a content."""


class Turn:
    """One message as it is put together, or several where a tool's result stands between."""

    def __init__(self, role: str = "assistant", more: Message | None = None) -> None:
        self.role = role
        self.more: Message = dict(more or {})
        """What stands beside the content, such as citations or a refusal."""
        self._messages: list[Message] = []
        self._clear()

    def _clear(self) -> None:
        self.calls: list[Message] = []
        self._parts: list[Any] = []
        self._thoughts: list[Message] = []
        self._redacted: list[Message] = []

    def add_text(self, text: Any) -> None:
        """The next piece of the text."""
        if isinstance(text, str):
            if not self._parts or not isinstance(self._parts[-1], _Text):
                self._parts.append(_Text())
            self._parts[-1].append(text)

    def add_part(self, part: Any) -> None:
        """A part of its own: a picture, a document, a text that is kept apart."""
        self._parts.append(part)

    def add_thought(self, text: Any, signature: Any = None) -> None:
        """A thought of its own."""
        self._thoughts.append(thinking_block(text, signature))

    def add_thought_piece(self, text: Any) -> None:
        """The next piece of the one thought that a dialect without blocks of them has."""
        if isinstance(text, str) and text:
            if self._thoughts:
                self._thoughts[-1]["content"] += text
            else:
                self.add_thought(text)

    def add_redacted_thought(self, data: Any) -> None:
        """A thought that only the provider can read."""
        self._redacted.append(redacted_block(data))

    def add_result(self, result: Message) -> None:
        """What a tool gave back: a message of its own, in the order of the blocks."""
        self._end_message()
        self._messages.append(result)

    def add_more(self, name: str, items: Any) -> None:
        """Items of a list that stands beside the content, such as citations."""
        if isinstance(items, list) and items:
            self.more.setdefault(name, []).extend(items)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said in it."""
        return not (self._messages or self._parts or self._beside() or self.more)

    def messages(self) -> list[Message]:
        """The messages of the turn; one at least."""
        self._end_message(always=not self._messages)
        return self._messages

    def _beside(self) -> Message:
        members = {
            "thinking": self._thoughts,
            "redacted_thinking": self._redacted,
            "tool_calls": self.calls,
        }
        return {name: blocks for name, blocks in members.items() if blocks}

    def _end_message(self, *, always: bool = False) -> None:
        found = self._beside()
        if self._parts or found or always:
            self._messages.append({"role": self.role, "content": self._content()} | self.more | found)
            self.more = {}
            self._clear()

    def _content(self) -> Any:
        parts = [text_part("".join(part)) if isinstance(part, _Text) else part for part in self._parts]
        if self.calls:
            # Streams begin a text that never comes.
            parts = [part for part in parts if part != {"type": "text", "text": ""}]
        return content_of(parts, joined=self.role == "assistant")


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


def conversation(messages: list[Message], **beside: Any) -> bytes:
    """The messages alone, or an object of messages, tools and whatever else was handed to the model."""
    given = {name: value for name, value in beside.items() if value}
    return dump({"messages": messages} | given) if given else dump(messages)


def length_of(messages: Iterable[Message]) -> int:
    """Characters of text in messages."""
    return sum(text_length(message.get("content")) for message in messages)


def set_messages(found: Answered, turns: Iterable[Turn]) -> None:
    """Make one message the output, or the list of several."""
    messages = [message for turn in turns if not turn.is_empty for message in turn.messages()]
    if messages:
        found.output = dump(messages[0] if len(messages) == 1 else messages)
        found.response_length = length_of(messages)
