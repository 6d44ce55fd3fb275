"""The events of an Anthropic stream in, the message that the call would have given unstreamed out."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import value_of
from kong_ai_tracing.payloads.choices import GAP

_BEDROCKS_COUNTS = "amazon-bedrock-invocationMetrics"
_TYPES_BY_DELTA = {
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""What a block is whose beginning was not captured; text, where nothing else is said."""


def message_of_stream(stream: EventStream) -> tuple[dict[str, Any], Any, bool]:
    """The message so far, the error that ended it, and whether its end was seen."""
    joined = _Message()
    for number, event in enumerate(stream.values):
        if number == stream.gap:
            joined.gap = GAP
        joined.add(event)
    return joined.message(), joined.error, joined.ended or stream.done


class _Message:
    def __init__(self) -> None:
        self.error: Any = None
        self.ended = False
        self.gap = ""
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def add(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            self._add_delta(self._index(event), table(event.get("delta")))
            return
        if kind == "message_start":
            self._start(table(event.get("message")))
        elif kind == "content_block_start":
            self._blocks[self._index(event)] = _Block(table(event.get("content_block")))
        elif kind == "message_delta":
            self._head |= _said(table(event.get("delta")))
            self._usage |= _said(table(event.get("usage")))
            self.ended = self.ended or bool(self._head.get("stop_reason"))
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error" or "error" in event:
            self.error = event.get("error") or event
        self._add_bedrocks_counts(event)

    def _start(self, message: dict[str, Any]) -> None:
        self._head |= _said(message)
        self._usage |= _said(table(message.get("usage")))
        blocks = message.get("content")
        for number, block in enumerate(blocks if isinstance(blocks, list) else ()):
            self._blocks[number] = _Block(table(block))

    def _index(self, event: dict[str, Any]) -> int:
        index = event.get("index")
        return index if isinstance(index, int) else max(self._blocks, default=0)

    def _add_delta(self, index: int, delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        if index not in self._blocks:
            self._blocks[index] = _Block(
                {"type": _TYPES_BY_DELTA.get(kind, "text") if isinstance(kind, str) else "text"}
            )
        self._blocks[index].add(delta, self.gap)
        self.gap = ""

    def _add_bedrocks_counts(self, event: dict[str, Any]) -> None:
        """Bedrock counts on its own in the last event; the model's counts are finer where there are some."""
        counts = table(event.get(_BEDROCKS_COUNTS))
        if counts and "input_tokens" not in self._usage:
            self._usage |= {
                "input_tokens": counts.get("inputTokenCount"),
                "output_tokens": counts.get("outputTokenCount"),
            }

    def message(self) -> dict[str, Any]:
        blocks = [block.joined() for _, block in sorted(self._blocks.items())]
        return self._head | {"content": blocks, "usage": self._usage}


class _Block:
    """One content block. Its texts come in pieces, everything else once or in a list."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = dict(start)
        self._pieces: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}

    def add(self, delta: dict[str, Any], gap: str) -> None:
        for name, value in delta.items():
            if name == "type":
                continue
            if name == "citation":
                self._lists.setdefault("citations", []).append(value)
            elif name == "signature":
                self._start["signature"] = value
            elif isinstance(value, str):
                self._pieces.setdefault(name, []).append(gap + value)
            elif value is not None:
                self._lists.setdefault(name, []).append(value)

    def joined(self) -> dict[str, Any]:
        block = dict(self._start)
        for name, pieces in self._pieces.items():
            text = "".join(pieces)
            if name == "partial_json":
                block["input"] = _given(text, block.get("input"))
            else:
                begun = block.get(name)
                block[name] = begun + text if isinstance(begun, str) else text
        for name, values in self._lists.items():
            begun = block.get(name)
            block[name] = begun + values if isinstance(begun, list) else values
        return block


def _given(text: str, begun: Any) -> Any:
    """The input of a tool call; the text itself where the end of it is missing."""
    if not text:
        return begun
    value = value_of(text)
    return text if value is None else value


def _said(members: dict[str, Any]) -> dict[str, Any]:
    """Counts and words that a later event leaves out do not undo earlier ones."""
    return {name: value for name, value in members.items() if value is not None}
