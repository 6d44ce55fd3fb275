"""How Google writes names, models and counts, in Gemini and in Vertex AI alike."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from kong_ai_tracing.payloads.values import dicts_of, text_or_none


def snake(name: str) -> str:
    """The other spelling of a member."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_other_spelling = lru_cache(100)(snake)
"""For the names in this program; those in a body may be of any length and number."""


def member(value: dict[str, Any], name: str) -> Any:
    """A member by its name in camel case, whichever spelling it has."""
    found = value.get(name)
    return value.get(_other_spelling(name)) if found is None else found


def model_name(model: Any) -> str | None:
    """A model's name without the collection that it stands in."""
    return text_or_none(model.rpartition("models/")[2]) if isinstance(model, str) else None


def usage_of(usage: Any) -> dict[str, Any]:
    """Google's counts in OpenAI's form: there, thoughts are part of what came out."""
    if not isinstance(usage, dict) or not usage:
        return {}
    prompt, tool_use = _count(usage, "promptTokenCount"), _count(usage, "toolUsePromptTokenCount")
    answer, thoughts = _count(usage, "candidatesTokenCount"), _count(usage, "thoughtsTokenCount")
    cached = _count(usage, "cachedContentTokenCount")
    cached_audio = _audio(usage, "cacheTokensDetails")
    return {
        "prompt_tokens": prompt + tool_use,
        "completion_tokens": answer + thoughts,
        "total_tokens": member(usage, "totalTokenCount"),
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "audio_tokens": _audio(usage, "promptTokensDetails") - cached_audio,
            "tool_use_tokens": tool_use,
        },
        "completion_tokens_details": {
            "reasoning_tokens": thoughts,
            "audio_tokens": _audio(usage, "candidatesTokensDetails"),
        },
    }


def _count(usage: dict[str, Any], name: str) -> int:
    count = member(usage, name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0


def _audio(usage: dict[str, Any], name: str) -> int:
    details = dicts_of(member(usage, name))
    return sum(_count(detail, "tokenCount") for detail in details if detail.get("modality") == "AUDIO")
