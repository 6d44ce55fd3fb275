"""OpenAI's pictures, audio and moderations, with its package as the judge of answers."""

from __future__ import annotations

from typing import Any

from openai.types import ImagesResponse, ModerationCreateResponse
from openai.types.audio import Transcription

from kong_ai_tracing.usage import usage_buckets
from kong_entries import sse
from reading import answer, ask, said

PICTURES = "/v1/images/generations"
EDITS = "/v1/images/edits"
LISTEN = "/v1/audio/transcriptions"
SPEAK = "/v1/audio/speech"
JUDGE = "/v1/moderations"


def form(**parts: Any) -> str:
    """A form as a client uploads it; a pair is a file."""
    text = ""
    for name, value in parts.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        if isinstance(value, tuple):
            head += f'; filename="{value[0]}"\r\nContent-Type: {value[1]}'
            value = "\x00\x01--\ufffd\r\n\r\nbytes"
        text += f"--boundary7\r\n{head}\r\n\r\n{value}\r\n"
    return text + "--boundary7--\r\n"


def test_a_picture_is_the_answer_to_a_prompt() -> None:
    """Shown by its address, or out of the body; before it what the model made of the prompt."""
    found = ask(PICTURES, {"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024", "n": 1})
    assert (said(found), found.parameters) == ("a cat", {"n": 1, "size": "1024x1024"})
    usage = {"input_tokens": 4, "output_tokens": 90, "total_tokens": 94}
    usage["input_tokens_details"] = {"text_tokens": 4, "image_tokens": 0}
    body = {"created": 1, "data": [{"b64_json": "aWs="}], "output_format": "webp", "usage": usage}
    ImagesResponse.model_validate(body)
    told = answer(PICTURES, body)
    assert said(told)["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,aWs="}}
    ]
    assert usage_buckets(told.usage) == {"input": 4, "output": 90, "total": 94}
    told = answer(PICTURES, {"created": 1, "data": [{"url": "https://x/y", "revised_prompt": "A cat."}]})
    assert said(told)["content"] == [
        {"type": "text", "text": "A cat."},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
    ]


def test_of_a_streamed_picture_the_last_counts() -> None:
    """Before it came the picture half way."""
    half = {"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0}
    end = {
        "type": "image_generation.completed",
        "b64_json": "aWs=",
        "output_format": "png",
        "usage": {"total_tokens": 9},
    }
    found = answer(PICTURES, sse(half, end))
    assert said(found)["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWs="}}
    ]
    assert (found.usage, found.partial) == ({"total_tokens": 9}, False)
    assert answer(PICTURES, sse(half)).partial


def test_a_form_is_read_as_an_object() -> None:
    """Files are named; what is in them is of no use."""
    found = ask(EDITS, form(model="gpt-image-1", prompt="Add a hat.", image=("cat.png", "image/png")))
    assert said(found) == {
        "prompt": "Add a hat.",
        "image": {"filename": "cat.png", "content_type": "image/png"},
    }
    assert found.model == "gpt-image-1"
    found = ask(
        LISTEN, form(file=("a.mp3", "audio/mpeg"), model="whisper-1", language="en", prompt="Names: Ann")
    )
    assert said(found) == {
        "file": {"filename": "a.mp3", "content_type": "audio/mpeg"},
        "prompt": "Names: Ann",
    }
    assert (found.model, found.parameters, found.prompt_length) == ("whisper-1", {"language": "en"}, 10)


def test_a_form_that_was_cut_is_read_as_far_as_it_goes() -> None:
    """At any place, without falling over."""
    whole = form(model="whisper-1", file=("a.mp3", "audio/mpeg"))
    for end in range(len(whole)):
        ask(LISTEN, whole[:end])
    assert ask(LISTEN, whole[:-60]).model == "whisper-1"


def test_a_transcript_is_a_text() -> None:
    """As JSON, as bare text, or as a stream."""
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
    }
    usage |= {"output_tokens": 5, "total_tokens": 19}
    body = {"text": "Hello there", "usage": usage}
    Transcription.model_validate(body)
    found = answer(LISTEN, body)
    assert said(found) == "Hello there"
    assert usage_buckets(found.usage) == {"input": 10, "input_audio_tokens": 4, "output": 5, "total": 19}
    srt = "1\n00:00:00,000 --> 00:00:01,000\nHello\n"
    assert said(answer(LISTEN, srt)) == srt
    pieces = [{"type": "transcript.text.delta", "delta": text} for text in ("Hello ", "there")]
    assert answer(LISTEN, sse(*pieces, {"type": "transcript.text.done"} | body)) == found
    cut = answer(LISTEN, sse(*pieces))
    assert (said(cut), cut.partial) == ("Hello there", True)


def test_of_speech_only_the_text_is_kept() -> None:
    """Sound that was taken for text is no answer."""
    found = ask(SPEAK, {"model": "gpt-4o-mini-tts", "input": "Hi", "voice": "coral", "speed": 1.2})
    assert (said(found), found.parameters) == ("Hi", {"speed": 1.2, "voice": "coral"})
    assert said(ask(SPEAK, {"input": "Hi", "instructions": "Softly."})) == {
        "input": "Hi",
        "instructions": "Softly.",
    }
    assert answer(SPEAK, "ID3\ufffd\ufffd{garbage").output is None
    usage = {"input_tokens": 2, "output_tokens": 30, "total_tokens": 32}
    told = answer(
        SPEAK,
        sse({"type": "speech.audio.delta", "audio": "AAAA"}, {"type": "speech.audio.done", "usage": usage}),
    )
    assert (told.output, told.usage, told.partial) == (None, usage, False)


def test_judgements_are_the_answer_to_a_moderation() -> None:
    """As they are."""
    assert said(ask(JUDGE, {"input": ["a", "b"], "model": "omni-moderation-latest"})) == ["a", "b"]
    results = [{"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}]
    body = {"id": "modr-1", "model": "omni-moderation-latest", "results": results}
    assert ModerationCreateResponse.model_construct(**body).results[0].flagged
    found = answer(JUDGE, body)
    assert (said(found), found.model, found.response_id) == (results, "omni-moderation-latest", "modr-1")


def test_errors_are_told_from_answers() -> None:
    """They have the same form everywhere."""
    for path in (PICTURES, EDITS, LISTEN, SPEAK, JUDGE):
        failure = answer(path, {"error": {"message": "no", "type": "invalid_request_error"}}).failure
        assert failure is not None
        assert failure.type == "invalid_request_error"
