"""Lines in, log entries out; whatever a line holds, the outcome is defined."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.entries import Ignored, LogEntry, first_text, integer, number, read_entries, text
from kong_ai_tracing.lines import Line, Origin, SetAside
from kong_entries import REQUEST_ID, entry, line, record

GOOD = json.dumps(record()).encode()


def kinds(data: bytes) -> list[str]:
    return [
        found.reason if isinstance(found, Ignored | SetAside) else "entry"
        for found in read_entries(line(data))
    ]


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (GOOD, ["entry"]),
        (GOOD + b"\r", ["entry"]),
        (b"  " + GOOD + b" \t", ["entry"]),
        (b"", ["blank"]),
        (b" \t\r", ["blank"]),
        (b"\x00\x00", ["blank"]),
        (b"\xef\xbb\xbf" + GOOD, ["entry"]),
        (b"\x00\x00" + GOOD + b"\x00", ["entry"]),
        (b"2026/11/23 [error] 7#0: something", ["not JSON"]),
        (b"3", ["not an object"]),
        (b'"x"', ["not an object"]),
        (b"null", ["not an object"]),
        (b'[{"request":{}}]', ["not an object"]),
        (b"{}", ["not a Kong log line"]),
        (b'{"session":{"tls":{}},"upstream":{}}', ["stream route"]),
        (b'{"request":"x"}', ["not a Kong log line"]),
        (b'{"request":{}}', ["entry"]),
        (b'{"ai":{"proxy":{}}}', ["entry"]),
        (GOOD[: len(GOOD) // 2], ["not JSON"]),
        (b'{"request":' + b"[" * 100_000, ["not JSON"]),
        (b'{"request":{},"a":NaN}', ["entry"]),
        (b'{"request":{},"a":1e400}', ["entry"]),
        (b'{"request":{},"a":"\\ud800"}', ["entry"]),
        (b'{"request":{},"a":"x\x00y"}', ["entry"]),
        (b'{"request":{},"a":' + b"9" * 6000 + b"}", ["entry"]),
        (b'\xff\xfe{"request"', ["not JSON"]),
    ],
)
def test_every_line_has_a_defined_outcome(data: bytes, outcome: list[str]) -> None:
    """Kong's lines are read, ruins set aside, everything else ignored with its reason.

    # covers LIN-05, LIN-11, LIN-12, LIN-13, LIN-14, LIN-15
    """
    assert kinds(data) == outcome


@pytest.mark.parametrize("cut", range(1, len(GOOD), 37))
def test_a_torn_record_does_not_take_the_next_one_with_it(cut: int) -> None:
    """Of a ruin with a record glued to it, the record is read and the ruin set aside by its bytes.

    # covers LIN-08
    """
    other = json.dumps(record(client_ip="10.1.1.1")).encode()
    torn = GOOD[:cut]
    found = read_entries(Line("kong.log", 7, 1000, torn + other))
    assert found[0] == SetAside(Origin("kong.log", 7, 1000, cut), "torn record")
    [good] = found[1:]
    assert isinstance(good, LogEntry)
    assert good.record["client_ip"] == "10.1.1.1"
    assert good.origin == Origin("kong.log", 7, 1000 + cut, len(other) + 1)


def test_two_records_on_one_line_are_both_read() -> None:
    """A lost newline costs nothing.

    # covers LIN-09
    """
    first, second = read_entries(line(GOOD + json.dumps(record(client_ip="10.1.1.1")).encode()))
    assert isinstance(first, LogEntry)
    assert isinstance(second, LogEntry)
    assert [first.record.get("client_ip"), second.record.get("client_ip")] == [None, "10.1.1.1"]


def test_a_torn_record_before_one_with_invalid_bytes_is_told_apart_too() -> None:
    """Recovery works on lines that are no UTF-8.

    # covers LIN-08, LIN-10
    """
    found = read_entries(line(GOOD[:100] + GOOD.replace(b"curl", b"cu\xffrl")))
    assert [type(each) for each in found] == [SetAside, LogEntry]


def test_invalid_utf8_is_replaced_and_noted() -> None:
    """The record is read, the bytes that were no text are marked.

    # covers LIN-10
    """
    [found] = read_entries(line(GOOD.replace(b"curl", b"cu\xff\xferl")))
    assert isinstance(found, LogEntry)
    assert found.damaged
    assert found.request["headers"]["user-agent"] == "cu��rl/8.5.0"
    assert not entry().damaged


def test_interleaved_writes_are_set_aside_whole() -> None:
    """Bytes of two writers in each other make no record.

    # covers LIN-16
    """
    assert kinds(GOOD[:200] + b'"x":{' + GOOD[200:] + b"}}") == ["not JSON"]


def test_the_seed_is_kongs_request_id_or_the_line_itself() -> None:
    """Old Kong has no id: then the same line still gives the same seed."""
    assert entry().seed == REQUEST_ID
    old = record()
    del old["request"]["id"]
    data = json.dumps(old).encode()
    seeds = {found.seed for found in read_entries(line(data)) if isinstance(found, LogEntry)}
    assert seeds == {
        found.seed for found in read_entries(Line("x", 9, 99, data)) if isinstance(found, LogEntry)
    }
    assert len(seeds.pop()) == 64


def test_no_field_has_to_have_its_type() -> None:
    """Every view answers, whatever a custom field put in its place."""
    odd = entry(response=[1], latencies="x", service=3, route=[], consumer=None, tries={}, ai=7)
    assert (odd.response, odd.latencies, odd.service, odd.route, odd.consumer) == ({}, {}, {}, {}, {})
    assert (odd.tries, odd.ai, odd.status) == ([], {}, None)


def test_paths_have_no_query() -> None:
    """Keys may stand in the query."""
    found = entry(request={"uri": "/v1/x?key=secret#f"}, upstream_uri="/y?key=secret")
    assert (found.path, found.upstream_path) == ("/v1/x", "/y")


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (7, 7),
        (1e14, 100_000_000_000_000),
        ("12", 12),
        (2.6, 3),
        ("x", None),
        (True, None),
        (None, None),
        ([], None),
        (float("inf"), None),
        (float("nan"), None),
        ("1e999", None),
    ],
)
def test_numbers_are_read_however_they_were_printed(value: object, whole: int | None) -> None:
    """Kong prints large integers as floats and now and then a number as a string."""
    assert integer(value) == whole
    assert (number(value) is None) == (whole is None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x ", "x"),
        ("", None),
        ("UNSPECIFIED", None),
        ("NOT_SPECIFIED", None),
        (" ", None),
        (5, "5"),
        ({}, None),
    ],
)
def test_words_that_say_nothing_are_none(value: object, said: str | None) -> None:
    """Kong has several ways to say that it does not know."""
    assert text(value) == said


def test_the_first_of_repeated_headers_that_says_something_counts() -> None:
    """A repeated header arrives as a list."""
    assert first_text(["", "UNSPECIFIED", "b", "c"]) == "b"
    assert first_text([]) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(data: bytes) -> None:
    """Any line has an outcome."""
    assert read_entries(line(data))
