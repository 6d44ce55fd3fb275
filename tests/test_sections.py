"""Kong's `ai` object, whatever Kong's generation."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.sections import Place, sections_of

CALL = {
    "meta": {"provider_name": "openai", "request_model": "gpt-4o"},
    "usage": {"prompt_tokens": 1},
    "payload": {"request": "{}", "response": "x"},
}


def names(ai: dict[str, Any]) -> list[str]:
    return [section.namespace for section in sections_of(ai)]


@pytest.mark.parametrize(
    ("ai", "namespaces"),
    [
        ({}, []),
        (CALL, [""]),
        ({"meta": {}}, [""]),
        ({"payload": {"request": "{}"}}, [""]),
        ({"ai-proxy": CALL}, ["ai-proxy"]),
        ({"proxy": CALL}, ["proxy"]),
        ({"proxy": {"payload": {}}}, ["proxy"]),
        ({"proxy": {}}, []),
        ({"ai-proxy-advanced": CALL, "payload": {"request": "{}"}}, ["ai-proxy-advanced"]),
        ({"proxy": CALL, "payload": {"original_request": "{}"}}, ["proxy"]),
        ({"payload": {"original_request": "{}"}}, []),
        ({"payload": {}}, []),
        ({"mcp": {"rpc": []}, "a2a": {"rpc": []}}, []),
        ({"mcp": {"payload": {"request": "{}"}}}, []),
        ({"sanitizer": {"meta": {}}, "compressor": {}, "audit": {"usage": {}}}, []),
        ({"proxy": CALL, "sanitizer": {"sanitized_items": [1]}, "something-new": {"x": 1}}, ["proxy"]),
        ({"proxy": "x", "other": 3, "more": None}, []),
    ],
)
def test_calls_are_found_in_every_generation(ai: dict[str, Any], namespaces: list[str]) -> None:
    """An object with meta, usage or payload is one; what other AI plugins write is none."""
    assert names(ai) == namespaces


def test_transformers_are_calls_of_their_own_around_the_proxied_one() -> None:
    """In the order in which they happened."""
    ai = {"ai-response-transformer": CALL, "ai-proxy": CALL, "ai-request-transformer": CALL}
    assert [(section.namespace, section.place) for section in sections_of(ai)] == [
        ("ai-request-transformer", Place.BEFORE),
        ("ai-proxy", Place.PROXIED),
        ("ai-response-transformer", Place.AFTER),
    ]


def test_the_advanced_proxys_request_stands_one_level_higher() -> None:
    """It belongs to the proxied call only."""
    ai = {
        "ai-proxy-advanced": {"payload": {"response": "x"}},
        "ai-request-transformer": {"payload": {"response": "y"}},
        "payload": {"request": "{}"},
    }
    transformer, proxied = sections_of(ai)
    assert (proxied.request, proxied.response) == (Body("{}"), Body("x"))
    assert transformer.request.text is None


def test_payloads_that_are_no_text_are_not_logged() -> None:
    """Neither numbers nor empty strings are a body."""
    for payload in (3, "", None, {}):
        [section] = sections_of({"proxy": {"payload": {"request": payload}}})
        assert section.request == Body(note="not logged")


def test_streams_before_3_9_are_logged_as_bare_text() -> None:
    """From 3.9 on they have an envelope."""
    assert [sections_of({name: CALL})[0].logs_bare_text for name in ("ai-proxy", "proxy")] == [True, False]


def test_a_cache_hit_is_known_wherever_the_cache_wrote_it() -> None:
    """3.8 has it under the cache's own name."""
    [section] = sections_of({"ai-proxy": CALL, "ai-semantic-cache": {"cache": {"cache_status": "Hit"}}})
    assert section.cache["cache_status"] == "Hit"
