"""The genuine lines of the fixtures are read as the golden files say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import golden_calls
import kong_entries

NOT_AI = {
    "non-ai-traffic.jsonl": 8,
    "global.jsonl": 2,
}
SECRETS = re.compile(
    r"(?:alice|bob)-secret-key|jane@example\.com"
    r"|AIzaSyD|sk-ant-api03|topsecretkey|verysecret|SEARCHSECRET|Hans Wurst"
)


@pytest.mark.parametrize(
    "fixture", [*golden_calls.fixture_files(), *golden_calls.composed_files()], ids=lambda path: path.stem
)
def test_lines_are_read_as_written_down(fixture: Path) -> None:
    """Every line gives the calls in its golden file, and no others."""
    assert golden_calls.golden_text(fixture) == golden_calls.golden_file(fixture).read_text()


def test_all_genuine_lines_are_here() -> None:
    """91 lines of the developer set and 97 from a running gateway; none is lost or refused."""
    assert sum(len(golden_calls.lines_of(path)) for path in golden_calls.fixture_files()) == 91 + 97


@pytest.mark.parametrize("fixture", golden_calls.fixture_files(), ids=lambda path: path.stem)
def test_a_post_to_a_model_is_a_call_and_other_traffic_is_not(fixture: Path) -> None:
    """GET, unmatched routes and other services are no calls; everything else in the fixtures is."""
    for line in golden_calls.lines_of(fixture):
        is_post = b'"method":"POST"' in line.data
        assert bool(golden_calls.calls_in(line)) == (is_post and fixture.name not in NOT_AI)


def test_no_secret_of_the_fixtures_leaves() -> None:
    """Keys in headers and query strings, and what the sanitizer found, are in no golden file."""
    for fixture in (*golden_calls.fixture_files(), *golden_calls.composed_files()):
        assert not SECRETS.search(golden_calls.golden_file(fixture).read_text())


ODD = (
    None,
    True,
    -1,
    1.5e300,
    "",
    [],
    {},
    [None, {"a": [1]}],
    '{"choices":[1,{"message":3}],"usage":[]}',
    'data: {"choices":{}}\n\n',
)


@given(st.data())
def test_a_genuine_line_with_one_odd_value_is_still_read(data: st.DataObject) -> None:
    """No field has to have the type it should have."""
    fixture = data.draw(st.sampled_from(golden_calls.fixture_files()))
    line = data.draw(st.sampled_from(golden_calls.lines_of(fixture)))
    record = json.loads(line.data.decode("utf-8", "replace"))
    place, name = record, data.draw(st.sampled_from(sorted(record)))
    while isinstance(place[name], dict) and place[name] and data.draw(st.booleans()):
        place = place[name]
        name = data.draw(st.sampled_from(sorted(place)))
    place[name] = data.draw(st.sampled_from(ODD))
    golden_calls.calls_in(kong_entries.line(record))
