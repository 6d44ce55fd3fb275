"""Did a call go well, and what is there to say about it?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from kong_entries import CHAT_REQUEST, call, capture, chunk, sse


def outcome(**changes: Any) -> tuple[str, str | None]:
    found = call(**changes).observation
    return found.level, found.status_message


def refused(status: int, **changes: Any) -> dict[str, Any]:
    return {"response": {"status": status}, **changes}


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        ({}, "DEFAULT", None),
        (refused(500), "ERROR", "HTTP 500 Internal Server Error"),
        (refused(401), "ERROR", "HTTP 401 Unauthorized"),
        (refused(429), "ERROR", "HTTP 429 Too Many Requests"),
        (refused(401, source="kong"), "WARNING", "HTTP 401 Unauthorized from Kong"),
        (refused(403, source="kong"), "WARNING", "HTTP 403 Forbidden from Kong"),
        (refused(404, source="kong"), "WARNING", "HTTP 404 Not Found from Kong"),
        (refused(429, source="kong"), "WARNING", "HTTP 429 Too Many Requests from Kong"),
        (refused(400, source="kong"), "ERROR", "HTTP 400 Bad Request from Kong"),
        (refused(504, source="kong"), "ERROR", "HTTP 504 Gateway Timeout from Kong"),
        (refused(499), "WARNING", "HTTP 499 client closed the connection"),
        (refused(599), "ERROR", "HTTP 599"),
        (refused(429, source=None, tries=[]), "WARNING", "HTTP 429 Too Many Requests from Kong"),
        (refused(401, source=None, latencies={"proxy": -1}), "WARNING", "HTTP 401 Unauthorized from Kong"),
        (refused(401, source=None), "ERROR", "HTTP 401 Unauthorized"),
    ],
)
def test_a_status_says_how_it_went(changes: dict[str, Any], level: str, message: str | None) -> None:
    """Kong doing its duty is a warning, failures are errors; before 3.6 Kong does not say that it was it."""
    assert outcome(**changes) == (level, message)


def test_the_providers_words_are_in_the_message() -> None:
    """Whatever the status."""
    body = capture(CHAT_REQUEST, {"error": {"message": "Rate limit reached", "type": "tokens", "code": "x"}})
    assert outcome(capture=body, **refused(429)) == (
        "ERROR",
        "HTTP 429 Too Many Requests: Rate limit reached",
    )
    assert outcome(capture=body) == ("ERROR", "Rate limit reached")
    metadata = call(capture=body).observation.metadata
    assert (metadata["error_type"], metadata["error_code"]) == ("tokens", "x")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "upstream connect error or disconnect/reset before headers\n",
            "upstream connect error or disconnect",
        ),
        ({"detail": "Not authenticated"}, "Not authenticated"),
        (
            {
                "detail": [
                    {
                        "type": "missing",
                        "loc": ["body", "model"],
                        "msg": "Field required",
                        "input": "the prompt",
                    },
                    {"loc": ["body"], "msg": "Too long"},
                ]
            },
            "body.model: Field required; body: Too long",
        ),
        ({"detail": ["odd", {}]}, "error without a message"),
    ],
)
def test_words_of_a_proxy_and_of_fastapi_are_heard(body: Any, message: str) -> None:
    """Envoy refuses in plain text, vLLM and LiteLLM in FastAPI's form, which quotes what was asked."""
    level, said = outcome(
        capture=capture(CHAT_REQUEST, stream=body if isinstance(body, str) else json.dumps(body)),
        **refused(503),
    )
    assert level == "ERROR"
    assert said is not None
    assert said.startswith(f"HTTP 503 Service Unavailable: {message}")
    assert "the prompt" not in said


@pytest.mark.parametrize("body", ["<html>502</html>", "", "\ufffd\ufffd", "data: {}\n\n"])
def test_what_says_nothing_is_no_message(body: str) -> None:
    """Pages, bytes, an empty stream."""
    assert outcome(capture=capture(CHAT_REQUEST, stream=body), **refused(502)) == (
        "ERROR",
        "HTTP 502 Bad Gateway",
    )


@pytest.mark.parametrize(
    "key",
    ["sk-proj-abcdefghijkl", "sk-***********wxyz", "AIzaSyA1234567890abc", "gsk_abcdefgh123"],
)
def test_keys_that_a_provider_quotes_stay_behind(key: str) -> None:
    """Some say which key was wrong."""
    for said in (
        f"Incorrect API key provided: {key}. Look here",
        f"bad ?key={key}&x",
        f"Bearer {key} is wrong",
    ):
        _, message = outcome(capture=capture(CHAT_REQUEST, {"error": said}), **refused(401))
        assert message is not None
        assert key not in message
        assert "[key]" in message


def test_a_long_message_is_cut() -> None:
    """An error page is no message."""
    _, message = outcome(capture=capture(CHAT_REQUEST, {"error": "x" * 5000}), **refused(500))
    assert message is not None
    assert len(message) < 1100


def test_an_unfinished_answer_is_a_warning() -> None:
    """The status is 200 whether the client left or the server broke off."""
    level, message = outcome(capture=capture(CHAT_REQUEST, stream=sse(chunk({"content": "par"}))))
    assert level == "WARNING"
    assert message is not None
    assert "incomplete" in message


def test_an_error_within_a_stream_is_an_error() -> None:
    """Though its status is 200."""
    stream = sse(chunk({"content": "par"}), {"error": {"message": "overloaded"}})
    assert outcome(capture=capture(CHAT_REQUEST, stream=stream)) == ("ERROR", "overloaded")


def test_the_status_of_a_request_says_nothing_about_a_transformers_own_call() -> None:
    """Its call went well although the service failed."""
    ai = {"ai-request-transformer": {"meta": {}, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}}
    assert outcome(ai=ai, **refused(500)) == ("DEFAULT", None)
