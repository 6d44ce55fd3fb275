"""The plain script with Langfuse's own SDK in the place of `requests`, flushed after every 500 calls.

    sdk_script.py LOG BASE_URL

Without the flush its queue of 2,048 spans overflows and calls are lost. Keys come from the environment.
"""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from typing import Any

from langfuse import Langfuse

from plain_script import answer_of

_PER_FLUSH = 500


def main() -> None:
    """Send each call of the log."""
    log, url = sys.argv[1:]
    langfuse = Langfuse(
        public_key=os.environ["LANGFUSE_PUBLIC_KEY"], secret_key=os.environ["LANGFUSE_SECRET_KEY"], host=url
    )
    sent = 0
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            entry = json.loads(line)
            if not send(langfuse, entry):
                continue
            sent += 1
            if sent % _PER_FLUSH == 0:
                langfuse.flush()
    langfuse.flush()
    langfuse.shutdown()


def send(langfuse: Langfuse, entry: dict[str, Any]) -> bool:
    """One call as a generation; False for other traffic."""
    if "ai" in entry:
        proxy = entry["ai"]["proxy"]
        request, response = json.loads(proxy["payload"]["request"]), json.loads(proxy["payload"]["response"])
        model, cost = proxy["meta"]["response_model"], proxy["usage"]["cost"]
    elif "capture" in entry:
        request, response = json.loads(entry["capture"]["request"]), answer_of(entry["capture"]["response"])
        model, cost = response.get("model", request["model"]), None
    else:
        return False
    usage = response.get("usage") or {}
    headers = entry["request"]["headers"]
    status = entry["response"]["status"]
    observation = langfuse.start_observation(
        trace_context={"trace_id": sha256(entry["request"]["id"].encode()).hexdigest()[:32]},
        name=f"chat {model}",
        as_type="generation",
        model=model,
        model_parameters={
            name: request[name] for name in ("temperature", "max_tokens", "top_p") if name in request
        },
        input={"messages": request["messages"], "tools": request["tools"]}
        if "tools" in request
        else request["messages"],
        output=response["choices"][0]["message"],
        usage_details={
            "input": usage.get("prompt_tokens", 0),
            "output": usage.get("completion_tokens", 0),
            "total": usage.get("total_tokens", 0),
        },
        cost_details=None if cost is None else {"total": cost},
        level="ERROR" if status >= 400 else "DEFAULT",
        metadata={"status_code": status, "latencies": entry["latencies"]},
    )
    observation.update_trace(
        name=entry["route"]["name"],
        user_id=headers.get("x-user-id"),
        session_id=headers.get("x-session-id"),
    )
    observation.end()
    return True


if __name__ == "__main__":
    main()
