"""Token counts as a provider or Kong reports them, as Langfuse's buckets.

Langfuse adds the buckets up, so they must not overlap: what a provider counts within `prompt_tokens` and
tells apart in its details is subtracted here. Values are whole numbers from zero on; what is anything
else is unknown and left out.
"""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.entries import first_text, integer, number

ZERO_USAGE = {"input": 0, "output": 0, "total": 0}
"""Said of failed calls: without it Langfuse would count the tokens of the prompt itself and price them."""

_LARGEST_COUNT = 2**53

_INPUT = ("prompt_tokens", "prompt_token", "input_tokens", "inputTokens", "promptTokenCount")
_OUTPUT = ("completion_tokens", "completion_token", "output_tokens", "outputTokens", "candidatesTokenCount")
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
_INPUT_BUCKETS = (
    ("cached_tokens", "input_cached_tokens"),
    ("audio_tokens", "input_audio_tokens"),
    ("cache_creation_tokens", "input_cache_creation"),
    ("cache_write_tokens", "input_cache_creation"),
    ("tool_use_tokens", "input_tool_use_tokens"),
)
_OUTPUT_BUCKETS = (
    ("reasoning_tokens", "output_reasoning_tokens"),
    ("thinking_tokens", "output_reasoning_tokens"),
    ("audio_tokens", "output_audio_tokens"),
)
_CACHE_READ = ("cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount")
_CACHE_WRITTEN = ("cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount")
"""Anthropic's and Bedrock's counts, which stand beside those of the input and not within them."""
_CACHE_HITS = ("prompt_cache_hit_tokens", "cached_tokens")
"""DeepSeek's, Moonshot's and Together's, which are part of the input."""
_CACHE_TIMES = (("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens"))
_INPUTS = frozenset(
    (
        "input",
        "input_cached_tokens",
        "input_cache_creation",
        *(f"input_cache_creation_{time}" for time, _ in _CACHE_TIMES),
        *(bucket for _, bucket in _INPUT_BUCKETS),
    )
)
_OUTPUTS = frozenset(("output", *(bucket for _, bucket in _OUTPUT_BUCKETS)))
"""All buckets of what went in, and of what came out."""
_HEADERS = {
    "x-amzn-bedrock-input-token-count": "input_tokens",
    "x-amzn-bedrock-output-token-count": "output_tokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokens",
    "x-prompt-tokens": "prompt_tokens",
    "x-generated-tokens": "completion_tokens",
}
"""Where Bedrock and text-generation-inference count."""


def usage_buckets(reported: Any) -> dict[str, int]:
    """Disjoint counts under Langfuse's names; empty when nothing is known."""
    buckets: dict[str, int] = {}
    if not reported or not isinstance(reported, dict):
        return buckets
    _add(buckets, "input", reported, _INPUT, _INPUT_DETAILS, _INPUT_BUCKETS)
    if "prompt_cache_hit_tokens" in reported or "cached_tokens" in reported:
        _add_hits(buckets, reported)
    if "prompt_tokens" not in reported:
        _add_cache(buckets, reported)
    _add(buckets, "output", reported, _OUTPUT, _OUTPUT_DETAILS, _OUTPUT_BUCKETS)
    total = _first_count(reported, _TOTAL)
    if buckets or total is not None:
        # Bedrock's total leaves out what was read from a cache or written to it.
        parts = sum(buckets.values())
        buckets["total"] = parts if not total or (total < parts and _is_cached(buckets)) else total
    return buckets


def _add_hits(buckets: dict[str, int], reported: dict[str, Any]) -> None:
    """DeepSeek, Moonshot and Together tell what they read from a cache outside of any details."""
    if "input_cached_tokens" not in buckets and (hits := _first_count(reported, _CACHE_HITS)):
        rest = buckets.get("input", 0) - hits
        if rest >= 0:
            buckets |= {"input": rest, "input_cached_tokens": hits}


def _add_cache(buckets: dict[str, int], reported: dict[str, Any]) -> None:
    """What was read from the prompt cache, and what was written to it, by how long it is kept."""
    if "input_cached_tokens" not in buckets and (read := _first_count(reported, _CACHE_READ)):
        buckets["input_cached_tokens"] = read
    written = _first_count(reported, _CACHE_WRITTEN)
    for time, tokens in _cache_times(reported) if written else ():
        if written and tokens and tokens <= written:
            buckets[f"input_cache_creation_{time}"] = tokens
            written -= tokens
    if written:
        buckets["input_cache_creation"] = written


def _cache_times(reported: dict[str, Any]) -> list[tuple[str, int | None]]:
    if isinstance(details := reported.get("cache_creation"), dict):
        return [(time, _count(details.get(name))) for time, name in _CACHE_TIMES]
    times = {time for time, _ in _CACHE_TIMES}
    found: dict[str, int | None] = {}
    details = reported.get("cacheDetails")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(time := detail.get("ttl"), str) and time in times:
            found.setdefault(time, _count(detail.get("inputTokens")))
    return list(found.items())


def _is_cached(buckets: dict[str, int]) -> bool:
    return any(name.startswith("input_cache") for name in buckets)


def usage_in_headers(headers: dict[str, Any]) -> dict[str, int]:
    """What the headers of an answer say, in the same buckets."""
    counts = {name: first_text(headers[header]) for header, name in _HEADERS.items() if header in headers}
    return usage_buckets(counts)


def reported_cost(usage: dict[str, Any]) -> float | None:
    """The cost in dollars that OpenRouter and Perplexity put among their counts."""
    cost = usage.get("cost")
    return number(cost.get("total_cost") if isinstance(cost, dict) else cost)


def prompt_and_completion(buckets: dict[str, int]) -> tuple[int, int]:
    """All tokens that went in and all that came out, details included."""
    prompt = completion = 0
    for name, tokens in buckets.items():
        if name in _INPUTS:
            prompt += tokens
        elif name in _OUTPUTS:
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
        if each not in reported or not isinstance(details := reported[each], dict):
            continue
        for detail, bucket in parts:
            tokens = _count(details.get(detail))
            if tokens and detail == "reasoning_tokens" and _is_beside(reported, tokens):
                found[bucket] = tokens
            elif tokens and tokens <= rest:
                found[bucket] = tokens
                rest -= tokens
        if found:
            break
    buckets[name] = rest
    buckets.update(found)


def _is_beside(reported: dict[str, Any], reasoning: int) -> bool:
    """xAI counts the reasoning beside what came out, as its total shows, and everybody else within."""
    counts = [_first_count(reported, names) for names in (_INPUT, _OUTPUT, _TOTAL)]
    total = counts.pop()
    return total is not None and sum(count or 0 for count in counts) + reasoning == total


def _first_count(reported: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The first that is more than zero: Kong writes zeros beside what it counted under another name."""
    zero = None
    for name in names:
        if name in reported:
            tokens = reported[name]
            if type(tokens) is int and 0 < tokens < _LARGEST_COUNT:
                return tokens
            if tokens := _count(tokens):
                return tokens
            zero = zero if tokens is None else 0
    return zero


def _count(value: Any) -> int | None:
    tokens = integer(value)
    return tokens if tokens is not None and 0 <= tokens < _LARGEST_COUNT else None
