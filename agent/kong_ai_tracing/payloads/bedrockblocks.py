"""Converse's content blocks and tools in, OpenAI's form out."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from kong_ai_tracing.entries import table
from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.payloads.parts import media_part, text_part, tool_call, tool_result
from kong_ai_tracing.payloads.turns import Turn, content_of

ONLY_CONVERSE = frozenset(
    (
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "guardContent",
        "cachePoint",
        "reasoningContent",
        "citationsContent",
        "searchResult",
    )
)
"""The members of which a block has one."""

_FILE_TYPES = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def add_blocks(turn: Turn, blocks: list[Any]) -> None:
    """Put Converse's content blocks into a turn."""
    for block in blocks:
        if not isinstance(block, dict):
            turn.add_part(block)
        elif isinstance(thought := block.get("reasoningContent"), dict):
            _add_thought(turn, thought)
        elif isinstance(call := block.get("toolUse"), dict):
            more = {"kind": call["type"]} if call.get("type") else {}
            turn.calls.append(tool_call(call.get("name"), call.get("input"), call.get("toolUseId"), more))
        elif isinstance(result := block.get("toolResult"), dict):
            content = _result(result.get("content"))
            turn.add_result(tool_result(content, result.get("toolUseId"), more=_status(result)))
        else:
            turn.add_part(_part(block))


def _add_thought(turn: Turn, thought: dict[str, Any]) -> None:
    if "redactedContent" in thought:
        turn.add_redacted_thought(thought["redactedContent"])
    if isinstance(text := thought.get("reasoningText"), dict):
        turn.add_thought(text.get("text"), text.get("signature"))


def _status(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("status", "type") if result.get(name)}


def _result(content: Any) -> Any:
    """What a tool gave back; a single JSON value as its text, as OpenAI has it."""
    if not isinstance(content, list):
        return content
    if len(content) == 1 and isinstance(content[0], dict) and "json" in content[0]:
        return dump(content[0]["json"]).decode()
    return content_of([_part(part) for part in content])


def _part(block: Any) -> Any:
    """One part of a content. A kind that OpenAI has not is given its name as type."""
    if not isinstance(block, dict) or "type" in block or len(block) != 1:
        return block
    [(kind, value)] = block.items()
    if kind == "text":
        return text_part(value)
    if isinstance(value, dict):
        if kind == "guardContent" and isinstance(guarded := value.get("text"), dict):
            more = {"qualifiers": guarded["qualifiers"]} if guarded.get("qualifiers") else {}
            return text_part(guarded.get("text"), **more)
        if kind == "citationsContent":
            return _cited(value)
        if part := _media(kind, value):
            return part
    return {"type": kind, kind: value}


def _cited(value: dict[str, Any]) -> dict[str, Any]:
    pieces = value.get("content")
    pieces = pieces if isinstance(pieces, list) else []
    texts = [piece.get("text") for piece in pieces if isinstance(piece, dict)]
    return text_part(
        "".join(text for text in texts if isinstance(text, str)), citations=value.get("citations")
    )


def _media(kind: str, value: dict[str, Any]) -> dict[str, Any] | None:
    data, form = table(value.get("source")).get("bytes"), value.get("format")
    if not isinstance(data, str) or not isinstance(form, str):
        return None
    more = {
        name: item
        for name, item in value.items()
        if name not in ("source", "format", "name") and item is not None
    }
    if kind == "document":
        media_type = _FILE_TYPES.get(form, "application/octet-stream")
        return media_part(media_type, data, value.get("name"), more)
    return media_part(f"{kind}/{form}", data, None, more) if kind in _MEDIA else None


_MEDIA = ("image", "video", "audio")


def tools_text(tools: Any) -> Raw | None:
    """Tool definitions in OpenAI's form; those that Bedrock runs itself with their kind as type."""
    if not isinstance(tools, list) or not tools:
        return None
    return Raw(dump([_tool(tool) for tool in tools]))


def _tool(tool: Any) -> Any:
    specification = tool.get("toolSpec") if isinstance(tool, dict) else None
    if not isinstance(specification, dict):
        return _part(tool)
    schema = specification.get("inputSchema")
    function = {name: value for name, value in specification.items() if name != "inputSchema"}
    if schema is not None:
        function["parameters"] = table(schema).get("json", schema)
    return {"type": "function", "function": function}
