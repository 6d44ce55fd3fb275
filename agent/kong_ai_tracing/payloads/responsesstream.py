"""The events of a Responses stream in, the output items so far out, for a stream without its last event."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.payloads.choices import GAP

_PARTS = {
    "response.output_text.delta": ("message", "content", "content_index", "output_text", "text"),
    "response.refusal.delta": ("message", "content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("reasoning", "content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": (
        "reasoning",
        "summary",
        "summary_index",
        "summary_text",
        "text",
    ),
}
"""Texts that are a part of an item's list: item, list, place in the event, part, member."""

_MEMBERS = {
    "response.function_call_arguments.delta": ("function_call", "arguments"),
    "response.mcp_call_arguments.delta": ("mcp_call", "arguments"),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "input"),
    "response.code_interpreter_call_code.delta": ("code_interpreter_call", "code"),
}
"""Texts that are a member of their item."""


def items_so_far(stream: EventStream) -> list[dict[str, Any]]:
    """The output items put together from their fragments."""
    items: dict[int, dict[str, Any]] = {}
    gap = ""
    for number, value in enumerate(stream.values):
        gap = GAP if number == stream.gap else gap
        index, kind = value.get("output_index"), value.get("type")
        if not isinstance(index, int) or not isinstance(kind, str):
            continue
        if isinstance(item := value.get("item"), dict):
            items[index] = item if kind == "response.output_item.done" else items.get(index, {}) | item
        elif isinstance(delta := value.get("delta"), str):
            _add_delta(items.setdefault(index, {}), value, kind, gap + delta)
            gap = ""
        elif isinstance(begun := value.get("part"), dict) and kind.endswith("_part.added"):
            _part(items.setdefault(index, {}), *_place_of_part(kind, value, begun))
        elif kind == "response.output_text.annotation.added":
            part = _part(
                items.setdefault(index, {}), "content", value.get("content_index"), {"type": "output_text"}
            )
            part["annotations"] = [*_list(part.get("annotations")), value.get("annotation")]
    return [item for _, item in sorted(items.items())]


def _add_delta(item: dict[str, Any], event: dict[str, Any], kind: str, delta: str) -> None:
    if kind in _PARTS:
        item_kind, member, place, part_kind, name = _PARTS[kind]
        item.setdefault("type", item_kind)
        part = _part(item, member, event.get(place), {"type": part_kind})
        part[name] = _text(part.get(name)) + delta
    elif kind in _MEMBERS:
        item_kind, name = _MEMBERS[kind]
        item.setdefault("type", item_kind)
        item[name] = _text(item.get(name)) + delta


def _place_of_part(kind: str, event: dict[str, Any], begun: dict[str, Any]) -> tuple[str, Any, Any]:
    if kind == "response.reasoning_summary_part.added":
        return "summary", event.get("summary_index"), begun
    return "content", event.get("content_index"), begun


_MAX_PARTS = 1000


def _part(item: dict[str, Any], member: str, place: Any, begun: dict[str, Any]) -> dict[str, Any]:
    """The part of an item at its place; the last one where nothing is said of the place."""
    parts = item[member] = _list(item.get(member))
    position = place if isinstance(place, int) and 0 <= place < _MAX_PARTS else max(len(parts) - 1, 0)
    while len(parts) <= position:
        parts.append(dict(begun))
    found = parts[position] = table(parts[position])
    return found


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
