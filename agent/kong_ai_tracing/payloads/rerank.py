"""Reranking: a query and documents in, their order and scores out.

Cohere's form, which Jina, vLLM and others speak as well, and that of Hugging Face's server, whose answer is
a bare list.
"""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, object_text, value_of
from kong_ai_tracing.payloads.cohereanswer import usage_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_of,
    raw_text,
    text_length,
    word_of,
)
from kong_ai_tracing.payloads.values import dicts_of, settings_of, text_or_none, values_of

_INPUTS = ("query", "documents", "texts")
_SETTINGS = (
    "top_n",
    "rank_fields",
    "max_tokens_per_doc",
    "max_chunks_per_doc",
    "return_documents",
    "truncate",
)


def _is_request(fields: Fields) -> bool:
    return "query" in fields and ("documents" in fields or "texts" in fields)


def _is_response(fields: Fields) -> bool:
    return "results" in fields


def _read_request(fields: Fields) -> Asked:
    given = {name: fields[name] for name in _INPUTS if name in fields}
    return Asked(
        input=object_text({name: raw_text(raw) for name, raw in given.items()}),
        model=word_of(fields.get("model")),
        parameters=settings_of(values_of(fields, _SETTINGS)),
        prompt_length=sum(text_length(value_of(raw)) for raw in given.values()),
    )


def _read_response(fields: Fields) -> Answered:
    value = {name: value_of(raw) for name, raw in fields.items()}
    found = Answered(
        model=text_or_none(value.get("model")),
        # vLLM and Jina count tokens, Cohere searches.
        usage=table(value.get("usage")) or usage_of(value.get("meta")),
        response_id=text_or_none(value.get("id")),
        failure=failure_of(fields),
    )
    if isinstance(results := value.get("results"), list):
        billed = table(table(value.get("meta")).get("billed_units"))
        units = {"search_units": billed["search_units"]} if "search_units" in billed else {}
        found.output = dump({"results": results} | units)
    return found


def _is_event(event: dict[str, Any]) -> bool:
    return "index" in event and "score" in event


def _read_events(stream: EventStream) -> Answered:
    """Not a stream, but a list of results."""
    results = dicts_of(stream.values)
    return Answered(output=dump({"results": results}), partial=not stream.done)


DIALECT = Dialect(
    name="rerank",
    operation="rerank",
    type="retriever",
    paths=re.compile(r"/rerank/?$"),
    is_request=_is_request,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

DIALECTS = (DIALECT,)
