"""The demo must not flatter: its lines have to look like those of a real gateway."""

import json
from pathlib import Path

import pytest

from kong_ai_tracing.demolines import Gateway
from kong_ai_tracing.demostory import story

FIXTURES = Path(__file__).parent / "fixtures" / "kong"
NOW = 1_795_420_248_810


@pytest.fixture
def scenes():
    ids = iter(range(10**6))
    return list(story(Gateway(clock=lambda: NOW, new_id=lambda length: f"{next(ids):0{2 * length}x}")))


def lines_of(*names):
    return [json.loads(line) for name in names for line in (FIXTURES / name).read_text().splitlines()]


def names_in(value, prefix=""):
    """All names of a line with their path; headers are free, so their names are left out."""
    if isinstance(value, list):
        return set().union(*(names_in(each, prefix + "[]") for each in value))
    if not isinstance(value, dict) or prefix.endswith(("headers", "querystring")):
        return {prefix}
    return set().union(*(names_in(each, f"{prefix}.{name}") for name, each in value.items()))


def test_every_field_stands_where_real_kong_writes_it(scenes):
    """No field is invented or misplaced, in proxied, captured and ordinary lines alike."""
    if not FIXTURES.exists():
        pytest.skip("the lines of real gateways are not in this checkout")
    real = lines_of("kong-3.9-namespace.jsonl", "real-gateway/cap.jsonl", "non-ai-traffic.jsonl")
    known = set().union(*map(names_in, real)) | {
        ".request.tls." + each for each in ("version", "cipher", "client_verify")
    }
    made = set().union(*(names_in(json.loads(scene.line)) for scene in scenes))
    assert made - known == set()


def test_lines_are_written_as_kongs_encoder_writes_them(scenes):
    """One line each, compact, slashes escaped, other characters raw."""
    for scene in scenes:
        assert scene.line.count(b"\n") == 1
        assert scene.line.endswith(b"}\n")
        assert b"/" not in scene.line.replace(b"\\/", b"")
        assert b'": ' not in scene.line
    assert any("schönen".encode() in scene.line for scene in scenes)


def test_lines_end_now_and_started_when_their_call_did(scenes):
    """Kong writes a line when the answer has left: start plus duration is the present."""
    for line in (json.loads(scene.line) for scene in scenes):
        assert line["started_at"] + line["latencies"]["request"] == NOW


def test_the_story_has_all_that_the_demo_promises(scenes):
    """Two users, several turns, captured and streamed calls, errors, an agent, web traffic, a rotation."""
    lines = [json.loads(scene.line) for scene in scenes]
    assert {line["request"]["headers"].get("x-user-id") for line in lines} == {None, "alice", "bob"}
    assert [scene.trace for scene in scenes].count("agent") == 2
    assert [scene.trace for scene in scenes].count(None) == 4
    assert [scene.rotate_after for scene in scenes].count(True) == 1
    assert {line["response"]["status"] for line in lines} >= {200, 404, 429, 500}
    assert sum("ai" in line for line in lines) == 8
    assert sum("event-stream" in line["response"]["headers"]["content-type"] for line in lines) == 1
