"""What one writes in an afternoon: Kong's log by `json`, posted to Langfuse by `requests`, 100 a time.

It does the main job (who asked what, which model, what came back, tokens, cost, times, errors) for calls
through ai-proxy and for captured ones. It has no checkpoints, no retries, no rotation, no grouping.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from typing import Any

import requests

_PER_POST = 100


def main() -> None:
    """`plain_script.py LOG URL`."""
    log, url = sys.argv[1:]
    session = requests.Session()
    session.auth = ("pk-lf-test", "sk-lf-test")
    spans: list[dict[str, Any]] = []
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            entry = json.loads(line)
            span = span_of(entry)
            if span is None:
                continue
            spans.append(span)
            if len(spans) == _PER_POST:
                post(session, url, spans)
                spans = []
    if spans:
        post(session, url, spans)


def span_of(entry: dict[str, Any]) -> dict[str, Any] | None:
    """One call as an OTLP span; None for other traffic."""
    if "ai" in entry:
        proxy = entry["ai"]["proxy"]
        request, response = json.loads(proxy["payload"]["request"]), json.loads(proxy["payload"]["response"])
        model, cost = proxy["meta"]["response_model"], proxy["usage"]["cost"]
    elif "capture" in entry:
        request, response = json.loads(entry["capture"]["request"]), answer_of(entry["capture"]["response"])
        model, cost = response.get("model", request["model"]), None
    else:
        return None
    usage = response.get("usage") or {}
    headers = entry["request"]["headers"]
    started, duration = entry["started_at"], entry["latencies"]["request"]
    status = entry["response"]["status"]
    parameters = {name: request[name] for name in ("temperature", "max_tokens", "top_p") if name in request}
    asked: Any = request["messages"]
    if "tools" in request:
        asked = {"messages": asked, "tools": request["tools"]}
    attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": model,
        "langfuse.observation.model.parameters": json.dumps(parameters),
        "langfuse.observation.input": json.dumps(asked),
        "langfuse.observation.output": json.dumps(response["choices"][0]["message"]),
        "langfuse.observation.usage_details": json.dumps(
            {
                "input": usage.get("prompt_tokens", 0),
                "output": usage.get("completion_tokens", 0),
                "total": usage.get("total_tokens", 0),
            }
        ),
        "langfuse.observation.level": "ERROR" if status >= 400 else "DEFAULT",
        "langfuse.observation.metadata": json.dumps({"status_code": status, "latencies": entry["latencies"]}),
        "langfuse.trace.name": entry["route"]["name"],
        "langfuse.environment": "production",
        "langfuse.user.id": headers.get("x-user-id", ""),
        "langfuse.session.id": headers.get("x-session-id", ""),
    }
    if cost is not None:
        attributes["langfuse.observation.cost_details"] = json.dumps({"total": cost})
    return {
        "traceId": sha256(entry["request"]["id"].encode()).hexdigest()[:32],
        "spanId": sha256(entry["request"]["id"].encode()).hexdigest()[:16],
        "name": f"chat {model}",
        "startTimeUnixNano": str(started * 10**6),
        "endTimeUnixNano": str((started + duration) * 10**6),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }


def answer_of(response: str) -> dict[str, Any]:
    """A captured answer; an event stream is put together."""
    if not response.startswith("data:"):
        answer: dict[str, Any] = json.loads(response)
        return answer
    text, last = [], {}
    for event in response.split("\n\n"):
        data = event.removeprefix("data: ")
        if not data or data == "[DONE]":
            continue
        last = json.loads(data)
        text += [choice["delta"].get("content") or "" for choice in last["choices"]]
    return last | {"choices": [{"message": {"role": "assistant", "content": "".join(text)}}]}


def post(session: requests.Session, url: str, spans: list[dict[str, Any]]) -> None:
    """One request with all these spans."""
    scope = {"scope": {"name": "langfuse-sdk-plain-script"}, "spans": spans}
    session.post(url, json={"resourceSpans": [{"scopeSpans": [scope]}]}, timeout=30).raise_for_status()


if __name__ == "__main__":
    main()
