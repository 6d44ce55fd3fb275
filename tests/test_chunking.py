"""Wherever a server cuts its text into events, and however it writes them down, the answer is the same."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dialect_samples import SAMPLES, Sample
from kong_ai_tracing.payloads.dialect import Answered
from reading import answer

TEXT = "Hi there"
STREAMED = [sample for sample in SAMPLES if sample.events and not sample.endless]
SERVER_SENT = [sample for sample in STREAMED if sample.style.startswith("sse")]


def with_text(value: Any, old: str, new: str) -> Any:
    """An event with another piece of text in the place of its own."""
    if isinstance(value, dict):
        return {name: with_text(item, old, new) for name, item in value.items()}
    if isinstance(value, list):
        return [with_text(item, old, new) for item in value]
    return new if value == old else value


def cut_anew(sample: Sample, pieces: list[str]) -> list[dict[str, Any]]:
    """The events of a sample, its text cut into other pieces; each sample has `Hi` and ` there`."""
    events = []
    for event in sample.events:
        if with_text(event, "Hi", "") != event:
            events += [with_text(event, "Hi", piece) for piece in pieces[:-1]]
        else:
            events.append(with_text(event, " there", pieces[-1]))
    return events


@st.composite
def cuts(draw: st.DrawFn) -> list[str]:
    """The text in pieces, empty ones as well."""
    borders = [0, *sorted(draw(st.lists(st.integers(0, len(TEXT)), min_size=1, max_size=9))), len(TEXT)]
    return [TEXT[start:end] for start, end in pairwise(borders)]


def read(sample: Sample, body: str) -> Answered:
    return answer(sample.path, body)


@given(st.sampled_from(STREAMED), cuts())
def test_borders_between_events_make_no_difference(sample: Sample, pieces: list[str]) -> None:
    """The same answer for every chunking, in every dialect that streams."""
    assert read(sample, sample.stream(cut_anew(sample, pieces))) == read(sample, sample.stream())


@given(
    st.sampled_from(SERVER_SENT),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["data: ", "data:"]),
    st.sampled_from(["", ": keep-alive", "id: 7", "retry: 10", "unknown"]),
    st.booleans(),
)
def test_the_ways_to_write_an_event_down_make_no_difference(
    sample: Sample, end: str, data: str, other: str, over_lines: bool
) -> None:
    """Line ends, blanks, comments, other fields, an event's data over several lines, a byte order mark."""
    body = "\ufeff"
    for event in sample.events:
        text = json.dumps(event, indent=1 if over_lines else None)
        lines = [f"event: {event['type']}"] if "type" in event else []
        lines += [data + line for line in text.split("\n")] + ([other] if other else [])
        body += end.join(lines) + end + end
    if sample.style == "sse+done":
        body += f"{data}[DONE]{end}{end}"
    assert read(sample, body) == read(sample, sample.stream())


@given(st.sampled_from(STREAMED), st.integers(0), st.integers(0))
def test_a_missing_middle_never_makes_up_text(sample: Sample, start: int, length: int) -> None:
    """Whatever a capture left out, also within an event: what is there is of the text."""
    body = sample.stream()
    first = len(sample.stream(sample.events[:1], ended=False))  # a capture has the beginning at least
    start = first + start % (len(body) - first)
    end = start + length % (len(body) - start)
    found = answer(sample.path, body[:start], body[end:])
    if found.output is not None:
        content = json.loads(found.output)
        text = content if isinstance(content, str) else content.get("content") or ""
        assert all(piece in TEXT for piece in text.split(" […] "))
