"""Kong log entries for tests: a plain chat call, changed where a test needs it."""

from __future__ import annotations

import json
from typing import Any

from kong_ai_tracing.calls import AICall, CallSettings, calls_of
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line

REQUEST_ID = "7f8e05c078c1d8f4130da7de18a38740"
STARTED_AT = 1_795_420_248_810

CHAT_REQUEST: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
CHAT_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


def record(**changes: Any) -> dict[str, Any]:
    """Kong's object for a chat call to a plain service. A change to None takes the field away."""
    found: dict[str, Any] = {
        "request": {
            "id": REQUEST_ID,
            "method": "POST",
            "uri": "/llm/v1/chat/completions",
            "headers": {"content-type": "application/json", "user-agent": "curl/8.5.0"},
        },
        "response": {"status": 200, "headers": {"content-type": "application/json"}},
        "latencies": {"request": 1000, "kong": 5, "proxy": 300, "receive": 695},
        "service": {"name": "models", "host": "10.0.0.7", "port": 8000},
        "route": {"name": "models-route"},
        "upstream_uri": "/v1/chat/completions",
        "upstream_status": "200",
        "source": "upstream",
        "started_at": STARTED_AT,
        "tries": [{"ip": "10.0.0.7", "port": 8000, "balancer_start": STARTED_AT + 5}],
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def request(path: str = "/v1/chat/completions", **headers: str) -> dict[str, Any]:
    """The `request` of a record; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "id": REQUEST_ID,
        "method": "POST",
        "uri": path,
        "headers": {"content-type": "application/json"} | named,
    }


def capture(
    asked: Any = None, answered: Any = None, *, stream: str | None = None, **more: Any
) -> dict[str, Any]:
    """A `capture` object of two bodies."""
    found: dict[str, Any] = {"v": 1, "complete": True}
    if asked is not None:
        found["request"] = asked if isinstance(asked, str) else json.dumps(asked)
    if stream is not None or answered is not None:
        found["response"] = stream if stream is not None else json.dumps(answered)
    return found | more


def entry(**changes: Any) -> LogEntry:
    """A log entry as it comes out of a line."""
    [found] = read_entries(line(record(**changes)))
    assert isinstance(found, LogEntry)
    return found


def line(data: dict[str, Any] | bytes) -> Line:
    """One line of a log."""
    return Line("kong.log", 1, 0, data if isinstance(data, bytes) else json.dumps(data).encode())


def calls(settings: CallSettings | None = None, **changes: Any) -> list[AICall]:
    """The calls of one entry."""
    return calls_of(entry(**changes), settings or CallSettings(), explain=True)


def call(settings: CallSettings | None = None, **changes: Any) -> AICall:
    """The only call of one entry."""
    [found] = calls(settings, **changes)
    return found


def sse(*events: Any, end: str = "\n\n") -> str:
    """Events as a server sends them."""
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {text}{end}" for text in texts)


def chunk(delta: dict[str, Any] | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """One event of a streamed chat."""
    choice: dict[str, Any] = {
        "index": index,
        "delta": delta or {},
        "finish_reason": more.pop("finish_reason", None),
    }
    return {"id": "chatcmpl-2", "model": "gpt-4o-2024-08-06", "choices": [choice], **more}
