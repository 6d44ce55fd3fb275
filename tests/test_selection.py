"""Which calls of the history an operator wants, in their own words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kong_ai_tracing.calls import AICall, CallSettings, calls_of
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line
from kong_ai_tracing.selection import MomentError, Selection, epoch_ms, moment_text, selection_of
from kong_writer import START_MS, kong_line

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def entry_and_call(seq: int = 0) -> tuple[LogEntry, AICall]:
    [entry] = read_entries(Line("/log", 1, 0, kong_line(1, seq).rstrip()))
    assert isinstance(entry, LogEntry)
    [call] = calls_of(entry, CallSettings())
    return entry, call


def is_wanted(selection: Selection, seq: int = 0) -> bool:
    test = selection.test()
    return test is None or test(*entry_and_call(seq))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T08:00:00Z", "2026-11-23T08:00:00.000Z"),
        ("2026-11-23T08:00:00.5+01:00", "2026-11-23T07:00:00.500Z"),
        ("2026-11-23", "2026-11-23T00:00:00.000Z"),
        ("2h", "2026-11-23T10:00:00.000Z"),
        ("3d", "2026-11-20T12:00:00.000Z"),
        ("1.5 h", "2026-11-23T10:30:00.000Z"),
        ("1w", "2026-11-16T12:00:00.000Z"),
    ],
)
def test_times_are_understood_as_people_write_them(text: str, moment: str) -> None:
    """RFC 3339, a day, or so long ago; what is printed can be given again."""
    assert moment_text(epoch_ms(text, NOW)) == moment
    assert epoch_ms(moment, NOW) == epoch_ms(text, NOW)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-11-23T08:00:00", "99999999999d", "-2h"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Also a time without a zone: it would mean another moment on another host."""
    with pytest.raises(MomentError):
        epoch_ms(text, NOW)


def test_a_range_without_any_time_in_it_is_refused() -> None:
    """The two were exchanged."""
    with pytest.raises(MomentError, match="nothing lies between"):
        selection_of(since="2026-11-02", until="2026-11-01")


def test_the_beginning_belongs_to_a_range_and_the_end_does_not() -> None:
    """So that two ranges that touch hold each call once."""
    at = moment_text(START_MS)
    assert is_wanted(selection_of(since=at))
    assert not is_wanted(selection_of(until=at))
    assert is_wanted(selection_of(until=at, since=moment_text(START_MS - 1)), 0) is False
    assert is_wanted(selection_of(since=at, until=moment_text(START_MS + 1)))


def test_services_routes_and_models_are_shell_patterns() -> None:
    """One of several patterns is enough, and all kinds must fit."""
    entry, call = entry_and_call()
    service, model = entry.service["name"], call.observation.model
    assert is_wanted(selection_of(services=["nothing", service[:3] + "*"]))
    assert is_wanted(selection_of(models=[f"{model[:4]}*"]))
    assert not is_wanted(selection_of(services=["nothing"]))
    assert not is_wanted(selection_of(routes=["nothing"]))
    assert not is_wanted(selection_of(services=[service], models=["nothing"]))


def test_the_same_selection_has_the_same_name_tomorrow() -> None:
    """Then a run that was cut off is found. A relative end moves on, and would leave out what it passed."""
    later = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert selection_of(now=NOW).name == ""
    assert selection_of(since="2h", now=NOW).name == selection_of(since="2h", now=later).name != ""
    assert selection_of(until="2h", now=NOW).name != selection_of(until="2h", now=later).name
    assert selection_of(models=["a"], now=NOW).name != selection_of(services=["a"], now=NOW).name
