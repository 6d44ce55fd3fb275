"""What calls cost by the operator's own prices."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.calls import CallSettings
from kong_ai_tracing.operatorrules import Price
from kong_ai_tracing.pricing import Prices
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, call, capture, chunk, request, sse

OURS = Price(model=("our-llama-*",), input=0.2, output=0.6, input_cached=0.02, output_reasoning=1.0)
GPT = Price(model=("gpt-4o*",), input=2.5, output=10.0)


def priced(*prices: Price, **changes: Any) -> Any:
    """The observation of a chat call, with these prices."""
    settings = CallSettings(prices=Prices(prices))
    changes = {"capture": capture(CHAT_REQUEST, CHAT_ANSWER)} | changes
    return call(settings, **changes).observation


def test_each_bucket_has_its_cost_and_there_is_a_total() -> None:
    """Langfuse adds up nothing itself when a cost is told, so the total stands there."""
    usage = {
        "input": 1_000_000,
        "input_cached_tokens": 500_000,
        "input_cache_creation": 100_000,
        "output": 1_000,
        "output_reasoning_tokens": 2_000,
        "total": 1_603_000,
    }
    cost = Prices([OURS]).cost_of(("our-llama-3",), None, usage)
    assert cost == {
        "input": 0.2,
        "input_cached_tokens": 0.01,
        "input_cache_creation": 0.02,
        "output": 0.0006,
        "output_reasoning_tokens": 0.002,
        "total": 0.2326,
    }


def test_without_prices_of_their_own_parts_cost_what_the_whole_does() -> None:
    """Cached tokens as those of the prompt, reasoning as that of the answer."""
    usage = {"input_cached_tokens": 1000, "output_reasoning_tokens": 1000}
    assert Prices([GPT]).cost_of(("gpt-4o",), "openai", usage)["total"] == 0.0125


def test_a_call_gets_the_price_of_the_model_that_answered_or_was_asked_for() -> None:
    """The exact name first, then the one in the request; the first price that fits."""
    dated = Price(model=("gpt-4o-2024-08-06",), input=1.0)
    assert priced(dated, GPT).cost_details == {"input": 10 / 1e6, "output": 0.0, "total": 10 / 1e6}
    by_request = Price(model=("gpt-4o",), input=3.0, output=3.0)
    found = priced(by_request)
    assert found.cost_details["total"] == pytest.approx(45 / 1e6)
    assert found.metadata["cost_source"] == "price_table"
    assert priced(OURS).cost_details == {}
    assert "cost_source" not in priced(OURS).metadata


def test_a_price_can_be_for_some_providers_only() -> None:
    """The same model costs something else somewhere else."""
    here = Price(model=("gpt-4o*",), provider=("vllm", "openai_*"), input=1.0)
    assert priced(here).cost_details["total"] > 0
    assert priced(Price(model=("gpt-4o*",), provider=("azure",), input=1.0)).cost_details == {}


def test_a_cost_that_kong_worked_out_is_believed_first() -> None:
    """It knows what was configured for the very model."""
    section = {"meta": {"provider_name": "openai"}, "usage": {"cost": 0.5, "prompt_tokens": 1}}
    assert priced(GPT, ai={"proxy": section}).cost_details == {"total": 0.5}
    section["usage"] = {"cost": 0, "prompt_tokens": 1}
    assert priced(GPT, ai={"proxy": section}).metadata["cost_source"] == "price_table"


def test_without_tokens_there_is_no_cost() -> None:
    """Not for a failed call, not for an answer out of a cache, not where nobody counted."""
    refused = {"status": 500, "headers": {"content-type": "application/json"}}
    for changes in (
        {"response": refused},
        {"capture": capture(CHAT_REQUEST)},
        {"capture": capture(CHAT_REQUEST, {key: CHAT_ANSWER[key] for key in CHAT_ANSWER if key != "usage"})},
    ):
        found = priced(GPT, **changes)
        assert found.cost_details == {}
        assert "cost_source" not in found.metadata


def test_the_cost_of_an_estimate_is_marked_as_one() -> None:
    """Kong counts the characters of a stream."""
    section = {
        "meta": {"provider_name": "openai", "request_mode": "stream", "request_model": "gpt-4o"},
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
    stream = capture(CHAT_REQUEST | {"stream": True}, stream=sse(chunk({"content": "a"}), "[DONE]"))
    found = priced(GPT, ai={"proxy": section}, capture=stream, request=request())
    assert found.metadata["usage_source"] == "kong_estimate"
    assert found.metadata["cost_source"] == "price_table_estimate"
    assert found.cost_details["total"] == pytest.approx(0.00035)


@given(
    st.dictionaries(
        st.sampled_from(["input", "output", "total", "input_cached_tokens", "output_audio_tokens"]),
        st.integers(0, 2**53),
    ),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)
def test_costs_are_finite_and_add_up(usage: dict[str, int], paid_in: float, paid_out: float) -> None:
    """Langfuse takes what it is told, so it must be right."""
    cost = Prices([Price(model=("m",), input=paid_in, output=paid_out)]).cost_of(("m",), None, usage)
    parts = {name: value for name, value in cost.items() if name != "total"}
    assert parts.keys() <= usage.keys() - {"total"}
    assert all(math.isfinite(value) and value >= 0 for value in cost.values())
    assert cost.get("total", 0.0) == pytest.approx(sum(parts.values()))
