"""What happened at a gateway in, lines as Kong 3.9.1's `file-log` writes them out, for the demo.

Two ways of logging bodies are shown: ai-proxy's own payload logging, and the `capture` object on plain
services. Field names, nesting and encoding (compact, `/` escaped, UTF-8 raw) are those of real lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from secrets import token_hex
from typing import Any

import orjson
from msgspec import Struct, field

Message = dict[str, Any]

_CREATED = 1_767_225_600
_WORKSPACE = "742523da-ef59-4b4b-b184-09f46de05d0c"
_TIMEOUTS = {"connect_timeout": 60000, "read_timeout": 60000, "write_timeout": 60000, "retries": 5}
_CHUNK_CHARACTERS = 12


class Route(Struct, frozen=True):
    """A route of the gateway and the service behind it. ai-proxy ignores the service's host."""

    name: str
    path: str
    service: str
    host: str
    port: int
    upstream_ip: str
    upstream_path: str = ""


class Call(Struct, frozen=True, kw_only=True):
    """One request to a model and its answer. `body` and `answer` are what went over the wire."""

    route: Route
    body: dict[str, Any]
    answer: dict[str, Any]
    duration_ms: int
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """What the client said of itself: `x-user-id` and the like."""
    first_token_ms: int = 0
    usd_per_million_tokens: tuple[float, float] = (0, 0)


class Gateway:
    """Writes down requests the moment they end. `clock` gives epoch milliseconds, `new_id` random hex."""

    def __init__(
        self,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        new_id: Callable[[int], str] = token_hex,
    ) -> None:
        self._clock = clock
        self._new_id = new_id

    def proxied(self, call: Call) -> bytes:
        """A call through ai-proxy with statistics and payloads logged."""
        usage = call.answer.get("usage", {})
        asked, answered = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        price_in, price_out = call.usd_per_million_tokens
        latency = call.duration_ms - 6
        model = call.body["model"]
        proxy = {
            "meta": {
                "provider_name": "openai",
                "request_model": model,
                "response_model": call.answer.get("model", model),
                "llm_latency": latency,
                "plugin_id": "9f8634f0-b28d-43df-8cef-01140e5c762e",
            },
            "usage": {
                "prompt_tokens": asked,
                "completion_tokens": answered,
                "total_tokens": asked + answered,
                "time_per_token": latency / answered if answered else 0,
                "cost": (asked * price_in + answered * price_out) / 1e6,
            },
            "payload": {"request": _text(call.body), "response": _text(call.answer)},
        }
        line = self._line(call.route, call.duration_ms, call.status, call.headers, len(_text(call.body)))
        line["upstream_status"] = call.status  # a number, because ai-proxy buffers the answer
        line["response"]["headers"]["x-kong-llm-model"] = f"openai/{model}"
        return _encoded(line | {"ai": {"proxy": proxy}})

    def captured(self, call: Call) -> bytes:
        """A call to a plain service whose bodies a pre-function captured."""
        return self._captured(call, _text(call.answer), "application/json", chunks=1)

    def streamed(self, call: Call) -> bytes:
        """The same, answered as an event stream with the usage in its last chunk."""
        events = _events(call.answer)
        stream = "".join(f"data: {_text(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return self._captured(call, stream, "text/event-stream; charset=utf-8", chunks=len(events))

    def web(self, route: Route, method: str, path: str, status: int, duration_ms: int) -> bytes:
        """A request that has nothing to do with AI."""
        return _encoded(self._line(route, duration_ms, status, {}, 0, method=method, rest=path))

    def _captured(self, call: Call, answer: str, content_type: str, chunks: int) -> bytes:
        request = _text(call.body)
        first_ms = call.first_token_ms or call.duration_ms - 1
        line = self._line(call.route, call.duration_ms, call.status, call.headers, len(request))
        line["response"]["headers"]["content-type"] = content_type
        line["capture"] = {
            "v": 1,
            "request": request,
            "response": answer,
            "request_size": len(request.encode()),
            "response_size": len(answer.encode()),
            "chunks": chunks,
            "complete": True,
            "ttfb_ms": first_ms,
            "ttft_ms": first_ms,
            "last_ms": call.duration_ms - 1,
        }
        return _encoded(line)

    def _line(
        self,
        route: Route,
        duration_ms: int,
        status: int,
        headers: dict[str, str],
        body_size: int,
        *,
        method: str = "POST",
        rest: str = "",
    ) -> dict[str, Any]:
        ended = self._clock()
        started = ended - duration_ms
        request_id = self._new_id(16)
        uri = route.path + rest
        return {
            "request": {
                "id": request_id,
                "method": method,
                "uri": uri,
                "url": f"https://ai.example.com:8443{uri}",
                "querystring": {},
                "size": body_size + 300,
                "headers": _client_headers(body_size) | headers,
                "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "client_verify": "NONE"},
            },
            "response": {
                "status": status,
                "size": 900,
                "headers": {
                    "content-type": "application/json",
                    "date": formatdate(ended / 1000, usegmt=True),
                    "connection": "keep-alive",
                    "server": "uvicorn",
                    "via": "1.1 kong/3.9.1",
                    "x-kong-upstream-latency": str(duration_ms - 6),
                    "x-kong-proxy-latency": "3",
                    "x-kong-request-id": request_id,
                },
            },
            "upstream_uri": route.upstream_path + rest,
            "upstream_status": str(status),
            "source": "upstream",
            "latencies": {"request": duration_ms, "proxy": duration_ms - 6, "kong": 4, "receive": 2},
            "tries": [
                {
                    "ip": route.upstream_ip,
                    "port": 443 if route.port == 32000 else route.port,
                    "balancer_start": started + 3,
                    "balancer_start_ns": (started + 3) * 1e6,
                    "balancer_latency": 0,
                    "balancer_latency_ns": 28928,
                }
            ],
            "service": _entity(route.service)
            | _TIMEOUTS
            | {"host": route.host, "port": route.port, "protocol": "http"},
            "route": _entity(route.name)
            | {"paths": [route.path], "protocols": ["http", "https"], "strip_path": True},
            "client_ip": "10.42.0.17",
            "started_at": started,
            "workspace": _WORKSPACE,
            "workspace_name": "default",
        }


def chat_answer(model: str, message: Message, body: dict[str, Any]) -> dict[str, Any]:
    """An OpenAI chat completion with this message."""
    return {
        "id": "chatcmpl-" + token_hex(12),
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
            }
        ],
        "usage": _usage(_tokens(_text(body["messages"])), _tokens(_text(message))),
    }


