"""Bodies in, facts out: one reader per API dialect, and the registry that picks.

To add a dialect, write its file and name it in `READERS` (docs/contributing.md shows how). The path has the
first word, then the shape of the body; no body makes this raise, and none is lost: what no reader knows is
passed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module

from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.payloads import (
    anthropic,
    anthropiccomplete,
    bedrock,
    chat,
    coarse,
    cohere,
    completions,
    embeddings,
    gemini,
    ollama,
    responses,
    tgi,
)
from kong_ai_tracing.payloads.dialect import Answered, Asked, Dialect, failure_of
from kong_ai_tracing.payloads.sketch import Sketch

__all__ = [
    "DIALECTS",
    "READERS",
    "Answered",
    "Asked",
    "Dialect",
    "Sketch",
    "dialect_of_path",
    "dialects_of",
    "read_answer",
    "read_request",
]

READERS = (
    "chat",
    "completions",
    "embeddings",
    "responses",
    "anthropic",
    "anthropiccomplete",
    "bedrock",
    "bedrockembeddings",
    "bedrockinvoke",
    "gemini",
    "geminiembeddings",
    "ollama",
    "cohere",
    "coheregenerate",
    "cohereembed",
    "rerank",
    "images",
    "audio",
    "moderations",
    "tgi",
    "llamacpp",
)
"""The files that read a dialect, in the order in which their paths are tried. Each has its `DIALECTS`."""


def dialects_of(readers: Iterable[str]) -> tuple[Dialect, ...]:
    """The dialects in the files of these names."""
    return tuple(each for name in readers for each in import_module(f"{__name__}.{name}").DIALECTS)


DIALECTS = dialects_of(READERS)

_REQUESTS_BY_SHAPE = (
    bedrock.BY_SHAPE,
    anthropic.BY_SHAPE,
    anthropiccomplete.BY_SHAPE,
    gemini.BY_SHAPE,
    cohere.BY_SHAPE,
    ollama.BY_SHAPE,
    tgi.BY_SHAPE,
    chat.DIALECT,
    completions.DIALECT,
    embeddings.DIALECT,
)
_ANSWERS_BY_SHAPE = (
    chat.DIALECT,
    responses.DIALECT,
    embeddings.DIALECT,
    anthropic.BY_SHAPE,
    bedrock.BY_SHAPE,
    gemini.BY_SHAPE,
)
_EVENTS_LOOKED_AT = 5


@lru_cache(4096)
def dialect_of_path(path: str) -> Dialect | None:
    """The dialect spoken at a path."""
    return next((dialect for dialect in DIALECTS if dialect.paths.search(path)), None)


def read_request(sketch: Sketch, hint: Dialect | None) -> tuple[Dialect, Asked]:
    """What was asked, and in which dialect. `hint` is the dialect that the path speaks for."""
    fields = sketch.fields
    if fields is None:
        text = sketch.body.text
        if text is None:
            return hint or coarse.UNKNOWN, Asked()
        return hint or coarse.UNKNOWN, Asked(input=dump(text), prompt_length=len(text))
    if hint is not None and hint.is_request(fields):
        return hint, hint.read_request(fields)
    for dialect in _REQUESTS_BY_SHAPE:
        if dialect.is_request(fields):
            return dialect, dialect.read_request(fields)
    return hint or coarse.UNKNOWN, coarse.UNKNOWN.read_request(fields)


def read_answer(sketch: Sketch, hint: Dialect, *, bare_text: bool = False) -> Answered:
    """What was answered to a request in the dialect `hint`.

    `bare_text` says that Kong logged a stream as its text alone, as 3.7 and 3.8 do: then JSON in it is what
    the model wrote, unless it is an envelope for certain.
    """
    if sketch.body.content is None:
        return Answered()
    if sketch.stream is not None:
        values = sketch.stream.values[:_EVENTS_LOOKED_AT]
        candidates = (hint, *_ANSWERS_BY_SHAPE)
        dialect = next((each for each in candidates if any(map(each.is_event, values))), None)
        if dialect is not None or not bare_text:
            return (dialect or coarse.UNKNOWN).read_events(sketch.stream)
    if sketch.fields is None or (bare_text and "choices" not in sketch.fields):
        return _bare(sketch.body.text or "", hint)
    found = _read_fields(sketch, hint)
    if sketch.cut:
        found.partial = sketch.body.tail is None
        if hint.type == "embedding":
            # The vectors that are left say nothing about how many there were.
            found.output = None
    return found


def _read_fields(sketch: Sketch, hint: Dialect) -> Answered:
    fields = sketch.fields or {}
    if hint is completions.DIALECT and hint.is_response(fields):
        return hint.read_response(fields)
    for dialect in _ANSWERS_BY_SHAPE:
        if dialect.is_response(fields):
            return dialect.read_response(fields)
    if failure := failure_of(fields):
        return Answered(failure=failure)
    if hint.is_response(fields):
        return hint.read_response(fields)
    return coarse.UNKNOWN.read_response(fields)


def _bare(text: str, hint: Dialect) -> Answered:
    if hint.read_text is not None:
        return hint.read_text(text)
    return Answered(output=dump({"role": "assistant", "content": text}), response_length=len(text))
