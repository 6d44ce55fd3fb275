"""A span in, the same span without values that do harm in Langfuse out.

One lone surrogate or one absurd token count makes Langfuse's writer lose a whole insert, healthy neighbours
included; a NUL in a model's name loses the span; oversized metadata is not cut there and may sink a batch.
The readers of lines keep nearly all of that out. This is the last look before a span takes its wire form;
what is changed here is named in the metadata.
"""

from __future__ import annotations

import math
import re
from typing import Any

import orjson
from msgspec.structs import replace

from kong_ai_tracing.context import ADJUSTED, Context
from kong_ai_tracing.observations import Observation
from kong_ai_tracing.shortening import cut_texts
from kong_ai_tracing.spans import Span
from kong_ai_tracing.timing import EARLIEST_MS, LATEST_MS

MAX_LABEL_BYTES = 64 << 10
"""All that is neither input nor output."""
_MAX_NAME = 200
_MAX_MESSAGE = 10_000
_MAX_TAGS = 50
_MAX_METADATA_BYTES = 24 << 10
"""Of each of the two, and a third of that for the parameters: together they stay below the limit."""
_LARGEST_COUNT = 2**53
_HARMFUL = re.compile("[\x00\ud800-\udfff]")


def is_sound(span: Span, label_bytes: int) -> bool:
    """A quick look at a span, whose wire form takes so much beside input and output."""
    observation = span.observation
    if not EARLIEST_MS < observation.started_at_ms <= observation.ended_at_ms < LATEST_MS:
        return False
    # Loops, because a call for each number takes twice as long.
    for tokens in observation.usage_details.values():
        if type(tokens) is not int or not 0 <= tokens < _LARGEST_COUNT:
            return False
    return label_bytes <= MAX_LABEL_BYTES and all(map(_is_cost, observation.cost_details.values()))


def repaired(span: Span) -> Span:
    """The span as Langfuse can keep it, with the names of what was changed."""
    observation, context = _observation(span.observation), _context(span.context)
    changed = [
        name
        for before, after in ((span.observation, observation), (span.context, context))
        for name in before.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    ]
    if not EARLIEST_MS < observation.started_at_ms < LATEST_MS:
        changed.append("started_at_ms")  # brought into the range when the line was read
    if changed:
        said = observation.metadata.get(ADJUSTED)
        names = {*changed, *(said.split(",") if isinstance(said, str) else ())}
        observation.metadata = {**observation.metadata, ADJUSTED: ",".join(sorted(names))}
    return replace(span, observation=observation, context=context)


def _observation(observation: Observation) -> Observation:
    start = min(max(observation.started_at_ms, EARLIEST_MS), LATEST_MS)
    end = min(max(observation.ended_at_ms, start), LATEST_MS)
    first_token = observation.completion_started_at_ms
    return replace(
        observation,
        name=_name(observation.name),
        started_at_ms=start,
        ended_at_ms=end,
        completion_started_at_ms=None if first_token is None else min(max(first_token, start), end),
        status_message=_text(observation.status_message, _MAX_MESSAGE),
        model=_text(observation.model, _MAX_NAME),
        model_parameters=_object(observation.model_parameters, _MAX_METADATA_BYTES // 3),
        prompt_name=_text(observation.prompt_name, _MAX_NAME),
        usage_details={k: v for k, v in observation.usage_details.items() if _is_count(v)},
        cost_details={k: v for k, v in observation.cost_details.items() if _is_cost(v)},
        metadata=_object(observation.metadata, _MAX_METADATA_BYTES),
    )


def _context(context: Context) -> Context:
    return replace(
        context,
        trace_name=_name(context.trace_name),
        environment=_name(context.environment),
        user_id=_text(context.user_id, _MAX_NAME),
        session_id=_text(context.session_id, _MAX_NAME),
        tags=[_name(tag) for tag in context.tags[:_MAX_TAGS]],
        release=_text(context.release, _MAX_NAME),
        version=_text(context.version, _MAX_NAME),
        metadata=_object(context.metadata, _MAX_METADATA_BYTES),
    )


def _name(text: str) -> str:
    return _HARMFUL.sub("\ufffd", text)[:_MAX_NAME]


def _text(text: str | None, longest: int) -> str | None:
    return None if text is None else _HARMFUL.sub("\ufffd", text)[:longest]


def _object(values: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """The same object without harmful characters; of one that is too large the longest texts are cut."""
    clean: dict[str, Any] = _clean(values)
    longest = max_bytes
    while len(orjson.dumps(clean)) > max_bytes:
        if longest < _MAX_NAME:
            clean.popitem()  # too many of them: the last go
        else:
            longest //= 2
            clean = cut_texts(clean, longest)
    return clean


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _HARMFUL.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(each) for key, each in value.items()}
    if isinstance(value, int) and not -_LARGEST_COUNT < value < _LARGEST_COUNT:
        return str(value)
    return value


def _is_count(tokens: Any) -> bool:
    return type(tokens) is int and 0 <= tokens < _LARGEST_COUNT


def _is_cost(dollars: Any) -> bool:
    return isinstance(dollars, int | float) and math.isfinite(dollars) and dollars >= 0