def embedding_answer(model: str, texts: Sequence[str]) -> dict[str, Any]:
    """An OpenAI list of embeddings."""
    vector = [round(0.07 - 0.011 * number, 6) for number in range(16)]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
    asked = sum(map(_tokens, texts))
    usage = {"prompt_tokens": asked, "total_tokens": asked}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def _events(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks in which a server streams this completion."""
    common = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    text = answer["choices"][0]["message"]["content"]
    pieces = [text[start : start + _CHUNK_CHARACTERS] for start in range(0, len(text), _CHUNK_CHARACTERS)]
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        *({"content": each} for each in pieces),
    ]
    events = [common | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append(common | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append(common | {"choices": [], "usage": answer["usage"]})
    return events


def _client_headers(body_size: int) -> dict[str, str]:
    return {
        "host": "ai.example.com",
        "accept": "application/json",
        "content-type": "application/json",
        "content-length": str(body_size),
        "user-agent": "OpenAI/Python 1.99.1",
        "authorization": "REDACTED",
        "connection": "keep-alive",
    }


def _entity(name: str) -> dict[str, Any]:
    return {
        "id": f"{_WORKSPACE[:24]}{sum(name.encode()):012x}",
        "name": name,
        "created_at": _CREATED,
        "updated_at": _CREATED,
        "ws_id": _WORKSPACE,
    }


def _usage(asked: int, answered: int) -> dict[str, int]:
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _encoded(line: dict[str, Any]) -> bytes:
    """As Kong's JSON encoder writes it."""
    return orjson.dumps(line).replace(b"/", b"\\/") + b"\n"
