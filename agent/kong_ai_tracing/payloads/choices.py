"""OpenAI's `choices`, which chat and text completions share: finish reasons and usage."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from kong_ai_tracing.jsontext import Fields, is_empty, objects_of, value_of
from kong_ai_tracing.payloads.dialect import Answered, failure_in, failure_of, word_of
from kong_ai_tracing.payloads.values import text_or_none

GAP = " […] "
"""Stands in a text where the middle of a stream was not captured."""

BESIDE = ("citations", "search_results")
"""Perplexity's sources, which belong to its message but stand beside the choices."""


_NOTHING = Raw()
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


class Choice(Struct):
    """One choice. What it does not have is empty."""

    message: Raw = _NOTHING
    text: Raw = _NOTHING
    error: Raw = _NOTHING
    finish_reason: str | None = None
    stop_reason: str | None = None
    """Mistral's models on Bedrock have this other word for it."""


_CHOICES = Decoder(list[Choice])


def choices_of(raw: Raw | None) -> list[Choice]:
    """The choices of an answer; what is no object is none."""
    if raw is None:
        return []
    try:
        return _CHOICES.decode(raw)
    except (ValueError, RecursionError):
        return [_choice(fields) for fields in objects_of(raw)]


def _choice(fields: Fields) -> Choice:
    """One with a member that is not what it should be."""
    message, text, error = (fields.get(name, _NOTHING) for name in ("message", "text", "error"))
    return Choice(
        message, text, error, word_of(fields.get("finish_reason")), word_of(fields.get("stop_reason"))
    )


def answered(fields: Fields, choices: list[Choice]) -> Answered:
    """What an answer says beside its text."""
    usage = value_of(fields.get("usage"))
    finish_reason, failure = None, failure_of(fields)
    for choice in choices:
        if finish_reason is None:
            finish_reason = text_or_none(choice.finish_reason) or text_or_none(choice.stop_reason)
        if failure is None and choice.error:
            # OpenRouter tells the error of a provider in the place of its choice.
            failure = failure_in(value_of(choice.error))
    return Answered(
        model=word_of(fields.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        finish_reason=finish_reason,
        response_id=word_of(fields.get("id")),
        service_tier=word_of(fields.get("service_tier")),
        failure=failure,
    )
