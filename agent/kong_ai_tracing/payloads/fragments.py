"""The fragments of one streamed message in, the message that the call would have given unstreamed out."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from kong_ai_tracing.payloads.parts import Message
from kong_ai_tracing.payloads.reasoning import with_thinking

_NO_TEXTS = frozenset(("role", "tool_calls"))


class Fragments:
    """One message as it is put together."""

    def __init__(self) -> None:
        self._role = "assistant"
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._chunks: list[dict[str, Any]] = []
        self._others: dict[str, Any] = {}
        self._calls: dict[int, _ToolCall] = {}

    def add_text(self, name: str, text: str) -> None:
        """The next piece of a member that is a text, such as the content."""
        if self._chunks and name == "content":
            self._add_chunk({"type": "text", "text": text})
        else:
            self._texts[name].append(text)

    def _add_chunks(self, chunks: list[Any]) -> None:
        """Mistral sends lists of chunks as soon as there is more than text in a content."""
        text = "".join(self._texts.pop("content", []))
        if text:
            self._chunks.append({"type": "text", "text": text})
        for chunk in chunks:
            if isinstance(chunk, dict):
                self._add_chunk(chunk)

    def _add_chunk(self, chunk: dict[str, Any]) -> None:
        """Pieces of one text, or of one thought, are one chunk."""
        last = self._chunks[-1] if self._chunks else {}
        kind = chunk.get("type")
        if kind == last.get("type") == "text" and isinstance(last.get("text"), str):
            last["text"] += chunk["text"] if isinstance(chunk.get("text"), str) else ""
        elif kind == last.get("type") == "thinking":
            last["thinking"] = _thought(last.get("thinking"), chunk.get("thinking"))
        else:
            self._chunks.append(dict(chunk))

    def add(self, delta: dict[str, Any]) -> None:
        """The next fragment of the message, with whatever members it has."""
        for name, value in delta.items():
            if isinstance(value, str) and name not in _NO_TEXTS:
                self.add_text(name, value)
            elif name == "role":
                self._role = value if isinstance(value, str) and value else self._role
            elif name == "tool_calls":
                self._add_tool_calls(value)
            elif name == "content" and isinstance(value, list):
                self._add_chunks(value)
            elif isinstance(value, dict | list):
                _merge({name: value}, self._others)

    def _add_tool_calls(self, fragments: Any) -> None:
        for fragment in fragments if isinstance(fragments, list) else ():
            if isinstance(fragment, dict):
                self._calls.setdefault(self._index_of(fragment), _ToolCall()).add(fragment)

    def _index_of(self, fragment: dict[str, Any]) -> int:
        """Which call a fragment belongs to. Some servers send no index: then a new id begins a new call."""
        index = fragment.get("index")
        if isinstance(index, int):
            return index
        last = max(self._calls, default=-1)
        begins = last < 0 or fragment.get("id") not in (None, "", self._calls[last].id)
        return last + 1 if begins else last

    def message(self) -> Message:
        """All of it so far."""
        texts = {name: "".join(parts) for name, parts in self._texts.items()}
        calls = [call.joined() for _, call in sorted(self._calls.items())]
        content: Any = texts.pop("content", None)
        if self._chunks:
            content = self._chunks
        if content is None:
            content = self._others.pop("content", None)
        if content == "" and (calls or "function_call" in self._others):
            content = None
        message: Message = {"role": self._role, "content": content, **self._others, **texts}
        if calls:
            message["tool_calls"] = calls
        return with_thinking(message)


class _ToolCall:
    """One tool call. Its arguments come in pieces, everything else once (or again and again the same)."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._arguments: list[str] = []

    @property
    def id(self) -> Any:
        return self._head.get("id")

    def add(self, fragment: dict[str, Any]) -> None:
        for name, value in fragment.items():
            if name == "function" and isinstance(value, dict):
                self._add_function(value)
            elif name != "index" and value is not None:
                self._head.setdefault(name, value)

    def _add_function(self, function: dict[str, Any]) -> None:
        head = self._head.setdefault("function", {})
        for name, value in function.items():
            if name == "arguments" and isinstance(value, str):
                self._arguments.append(value)
            elif value is not None and isinstance(head, dict):
                head.setdefault(name, value)

    def joined(self) -> dict[str, Any]:
        function = self._head.get("function")
        if self._arguments and isinstance(function, dict):
            function["arguments"] = "".join(self._arguments)
        return self._head


def _thought(begun: Any, more: Any) -> Any:
    """A thought and its next piece: each a list of texts."""
    pieces = [piece for part in (begun, more) if isinstance(part, list) for piece in part]
    texts = [piece.get("text") if isinstance(piece, dict) else None for piece in pieces]
    words = [text for text in texts if isinstance(text, str)]
    return [{"type": "text", "text": "".join(words)}] if len(words) == len(texts) else pieces


_SENT_ONCE = frozenset(("id", "type", "name", "format", "signature"))


_DEEPEST = 20
"""How deep pieces are put together. Nobody sends them deeper, but a hostile body may well do."""


def _merge(fragment: dict[str, Any], known: dict[str, Any], depth: int = 0) -> None:
    """What has no form of its own: texts are joined, lists extended, objects merged, the rest replaced.

    What is known never shares a list or an object with an event, or to read the event again would change it.
    """
    for name, value in fragment.items():
        present = known.get(name)
        if isinstance(value, dict) and depth < _DEEPEST:
            known[name] = inner = present if isinstance(present, dict) else {}
            _merge(value, inner, depth + 1)
        elif isinstance(value, list) and depth < _DEEPEST:
            known[name] = items = present if isinstance(present, list) else []
            _extend(items, value, depth + 1)
        elif isinstance(value, str) and isinstance(present, str):
            known[name] = present if name in _SENT_ONCE else present + value
        elif value is not None:
            known[name] = value


def _extend(items: list[Any], more: list[Any], depth: int) -> None:
    """Pieces with the index of an item are its continuation: OpenRouter's details of the reasoning."""
    by_index = {item["index"]: item for item in items if _is_indexed(item)}
    for piece in more:
        if not isinstance(piece, dict):
            items.append(piece)
            continue
        item = by_index.get(piece["index"]) if _is_indexed(piece) else None
        if item is None:
            items.append(item := {})
            if _is_indexed(piece):
                by_index[piece["index"]] = item
        _merge(piece, item, depth)


def _is_indexed(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("index"), int)
