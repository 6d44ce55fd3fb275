"""What ai-mcp-proxy and ai-a2a-proxy wrote in, one observation for each JSON-RPC message out.

A message to an MCP server becomes a `tool`, one to an agent an `agent`. What was asked and answered is there
when the operator let Kong log payloads. An MCP server that Kong kept a caller from has no message, only a
decision in `audit`.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from kong_ai_tracing.entries import LogEntry, integer, table, tables, text
from kong_ai_tracing.facts import known
from kong_ai_tracing.jsontext import Fields, dump, fields_of, value_of
from kong_ai_tracing.labels import label, limited
from kong_ai_tracing.levels import level_of, message_of
from kong_ai_tracing.observations import Level, Observation
from kong_ai_tracing.payloads import Answered
from kong_ai_tracing.payloads.dialect import Failure, raw_text
from kong_ai_tracing.timing import duration

_MAX_MESSAGES = 1000
"""Far more than anybody sends at once."""
_MAX_DECISIONS = 100
_FAILED_STATES = frozenset(("failed", "rejected"))


class Rpc(Struct, frozen=True):
    """One message, or with `said` empty the decision that there would be none."""

    protocol: Literal["mcp", "a2a"]
    said: dict[str, Any]
    session_id: str | None = None
    audit: list[dict[str, Any]] = field(default_factory=list)


def rpcs_of(ai: dict[str, Any]) -> list[Rpc]:
    """The messages of one line, as logged."""
    found: list[Rpc] = []
    if "mcp" in ai:
        for session in _sessions(ai["mcp"]):
            # Kong's own sample shows the list beside the session as well as in it.
            said = tables(session.get("rpc")) or tables(ai.get("rpc"))
            audit, session_id = tables(session.get("audit")), text(session.get("mcp_session_id"))
            found += [Rpc("mcp", each, session_id, audit) for each in said]
            if audit and not said:
                found.append(Rpc("mcp", {}, session_id, audit))
    if "a2a" in ai:
        for session in _sessions(ai["a2a"]):
            found += [Rpc("a2a", each, text(each.get("context_id"))) for each in tables(session.get("rpc"))]
    return found[:_MAX_MESSAGES]


def _sessions(value: Any) -> list[dict[str, Any]]:
    return [value] if isinstance(value, dict) else tables(value)


def rpc_observation(
    rpc: Rpc, entry: LogEntry, started_at_ms: int, ended_at_ms: int, *, alone: bool
) -> Observation:
    """One message. Alone, it took as long as its request; of several each has its own latency."""
    said = rpc.said
    payload = table(said.get("payload"))
    asked, answered = _fields_of(payload.get("request")), _fields_of(payload.get("response"))
    latency, first_byte = duration(said.get("latency")), duration(said.get("ttfb_latency"))
    if not alone and latency is not None:
        ended_at_ms = started_at_ms + latency
    said_of_it = _failure(rpc, answered)
    failure = Failure(said_of_it) if said_of_it else None
    level, message = _level(rpc, entry, failure)
    return Observation(
        type="tool" if rpc.protocol == "mcp" else "agent",
        name=_name(rpc, entry),
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
        completion_started_at_ms=(
            min(started_at_ms + first_byte, ended_at_ms)
            if first_byte is not None and said.get("streaming") is True
            else None
        ),
        level=level,
        status_message=message,
        quoted=message_of(failure) if failure else None,
        input=_input(rpc, payload.get("request"), asked),
        output=_output(rpc, payload.get("response"), answered),
        metadata=known(_facts(rpc, latency, first_byte)),
        origin=entry.origin,
    )


def _name(rpc: Rpc, entry: LogEntry) -> str:
    """The tool; of an agent what was asked of it, and who it is, which only Kong's service says."""
    method = text(rpc.said.get("method"))
    if rpc.protocol == "mcp":
        tool = text(rpc.said.get("tool_name"))
        if tool is None and not rpc.said:
            tool = next((name for each in rpc.audit if (name := text(each.get("primitive_name")))), None)
        return limited(tool or method or "mcp")
    return limited(f"{method or 'a2a'} {text(entry.service.get('name')) or ''}".rstrip())


def _level(rpc: Rpc, entry: LogEntry, failure: Failure | None) -> tuple[Level, str | None]:
    level, message = level_of(entry, Answered(failure=failure))
    if level == "DEFAULT" and (denied := _denied(rpc)):
        return "WARNING", f"Kong denied access to {denied}"
    return level, message


