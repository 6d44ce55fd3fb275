"""OpenAI embeddings. The vectors stay here: what goes out is how many there are and how long."""

from __future__ import annotations

import re

from msgspec import Raw

from kong_ai_tracing.jsontext import Fields, fields_of, items_of, string_of, value_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    word_of,
)
from kong_ai_tracing.payloads.prompts import asked_text, vectors_output

_FLOAT_BYTES = 4


def _is_request(fields: Fields) -> bool:
    return "input" in fields and "messages" not in fields


def _is_response(fields: Fields) -> bool:
    return "data" in fields and b'"embedding"' in bytes(memoryview(fields["data"])[:200])


def _read_request(fields: Fields) -> Asked:
    return asked_text(fields, fields.get("input"))


def _read_response(fields: Fields) -> Answered:
    vectors = items_of(fields.get("data"))
    usage = value_of(fields.get("usage"))
    found = Answered(
        model=word_of(fields.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        response_id=word_of(fields.get("id")),
        failure=failure_of(fields),
    )
    found.output = vectors_output(len(vectors), _dimensions(vectors[0]) if vectors else None)
    return found


def _dimensions(item: Raw) -> int | None:
    vector = (fields_of(item) or {}).get("embedding")
    if vector is None:
        return None
    if (encoded := string_of(vector)) is not None:
        return (len(encoded) * 3 // 4 - encoded.count("=", -2)) // _FLOAT_BYTES
    return len(items_of(vector))


DIALECT = Dialect(
    name="embeddings",
    operation="embedding",
    type="embedding",
    paths=re.compile(r"(?<!/api)/embeddings/?$"),
    is_request=_is_request,
    is_response=_is_response,
    read_request=_read_request,
    read_response=_read_response,
)

DIALECTS = (DIALECT,)
