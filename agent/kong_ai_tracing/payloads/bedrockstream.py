"""The events of a Converse stream in, the answer that the call would have given unstreamed out.

An event is known by its name in the frame, or by the one member that Nova's streams wrap it in.
"""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import value_of
from kong_ai_tracing.payloads.choices import GAP

_KINDS = frozenset(
    (
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    )
)
_KINDS_BY_MEMBER = (
    ("start", "contentBlockStart"),
    ("delta", "contentBlockDelta"),
    ("contentBlockIndex", "contentBlockStop"),
    ("stopReason", "messageStop"),
    ("metrics", "metadata"),
    ("role", "messageStart"),
)


def is_event(event: dict[str, Any]) -> bool:
    """Whether an event is one of Converse's, or an error in its place."""
    return (
        "contentBlockIndex" in event
        or "stopReason" in event
        or ("role" in event and "content" not in event)
        or ("metrics" in event and "usage" in event)
        or "error" in event
        or not _KINDS.isdisjoint(event)
        or _exception(event) is not None
    )


def _exception(event: dict[str, Any]) -> dict[str, Any] | None:
    """An exception as some proxies pass it on: under its name."""
    for name, value in event.items():
        if name.endswith("Exception") and isinstance(value, dict):
            return {"type": name, "message": value.get("message")}
    return None


def answer_of_stream(stream: EventStream) -> tuple[dict[str, Any], Any, bool]:
    """The answer so far, the error that ended it, and whether its end was seen."""
    joined = _Answer()
    for number, (name, event) in enumerate(stream.named()):
        if number == stream.gap:
            joined.gap = GAP
        joined.add(name, event)
    return joined.answer(), joined.error, joined.ended


class _Answer:
    def __init__(self) -> None:
        self.error: Any = None
        self.ended = False
        self.gap = ""
        self._role = "assistant"
        self._end: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def add(self, name: str | None, event: dict[str, Any]) -> None:
        if error := event.get("error") or _exception(event):
            self.error = error
            return
        kind, body = _kind_of(name, event)
        if kind == "messageStart":
            self._role = role if isinstance(role := body.get("role"), str) and role else self._role
        elif kind in ("contentBlockStart", "contentBlockDelta"):
            index = body.get("contentBlockIndex")
            block = self._blocks.setdefault(index if isinstance(index, int) else 0, _Block())
            if kind == "contentBlockStart":
                block.begin(table(body.get("start")))
            else:
                block.add(table(body.get("delta")), self.gap)
                self.gap = ""
        elif kind == "messageStop":
            self.ended = True
            self._end["stopReason"] = body.get("stopReason")
        elif kind == "metadata":
            self._end |= {name: body[name] for name in ("usage", "trace") if name in body}

    def answer(self) -> dict[str, Any]:
        blocks = [block.joined() for _, block in sorted(self._blocks.items())]
        message = {"role": self._role, "content": [block for block in blocks if block]}
        return self._end | {"output": {"message": message}}


def _kind_of(name: str | None, event: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    for kind in _KINDS.intersection(event):
        if isinstance(body := event[kind], dict):
            return kind, body
    if name in _KINDS:
        return name, event
    return next((kind for member, kind in _KINDS_BY_MEMBER if member in event), None), event


class _Block:
    """One content block: its beginning, and its texts in pieces."""

    def __init__(self) -> None:
        self._start: dict[str, Any] = {}
        self._texts: list[str] = []
        self._given: list[str] = []
        self._thoughts: dict[str, list[str]] = {}
        self._citations: list[Any] = []
        self._results: list[Any] = []
        self._others: dict[str, Any] = {}

    def begin(self, start: dict[str, Any]) -> None:
        self._start = start

    def add(self, delta: dict[str, Any], gap: str) -> None:
        for name, value in delta.items():
            if name == "text" and isinstance(value, str):
                self._texts.append(gap + value)
            elif name == "toolUse" and isinstance(given := table(value).get("input"), str):
                self._given.append(gap + given)
            elif name == "reasoningContent":
                self._add_thought(table(value), gap)
            elif name == "citation":
                self._citations.append(value)
            elif name == "toolResult" and isinstance(value, list):
                self._results += value
            elif isinstance(value, dict) and isinstance(known := self._others.get(name), dict):
                self._others[name] = known | value
            elif value is not None:
                self._others[name] = value

    def _add_thought(self, thought: dict[str, Any], gap: str) -> None:
        for name, value in thought.items():
            if isinstance(value, str):
                self._thoughts.setdefault(name, []).append(gap + value if name == "text" else value)

    def joined(self) -> dict[str, Any]:
        if "toolUse" in self._start or self._given:
            return {"toolUse": table(self._start.get("toolUse")) | {"input": _input(self._given)}}
        if "toolResult" in self._start or self._results:
            return {"toolResult": table(self._start.get("toolResult")) | {"content": self._results}}
        if self._thoughts:
            return {"reasoningContent": self._thought()}
        if self._citations:
            content = [{"text": "".join(self._texts)}]
            return {"citationsContent": {"content": content, "citations": self._citations}}
        if self._texts:
            return {"text": "".join(self._texts)}
        for name in sorted(self._start.keys() | self._others.keys()):
            return {name: table(self._start.get(name)) | table(self._others.get(name))}
        return {}

    def _thought(self) -> dict[str, Any]:
        joined = {name: "".join(pieces) for name, pieces in self._thoughts.items()}
        redacted = joined.pop("redactedContent", None)
        found: dict[str, Any] = {"reasoningText": joined} if joined else {}
        return found | ({"redactedContent": redacted} if redacted is not None else {})


def _input(pieces: list[str]) -> Any:
    """The input of a tool call; the text itself where the end of it is missing."""
    text = "".join(pieces)
    if not text:
        return {}
    value = value_of(text)
    return text if value is None else value
