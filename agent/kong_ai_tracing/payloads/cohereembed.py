"""Cohere's embeddings of texts and pictures. The vectors stay here, only their count and length go out."""

from __future__ import annotations

import re

from msgspec import Raw

from kong_ai_tracing.jsontext import Fields, fields_of, items_of
from kong_ai_tracing.payloads.cohereanswer import usage_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    parameters_of,
)
from kong_ai_tracing.payloads.prompts import asked_text, vectors_output
from kong_ai_tracing.payloads.values import settings_of, text_or_none, values_of

_INPUTS = ("texts", "inputs", "images")
_OWN_SETTINGS = ("input_type", "embedding_types", "truncate", "output_dimension", "max_tokens")
_TYPES = ("float", "int8", "uint8")
_ANSWER_MEMBERS = ("id", "meta", "model")


def _is_request(fields: Fields) -> bool:
    return any(name in fields for name in _INPUTS)


def _is_response(fields: Fields) -> bool:
    return "embeddings" in fields


def _read_request(fields: Fields) -> Asked:
    given = next((fields[name] for name in _INPUTS if name in fields), None)
    settings = settings_of(parameters_of(fields) | values_of(fields, _OWN_SETTINGS))
    return asked_text(fields, given, settings)


def _read_response(fields: Fields) -> Answered:
    value = values_of(fields, _ANSWER_MEMBERS)
    vectors = _vectors(fields.get("embeddings"))
    return Answered(
        output=vectors_output(len(vectors), len(items_of(vectors[0])) or None if vectors else None),
        model=text_or_none(value.get("model")),
        usage=usage_of(value.get("meta")),
        response_id=text_or_none(value.get("id")),
        failure=failure_of(fields),
    )


def _vectors(embeddings: Raw | None) -> list[Raw]:
    """The vectors of the type that tells their length best: all types have the same vectors."""
    by_type = None if embeddings is None else fields_of(embeddings)
    if by_type is None:
        return items_of(embeddings)
    found = (items_of(by_type[name]) for name in (*_TYPES, *by_type) if name in by_type)
    return next((vectors for vectors in found if vectors), [])


DIALECT = Dialect(
    name="cohere",
    operation="embedding",
    type="embedding",
    provider="cohere",
    paths=re.compile(r"/v[12]/embed/?$"),
    is_request=_is_request,
    is_response=_is_response,
    read_request=_read_request,
    read_response=_read_response,
)

DIALECTS = (DIALECT,)
