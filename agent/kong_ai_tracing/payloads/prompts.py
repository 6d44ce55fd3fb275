"""What the dialects of one prompt have in common: a text in (or several), a text out (or several)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from kong_ai_tracing.jsontext import Fields, dump
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    is_streamed,
    parameters_of,
    prompt_text_length,
    raw_text,
    text_length,
    word_of,
)


def is_prompt(fields: Fields) -> bool:
    """Whether a request has a prompt and is no chat."""
    return "prompt" in fields and "messages" not in fields


def read_prompt(fields: Fields) -> Asked:
    """A request whose prompt is called so."""
    return asked_text(fields, fields.get("prompt"))


def asked_text(fields: Fields, given: Raw | None, parameters: dict[str, Any] | None = None) -> Asked:
    """A request whose prompt, or whose text to embed, is `given`."""
    return Asked(
        input=None if given is None else raw_text(given),
        model=word_of(fields.get("model")),
        parameters=parameters_of(fields) if parameters is None else parameters,
        streamed=is_streamed(fields),
        prompt_length=prompt_text_length(given),
    )


def set_texts(found: Answered, texts: Iterable[Any]) -> Answered:
    """Make one text the output, or the list of them when several were asked for."""
    if told := [text for text in texts if isinstance(text, str)]:
        found.output = dump(told[0] if len(told) == 1 else told)
        found.response_length = text_length(told)
    return found


def vectors_output(count: int, dimensions: int | None) -> bytes | None:
    """What is said of embeddings in place of their numbers."""
    if not count:
        return None
    return dump({"count": count} if dimensions is None else {"count": count, "dimensions": dimensions})
