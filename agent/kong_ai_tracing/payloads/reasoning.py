"""What models thought, under the one name that Langfuse shows, whatever a server that speaks like OpenAI's
calls it: `reasoning_content`, `reasoning`, `reasoning_details`, `thinking_blocks`, or chunks of the content.

Several of them in one message say the same; the one that tells most is taken.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kong_ai_tracing.payloads.parts import Message, redacted_block, thinking_block
from kong_ai_tracing.payloads.turns import content_of
from kong_ai_tracing.payloads.values import dicts_of


class Thoughts(Struct):
    """The members of a message that may tell what was thought, the one that tells most first."""

    thinking_blocks: Any = None
    reasoning_details: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None

    @property
    def are_told(self) -> bool:
        """Whether there may be any."""
        return bool(
            self.thinking_blocks
            or self.reasoning_details
            or self.reasoning_content
            or self.reasoning
            or self.thinking
        )


_NAMES = Thoughts.__struct_fields__
_TEXTS = ("thinking", "text", "summary", "content")


def with_thinking(message: Message) -> Message:
    """The message with its thoughts as `thinking` and `redacted_thinking`."""
    content, blocks = _content_and_thoughts(message.get("content"))
    found = [_blocks_of(message.get(name)) for name in _NAMES if message.get(name)]
    blocks = next(filter(None, found), blocks)
    if not blocks:
        return message
    members = {name: value for name, value in message.items() if name not in _NAMES}
    for kind in ("thinking", "redacted_thinking"):
        if told := [block for block in blocks if block["type"] == kind]:
            members[kind] = told
    return members | {"content": content}


def _content_and_thoughts(content: Any) -> tuple[Any, list[Message]]:
    """Mistral has thoughts among the chunks of a content."""
    if not isinstance(content, list):
        return content, []
    chunks = [(chunk, _block_of_chunk(chunk)) for chunk in content]
    blocks = [block for _, block in chunks if block]
    if not blocks:
        return content, []
    return content_of([chunk for chunk, block in chunks if not block], joined=True), blocks


def _block_of_chunk(chunk: Any) -> Message | None:
    """The thought in a chunk; None of one that holds more than texts."""
    if not isinstance(chunk, dict) or chunk.get("type") != "thinking":
        return None
    pieces = chunk.get("thinking")
    pieces = pieces if isinstance(pieces, list) else [pieces]
    texts = [piece.get("text") if isinstance(piece, dict) else piece for piece in pieces]
    words = [text for text in texts if isinstance(text, str)]
    return thinking_block("".join(words), chunk.get("signature")) if len(words) == len(texts) else None


def _blocks_of(thoughts: Any) -> list[Message]:
    """A text is one thought. Of a list, pieces that have no signature yet go on with the next."""
    if isinstance(thoughts, str):
        return [thinking_block(thoughts)]
    blocks: list[Message] = []
    open_index: Any = None
    for thought in dicts_of(thoughts):
        if isinstance(data := thought.get("data"), str):
            blocks.append(redacted_block(data))
            continue
        text = next((text for name in _TEXTS if isinstance(text := thought.get(name), str)), "")
        signature, index = thought.get("signature"), thought.get("index")
        last = blocks[-1] if blocks else {}
        if last.get("type") == "thinking" and "signature" not in last and index == open_index:
            last["content"] += text
            last |= {"signature": signature} if signature else {}
        else:
            blocks.append(thinking_block(text, signature))
        open_index = index
    return blocks
