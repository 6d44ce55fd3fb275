"""OpenAI embeddings. The vectors stay here: what goes out is how many there are and how long."""

from __future__ import annotations

import re

from msgspec import Raw

from kong_ai_tracing.jsontext import Fields, dump, fields_of, items_of, string_of, value_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    parameters_of,
    prompt_text_length,
    raw_text,
    word_of,
)

_FLOAT_BYTES = 4


def _is_request(fields: Fields) -> bool:
    return "input" in fields and "messages" not in fields


def _is_response(fields: Fields) -> bool:
    return "data" in fields and b'"embedding"' in bytes(memoryview(fields["data"])[:200])


def _read_request(fields: Fields) -> Asked:
    text = fields.get("input")
    return Asked(
        input=None if text is None else raw_text(text),
        model=word_of(fields.get("model")),
        parameters=parameters_of(fields),
        prompt_length=prompt_text_length(text),
    )


def _read_response(fields: Fields) -> Answered:
    vectors = items_of(fields.get("data"))
    usage = value_of(fields.get("usage"))
    found = Answered(
        model=word_of(fields.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        response_id=word_of(fields.get("id")),
        failure=failure_of(fields),
    )
    if vectors:
        counts = {"count": len(vectors), "dimensions": _dimensions(vectors[0])}
        found.output = dump({name: count for name, count in counts.items() if count is not None})
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
