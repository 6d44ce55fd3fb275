"""Where bodies are in a log entry, and how they become text."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.bodies import Body, Captured, captured_of, inflated
from kong_ai_tracing.calls import CallSettings, calls_of
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, STARTED_AT, entry, request

TEXT = '{"model": "gpt-4o", "text": "Grüße"}'


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def captured(**changes: Any) -> Captured:
    return captured_of(entry(**changes))


def test_the_capture_object_gives_both_bodies_and_its_measurements() -> None:
    """Text as it is, times counted from the start."""
    found = captured(capture={"v": 1, "request": TEXT, "response": "{}", "complete": False, "ttft_ms": 205})
    assert found == Captured(Body(TEXT), Body("{}"), first_token_ms=205, complete=False)


def test_a_body_that_was_cut_at_the_limit_says_so() -> None:
    """The whole size is counted in bytes, not in characters."""
    size = len(TEXT.encode())
    assert captured(capture={"request": TEXT, "request_size": size}).request == Body(TEXT)
    found = captured(capture={"request": TEXT, "request_size": size + 1}).request
    assert found == Body(TEXT, note=f"cut, {size + 1} bytes in all")


def test_the_end_of_a_long_answer_is_kept_beside_its_beginning() -> None:
    """What was dropped between them is named."""
    found = captured(capture={"response": "data: a", "response_tail": "data: z", "dropped": 576532}).response
    assert found == Body("data: a", "data: z", "576532 bytes in the middle left out")


def test_why_there_is_no_request_body_is_said() -> None:
    """The capture says what it left out; other lines say nothing."""
    assert captured(capture={"skip": "content-type"}).request == Body(note="not captured: content-type")
    assert captured(capture={}).response == Body(note="not logged")
    assert captured().request == Body(note="not logged")


@pytest.mark.parametrize(
    ("wire", "encoding"),
    [
        (gzip.compress(TEXT.encode()), "gzip"),
        (gzip.compress(TEXT.encode()), "x-gzip"),
        (zlib.compress(TEXT.encode()), "deflate"),
        (zlib.compress(TEXT.encode())[2:-4], "deflate"),
        (gzip.compress(zlib.compress(TEXT.encode())), "deflate, gzip"),
        (gzip.compress(TEXT.encode()), None),
        (TEXT.encode(), "identity"),
        (TEXT.encode(), None),
    ],
)
def test_compressed_bodies_are_inflated(wire: bytes, encoding: str | None) -> None:
    """By the matching content-encoding, in the order in which it was applied; gzip also by its magic."""
    assert inflated(wire, encoding) == Body(TEXT)


def test_compressed_bodies_are_found_in_every_place() -> None:
    """In the capture object by `_b64`, in the loose fields by `body_encoding`."""
    wire = encoded(gzip.compress(TEXT.encode()))
    response = {"status": 200, "headers": {"content-encoding": "gzip"}}
    assert captured(response=response, capture={"response_b64": wire}).response == Body(TEXT)
    loose = response | {"body": wire, "body_encoding": "base64"}
    assert captured(response=loose).response == Body(TEXT)


def test_bytes_that_are_no_text_are_replaced() -> None:
    """A body of invalid UTF-8 comes as base64 and leaves with replacement characters."""
    assert captured(capture={"request_b64": encoded(b'{"bad":"\xff"}')}).request == Body('{"bad":"�"}')


@pytest.mark.parametrize(
    ("wire", "encoding", "note"),
    [
        (b"whatever", "br", "compressed (br)"),
        (b"no gzip", "gzip", "unreadable compression"),
        (b"", None, "empty"),
        (gzip.compress(b""), "gzip", "empty"),
    ],
)
def test_what_cannot_be_inflated_is_named(wire: bytes, encoding: str | None, note: str) -> None:
    """The reason stands in for the body."""
    assert inflated(wire, encoding) == Body(note=note)


def test_a_bomb_stops_at_the_budget() -> None:
    """Ten megabytes of zeros in ten kilobytes become no more than allowed."""
    found = inflated(gzip.compress(b"0" * 10_000_000), "gzip", max_bytes=1000)
    assert found == Body("0" * 1000, note="cut")


def test_a_stream_that_was_cut_in_its_compression_is_read_as_far_as_it_goes() -> None:
    """The beginning is better than nothing."""
    wire = gzip.compress(bytes(range(256)).hex().encode() * 50)
    found = inflated(wire[: len(wire) // 2], "gzip")
    assert found.text
    assert found.note == "cut"


def test_unreadable_base64_is_named() -> None:
    """A wrong length raises nothing."""
    assert captured(capture={"request_b64": "x"}).request == Body(note="unreadable base64")


def test_loose_fields_are_read_with_their_notes() -> None:
    """`body`, `body_omitted`, `body_truncated`, `first_chunk_at`."""
    found = captured(
        request=request() | {"body_omitted": "not_in_memory"},
        response={
            "status": 200,
            "body": "data: x",
            "body_truncated": True,
            "first_chunk_at": STARTED_AT + 52,
        },
    )
    assert found == Captured(Body(note="not_in_memory"), Body("data: x", note="cut"), first_token_ms=52)


def test_hand_made_fields_may_hold_text_or_objects() -> None:
    """Whoever logs by hand may have decoded the body already."""
    found = captured(request_body={"model": "m"}, response_body=TEXT)
    assert found == Captured(Body('{"model":"m"}'), Body(TEXT))
    assert captured(request_body="").request == Body(note="empty")


@given(
    st.dictionaries(
        st.sampled_from(["request", "response", "request_b64", "response_b64", "skip"]), st.text()
    )
)
def test_no_capture_object_makes_reading_raise(capture: dict[str, str]) -> None:
    """Whatever stands in the fields, there is a body or a reason."""
    found = captured(capture=capture)
    assert found.request.text is not None or found.request.note
    assert found.response.text is not None or found.response.note


@pytest.mark.parametrize("line", ["capture", "payload", "bare"])
def test_a_long_text_beyond_ascii_is_read_like_a_short_one(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept as the bytes it is made of, in which it is a quarter as large."""
    asked = json.dumps({**CHAT_REQUEST, "user": "Grüße 😀"}, ensure_ascii=False)
    answered = "schön 😀" if line == "bare" else json.dumps(CHAT_ANSWER | {"note": "😀"}, ensure_ascii=False)
    if line == "payload":
        changes = {"ai": {"proxy": {"meta": {}, "payload": {"request": asked, "response": answered}}}}
    else:
        changes = {"capture": {"request": asked, "response": answered, "response_size": 10_000}}
    short = calls_of(entry(**changes), CallSettings())
    monkeypatch.setattr("kong_ai_tracing.bodies._LONG_CHARACTERS", 5)
    long = entry(**changes)
    assert calls_of(long, CallSettings()) == short
    assert calls_of(long, CallSettings()) == short, "and again"
    assert short[0].observation.output is not None
    holder = long.record["capture"] if line != "payload" else long.ai["proxy"]["payload"]
    assert isinstance(holder["request"], bytes)
