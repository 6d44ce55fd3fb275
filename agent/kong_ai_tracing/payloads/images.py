"""OpenAI's pictures: a prompt in (with pictures to edit), pictures out, as addresses or as base64."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, value_of
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
from kong_ai_tracing.payloads.parts import media_part, picture_part
from kong_ai_tracing.payloads.turns import Turn, set_messages
from kong_ai_tracing.payloads.values import dicts_of, settings_of, text_or_none, values_of

_PICTURES = ("image", "image[]", "images", "mask")
_OWN_SETTINGS = ("background", "moderation", "output_format", "output_compression", "input_fidelity")
_SETTINGS = (*_OWN_SETTINGS, "partial_images", "aspect_ratio", "width", "height", "steps")


def _is_request(fields: Fields) -> bool:
    return "prompt" in fields or any(name in fields for name in _PICTURES)


def _is_response(fields: Fields) -> bool:
    data = fields.get("data")
    return data is not None and any(
        name in bytes(data)[:200] for name in (b'"url"', b'"b64_json"', b'"revised_')
    )


def _read_request(fields: Fields) -> Asked:
    prompt = value_of(fields.get("prompt"))
    pictures = values_of(fields, _PICTURES)
    return Asked(
        input=dump({"prompt": prompt} | pictures if pictures else prompt),
        model=word_of(fields.get("model")),
        parameters=settings_of(parameters_of(fields) | values_of(fields, _SETTINGS)),
        streamed=is_streamed(fields),
        prompt_length=text_length(prompt),
    )


def _read_response(fields: Fields) -> Answered:
    value = values_of(fields, ("data", "usage", "output_format", "model"))
    found = Answered(
        model=text_or_none(value.get("model")),
        usage=table(value.get("usage")),
        failure=failure_of(fields),
    )
    turn = Turn()
    for picture in dicts_of(value.get("data")):
        _add_picture(turn, picture, value.get("output_format"))
    set_messages(found, [turn])
    return found


def _add_picture(turn: Turn, picture: dict[str, Any], form: Any) -> None:
    """The picture, and the prompt that the model made of the one that was asked."""
    if isinstance(prompt := picture.get("revised_prompt"), str):
        turn.add_text(prompt)
    if isinstance(data := picture.get("b64_json"), str):
        turn.add_part(media_part(f"image/{text_or_none(form) or 'png'}", data))
    elif isinstance(url := picture.get("url"), str):
        turn.add_part(picture_part(url))


def _is_event(event: dict[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and kind.startswith(("image_generation.", "image_edit.", "error"))


def _read_events(stream: EventStream) -> Answered:
    """Earlier events hold the picture as it was half way."""
    found = Answered()
    turn = Turn()
    ended = stream.done
    for value in stream.values:
        kind = text_or_none(value.get("type")) or ""
        if kind.endswith(".completed"):
            ended = True
            found.usage = table(value.get("usage"))
            _add_picture(turn, value, value.get("output_format"))
        elif kind == "error" or "error" in value:
            found.failure = failure_in(value.get("error") or value) or found.failure
    found.partial = not (ended or found.failure)
    set_messages(found, [turn])
    return found


DIALECT = Dialect(
    name="openai-images",
    operation="image",
    paths=re.compile(r"/images/(?:generations|edits|variations)/?$"),
    is_request=_is_request,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

DIALECTS = (DIALECT,)
