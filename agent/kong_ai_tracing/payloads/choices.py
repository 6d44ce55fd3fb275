"""OpenAI's `choices`, which chat and text completions share: finish reasons, usage, streamed fragments."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, is_empty, value_of
from kong_ai_tracing.payloads.dialect import Answered, failure_in, failure_of, word_of

GAP = " […] "
"""Stands in a text where the middle of a stream was not captured."""

BESIDE = ("citations", "search_results")
"""Perplexity's sources, which belong to its message but stand beside the choices."""


_CHOICE_MEMBER = re.compile(rb'"(?:message|text|delta)"')


def has_choices(fields: Fields) -> bool:
    """Whether an answer holds choices, be it an empty list or Kong's `{}` for one."""
    if "choices" not in fields:
        return False
    if is_empty(fields["choices"]):
        return "usage" in fields or "object" in fields
    return _CHOICE_MEMBER.search(fields["choices"]) is not None


def is_chunk(event: dict[str, Any]) -> bool:
    """Whether an event is a fragment of choices, or an error in their place."""
    return isinstance(event.get("choices"), list) or "error" in event or event.get("object") == "error"


def answered(fields: Fields, choices: list[Fields]) -> Answered:
    """What an answer says beside its text."""
    usage = value_of(fields.get("usage"))
    finish_reason = None
    for choice in choices:
        # Mistral's models on Bedrock have another word for it.
        if finish_reason := word_of(choice.get("finish_reason")) or word_of(choice.get("stop_reason")):
            break
    # OpenRouter tells the error of a provider in the place of its choice.
    failures = (failure_in(value_of(choice.get("error"))) for choice in choices if "error" in choice)
    return Answered(
        model=word_of(fields.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        finish_reason=finish_reason,
        response_id=word_of(fields.get("id")),
        service_tier=word_of(fields.get("service_tier")),
        failure=failure_of(fields) or next(filter(None, failures), None),
    )


class Fragments:
    """The choices of a stream put together again, each under its index."""

    def __init__(self, stream: EventStream) -> None:
        self.answered = Answered()
        self.pieces: dict[int, list[dict[str, Any]]] = {}
        """The fragments of each choice in order; an empty one marks the gap."""
        self._ended = stream.done
        for number, event in enumerate(stream.events):
            if number == stream.gap:
                self._mark_gap()
            self._read(event.value)
        self.answered.partial = not self._ended and self.answered.failure is None

    def _mark_gap(self) -> None:
        for pieces in self.pieces.values():
            pieces.append({})

    def _read(self, event: dict[str, Any]) -> None:
        found = self.answered
        if found.model is None and isinstance(model := event.get("model"), str):
            found.model = model.strip() or None
        if found.response_id is None and isinstance(response_id := event.get("id"), str):
            found.response_id = response_id or None
        if isinstance(tier := event.get("service_tier"), str):
            found.service_tier = tier or None
        usage = event.get("usage")
        if usage is None and isinstance(groqs := event.get("x_groq"), dict):
            usage = groqs.get("usage")
        if isinstance(usage, dict) and usage:
            found.usage = usage
        # vLLM sends the error itself instead of wrapping it.
        error = event if event.get("object") == "error" else event.get("error")
        if error is not None and (failure := failure_in(error)):
            found.failure = failure
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._read_choice(choice)

    def _read_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        self.pieces.setdefault(index if isinstance(index, int) else 0, []).append(choice)
        if (error := choice.get("error")) is not None:
            self.answered.failure = failure_in(error) or self.answered.failure
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self.answered.finish_reason = self.answered.finish_reason or reason
            self._ended = True

    def beside(self, stream: EventStream) -> dict[str, Any]:
        """What stands beside the choices, in the events that have it all."""
        values = [event.value for event in (*stream.events[:1], *stream.events[-1:])]
        return {name: value[name] for value in values for name in BESIDE if isinstance(value.get(name), list)}

    def in_order(self) -> list[list[dict[str, Any]]]:
        """The fragments of each choice, by index."""
        return [pieces for _, pieces in sorted(self.pieces.items())]
