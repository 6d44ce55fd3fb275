"""Token counts as a provider or Kong reports them, as Langfuse's buckets.

Langfuse adds the buckets up, so they must not overlap: what a provider counts within `prompt_tokens` and
tells apart in its details is subtracted here. Values are whole numbers from zero on; what is anything
else is unknown and left out.
"""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import integer, table

ZERO_USAGE = {"input": 0, "output": 0, "total": 0}
"""Said of failed calls: without it Langfuse would count the tokens of the prompt itself and price them."""

_LARGEST_COUNT = 2**53

_INPUT = ("prompt_tokens", "prompt_token", "input_tokens", "inputTokens", "promptTokenCount")
_OUTPUT = ("completion_tokens", "completion_token", "output_tokens", "outputTokens", "candidatesTokenCount")
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
_INPUT_BUCKETS = (("cached_tokens", "input_cached_tokens"), ("audio_tokens", "input_audio_tokens"))
_OUTPUT_BUCKETS = (("reasoning_tokens", "output_reasoning_tokens"), ("audio_tokens", "output_audio_tokens"))
_SEPARATE_BUCKETS = (
    ("cache_read_input_tokens", "input_cached_tokens"),
    ("cache_creation_input_tokens", "input_cache_creation"),
)
"""Anthropic's counts, which stand beside `input_tokens` and not within it."""


def usage_buckets(usage: Any) -> dict[str, int]:
    """Disjoint counts under Langfuse's names; empty when nothing is known."""
    reported = table(usage)
    buckets: dict[str, int] = {}
    if not reported:
        return buckets
    _add(buckets, "input", reported, _INPUT, _INPUT_DETAILS, _INPUT_BUCKETS)
    if "prompt_tokens" not in reported:
        for name, bucket in _SEPARATE_BUCKETS:
            if bucket not in buckets and (tokens := _count(reported.get(name))):
                buckets[bucket] = tokens
    _add(buckets, "output", reported, _OUTPUT, _OUTPUT_DETAILS, _OUTPUT_BUCKETS)
    total = _first_count(reported, _TOTAL)
    if buckets or total is not None:
        buckets["total"] = sum(buckets.values()) if total is None else total
    return buckets


def prompt_and_completion(buckets: dict[str, int]) -> tuple[int, int]:
    """All tokens that went in and all that came out, details included."""
    prompt = completion = 0
    for name, tokens in buckets.items():
        if name.startswith("input"):
            prompt += tokens
        elif name.startswith("output"):
            completion += tokens
    return prompt, completion


def _add(
    buckets: dict[str, int],
    name: str,
    reported: dict[str, Any],
    names: tuple[str, ...],
    detail_names: tuple[str, ...],
    parts: tuple[tuple[str, str], ...],
) -> None:
    rest = _first_count(reported, names)
    if rest is None:
        return
    found: dict[str, int] = {}
    for each in detail_names:
        details = reported.get(each)
        if not isinstance(details, dict):
            continue
        for detail, bucket in parts:
            tokens = _count(details.get(detail))
            if tokens and tokens <= rest:
                found[bucket] = tokens
                rest -= tokens
        if found:
            break
    buckets[name] = rest
    buckets.update(found)


def _first_count(reported: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        if name in reported and (tokens := _count(reported[name])) is not None:
            return tokens
    return None


def _count(value: Any) -> int | None:
    tokens = value if type(value) is int else integer(value)
    return tokens if tokens is not None and 0 <= tokens < _LARGEST_COUNT else None
