"""A Kong log to measure with: the same size and seed give the same bytes on any machine.

85 of 100 lines are AI calls (chats through ai-proxy, long contexts, captured chats, captured streams), from
2 to 60 KB each; the rest is other traffic. Some calls carry a trace context, some come in pairs under one
message id.

    python benchmarks/generate_log.py --size 200M --output ai.log
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_MS = 1_795_420_248_000
_KINDS = ("chat", "long", "captured", "stream", "web")
_SHARES = (60, 8, 9, 8, 15)
_SYLLABLES = [
    "ka",
    "lo",
    "mi",
    "ten",
    "sur",
    "ba",
    "ri",
    "gra",
    "vel",
    "no",
    "tu",
    "pel",
    "sha",
    "dor",
    "in",
    "ex",
    "quan",
    "ti",
    "fy",
    "as",
    "re",
    "lo",
    "gi",
    "cal",
    "ser",
    "vi",
    "ce",
]
_ASIDES = (
    "Die Prüfung der Verträge ist für Dienstag geplant. ",
    "请用三点总结下面的文档。",
    "Great — the “final” draft looks fine… 🎉 ",
    'He said: "see C:\\logs\\a.txt", then left.\n',
    '{"id": 17, "path": "/v1/items/17", "note": "tab\\there"}\n',
    "```python\nwith open(path) as file:\n    return json.load(file)\n```\n",
)
_ROUTES = ("support-chat", "order-agent", "search", "summaries")
_MODELS = (
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
)
_TOOL = {
    "type": "function",
    "function": {"name": "lookup_order", "parameters": {"type": "object", "properties": {}}},
}


class LogGenerator:
    """Endless lines; each is bytes with its newline."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._now_ms = START_MS
        self._message_id = ""
        self._corpus = self._make_corpus(1_500_000)
        self._systems = [self._text(size) for size in (150, 500, 1200)]

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        [kind] = self._random.choices(_KINDS, _SHARES)
        self._now_ms += self._random.randrange(1, 90)
        line = self._line(kind)
        if kind in ("chat", "long"):
            self._add_proxied(
                line, self._random.randrange(42_000, 52_000) if kind == "long" else self._chat_size()
            )
        elif kind != "web":
            self._add_captured(line, self._chat_size(), streamed=kind == "stream")
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        return text.replace("/", "\\/").encode() + b"\n"

    def _chat_size(self) -> int:
        return self._random.randrange(800, 9_000)

    def _make_corpus(self, size: int) -> str:
        words = [
            "".join(self._random.choices(_SYLLABLES, k=self._random.randrange(1, 4))) for _ in range(3000)
        ]
        parts, length = [], 0
        while length < size:
            if self._random.random() < 0.04:
                part = self._random.choice(_ASIDES)
            else:
                part = (
                    " ".join(self._random.choices(words, k=self._random.randrange(6, 20))).capitalize() + ". "
                )
            parts.append(part)
            length += len(part)
        return "".join(parts)

    def _text(self, size: int) -> str:
        start = self._random.randrange(len(self._corpus) - size)
        return self._corpus[start : start + size]

    def _hex(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def _messages(self, size: int) -> list[dict[str, Any]]:
        system = self._random.choice(self._systems)
        turns = self._random.choice((1, 1, 3, 5))
        share = max(40, (size - len(system)) // turns)
        said = [
            {"role": ("user", "assistant")[turn % 2], "content": self._text(share)} for turn in range(turns)
        ]
        return [{"role": "system", "content": system}, *said]

    def _request(self, model: str, size: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": self._messages(size),
            "temperature": 0.2,
            "max_tokens": 1024,
        }
        if self._random.random() < 0.1:
            body["tools"] = [_TOOL]
        return body

    def _usage(self, request: int, answer: int) -> dict[str, int]:
        asked, answered = request // 4, answer // 4
        return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}

    def _answer(self, model: str, request_size: int) -> dict[str, Any]:
        content = self._text(self._random.randrange(400, 3_000))
        message = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
        return {
            "id": f"chatcmpl-{self._hex(24)}",
            "object": "chat.completion",
            "created": self._now_ms // 1000,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": self._usage(request_size, len(content)),
            "system_fingerprint": f"fp_{self._hex(10)}",
        }

    def _add_proxied(self, line: dict[str, Any], size: int) -> None:
        asked, served = self._random.choice(_MODELS)
        request, answer = self._request(asked, size), self._answer(served, size)
        usage = answer["usage"]
        latency = line["latencies"]["proxy"]
        line["ai"] = {
            "proxy": {
                "meta": {
                    "provider_name": "openai",
                    "request_model": asked,
                    "response_model": served,
                    "llm_latency": latency,
                    "plugin_id": "9f8634f0-b28d-43df-8cef-01140e5c762e",
                },
                "usage": usage
                | {
                    "time_per_token": latency / usage["completion_tokens"],
                    "cost": usage["total_tokens"] / 1e6,
                },
                "payload": {
                    "request": json.dumps(request, ensure_ascii=False),
                    "response": json.dumps(answer, ensure_ascii=False, indent=2),
                },
            }
        }

    def _add_captured(self, line: dict[str, Any], size: int, *, streamed: bool) -> None:
        model = "meta-llama/Llama-3.1-8B-Instruct"
        request, answer = self._request(model, size), self._answer(model, size)
        if streamed:
            request["stream"] = True
            line["response"]["headers"]["content-type"] = "text/event-stream; charset=utf-8"
        sent = json.dumps(request, ensure_ascii=False)
        received = _stream(answer) if streamed else json.dumps(answer, ensure_ascii=False)
        line["capture"] = {
            "v": 1,
            "request": sent,
            "response": received,
            "request_size": len(sent.encode()),
            "response_size": len(received.encode()),
            "chunks": 40 if streamed else 1,
            "complete": True,
            "ttfb_ms": 180,
            "ttft_ms": 190,
            "last_ms": line["latencies"]["request"] - 1,
        }

    def _line(self, kind: str) -> dict[str, Any]:
        is_ai = kind != "web"
        route = self._random.choice(_ROUTES) if is_ai else "orders"
        path = "/v1/chat/completions" if is_ai else f"/items/{self._random.randrange(10**6)}"
        duration = self._random.randrange(300, 9_000) if is_ai else self._random.randrange(3, 90)
        proxied = kind in ("chat", "long")
        request_id = self._hex(32)
        return {
            "request": {
                "id": request_id,
                "method": "POST" if is_ai else "GET",
                "uri": f"/{route}{path}",
                "url": f"https://gateway.example.com:8443/{route}{path}",
                "querystring": {},
                "size": 4000,
                "headers": self._request_headers(is_ai),
                "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "client_verify": "NONE"},
            },
            "upstream_uri": path,
            "upstream_status": 200 if proxied else "200",
            "response": {
                "status": 200,
                "size": 3000,
                "headers": self._response_headers(request_id, duration),
            },
            "latencies": {"request": duration + 6, "proxy": duration, "kong": 4, "receive": 2},
            "tries": [
                {
                    "ip": f"10.1.{self._random.randrange(256)}.9",
                    "port": 443,
                    "balancer_start": self._now_ms + 3,
                    "balancer_start_ns": (self._now_ms + 3) * 1e6,
                    "balancer_latency": 0,
                    "balancer_latency_ns": 28928,
                }
            ],
            "service": self._entity(f"{route}-service")
            | {"host": "localhost", "port": 32000, "protocol": "http"},
            "route": self._entity(route)
            | {"paths": [f"/{route}"], "protocols": ["http", "https"], "strip_path": True},
            "consumer": self._entity("team-checkout") | {"custom_id": "tenant-42"},
            "client_ip": "10.3.7.7",
            "started_at": self._now_ms,
            "source": "upstream",
            "workspace": "742523da-ef59-4b4b-b184-09f46de05d0c",
            "workspace_name": "default",
        }

    def _request_headers(self, is_ai: bool) -> dict[str, str]:
        headers = {
            "host": "gateway.example.com",
            "accept": "application/json",
            "accept-encoding": "gzip, deflate",
            "user-agent": "OpenAI/Python 1.99.1",
            "content-type": "application/json",
            "authorization": "REDACTED",
            "x-forwarded-for": f"10.2.{self._random.randrange(256)}.4",
        }
        if not is_ai:
            return headers
        headers |= {
            "x-user-id": f"user-{self._random.randrange(5000):05}",
            "x-session-id": f"session-{self._random.randrange(500):04}",
            "x-stainless-lang": "python",
        }
        chance = self._random.random()
        if chance < 0.3:
            headers["traceparent"] = f"00-{self._hex(32)}-{self._hex(16)}-01"
        elif chance < 0.4:
            self._message_id, pair = ("", self._message_id) if self._message_id else (self._hex(12),) * 2
            headers["x-message-id"] = pair
        return headers

    def _response_headers(self, request_id: str, duration: int) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "date": "Mon, 23 Nov 2026 07:50:48 GMT",
            "server": "cloudflare",
            "via": "1.1 kong/3.9.1",
            "cf-ray": f"{self._hex(16)}-FRA",
            "x-request-id": f"req_{self._hex(32)}",
            "x-ratelimit-remaining-tokens": str(1_990_000 + self._random.randrange(9_999)),
            "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
            "x-kong-request-id": request_id,
            "x-kong-upstream-latency": str(duration),
            "x-kong-proxy-latency": "3",
        }

    def _entity(self, name: str) -> dict[str, Any]:
        return {
            "id": f"742523da-ef59-4b4b-b184-{sum(name.encode()):012x}",
            "name": name,
            "created_at": 1_767_225_600,
            "updated_at": 1_767_229_200,
            "ws_id": "742523da-ef59-4b4b-b184-09f46de05d0c",
        }


