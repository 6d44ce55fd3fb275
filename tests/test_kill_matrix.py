"""SIGKILL at every named point of the way, then a new start: nothing is lost, nothing counts twice.

    KILL_MATRIX_TIMES=1,2,5,20 pytest tests/test_kill_matrix.py

tries each point at its first, second, fifth and twentieth passing; without it, once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash_points import POINTS
from kong_host import PATIENCE_SECONDS, Host, wait_until
from kong_writer import kong_line, lost_and_found, observation_id, received_spans, rotate
from langfuse_server import FakeLangfuse
from storm import faults_of, root_id

TIMES = tuple(map(int, os.environ.get("KILL_MATRIX_TIMES", "2").split(",")))
AT_A_STOP = {"stop.before", "stop.after"}
ONCE_IN_A_RUN = {"state.made", "state.read", *AT_A_STOP}
SETTINGS = (
    "[tailing]\nscan_interval_seconds = 0.1\npoll_interval_seconds = 0.02",
    "[delivery]\nspill_after_seconds = 0.2\nbatch_max_age_seconds = 0.05\nbatch_max_bytes = 20_000",
    "[grouping]\ntrace_idle_seconds = 0.2\ntrace_hold_seconds = 1.0",
)
LINES = 60


@pytest.fixture
def langfuse(tmp_path: Path) -> Iterator[FakeLangfuse]:
    with FakeLangfuse(record=tmp_path / "received.jsonl") as server:
        yield server
        assert server.violations == []


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    host = Host(tmp_path, langfuse)
    host.configure(langfuse, *SETTINGS)
    yield host
    host.clean_up()


@pytest.mark.parametrize(
    ("name", "times"),
    [(name, times) for name in POINTS for times in ((1,) if name in ONCE_IN_A_RUN else TIMES)],
)
def test_a_kill_at_this_point_loses_and_doubles_nothing(
    host: Host, langfuse: FakeLangfuse, name: str, times: int
) -> None:
    """While it fails to send, spills, waits for company and meets a rotation."""  # covers CHK-01
    langfuse.script("200,500,accept-cut,500*4,200*")
    host.write(*(line(seq) for seq in range(LINES)))
    doomed = _start_doomed(host, name, times)
    try:
        _live_on(host, langfuse, doomed)
        if name in AT_A_STOP:
            doomed.terminate()
        assert _is_killed(doomed), f"{name} was never reached: {host.messages.read_text()}"
    finally:
        doomed.kill()
        doomed.wait()
        langfuse.hear_out()
    written = {observation_id(1, seq) for seq in range(3 * LINES)}
    # What the doomed process did not see being written is written now.
    host.write(*(line(seq) for seq in range(2 * LINES, 3 * LINES)))
    host.start()
    wait_until(lambda: written <= langfuse.span_ids(), f"every line after a kill at {name}")
    host.stop()
    assert langfuse.record is not None
    received = list(received_spans(langfuse.record))
    found = lost_and_found(written, (s for s in received if s["spanId"] != root_id(s["traceId"])))
    assert found.nothing_lost, (name, str(found))
    assert not faults_of(received).faults, (name, str(faults_of(received)))
    assert _account_adds_up(host)


def line(seq: int) -> bytes:
    """Every other call shares its trace. All are of the same seconds: the time of the log goes by them."""
    made = kong_line(1, seq, shared=True)
    return (
        made
        if seq % 2
        else made.replace(b'"traceparent"', b'"x-other"').replace(b'"x-message-id"', b'"x-other"')
    )


def _start_doomed(host: Host, name: str, times: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__).with_name("crash_points.py")), name, str(times)]
    with host.messages.open("ab") as messages:
        return subprocess.Popen(
            [*command, "run", "--config", str(host.config)], env=host.environ, stderr=messages
        )


def _live_on(host: Host, langfuse: FakeLangfuse, doomed: subprocess.Popen[bytes]) -> None:
    """A rotation and more lines while it runs; a file that is read is deleted."""
    wait_until(lambda: doomed.poll() is not None or bool(langfuse.requests), "the first request")
    if doomed.poll() is None:
        # Not earlier: what was rotated away before the first start is history.
        rotate(host.log, "numbered")
    host.write(*(line(seq) for seq in range(LINES, 2 * LINES)))
    early = {observation_id(1, seq) for seq in range(LINES)}
    wait_until(lambda: doomed.poll() is not None or early <= langfuse.span_ids(), "the rotated lines")
    if doomed.poll() is None:
        host.log.with_name("ai.log.1").unlink()


def _is_killed(doomed: subprocess.Popen[bytes]) -> bool:
    try:
        return doomed.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        return False


def _account_adds_up(host: Host) -> bool:
    counters = host.status()["counters"]
    return counters["spans_delivered"] == counters["calls"] + counters["roots"]
