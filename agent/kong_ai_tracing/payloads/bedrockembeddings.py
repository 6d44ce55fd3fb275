"""Embeddings of Bedrock's models. The vectors stay here: what goes out is how many there are and how long."""

from __future__ import annotations

import re

from msgspec import Raw

from kong_ai_tracing.jsontext import Fields, dump, items_of, value_of
from kong_ai_tracing.payloads import coarse
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    word_of,
)
from kong_ai_tracing.payloads.prompts import asked_text, vectors_output

_TEXTS = ("texts", "inputText", "inputs", "images", "inputImage")


def _is_request(fields: Fields) -> bool:
    return any(name in fields for name in _TEXTS)


def _read_texts(fields: Fields) -> Asked:
    texts = next((fields[name] for name in _TEXTS if name in fields), None)
    if texts is None:
        return coarse.UNKNOWN.read_request(fields)
    return asked_text(fields, texts)


def _is_vectors(fields: Fields) -> bool:
    return "embedding" in fields or "embeddings" in fields or "embeddingsByType" in fields


def _read_vectors(fields: Fields) -> Answered:
    tokens = value_of(fields.get("inputTextTokenCount"))
    found = Answered(
        usage={} if tokens is None else {"input_tokens": tokens},
        response_id=word_of(fields.get("id")),
        failure=failure_of(fields),
    )
    vectors = _vectors(fields)
    found.output = vectors_output(len(vectors), len(items_of(vectors[0])) or None if vectors else None)
    return found


def _vectors(fields: Fields) -> list[Raw]:
    """Titan gives one; Cohere a list, or a list for each type of number."""
    if "embedding" in fields:
        return [fields["embedding"]]
    embeddings = fields.get("embeddings")
    by_type = value_of(embeddings)
    if isinstance(by_type, dict):
        return next((items_of(Raw(dump(value))) for value in by_type.values() if value), [])
    return items_of(embeddings)


DIALECT = Dialect(
    name="bedrock",
    operation="embedding",
    type="embedding",
    provider="bedrock",
    paths=re.compile(r"/model/[^/]*embed[^/]*/invoke$", re.IGNORECASE),
    is_request=_is_request,
    is_response=_is_vectors,
    read_request=_read_texts,
    read_response=_read_vectors,
)

DIALECTS = (DIALECT,)
