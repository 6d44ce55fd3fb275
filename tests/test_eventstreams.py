"""Streamed bodies in, their events out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.eventstreams import events_of, is_event_stream, lines_of

EVENTS = [{"n": 1, "text": "a\u2028b"}, {"n": 2, "text": "ü\n"}, {"n": 3}]


def values(text: str, tail: str | None = None) -> list[dict[str, object]]:
    return list(events_of(text, tail).values)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r", "\n\n\n\n"])
@pytest.mark.parametrize("space", ["", " "])
def test_events_are_found_whatever_ends_the_lines(end: str, space: str) -> None:
    """LF, CRLF and CR, with and without the space after the colon."""
    text = "".join(f"data:{space}{json.dumps(event)}{end}" for event in EVENTS)
    assert values(text) == EVENTS


def test_comments_ids_and_retries_are_passed_over_and_names_kept() -> None:
    """Only data makes an event; its name goes with it and with no other."""
    text = ': OPENROUTER PROCESSING\n\nretry: 3\nevent: delta\nid: 7\ndata: {"a":1}\n\ndata: {"b":2}\n\n'
    assert list(events_of(text).named()) == [("delta", {"a": 1}), (None, {"b": 2})]


def test_data_over_several_lines_is_one_event() -> None:
    """The lines are joined with a newline, as the standard says."""
    assert values('data: {"a":\ndata: 1}\n\n') == [{"a": 1}]


def test_the_end_mark_is_seen_and_is_no_event() -> None:
    """`[DONE]` tells a whole stream from a cut one."""
    assert events_of('data: {"a":1}\n\ndata: [DONE]\n\n').done
    assert not events_of('data: {"a":1}\n\n').done


def test_a_cut_last_event_is_left_out_and_a_whole_one_without_blank_line_is_not() -> None:
    """A stream may end anywhere."""
    assert values('data: {"a":1}\n\ndata: {"b"') == [{"a": 1}]
    assert values('data: {"a":1}\n\ndata: {"b":2}') == [{"a": 1}, {"b": 2}]


def test_a_word_that_was_cut_is_left_out_of_those_that_are_read_together() -> None:
    """Also where the stream ends just behind a letter."""
    event = {"choices": [{"delta": {"content": "words"}}]}
    whole = f"data: {json.dumps(event)}\n\n" * 4
    assert len(values(whole)) < 4
    assert written(whole) == "words" * 4
    assert written(whole[: -len('ds"}}]}\n\n')]) == "words" * 3


def written(text: str) -> str:
    events: list[Any] = values(text)
    return "".join(event["choices"][0]["delta"]["content"] for event in events)


def test_a_broken_event_does_not_take_the_others_with_it() -> None:
    """What can be read is read."""
    assert values('data: {"a":1}\n\ndata: oops\n\ndata: 3\n\ndata: {"b":"\\ud83d"}\n\n') == [
        {"a": 1},
        {"b": "�"},
    ]


def test_the_place_of_a_gap_is_known() -> None:
    """Events before the missing middle are counted; torn ones on either side of it are left out."""
    found = events_of('data: {"a":1}\n\ndata: {"b":', ':2}\n\ndata: {"c":3}\n\ndata: [DONE]\n\n')
    assert found.values == [{"a": 1}, {"c": 3}]
    assert found.gap == 1
    assert found.done


@pytest.mark.parametrize(
    ("text", "is_stream"),
    [
        ("data: {}", True),
        ("event: x\r\ndata: {}", True),
        (": ping\n\ndata: {}", True),
        ("\ufeff\ndata: {}", True),
        ("id: 1\n", True),
        ('{"data": 1}', False),
        ("The answer: 42", False),
        ("", False),
    ],
)
def test_event_streams_are_told_from_other_text(text: str, is_stream: bool) -> None:
    """By their first line."""
    assert is_event_stream(text) == is_stream


def test_json_lines_are_events_too() -> None:
    """U+2028 within a string is no end of a line; a cut last line is left out."""
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in EVENTS) + '{"n":'
    assert lines_of(text).values == EVENTS


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53))), st.data())
def test_a_stream_cut_anywhere_gives_a_beginning_of_its_events(
    events: list[dict[str, object]], data: st.DataObject
) -> None:
    """Never another event, never one twice, and no error."""
    text = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events)
    cut = values(text[: data.draw(st.integers(0, len(text)))])
    assert cut == events[: len(cut)]


@given(
    st.lists(
        st.dictionaries(st.text(), st.integers(0, 9)).map(json.dumps)
        | st.sampled_from(
            ["[DONE]", "oops", '{"torn": ', "3", "[1, 2]", "", '{"data":\n1}', '{"a":1}\nid: 7']
        )
    )
)
def test_what_stands_beside_the_events_does_not_change_them(data: list[str]) -> None:
    """A comment before them keeps them from being read all at once."""
    text = "".join(f"data: {each}\n\n" for each in data)
    at_once, one_by_one = events_of(text), events_of(": a comment\n\n" + text)
    assert at_once == one_by_one


@given(st.text(), st.text() | st.none())
def test_no_text_makes_reading_raise(text: str, tail: str | None) -> None:
    """Neither as events nor as lines."""
    events_of(text, tail)
    lines_of(text, tail)
