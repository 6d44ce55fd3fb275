"""OpenAI's audio: speech in and text out, or the other way round. The sound itself stays here.

A recording is uploaded as a form, of which a log has at best the text fields; a spoken answer is no JSON.
"""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, value_of
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    failure_of,
    is_streamed,
    parameters_of,
    text_length,
    word_of,
)
from kong_ai_tracing.payloads.values import settings_of, values_of

_GIVEN = ("file", "url", "prompt")
_SETTINGS = (
    "timestamp_granularities",
    "timestamp_granularities[]",
    "include[]",
    "chunking_strategy",
    "speed",
)


# -- transcriptions and translations


def _is_recording(fields: Fields) -> bool:
    return "file" in fields or "url" in fields or "model" in fields


def _read_recording(fields: Fields) -> Asked:
    given = values_of(fields, _GIVEN)
    return Asked(
        input=dump(given) if given else None,
        model=word_of(fields.get("model")),
        parameters=_parameters(fields),
        streamed=is_streamed(fields) or word_of(fields.get("stream")) == "true",
        prompt_length=text_length(given.get("prompt")),
    )


def _parameters(fields: Fields) -> dict[str, Any]:
    return settings_of(parameters_of(fields) | values_of(fields, _SETTINGS))


def _is_transcript(fields: Fields) -> bool:
    return "text" in fields


def _read_transcript(fields: Fields) -> Answered:
    found = _transcript(value_of(fields.get("text")))
    found.usage = _usage(value_of(fields.get("usage")))
    found.failure = failure_of(fields)
    return found


def _transcript(text: Any) -> Answered:
    if not isinstance(text, str):
        return Answered()
    return Answered(output=dump(text), response_length=len(text))


def _usage(usage: Any) -> dict[str, Any]:
    """Tokens, with OpenAI's one misspelled name put right; of models billed by the second there are none."""
    counts = table(usage)
    details = counts.get("input_token_details")
    return counts | {"input_tokens_details": details} if isinstance(details, dict) else counts


def _is_transcript_event(event: dict[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and (kind.startswith("transcript.") or kind == "error")


def _read_transcript_events(stream: EventStream) -> Answered:
    pieces: list[str] = []
    whole: str | None = None
    usage: dict[str, Any] = {}
    failure = None
    for number, value in enumerate(stream.values):
        if number == stream.gap:
            pieces.append(GAP)
        if value.get("type") == "transcript.text.delta" and isinstance(delta := value.get("delta"), str):
            pieces.append(delta)
        elif value.get("type") == "transcript.text.done" and isinstance(text := value.get("text"), str):
            whole, usage = text, _usage(value.get("usage"))
        elif value.get("type") == "error" or "error" in value:
            failure = failure_in(value.get("error") or value) or failure
    found = _transcript("".join(pieces) if whole is None and pieces else whole)
    found.usage, found.failure = usage, failure
    found.partial = whole is None and not stream.done and failure is None
    return found


# -- speech


def _is_speech(fields: Fields) -> bool:
    return "input" in fields


def _read_text(fields: Fields) -> Asked:
    text = value_of(fields.get("input"))
    instructions = value_of(fields.get("instructions"))
    return Asked(
        input=dump({"input": text, "instructions": instructions} if instructions else text),
        model=word_of(fields.get("model")),
        parameters=_parameters(fields),
        streamed=word_of(fields.get("stream_format")) == "sse",
        prompt_length=text_length(text),
    )


def _is_no_response(fields: Fields) -> bool:
    return False


def _read_no_response(fields: Fields) -> Answered:
    return Answered(failure=failure_of(fields))


def _read_sound(text: str) -> Answered:
    """Bytes that were taken for text: nothing that anybody could read."""
    return Answered()


def _is_sound_event(event: dict[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and (kind.startswith("speech.") or kind == "error")


def _read_sound_events(stream: EventStream) -> Answered:
    found = Answered()
    ended = stream.done
    for value in stream.values:
        if value.get("type") == "speech.audio.done":
            ended = True
            found.usage = table(value.get("usage"))
        elif value.get("type") == "error" or "error" in value:
            found.failure = failure_in(value.get("error") or value) or found.failure
    found.partial = not (ended or found.failure)
    return found


TRANSCRIPTION = Dialect(
    name="openai-audio",
    operation="transcription",
    paths=re.compile(r"/audio/(?:transcriptions|translations)/?$"),
    is_request=_is_recording,
    is_response=_is_transcript,
    is_event=_is_transcript_event,
    read_request=_read_recording,
    read_response=_read_transcript,
    read_events=_read_transcript_events,
    read_text=_transcript,
)

SPEECH = Dialect(
    name="openai-speech",
    operation="speech",
    paths=re.compile(r"/audio/speech/?$"),
    is_request=_is_speech,
    is_response=_is_no_response,
    is_event=_is_sound_event,
    read_request=_read_text,
    read_response=_read_no_response,
    read_events=_read_sound_events,
    read_text=_read_sound,
)

DIALECTS = (TRANSCRIPTION, SPEECH)