def _failure(rpc: Rpc, answered: Fields) -> str | None:
    """Kong's word for it, the error of the JSON-RPC answer, a tool that says it failed, a task that did."""
    said = rpc.said.get("error")
    if said:
        return text(said) or text(table(said).get("message")) or dump(said).decode()
    if "error" in answered:
        error = value_of(answered["error"])
        return text(table(error).get("message")) or text(error) or "error without a message"
    if "result" in answered and table(value_of(answered["result"])).get("isError") is True:
        return "the tool reported an error"
    state = text(rpc.said.get("task_state"))
    return f"task {state}" if state in _FAILED_STATES else None


def _denied(rpc: Rpc) -> str | None:
    """What Kong kept the caller from. It also denies what it only leaves out of a list of tools."""
    tool = text(rpc.said.get("tool_name"))
    names = [
        f"{text(each.get('primitive')) or 'tool'} {text(each.get('primitive_name')) or ''}".rstrip()
        for each in rpc.audit
        if (text(each.get("action")) or "").lower() == "deny"
        and (not rpc.said or (tool is not None and text(each.get("primitive_name")) == tool))
    ]
    return str(label(", ".join(names))) or None


def _fields_of(payload: Any) -> Fields:
    if isinstance(payload, dict):
        payload = dump(payload)
    return fields_of(payload) or {} if isinstance(payload, str | bytes) else {}


def _input(rpc: Rpc, payload: Any, asked: Fields) -> bytes | None:
    """The arguments of a tool; of an agent the message in the form that shows as a conversation."""
    if "params" not in asked:
        return _whole(payload)
    params = fields_of(asked["params"]) or {}
    if rpc.protocol == "mcp":
        return raw_text(params["arguments"] if "arguments" in params else asked["params"])
    if "message" in params and (message := _message(value_of(params["message"]))):
        return dump([message])
    return raw_text(asked["params"])


def _message(message: Any) -> dict[str, Any] | None:
    """A message of text parts alone; any other stays as it is."""
    parts = table(message).get("parts")
    if not isinstance(parts, list):
        return None
    texts = [words for part in tables(parts) if isinstance(words := part.get("text"), str)]
    if not texts or len(texts) != len(parts):
        return None
    role = "assistant" if message.get("role") in ("agent", "ROLE_AGENT") else "user"
    return {"role": role, "content": "\n".join(texts)}


def _output(rpc: Rpc, payload: Any, answered: Fields) -> bytes | None:
    if rpc.protocol == "a2a" and "result" in answered and (message := _message(value_of(answered["result"]))):
        return dump(message)
    for name in ("result", "error"):
        if name in answered:
            return raw_text(answered[name])
    return _whole(payload)


def _whole(payload: Any) -> bytes | None:
    """What is no JSON-RPC object: a batch, a stream, anything."""
    if not payload:
        return None
    parsed = value_of(payload) if isinstance(payload, str) else None
    return dump(payload if parsed is None else parsed)


def _facts(rpc: Rpc, latency: int | None, first_byte: int | None) -> dict[str, Any]:
    said, protocol = rpc.said, rpc.protocol
    streaming = said.get("streaming")
    facts = {
        "kong_ai_plugin": f"ai-{protocol}-proxy",
        f"{protocol}_method": _word(said.get("method")),
        f"{protocol}_latency_ms": latency,
        "rpc_id": _word(said.get("id")),
        "response_body_size": integer(said.get("response_body_size")),
    }
    if protocol == "mcp":
        return facts | {
            "mcp_session_id": _word(rpc.session_id),
            "mcp_tool_name": _word(said.get("tool_name")),
            "mcp_audit": [_decision(each) for each in rpc.audit[:_MAX_DECISIONS]] or None,
        }
    return facts | {
        "a2a_context_id": _word(rpc.session_id),
        "a2a_task_id": _word(said.get("task_id")),
        "a2a_task_state": _word(said.get("task_state")),
        "a2a_binding": _word(said.get("binding")),
        "a2a_events": integer(said.get("sse_events_count")),
        "time_to_first_token_ms": first_byte,
        "streaming": streaming if isinstance(streaming, bool) else None,
    }


def _decision(entry: dict[str, Any]) -> str:
    """`allow tool list_orders for consumer_group admin`. A caller is a user, and said elsewhere."""
    consumer = table(entry.get("consumer"))
    words = [text(entry.get(name)) for name in ("action", "primitive", "primitive_name")]
    if text(consumer.get("identifier")) == "consumer_group":
        words += ["for consumer_group", text(consumer.get("name"))]
    return limited(" ".join(filter(None, words)))


def _word(value: Any) -> str | None:
    found = text(value)
    return limited(found) if found else None
