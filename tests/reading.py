"""Bodies read for tests: what was asked on a path, and what was answered."""

from __future__ import annotations

import json
from typing import Any

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.payloads import Sketch, dialect_of_path, read_answer, read_request
from kong_ai_tracing.payloads.dialect import Answered, Asked, Dialect


def dialect(path: str) -> Dialect:
    """The dialect of a path."""
    found = dialect_of_path(path)
    assert found is not None, path
    return found


def ask(path: str, body: Any) -> Asked:
    """What a request on a path says; its dialect must be the path's own."""
    name, found = read_request(Sketch(Body(as_text(body))), dialect(path))
    assert name is dialect(path)
    return found


def answer(path: str, body: Any, tail: str | None = None) -> Answered:
    """What an answer on a path says."""
    return read_answer(Sketch(Body(as_text(body), tail)), dialect(path))


def said(found: Asked | Answered) -> Any:
    """The input or the output as a value."""
    text = found.input if isinstance(found, Asked) else found.output
    return None if text is None else json.loads(text)


def as_text(body: Any) -> str:
    """A body as the text it would be."""
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)


def json_lines(*values: Any) -> str:
    """Objects, one a line."""
    return "".join(as_text(value) + "\n" for value in values)


def call(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    """A tool call in OpenAI's form."""
    return more | {"type": "function", "function": {"name": name, "arguments": arguments}}


def thought(text: str) -> list[dict[str, Any]]:
    """A thought in the form that Langfuse shows."""
    return [{"type": "thinking", "content": text}]
