"""The chunks of a streamed chat or completion in, what they say together out: OpenAI's form of a stream."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.payloads.choices import BESIDE, GAP
from kong_ai_tracing.payloads.dialect import Answered, Failure, failure_in
from kong_ai_tracing.payloads.fragments import Fragments
from kong_ai_tracing.payloads.parts import Message
from kong_ai_tracing.payloads.values import text_or_none


def read_chunks(stream: EventStream) -> tuple[Answered, list[Message]]:
    """What is said beside the choices, and the message of each choice, by its index."""
    found = _beside_choices(stream.values)
    fragments: dict[int, Fragments] = {}
    for number, chunk in enumerate(stream.values):
        if number == stream.gap:
            for each in fragments.values():
                each.add_text("content", GAP)
        if "error" in chunk or chunk.get("object") == "error":
            found.failure = _failure_of(chunk) or found.failure
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                _add_choice(choice, fragments, found)
    found.partial = not (stream.done or found.finish_reason or found.failure)
    return found, [each.message() for _, each in sorted(fragments.items())]


def _beside_choices(chunks: list[dict[str, Any]]) -> Answered:
    """Names come with the first chunk, counts with the last; each is looked for from its own end."""
    ids = (chunk.get("id") for chunk in chunks)
    tiers = (chunk["service_tier"] for chunk in reversed(chunks) if "service_tier" in chunk)
    return Answered(
        model=next(filter(None, (text_or_none(chunk.get("model")) for chunk in chunks)), None),
        response_id=next((each for each in ids if each and isinstance(each, str)), None),
        service_tier=next((each for each in tiers if isinstance(each, str)), None) or None,
        usage=next(filter(None, map(_usage_of, reversed(chunks))), {}),
    )


def _usage_of(chunk: dict[str, Any]) -> dict[str, Any]:
    usage = chunk.get("usage")
    if usage is None and isinstance(groqs := chunk.get("x_groq"), dict):
        usage = groqs.get("usage")
    return usage if isinstance(usage, dict) else {}


def _failure_of(chunk: dict[str, Any]) -> Failure | None:
    """vLLM sends the error itself instead of wrapping it."""
    return failure_in(chunk if chunk.get("object") == "error" else chunk.get("error"))


def _add_choice(choice: dict[str, Any], fragments: dict[int, Fragments], found: Answered) -> None:
    index = choice.get("index")
    if not isinstance(index, int):
        index = 0
    if (known := fragments.get(index)) is None:
        known = fragments[index] = Fragments()
    delta = choice.get("delta") or choice.get("message")
    if isinstance(delta, dict):
        known.add(delta)
    elif isinstance(text := choice.get("text"), str):
        known.add_text("content", text)
    if (reason := choice.get("finish_reason")) and isinstance(reason, str):
        found.finish_reason = found.finish_reason or reason
    if "error" in choice:
        found.failure = failure_in(choice["error"]) or found.failure


def sources_beside(stream: EventStream) -> dict[str, Any]:
    """Perplexity's sources, in the chunks that have them all."""
    ends = (*stream.values[:1], *stream.values[-1:])
    return {name: chunk[name] for chunk in ends for name in BESIDE if isinstance(chunk.get(name), list)}
