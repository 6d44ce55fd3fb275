"""A span that is too large: its longest texts are cut, and it stays a span that Langfuse can read."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kong_ai_tracing import otlp
from kong_ai_tracing.calls import Observation
from kong_ai_tracing.shortening import SHORTENED, fitted, shorten
from langfuse_rules import read_export
from test_otlp import OBSERVATION, SPAN

LABELS = 5_000
"""More than the labels of the span take."""


def shortened(observation: Observation, max_bytes: int) -> dict[str, Any]:
    """The attributes of the span that is left, read as the server reads them."""
    span = shorten(otlp.encode(replace(SPAN, observation=observation)), max_bytes)
    assert span is not None
    assert len(span) <= max_bytes
    [read], violations = read_export(otlp.join([span]), "application/json")
    assert violations == []
    return {
        name.removeprefix("langfuse.").removeprefix("observation."): value
        for name, value in read["attributes"].items()
    }


def messages(*contents: str) -> bytes:
    return orjson.dumps([{"role": "user", "content": content} for content in contents])


def test_only_the_longest_text_is_cut() -> None:
    """Messages stay messages, the short ones whole; the cut is said in its place and in the metadata."""
    # covers SNK-05
    said = shortened(replace(OBSERVATION, input=messages("short", "x" * 100_000)), 50_000)
    short, long = orjson.loads(said["input"])
    assert short == {"role": "user", "content": "short"}
    assert long["content"].startswith("xxxx")
    assert long["content"].endswith("characters cut: too large for Langfuse]")
    assert len(long["content"]) > 10_000
    assert said["output"] == OBSERVATION.output.decode()
    assert orjson.loads(said["metadata"]) == {**OBSERVATION.metadata, SHORTENED: "input"}


def test_what_was_cut_is_said_where_there_was_no_metadata() -> None:
    """And a second cut adds to it."""
    bare = replace(OBSERVATION, metadata={}, input=messages("x" * 100_000), output=messages("y" * 12_000))
    first = shorten(otlp.encode(replace(SPAN, observation=bare)), 60_000)
    assert first is not None
    [read], _ = read_export(otlp.join([first]), "application/json")
    assert orjson.loads(read["attributes"]["langfuse.observation.metadata"]) == {SHORTENED: "input"}
    second = shorten(first, 10_000)
    assert second is not None
    [read], _ = read_export(otlp.join([second]), "application/json")
    assert orjson.loads(read["attributes"]["langfuse.observation.metadata"]) == {SHORTENED: "input,output"}


def test_a_list_of_many_small_things_is_cut_as_text() -> None:
    """There is no long text in it to cut."""
    said = shortened(replace(OBSERVATION, input=orjson.dumps(list(range(50_000)))), 50_000)
    assert isinstance(orjson.loads(said["input"]), str)


def test_metadata_stays_an_object() -> None:
    """Langfuse ignores any other form of it."""
    said = shortened(replace(OBSERVATION, metadata={"path": "/" + "x" * 20_000, "status_code": 200}), 10_000)
    metadata = orjson.loads(said["metadata"])
    assert metadata["status_code"] == 200
    assert metadata[SHORTENED] == "metadata"
    many = {f"key-{number}": number for number in range(1_500)}
    assert orjson.loads(shortened(replace(OBSERVATION, metadata=many), 10_000)["metadata"]) == {
        SHORTENED: "metadata"
    }


def test_a_long_message_of_an_error_is_cut_in_both_places() -> None:
    """Other backends read the status."""
    failed = replace(OBSERVATION, level="ERROR", status_message="e" * 9_000)
    assert shortened(failed, 10_000)["status_message"].endswith("too large for Langfuse]")


def test_what_has_no_texts_to_cut_is_not_made_smaller() -> None:
    """Then it is set aside whole."""
    assert shorten(otlp.encode(SPAN), 300) is None


@given(text=st.text(alphabet='a"\\\n€😀', min_size=200, max_size=2_000), limit=st.integers(1_800, 3_000))
def test_no_escape_and_no_pair_is_torn(text: str, limit: int) -> None:
    """Wherever the cut falls, the rest is JSON without lone surrogates."""
    span = shorten(otlp.encode(replace(SPAN, observation=replace(OBSERVATION, input=messages(text)))), limit)
    if span is not None:
        _, violations = read_export(otlp.join([span]), "application/json")
        assert violations == []


@pytest.mark.parametrize("kind", ["text", "object"])
def test_what_is_no_json_is_cut_all_the_same(kind: str) -> None:
    """An older version may have left it in the outbox."""
    key = "input" if kind == "text" else "metadata"
    span = orjson.loads(otlp.encode(SPAN))
    for attribute in span["attributes"]:
        if attribute["key"] == f"langfuse.observation.{key}":
            attribute["value"]["stringValue"] = "{" * 10_000
    cut = shorten(orjson.dumps(span), 4_000)
    assert cut is not None
    assert len(cut) <= 4_000


def test_a_span_that_fits_is_not_touched() -> None:
    """Nearly all do."""
    assert fitted(SPAN, 100_000) is SPAN
    nearly = replace(SPAN, observation=replace(OBSERVATION, input=messages("x" * 60_000)))
    assert fitted(nearly, 100_000) is nearly


def test_the_longest_texts_are_cut_before_a_span_is_encoded() -> None:
    """The short ones stay whole; the cut is said in its place and in the metadata."""  # covers SNK-05
    observation = replace(OBSERVATION, input=messages("short", "x" * 200_000, "y" * 20_000), output=b'"z"')
    span = fitted(replace(SPAN, observation=observation), 100_000)
    short, long, other = orjson.loads(span.observation.input or b"")
    assert short["content"] == "short"
    assert other["content"] == "y" * 20_000
    assert long["content"].startswith("xxxx")
    assert long["content"].endswith("bytes cut: too large for Langfuse]")
    assert 80_000 < len(otlp.encode(span)) < 100_000 + LABELS
    assert span.observation.metadata == {**OBSERVATION.metadata, SHORTENED: "input"}
    assert span.observation.output == b'"z"'


def test_many_small_things_are_cut_as_text_before_a_span_is_encoded() -> None:
    """There is no long text in them to cut."""
    observation = replace(OBSERVATION, output=orjson.dumps(["word"] * 50_000))
    span = fitted(replace(SPAN, observation=observation), 100_000)
    assert isinstance(orjson.loads(span.observation.output or b""), str)
    assert len(otlp.encode(span)) < 100_000 + LABELS


@given(
    texts=st.lists(st.text(alphabet='a"\\\n€😀\x01', max_size=9_000), min_size=1, max_size=4),
    ascii_only=st.booleans(),
    limit=st.integers(5_000, 40_000),
)
def test_no_character_is_torn_before_a_span_is_encoded(
    texts: list[str], ascii_only: bool, limit: int
) -> None:
    """Wherever the cut falls and however characters are written, the rest is JSON that begins as it did."""
    text = json.dumps(texts, ensure_ascii=ascii_only).encode()
    span = fitted(replace(SPAN, observation=replace(OBSERVATION, input=text)), limit)
    read = orjson.loads(span.observation.input or b"")
    if isinstance(read, list):
        assert all(
            there == given or given.startswith(there.rpartition("… [")[0])
            for there, given in zip(read, texts, strict=True)
        )
    _, violations = read_export(otlp.join([otlp.encode(span)]), "application/json")
    assert violations == []
