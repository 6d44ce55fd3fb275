"""Amazon's event streams: every whole frame, whatever is missing or damaged around it."""

from __future__ import annotations

import base64
import struct
from typing import Any
from zlib import crc32

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from bedrock_wire import chunk, event, exception, frame
from kong_ai_tracing.awsframes import event_stream_of, frames_of, is_frames
from kong_ai_tracing.bodies import captured_of, inflated
from kong_entries import capture, entry

EVENTS = [event("messageStart", {"role": "assistant"}), event("messageStop", {"stopReason": "end_turn"})]

headers = st.dictionaries(st.text("abc-", min_size=1, max_size=9), st.text(max_size=30), max_size=4)
frames = st.lists(st.builds(lambda payload, more: frame(payload, **more), st.binary(max_size=90), headers))


def judged(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@given(frames)
def test_frames_are_cut_as_botocore_cuts_them(parts: list[bytes]) -> None:
    """The same headers and the same payloads."""
    data = b"".join(parts)
    assert [(found.headers, found.payload) for found in frames_of(data)] == judged(data)


@given(frames, st.integers(min_value=0))
def test_a_cut_stream_gives_the_frames_before_the_cut(parts: list[bytes], cut: int) -> None:
    """A torn one is left out, and nothing is made of it."""
    data = b"".join(parts)
    data = data[: cut % (len(data) + 1)]
    assert [(found.headers, found.payload) for found in frames_of(data)] == judged(data)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_without_an_error(data: bytes) -> None:
    """Not every binary body is a stream of frames."""
    assert isinstance(event_stream_of(data), str)
    assert isinstance(is_frames(data), bool)


def test_reading_goes_on_after_a_damaged_frame() -> None:
    """A flipped bit spoils one event, not the rest."""
    damaged = bytearray(EVENTS[0])
    damaged[-10] ^= 1
    [found] = frames_of(bytes(damaged) + EVENTS[1])
    assert found.headers[":event-type"] == "messageStop"


def test_reading_starts_at_the_first_whole_frame() -> None:
    """The end of a long answer begins anywhere."""
    for start in range(1, len(EVENTS[0])):
        [found] = frames_of(EVENTS[0][start:] + EVENTS[1])
        assert found.headers[":event-type"] == "messageStop"


def test_headers_of_all_types_are_stepped_over() -> None:
    """Only texts are needed."""
    values = [b"\x00", b"\x01", b"\x02a", b"\x03aa", b"\x04aaaa", b"\x05aaaaaaaa", b"\x06\x00\x02bb"]
    values += [b"\x08aaaaaaaa", b"\x09aaaaaaaaaaaaaaaa"]
    packed = b"".join(b"\x01" + bytes([97 + number]) + value for number, value in enumerate(values))
    packed += b"\x0b:event-type\x07\x00\x04name"
    prelude = struct.pack(">II", 16 + len(packed), len(packed))
    head = prelude + struct.pack(">I", crc32(prelude)) + packed
    data = head + struct.pack(">I", crc32(head))
    [found] = frames_of(data)
    assert found.headers == {":event-type": "name"}
    assert judged(data)[0][0][":event-type"] == "name"


def test_frames_become_server_sent_events() -> None:
    """With their name; the model's own events are taken out of their chunks; errors are told as errors."""
    text = event_stream_of(event("messageStart", {"role": "assistant"}))
    assert text == 'event: messageStart\ndata: {"role": "assistant", "p": "abcdefghijkl"}\n\n'
    assert event_stream_of(chunk({"a": "ä"})) == 'data: {"a": "\\u00e4"}\n\n'
    assert event_stream_of(exception("throttlingException", "Too many")) == (
        'event: error\ndata: {"error":{"message":"Too many","type":"throttlingException"}}\n\n'
    )
    bare = frame(b"", error_code="InternalError", error_message="Sorry", message_type="error")
    assert '{"error":{"message":"Sorry","type":"InternalError"}}' in event_stream_of(bare)


def test_a_payload_with_line_breaks_stays_one_event() -> None:
    """Line breaks stand between the parts of a JSON value, never within one."""
    data = frame(b'{\r\n "a": 1\n}', event_type="x", message_type="event")
    assert event_stream_of(data).count("\n") == 3


def test_a_body_of_frames_is_text_to_its_readers() -> None:
    """Also one that was compressed on its way, and one of which not even the first event is whole."""
    assert (inflated(b"".join(EVENTS), None).text or "").count("data:") == 2
    torn = inflated(EVENTS[0][:-3], None)
    assert (torn.text, torn.note) == (None, "cut within its first event")


def test_the_end_of_a_long_binary_answer_is_read_too() -> None:
    """The capture writes base64 where bytes are no UTF-8."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    found = captured_of(
        entry(
            capture=capture(
                {"messages": []},
                response_b64=encoded(EVENTS[0] + EVENTS[1][:30]),
                response_tail_b64=encoded(EVENTS[0][40:] + EVENTS[1]),
                dropped=1000,
            )
        )
    )
    assert (found.response.text or "").startswith("event: messageStart")
    assert (found.response.tail or "").startswith("event: messageStop")
    assert found.response.note == "1000 bytes in the middle left out"
