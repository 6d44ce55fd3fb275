"""OpenAI's moderations, and Mistral's: texts in, judgements out."""

from __future__ import annotations

import re

from kong_ai_tracing.entries import table
from kong_ai_tracing.jsontext import Fields, string_of, value_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    raw_text,
    word_of,
)
from kong_ai_tracing.payloads.prompts import asked_text


def _is_request(fields: Fields) -> bool:
    return "input" in fields


def _is_response(fields: Fields) -> bool:
    results = fields.get("results")
    return results is not None and b'"categories"' in bytes(results)


def _read_request(fields: Fields) -> Asked:
    return asked_text(fields, fields.get("input"))


def _read_response(fields: Fields) -> Answered:
    """The judgements as they are: they have no text, and their scores are what one looks for."""
    results = fields.get("results")
    return Answered(
        output=None if results is None else raw_text(results),
        model=word_of(fields.get("model")),
        usage=table(value_of(fields.get("usage"))),
        response_id=string_of(fields.get("id")),
        failure=failure_of(fields),
    )


DIALECT = Dialect(
    name="openai-moderations",
    operation="moderation",
    type="guardrail",
    paths=re.compile(r"/moderations/?$"),
    is_request=_is_request,
    is_response=_is_response,
    read_request=_read_request,
    read_response=_read_response,
)

DIALECTS = (DIALECT,)
