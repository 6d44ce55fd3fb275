"""Any JSON value in, one safe line of text out, for people reading on a terminal.

Prompts and answers are written by strangers. Nothing in them may move the cursor, colour the screen,
break the line or turn the reading direction of what stands beside them.
"""

from __future__ import annotations

import unicodedata
from typing import Any, TypeGuard

import orjson

_MAX_CHARACTERS = 400
_JOINERS = "\u200c\u200d"  # they shape Persian words and emoji, and do nothing else
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


def safe_line(text: str, max_characters: int = _MAX_CHARACTERS) -> str:
    """The beginning of a text on one line, with nothing in it that a terminal would obey."""
    line = " ".join(text[: 4 * max_characters].split())
    if not line.isascii() or not line.isprintable():
        line = "".join(map(_harmless, line))
    if len(line) > max_characters or len(text) > 4 * max_characters:
        line = line[:max_characters].rstrip() + "…"
    return line


def visible(text: str, max_characters: int = _MAX_CHARACTERS) -> str:
    """A name as it is, with what cannot be seen written out: two names that differ look different."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) > max_characters:
        text = text[:max_characters] + "…"
    return _isolated(text)


def visible_lines(text: str) -> str:
    """The same for a text of several lines, however long."""
    return "\n".join(visible(line, len(line)) for line in text.split("\n"))


def isolated(text: str) -> str:
    """A safe line that keeps its own direction when it stands between others."""
    return _isolated(safe_line(text))


def _isolated(line: str) -> str:
    if line.isascii() or not any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in line):
        return line
    return f"{_ISOLATE}{line}{_END_ISOLATE}"


def input_excerpt(value: Any) -> str:
    """What was asked: the last message of a chat and how many stand before it."""
    messages = value.get("messages") if isinstance(value, dict) else value
    if not _is_chat(messages):
        return excerpt(value)
    earlier = f" (+{len(messages) - 1} earlier)" if len(messages) > 1 else ""
    return safe_line(excerpt(messages[-1]), _MAX_CHARACTERS - len(earlier)) + earlier


def excerpt(value: Any) -> str:
    """One line of a message, a text, or any other JSON."""
    if isinstance(value, str):
        return safe_line(value)
    if isinstance(value, dict) and "role" in value:
        return safe_line(f"{value['role']}: {_message_text(value)}")
    return safe_line(orjson.dumps(value).decode())


def _is_chat(messages: Any) -> TypeGuard[list[dict[str, Any]]]:
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[-1], dict)
        and "role" in messages[-1]
    )


def _message_text(message: dict[str, Any]) -> str:
    said = [_content_text(message.get("content"))]
    calls = message.get("tool_calls")
    said += [_tool_call_text(call) for call in calls] if isinstance(calls, list) else []
    if not any(said) and message.get("refusal"):
        said.append(f"[refused] {message['refusal']}")
    return " ".join(filter(None, said)) or "(empty)"


def _content_text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, list):
        return " ".join(map(_part_text, content))
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def _part_text(part: Any) -> str:
    """One part of a multi-modal message: its text, or its kind where it has none."""
    if not isinstance(part, dict):
        return str(part)
    text = part.get("text")
    return text if isinstance(text, str) else f"[{part.get('type', 'part')}]"


def _tool_call_text(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return "[tool call]"
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments).decode()
    return f"[calls {function.get('name', '?')}({arguments})]"


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Co", "Cn"):
        return "\ufffd"
    if category == "Cf" and character not in _JOINERS:
        return ""
    return character