def _stream(answer: dict[str, Any]) -> str:
    common = {
        "id": answer["id"],
        "object": "chat.completion.chunk",
        "created": answer["created"],
        "model": answer["model"],
    }
    text = answer["choices"][0]["message"]["content"]
    pieces = [text[start : start + 30] for start in range(0, len(text), 30)]
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces
    ]
    chunks += [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": answer["usage"]},
    ]
    return (
        "".join(f"data: {json.dumps(common | chunk, ensure_ascii=False)}\n\n" for chunk in chunks)
        + "data: [DONE]\n\n"
    )


def generate(path: Path, size_bytes: int, seed: int = 1) -> int:
    """Write a log of about that size and return the number of its lines."""
    written = lines = 0
    with path.open("wb", buffering=1 << 20) as file:
        for line in LogGenerator(seed):
            written += file.write(line)
            lines += 1
            if written >= size_bytes:
                return lines
    raise AssertionError("the generator never ends")


def parse_size(text: str) -> int:
    """`200M` → 200,000,000."""
    factor = {"K": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:].upper())
    return int(float(text[:-1]) * factor) if factor else int(text)


def main() -> None:
    """Write one log."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=parse_size("200M"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    print(f"{generate(options.output, options.size, options.seed)} lines")


if __name__ == "__main__":
    main()
