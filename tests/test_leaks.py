"""Thousands of secrets through the real program, and none of them anywhere afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_host import Host, wait_until
from kong_writer import received_spans
from langfuse_server import FakeLangfuse
from leaks import Planted, bytes_of, left_over, ordinary_lines, planted_lines

ALL_KINDS = '[redaction]\nkinds = ["all"]'
DEBUG = 'log_level = "debug"'
CRASHING = """
import sys
from kong_ai_tracing import {module}, cli

def broken(*args, **kwargs):
    raise RuntimeError("forced by a test")

{module}.{function} = broken
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def planted() -> list[Planted]:
    return planted_lines()


@pytest.fixture
def langfuse(tmp_path: Path) -> Iterator[FakeLangfuse]:
    with FakeLangfuse(record=tmp_path / "received.jsonl") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    host = Host(tmp_path, langfuse)
    yield host
    host.clean_up()


def places(planted: list[Planted], *texts: bytes) -> list[tuple[str, str]]:
    return sorted({(each.place, each.kind) for each in left_over(planted, [*texts])})


def test_the_search_finds_what_is_there(planted: list[Planted]) -> None:
    """Every secret is found in the lines themselves, or the tests below could not fail."""
    assert len(planted) > 2_000
    lines = b"".join(each.line for each in planted)
    hidden = {(each.place, each.kind) for each in planted}.difference(places(planted, lines))
    assert {place for place, _ in hidden} == {
        "answer in pieces", "answer in pieces, cut", "tool call in pieces", "every character escaped",
        "line cut off",
    }  # fmt: skip


def test_no_planted_secret_is_sent_stored_or_said(
    host: Host, langfuse: FakeLangfuse, planted: list[Planted]
) -> None:
    """First through an outage, so that the outbox holds all, then to the server, which refuses some."""
    host.configure(langfuse, DEBUG, ALL_KINDS)
    host.write(*(each.line for each in planted))
    langfuse.script("503*100000")
    host.start()
    wait_until(lambda: host.state.exists() and host.run("status", "--json").returncode != 1, "a state")
    wait_until(lambda: host.status()["outbox"]["spans"] > 2_000, "a full outbox")
    host.kill()
    assert places(planted, *bytes_of(host.state)) == []
    langfuse.script("400*3,200*100000")
    once = host.run("run", "--once")
    said = host.run("status").stdout + host.run("refused", "list").stdout
    assert len(langfuse.span_ids()) > 1_000
    assert places(planted, *bytes_of(host.state), (host.directory / "received.jsonl").read_bytes()) == []
    assert places(planted, host.messages.read_bytes(), once.stderr.encode(), said.encode()) == []


def test_no_planted_secret_is_in_the_local_store(host: Host, planted: list[Planted]) -> None:
    """Without Langfuse, the traces stay on the host, in the same form."""
    host.configure(None, DEBUG, ALL_KINDS)
    host.write(*(each.line for each in planted))
    once = host.run("run", "--once")
    assert once.returncode == 0
    assert places(planted, *bytes_of(host.state), once.stderr.encode()) == []
    assert sum(map(len, bytes_of(host.state))) > 1_000_000


@pytest.mark.parametrize(
    ("module", "function"), [("calls", "timing_of"), ("protection", "without_media"), ("otlp", "encode")]
)
def test_a_crash_says_nothing_of_the_lines(
    host: Host, langfuse: FakeLangfuse, planted: list[Planted], module: str, function: str
) -> None:
    """Tracebacks name places in the program; what was on its way is in no file."""
    host.configure(langfuse, DEBUG, ALL_KINDS)
    host.write(*(each.line for each in planted))
    crashing = CRASHING.format(module=module, function=function)
    crashed = subprocess.run(
        [sys.executable, "-c", crashing, "run", "--once", "--config", str(host.config)],
        env=host.environ,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert crashed.returncode != 0
    assert b"forced by a test" in crashed.stderr
    assert places(planted, crashed.stderr, crashed.stdout, *bytes_of(host.state)) == []


def test_ordinary_text_arrives_as_it_was_written(host: Host, langfuse: FakeLangfuse) -> None:
    """The same lines with and without redaction give the same spans, word by word."""
    host.write(*ordinary_lines())
    arrived = []
    for number, kinds in enumerate(('["none"]', '["all"]')):
        host.state = host.directory / f"state-{number}"
        host.configure(langfuse, f"[redaction]\nkinds = {kinds}")
        langfuse.record = host.directory / f"received-{number}.jsonl"
        assert host.run("run", "--once").returncode == 0
        spans = {span["spanId"]: span for span in received_spans(langfuse.record)}
        arrived.append({name: (span["name"], span["attributes"]) for name, span in spans.items()})
    assert len(arrived[0]) > 100
    assert arrived[0] == arrived[1]
