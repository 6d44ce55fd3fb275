"""What a call may still say of itself while its question or its answer stays here.

Both are quoted in more places than `input` and `output`: a provider repeats a prompt in its error, a setting
or a label that a caller made up may be a text. Numbers, truth values and single words stay; of a text its
length.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from kong_ai_tracing.context import Context
from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.labels import MAX_CHARACTERS
from kong_ai_tracing.observations import Observation

_WORD = re.compile(r"[\w.:@/+=~-]{1,100}", re.ASCII)
"""An id, a name, a number, a date. Not every script has blanks between words, so only this one counts."""
_QUOTE = "[withheld]"
_TEXTS = frozenset(("stop", "stop_sequences", "suffix"))
"""Settings that are texts, however short."""
_VARIABLES = re.compile(r"(?:langfuse_)?(?:prompt_)?variables(?:\.|$)")
"""What was put into the template of a prompt."""
_DEPTH = 2
"""How deep in a setting it is looked for words; below that stand the schemas of answers."""
_SAID_BY_PROVIDER = ("finish_reason", "response_id", "error_type", "error_code", "rpc_id")
_ORIGINAL = "kong_ai_tracing."


def without_quotes(observation: Observation) -> Observation:
    """The observation without what a provider, a tool or a guardrail repeated."""
    metadata = observation.metadata
    if texts := [name for name in _SAID_BY_PROVIDER if not _is_word(metadata.get(name, 0))]:
        metadata = {name: value for name, value in metadata.items() if name not in texts}
    return replace(observation, status_message=_without_quote(observation), quoted=None, metadata=metadata)


def without_texts(observation: Observation) -> Observation:
    """The observation with settings that are no texts."""
    settings = {
        name: _length_of(value) if name in _TEXTS else _words_of(value, 0)
        for name, value in observation.model_parameters.items()
    }
    return replace(observation, model_parameters=settings)


def without_prose(context: Context) -> Context:
    """The context without the texts among the labels that a caller made up."""
    made_up = frozenset(context.made_up)
    labels = {
        name: _label(name, value, made_up)
        for name, value in context.metadata.items()
        if _is_word(name) and not (name.startswith(_ORIGINAL) and len(str(value)) > MAX_CHARACTERS)
    }
    return replace(context, metadata=labels, made_up=())


def _without_quote(observation: Observation) -> str | None:
    message, quote = observation.status_message, observation.quoted
    if not message or not quote or _is_word(quote):
        return message
    return message.removesuffix(quote) + _QUOTE if message.endswith(quote) else _QUOTE


def _label(name: str, value: Any, made_up: Collection[str]) -> Any:
    if name not in made_up or (_is_word(value) and not _VARIABLES.match(name)):
        return value
    return f"[{len(str(value))} characters]"


def _words_of(value: Any, depth: int) -> Any:
    if _is_word(value):
        return value
    if depth < _DEPTH and isinstance(value, dict):
        return {name: _words_of(item, depth + 1) for name, item in value.items() if _is_word(name)}
    if depth < _DEPTH and isinstance(value, list):
        return [_words_of(item, depth + 1) for item in value]
    return _length_of(value)


def _length_of(value: Any) -> str:
    return f"[{len(dump(value))} bytes]"


def _is_word(value: Any) -> bool:
    """Whether a value is a number, a truth value, or a word."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    return value is None or isinstance(value, bool | int | float)
