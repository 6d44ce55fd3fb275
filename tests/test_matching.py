"""An operator's rule is for the calls whose names fit it."""

from __future__ import annotations

import pytest

from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line
from kong_ai_tracing.matching import Match, matcher_of, place_of

RECORD = (
    b'{"request":{"uri":"/llm/chat?key=1","headers":{"host":"gate.example.com:8443"}},"upstream_uri":"/v1/chat",'
    b'"service":{"name":"hr-chat","id":"s-1","host":"10.0.0.7","tags":["internal"]},'
    b'"route":{"name":"chat","id":"r-1","tags":["blue"]},"workspace_name":"team-a","workspace":"w-1",'
    b'"consumer":{"username":"anna","custom_id":"4711","id":"c-1","tags":["gold"]}}'
)


def entry(data: bytes) -> LogEntry:
    [found] = read_entries(Line("/l", 1, 0, data))
    assert isinstance(found, LogEntry)
    return found


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(service=("hr-*",)),
        Match(service=("x", "s-1")),
        Match(route=("r-1",), workspace=("team-?",), consumer=("4711",)),
        Match(tag=("gold",)),
        Match(host=("10.0.0.*",)),
        Match(host=("gate.example.com",)),
        Match(path=("/llm/*",)),
        Match(path=("/v1/chat",)),
    ],
)
def test_names_and_ids_fit_as_shell_patterns(match):
    """Whichever of its names Kong wrote, a thing is found under it."""
    assert matcher_of(match)(place_of(entry(RECORD)))


@pytest.mark.parametrize(
    "match",
    [
        Match(service=("hr",)),
        Match(service=("HR-*",)),
        Match(service=("hr-*",), route=("other",)),
        Match(consumer=("*-x",)),
        Match(path=("/llm",)),
        Match(workspace=()[:0], tag=("silver",)),
    ],
)
def test_one_key_that_does_not_fit_is_enough(match):
    """All keys must fit, each the whole of a name."""
    assert not matcher_of(match)(place_of(entry(RECORD)))


def test_a_line_without_names_fits_only_a_rule_without_keys():
    """Nothing matches a name that is not there, whatever shape the line has."""
    bare = place_of(entry(b'{"request":{},"service":3,"tags":{},"consumer":{"tags":{}},"workspace":[1]}'))
    assert matcher_of(Match())(bare)
    assert not matcher_of(Match(service=("*",)))(bare)
