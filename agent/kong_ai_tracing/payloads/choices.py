"""OpenAI's `choices`, which chat and text completions share: finish reasons and usage."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.jsontext import Fields, is_empty, value_of
from kong_ai_tracing.payloads.dialect import Answered, failure_in, failure_of, word_of

GAP = " […] "
"""Stands in a text where the middle of a stream was not captured."""

BESIDE = ("citations", "search_results")
"""Perplexity's sources, which belong to its message but stand beside the choices."""


_CHOICE_MEMBER = re.compile(rb'"(?:message|text|delta)"')


def has_choices(fields: Fields) -> bool:
    """Whether an answer holds choices, be it an empty list or Kong's `{}` for one."""
    if "choices" not in fields:
        return False
    if _CHOICE_MEMBER.search(fields["choices"]):
        return True
    return is_empty(fields["choices"]) and ("usage" in fields or "object" in fields)


def is_chunk(event: dict[str, Any]) -> bool:
    """Whether an event is a fragment of choices, or an error in their place."""
    return isinstance(event.get("choices"), list) or "error" in event or event.get("object") == "error"


def answered(fields: Fields, choices: list[Fields]) -> Answered:
    """What an answer says beside its text."""
    usage = value_of(fields.get("usage"))
    finish_reason, failure = None, failure_of(fields)
    for choice in choices:
        if finish_reason is None:
            # Mistral's models on Bedrock have another word for it.
            finish_reason = word_of(choice.get("finish_reason")) or word_of(choice.get("stop_reason"))
        if failure is None and "error" in choice:
            # OpenRouter tells the error of a provider in the place of its choice.
            failure = failure_in(value_of(choice["error"]))
    return Answered(
        model=word_of(fields.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        finish_reason=finish_reason,
        response_id=word_of(fields.get("id")),
        service_tier=word_of(fields.get("service_tier")),
        failure=failure,
    )
