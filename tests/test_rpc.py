"""MCP and A2A: what ai-mcp-proxy and ai-a2a-proxy wrote, as tools and agents."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from_seed
from kong_entries import REQUEST_ID, STARTED_AT, calls

MCP = {"service": {"name": "orders-mcp"}, "upstream_uri": "/mcp"}


def message(method: str, params: Any, result: Any = None, **more: Any) -> dict[str, Any]:
    """One message with its payloads."""
    answer = {"jsonrpc": "2.0", "id": "1", "result": result}
    return {
        "method": method,
        "latency": 6,
        "payload": {
            "request": json.dumps({"jsonrpc": "2.0", "id": "1", "method": method, "params": params}),
            "response": json.dumps(answer),
        },
    } | more


def mcp(*messages: dict[str, Any], **members: Any) -> list[AICall]:
    """The calls of a line with these messages to an MCP server."""
    changes = {name: members.pop(name) for name in ("response", "source") if name in members}
    ai = {"mcp": {"mcp_session_id": "s-77", "rpc": list(messages)} | members}
    return calls(ai=ai, **MCP, **changes)


def a2a(*messages: dict[str, Any]) -> list[AICall]:
    """The calls of a line with these messages to an agent."""
    return calls(ai={"a2a": {"rpc": list(messages)}}, service={"name": "planner"}, upstream_uri="/")


def test_a_tool_call_is_a_tool_with_its_arguments_and_result() -> None:
    """It takes as long as its request, and has the id that any call of the line would have."""
    arguments = {"name": "list_orders", "arguments": {"limit": 2}}
    result = {"content": [{"type": "text", "text": "2 orders"}]}
    [call] = mcp(message("tools/call", arguments, result, tool_name="list_orders"))
    found = call.observation
    assert (call.id, call.context.trace_id) == (
        observation_id_from_seed(REQUEST_ID),
        trace_id_from_seed(REQUEST_ID),
    )
    assert (found.type, found.name, found.level) == ("tool", "list_orders", "DEFAULT")
    assert (found.started_at_ms, found.ended_at_ms) == (STARTED_AT, STARTED_AT + 1000)
    assert orjson.loads(found.input or b"") == {"limit": 2}
    assert orjson.loads(found.output or b"") == result
    assert (found.model, found.usage_details, found.cost_details) == (None, {}, {})
    assert found.metadata["mcp_method"] == "tools/call"
    assert found.metadata["mcp_latency_ms"] == 6
    assert found.metadata["kong_service"] == "orders-mcp"


def test_the_session_of_the_server_is_the_session_where_the_caller_names_none() -> None:
    """A caller's own session is trusted more."""
    [call] = mcp(message("tools/list", {}))
    assert call.context.session_id == "s-77"
    assert call.explain["session_id"] == "kong ai.mcp"


def test_several_messages_are_calls_of_one_trace() -> None:
    """Each with its own latency and id."""
    found = mcp(message("initialize", {}), message("tools/list", {}))
    assert [each.observation.name for each in found] == ["initialize", "tools/list"]
    assert [each.observation.ended_at_ms - STARTED_AT for each in found] == [6, 6]
    assert len({each.id for each in found}) == 2
    assert len({each.context.trace_id for each in found}) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"error": "upstream refused"}, "upstream refused"),
        ({"error": {"code": -32000, "message": "no such order"}}, "no such order"),
        ({"payload": {"response": '{"error":{"code":1,"message":"no such tool"}}'}}, "no such tool"),
        ({"payload": {"response": '{"result":{"isError":true}}'}}, "the tool reported an error"),
    ],
)
def test_a_tool_that_failed_is_an_error(said: dict[str, Any], why: str) -> None:
    """Whoever says so: Kong, the server, or the tool in a well-formed answer."""
    [call] = mcp({"method": "tools/call", "tool_name": "t"} | said)
    assert (call.observation.level, call.observation.status_message) == ("ERROR", why)


def test_a_denied_tool_is_a_call_with_a_warning() -> None:
    """Kong never asked the server, so there is only the decision."""
    decision = {
        "primitive": "tool",
        "primitive_name": "drop_orders",
        "action": "deny",
        "consumer": {"name": "bob", "identifier": "consumer"},
    }
    [call] = mcp(audit=[decision])
    found = call.observation
    assert (found.type, found.name, found.level) == ("tool", "drop_orders", "WARNING")
    assert found.status_message == "Kong denied access to tool drop_orders"
    assert found.metadata["mcp_audit"] == ["deny tool drop_orders"]
    assert "bob" not in repr(call)


def test_what_is_left_out_of_a_list_of_tools_is_no_problem_of_the_list() -> None:
    """Kong decides on each tool of the list, and the list is answered."""
    [call] = mcp(
        message("tools/list", {}), audit=[{"primitive": "tool", "primitive_name": "x", "action": "deny"}]
    )
    assert call.observation.level == "DEFAULT"


def test_a_refused_request_is_judged_by_its_status() -> None:
    """As any other call."""
    [call] = mcp(message("tools/list", {}), response={"status": 403}, source="kong")
    assert call.observation.level == "WARNING"


@pytest.mark.parametrize("ai", [{"mcp": {}}, {"mcp": {"mcp_session_id": "s"}}, {"a2a": {"rpc": []}}])
def test_a_session_in_which_nothing_was_said_is_no_call(ai: dict[str, Any]) -> None:
    """The stream on which a server may speak, the end of a session."""
    assert calls(ai=ai, upstream_uri="/mcp", request={"method": "GET", "uri": "/mcp"}) == []


def test_a_message_to_an_agent_shows_as_a_conversation() -> None:
    """With the agent's name, the task, and the time to the first event."""
    asked = {"message": {"role": "user", "parts": [{"kind": "text", "text": "plan a trip"}]}}
    answered = {"role": "agent", "parts": [{"kind": "text", "text": "done"}]}
    [call] = a2a(
        message("message/send", asked, answered, task_id="t-9", context_id="c", task_state="completed")
        | {"streaming": True, "ttfb_latency": 100}
    )
    found = call.observation
    assert (found.type, found.name, found.level) == ("agent", "message/send planner", "DEFAULT")
    assert orjson.loads(found.input or b"") == [{"role": "user", "content": "plan a trip"}]
    assert orjson.loads(found.output or b"") == {"role": "assistant", "content": "done"}
    assert found.completion_started_at_ms == STARTED_AT + 100
    assert found.metadata["a2a_task_id"] == "t-9"
    assert call.context.session_id == "c"


def test_parts_that_are_no_text_stay_as_they_are() -> None:
    """Nothing is lost for the sake of a form."""
    asked = {"message": {"role": "user", "parts": [{"kind": "file", "file": {"uri": "u"}}]}}
    [call] = a2a(message("message/send", asked))
    assert orjson.loads(call.observation.input or b"") == asked


@pytest.mark.parametrize(("state", "level"), [("failed", "ERROR"), ("working", "DEFAULT")])
def test_a_task_that_failed_is_an_error(state: str, level: str) -> None:
    """Though the request went well."""
    assert a2a({"method": "message/send", "task_state": state})[0].observation.level == level


def test_beside_a_call_to_a_model_messages_hang_below_it() -> None:
    """One line, one call that was proxied."""
    ai = {"proxy": {"meta": {"request_model": "m"}}, "mcp": {"rpc": [message("tools/list", {})]}}
    [call] = calls(ai=ai)
    assert call.observation.type == "generation"
    [child] = call.children
    assert (child.observation.type, child.observation.metadata["kong_object"]) == ("tool", "mcp")
