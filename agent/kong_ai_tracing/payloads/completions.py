"""OpenAI text completions: a prompt in, text out."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, value_of
from kong_ai_tracing.payloads.choices import Choice, answered, choices_of, has_choices, is_chunk
from kong_ai_tracing.payloads.chunks import read_chunks
from kong_ai_tracing.payloads.dialect import Answered, Dialect
from kong_ai_tracing.payloads.prompts import is_prompt, read_prompt, set_texts


def _read_response(fields: Fields) -> Answered:
    choices = choices_of(fields.get("choices"))
    return set_texts(answered(fields, choices), [_text_of(choice) for choice in choices])


def _text_of(choice: Choice) -> Any:
    """The text of a choice. Kong 3.9 logs a streamed completion as if it had been a chat."""
    if choice.text:
        return value_of(choice.text)
    message = value_of(choice.message or None)
    return message.get("content") if isinstance(message, dict) else None


def _read_events(stream: EventStream) -> Answered:
    found, messages = read_chunks(stream)
    return set_texts(found, [message["content"] for message in messages])


def read_text(text: str) -> Answered:
    """An answer that is no JSON: the text itself."""
    return Answered(output=dump(text), response_length=len(text))


DIALECT = Dialect(
    name="completions",
    operation="completion",
    paths=re.compile(r"(?<!/chat)/completions/?$"),
    is_request=is_prompt,
    is_response=has_choices,
    is_event=is_chunk,
    read_request=read_prompt,
    read_response=_read_response,
    read_events=_read_events,
    read_text=read_text,
)

DIALECTS = (DIALECT,)
