"""Who says what in the demo: ten seconds in the life of a small company's gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from kong_ai_tracing.demolines import Call, Gateway, Message, Route, chat_answer, embedding_answer

SUPPORT = Route(
    "support-chat", "/ai/support", "openai", "localhost", 32000, "162.159.140.245", "/v1/chat/completions"
)
AGENT = Route(
    "order-agent", "/ai/agent", "openai", "localhost", 32000, "162.159.140.245", "/v1/chat/completions"
)
LOCAL = Route("local-llm", "/llm", "vllm", "vllm.internal", 8000, "10.96.4.17", "")
ORDERS = Route("orders", "/orders", "orders-api", "orders.internal", 8080, "10.96.15.62", "/v2")

_CHAT, _EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
_LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
_MINI, _LARGE = ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), ("gpt-4o", "gpt-4o-2024-08-06")
_PRICES = {_MINI[0]: (0.15, 0.60), _LARGE[0]: (2.50, 10.00)}
_LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup_order",
        "description": "Where an order is right now.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
            "required": ["order_id"],
        },
    },
}


class Scene(Struct, frozen=True):
    """One line of the log. `trace` names the trace it belongs to; None is ordinary web traffic."""

    line: bytes
    trace: str | None = None
    rotate_after: bool = False
    """The log is renamed after this line; the next line still goes to the renamed file, as Kong's would."""


def story(gateway: Gateway) -> Iterator[Scene]:
    """The scenes in order; each line is made the moment it is asked for, with the time of that moment."""
    alice = _Visitor(gateway, "alice", "invoice-2041")
    bob = _Visitor(gateway, "bob", "bestellung-18832")
    yield Scene(gateway.web(ORDERS, "GET", "/health", 200, 7))
    yield alice.asks(
        "My invoice 2041 shows the VAT twice. Can you check?",
        "You are right: VAT was added to a line that already included it. A corrected invoice is on its way.",
        1310,
    )
    yield Scene(gateway.web(ORDERS, "POST", "/items", 201, 44))
    yield bob.asks(
        "Guten Tag! Wann kommt meine Bestellung 18832?",
        "Guten Tag! Ihre Bestellung ist unterwegs und kommt voraussichtlich morgen gegen Mittag. 📦",
        980,
    )
    yield Scene(gateway.captured(_summary()), "summary")
    yield alice.asks("Thank you! When will I get my money back?", "Within three working days.", 640)
    yield from _agent_turn(gateway)
    yield Scene(gateway.web(ORDERS, "GET", "/18832/tracking", 200, 21), rotate_after=True)
    yield Scene(gateway.streamed(_haiku()), "haiku")
    yield alice.is_refused("And can I still change the billing address?")
    yield Scene(gateway.captured(_embeddings()), "embeddings")
    yield Scene(gateway.web(ORDERS, "GET", "/search", 404, 12))
    yield Scene(gateway.captured(_broken()), "broken")
    yield alice.asks(
        "And can I still change the billing address?",
        "Yes: open *Account → Billing* and save the new address before the end of the month.",
        870,
    )
    yield bob.asks("Super, danke!", "Gern geschehen. Einen schönen Tag noch!", 410)


