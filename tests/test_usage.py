"""Token counts in Langfuse's buckets, which must not overlap."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.usage import prompt_and_completion, usage_buckets


@pytest.mark.parametrize(
    ("reported", "buckets"),
    [
        (
            {"prompt_tokens": 25, "completion_tokens": 12, "total_tokens": 37},
            {"input": 25, "output": 12, "total": 37},
        ),
        (
            {"prompt_token": 25, "completion_token": 12, "total_tokens": 37},
            {"input": 25, "output": 12, "total": 37},
        ),
        ({"prompt_tokens": 13, "total_tokens": 13}, {"input": 13, "total": 13}),
        (
            # Kong 3.11 of a picture: nothing under the names of texts, all of it under the others
            {
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "total_tokens": 0,
                "input_tokens": 10,
                "output_tokens": 4160,
            },
            {"input": 10, "output": 4160, "total": 4170},
        ),
        (
            # LiteLLM in front of Anthropic: what was written to the cache is part of the prompt
            {
                "prompt_tokens": 2010,
                "completion_tokens": 5,
                "total_tokens": 2015,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 2000},
                "cache_creation_input_tokens": 2000,
                "cache_read_input_tokens": 0,
            },
            {"input": 10, "input_cache_creation": 2000, "output": 5, "total": 2015},
        ),
        (
            # OpenRouter's word for it
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 60},
            },
            {
                "input": 10,
                "input_cached_tokens": 30,
                "input_cache_creation": 60,
                "output": 5,
                "total": 105,
            },
        ),
        ({"prompt_tokens": 5, "completion_tokens": 0}, {"input": 5, "output": 0, "total": 5}),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 88,
                "total_tokens": 188,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 4},
            },
            {
                "input": 30,
                "input_cached_tokens": 60,
                "input_audio_tokens": 10,
                "output": 20,
                "output_reasoning_tokens": 64,
                "output_audio_tokens": 4,
                "total": 188,
            },
        ),
        (
            {
                "input_tokens": 8,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens": 8,
                "output_tokens_details": {"reasoning_tokens": 1},
                "total_tokens": 16,
            },
            {
                "input": 6,
                "input_cached_tokens": 2,
                "output": 7,
                "output_reasoning_tokens": 1,
                "total": 16,
            },
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 20,
            },
            {
                "input": 10,
                "input_cached_tokens": 100,
                "input_cache_creation": 20,
                "output": 5,
                "total": 135,
            },
        ),
        (
            {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}},
            {"input": 5, "total": 5},
        ),
        ({"prompt_tokens": "7", "completion_tokens": 2.0}, {"input": 7, "output": 2, "total": 9}),
        ({"prompt_tokens": -1, "completion_tokens": 1e30}, {}),
        ({"total_tokens": 9}, {"total": 9}),
        ("no usage data returned from upstream", {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_counts_become_disjoint_buckets(reported: Any, buckets: dict[str, int]) -> None:
    """Details are subtracted where they are included, kept beside where they are not, dropped if they lie."""
    assert usage_buckets(reported) == buckets


def test_all_tokens_of_a_side_are_its_buckets_together() -> None:
    """Cached tokens are prompt, reasoning is completion."""
    buckets = {"input": 6, "input_cached_tokens": 2, "output": 7, "output_reasoning_tokens": 1, "total": 16}
    assert prompt_and_completion(buckets) == (8, 8)


NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "cache_read_input_tokens",
        "prompt_tokens_details",
        "output_tokens_details",
        "cached_tokens",
        "reasoning_tokens",
    ]
)
VALUES = st.integers() | st.floats() | st.text() | st.none()


@given(st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES)))
def test_buckets_are_always_whole_numbers_that_langfuse_takes(reported: dict[str, Any]) -> None:
    """From zero up to what a double can hold exactly."""
    assert all(type(count) is int and 0 <= count < 2**53 * 5 for count in usage_buckets(reported).values())


def test_hits_of_a_cache_outside_of_any_details_are_part_of_the_input() -> None:
    """DeepSeek's older answers, Moonshot, Together."""
    usage = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
    counted = {"input": 10, "input_cached_tokens": 20, "output": 2, "total": 32}
    assert usage_buckets(usage | {"prompt_cache_hit_tokens": 20}) == counted
    assert usage_buckets(usage | {"cached_tokens": 20}) == counted
    assert usage_buckets(usage | {"cached_tokens": 31}) == {"input": 30, "output": 2, "total": 32}


def test_reasoning_that_is_counted_beside_the_output_is_not_taken_from_it() -> None:
    """xAI's total tells it."""
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 9},
    }
    beside = {"input": 3, "output": 20, "output_reasoning_tokens": 9, "total": 32}
    assert usage_buckets(usage | {"total_tokens": 32}) == beside
    assert usage_buckets(usage | {"total_tokens": 23}) == beside | {"output": 11, "total": 23}