class _Visitor:
    """One person chatting with support; each turn carries the conversation so far."""

    def __init__(self, gateway: Gateway, user: str, session: str) -> None:
        self._gateway = gateway
        self._user = user
        self._session = session
        self._turns = 0
        self._messages: list[Message] = [
            {"role": "system", "content": "You are the support assistant of Example Ltd. Be brief and kind."}
        ]

    def asks(self, question: str, answer: str, duration_ms: int) -> Scene:
        said = {"role": "assistant", "content": answer, "refusal": None}
        body = self._body(question)
        scene = self._scene(body, chat_answer(_MINI[1], said, body), 200, duration_ms)
        self._messages += [body["messages"][-1], {"role": "assistant", "content": answer}]
        return scene

    def is_refused(self, question: str) -> Scene:
        """The provider says 429; the visitor will ask again."""
        error = {
            "message": "Rate limit reached for gpt-4o-mini on tokens per min. Please try again in 1.8s.",
            "type": "tokens",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        return self._scene(self._body(question), {"error": error}, 429, 95)

    def _body(self, question: str) -> dict[str, Any]:
        messages = [*self._messages, {"role": "user", "content": question}]
        return {"model": _MINI[0], "messages": messages, "temperature": 0.3, "max_tokens": 400}

    def _scene(self, body: dict[str, Any], answer: dict[str, Any], status: int, duration_ms: int) -> Scene:
        self._turns += 1
        message_id = f"{self._session}-{self._turns}"
        call = Call(
            route=SUPPORT,
            body=body,
            answer=answer,
            status=status,
            duration_ms=duration_ms,
            headers=_identity(self._user, self._session, message_id),
            usd_per_million_tokens=_PRICES[_MINI[0]],
        )
        return Scene(self._gateway.proxied(call), message_id)


def _agent_turn(gateway: Gateway) -> Iterator[Scene]:
    """One question, two calls: the model asks for a tool, gets its answer, and replies."""
    headers = _identity("bob", "bestellung-18832", "bestellung-18832-agent")
    question: list[Message] = [{"role": "user", "content": "Where exactly is my parcel right now?"}]
    wish: Message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_7Jd0",
                "type": "function",
                "function": {"name": "lookup_order", "arguments": '{"order_id":"18832"}'},
            }
        ],
    }
    found: Message = {
        "role": "tool",
        "tool_call_id": "call_7Jd0",
        "content": '{"status":"out for delivery","stop":4}',
    }
    reply: Message = {"role": "assistant", "content": "It is out for delivery: four more stops before yours."}
    for messages, answer, duration_ms in ((question, wish, 460), ([*question, wish, found], reply, 480)):
        body = {"model": _LARGE[0], "messages": messages, "tools": [_LOOKUP], "temperature": 0}
        call = Call(
            route=AGENT,
            body=body,
            answer=chat_answer(_LARGE[1], answer, body),
            duration_ms=duration_ms,
            headers=headers,
            usd_per_million_tokens=_PRICES[_LARGE[0]],
        )
        yield Scene(gateway.proxied(call), "agent")


def _summary() -> Call:
    text = (
        "The migration to the new warehouse is done. Two shelves are still unlabelled, the scanner in aisle "
        "four drops its connection every hour, and the night shift asks for a second printer."
    )
    body = _local_body(f"Summarise in one sentence:\n\n{text}")
    said = {
        "role": "assistant",
        "content": "The move is complete, with labels, a scanner and a printer to fix.",
    }
    return Call(route=_local(_CHAT), body=body, answer=chat_answer(_LLAMA, said, body), duration_ms=530)


def _haiku() -> Call:
    body = _local_body("A haiku about log files, please.") | {
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    said = {
        "role": "assistant",
        "content": "Lines fall, one by one,\nthe quiet file remembers\nwhat the night has asked.",
    }
    answer = chat_answer(_LLAMA, said, body)
    return Call(route=_local(_CHAT), body=body, answer=answer, duration_ms=1450, first_token_ms=180)


def _embeddings() -> Call:
    texts = ["return policy", "warranty", "delivery times"]
    body = {"model": "BAAI/bge-m3", "input": texts}
    return Call(
        route=_local(_EMBEDDINGS), body=body, answer=embedding_answer("BAAI/bge-m3", texts), duration_ms=38
    )


def _broken() -> Call:
    error = {"message": "CUDA out of memory", "type": "InternalServerError", "param": None, "code": 500}
    body = _local_body("Translate the whole handbook into Finnish.")
    return Call(route=_local(_CHAT), body=body, answer={"error": error}, status=500, duration_ms=2210)


def _local(path: str) -> Route:
    return Route(
        LOCAL.name, LOCAL.path + path, LOCAL.service, LOCAL.host, LOCAL.port, LOCAL.upstream_ip, path
    )


def _local_body(question: str) -> dict[str, Any]:
    return {"model": _LLAMA, "messages": [{"role": "user", "content": question}], "max_tokens": 200}


def _identity(user: str, session: str, message: str) -> dict[str, str]:
    return {"x-user-id": user, "x-session-id": session, "x-message-id": message}
