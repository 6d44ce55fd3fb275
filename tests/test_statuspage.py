"""The pages of the real daemon: scraped, probed, moved, and asked while things go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kong_host import QUICK_SECONDS, Host, free_port, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse


class Watched(Host):
    """A host whose daemon can be watched."""

    port = 0

    def watch(self, langfuse: FakeLangfuse | None, *more: str) -> None:
        self.port = self.port or free_port()
        self.configure(langfuse, *more, "[status]", f'listen = "127.0.0.1:{self.port}"')

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; None when there is none."""
        values = [
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
            if sample.name == f"kong_ai_tracing_{name}" and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def says(self, text: str) -> bool:
        return text in self.messages.read_text()


@pytest.fixture
def langfuse() -> Iterator[FakeLangfuse]:
    with FakeLangfuse() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Watched]:
    host = Watched(tmp_path, langfuse)
    host.watch(langfuse)
    yield host
    host.clean_up()


def test_a_scrape_tells_what_was_read_and_delivered(host: Watched, langfuse: FakeLangfuse) -> None:
    """From the first line to the sums; and no word of a prompt anywhere."""
    began = time.time()
    host.start()
    wait_until(host.is_ready, "readiness")
    host.write(*(kong_line(1, seq) for seq in range(30)), b'{"no": "call"}\n', b"torn\n")
    wait_until(lambda: host.metric("spans_delivered_total", destination="langfuse") == 30, "30 spans")
    wait_until(lambda: host.metric("lines_total") == 32, "the lines behind them")
    assert host.metric("lines_total", result="call") == 30
    assert host.metric("set_aside_lines") == 1
    assert host.metric("lag_bytes", log="ai.log") == 0
    assert host.metric("destination_healthy") == 1
    assert began <= host.metric("last_accepted_timestamp_seconds") <= time.time()
    assert json.loads(host.get("/healthz")[1]) == {"status": "alive", "reasons": []}
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        assert "writer 1 line" not in host.get(path)[1]
    assert "Traces flow" in host.get("/")[1]
    assert host.stop() < QUICK_SECONDS
    assert host.get("/healthz")[0] == 0


def test_sums_go_on_over_a_restart(host: Watched) -> None:
    """A restart is no reset of what was counted on disk."""
    host.write(*(kong_line(1, seq) for seq in range(10)))
    host.start()
    wait_until(lambda: host.metric("spans_delivered_total") == 10, "the first ten")
    host.stop()
    host.write(kong_line(1, 11))
    host.start()
    wait_until(lambda: host.metric("spans_delivered_total") == 11, "the eleventh")


def test_an_outage_is_told_and_leaves_it_ready(host: Watched, langfuse: FakeLangfuse) -> None:
    """Nothing that a restart could mend. When it is over, so is the alarm."""
    langfuse.script("503*")
    host.start()
    wait_until(host.is_ready, "readiness")
    host.write(*(kong_line(1, seq) for seq in range(5)))
    wait_until(lambda: host.metric("destination_healthy") == 0, "the outage")
    wait_until(lambda: host.metric("outbox_spans") == 5, "what waits")
    assert host.metric("requests_failed_total") >= 1
    assert host.metric("batches_spilled_total") >= 1
    assert (host.get("/healthz")[0], host.get("/readyz")[0]) == (200, 200)
    page = host.get("/")[1]
    assert "Traces flow, with a problem" in page
    assert "Langfuse takes nothing: 503" in page
    langfuse.script("")
    wait_until(
        lambda: host.metric("outbox_spans") == 0 and host.metric("destination_healthy") == 1, "the end", 180
    )
    assert host.metric("spans_delivered_total") == 5


def test_a_full_outbox_shows_as_a_pause(host: Watched, langfuse: FakeLangfuse) -> None:
    """The log is the buffer then, and how much of it is unread is known."""
    langfuse.script("401*")
    host.watch(langfuse, "[delivery]", "outbox_max_bytes = 3000000")
    host.start()
    wait_until(host.is_ready, "readiness")
    host.write(*(kong_line(1, seq).replace(b"Hello", os.urandom(3000).hex().encode()) for seq in range(4000)))
    wait_until(lambda: host.metric("reading_paused") == 1, "the pause")
    wait_until(lambda: host.metric("reading_pause_seconds_total") > 1, "its length")
    assert host.metric("lag_bytes", log="ai.log") > 1_000_000
    assert host.metric("lag_seconds", log="ai.log") > 0
    assert host.metric("destination_holding") == 1
    assert host.get("/readyz")[0] == 200
    wait_until(lambda: "Reading waits: the outbox is full" in host.get("/")[1], "the page")
    page = host.get("/")[1]
    assert "Traces do not flow" in page
    assert "Langfuse refuses until somebody acts: 401" in page


def test_a_state_that_cannot_be_written_is_not_ready(host: Watched) -> None:
    """Another program holds it; the probe says so, and ends when it lets go."""
    host.start()
    wait_until(host.is_ready, "readiness")
    with contextlib.closing(sqlite3.connect(host.state / "state.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        host.write(kong_line(1, 1))
        wait_until(lambda: host.get("/readyz")[0] == 503, "a refusal")
        reasons = json.loads(host.get("/readyz")[1])["reasons"]
        assert reasons == ["langfuse: the state directory cannot be written"]
        assert host.get("/healthz")[0] == 200
        assert host.metric("state_writable") == 0
        other.execute("ROLLBACK")
    wait_until(host.is_ready, "readiness again")
    wait_until(lambda: host.metric("spans_delivered_total") == 1, "the line")


HANG = """
import threading, sys
from pathlib import Path
import kong_ai_tracing.{module} as module
import kong_ai_tracing.vitals as vitals
vitals._STUCK_SECONDS = 1.0
real = module.{place}
def act(*arguments, **more):
    if Path({mark!r}).exists():
        threading.Event().wait()
    return real(*arguments, **more)
module.{place} = act
from kong_ai_tracing.cli import main
main()
"""


def test_a_disk_that_hangs_is_told_without_it(host: Watched) -> None:
    """The commit never comes back: not alive, not ready, and every page is still served, at once."""
    mark = host.directory / "stuck"
    program = [sys.executable, "-c", HANG.format(module="store", place="Store.commit", mark=str(mark))]
    with host.messages.open("ab") as messages:
        host.daemon = subprocess.Popen(
            [*program, "run", "--config", str(host.config)], env=host.environ, stderr=messages
        )
    wait_until(host.is_ready, "readiness")
    mark.touch()
    host.write(kong_line(1, 1))
    reason = "langfuse: committing has not moved, although nothing keeps it from moving"
    wait_until(lambda: json.loads(host.get("/healthz")[1] or "{}").get("reasons") == [reason], "a verdict")
    assert host.get("/healthz")[0] == 503
    assert host.get("/readyz")[0] == 503
    assert "It hangs: committing" in host.get("/")[1]
    assert host.metric("alive") == 0


def test_a_log_that_cannot_be_seen_yet_is_waited_for(host: Watched) -> None:
    """Without any file it is ready, for nothing can be missed, and says that it found none."""
    host.start()
    wait_until(host.is_ready, "readiness")
    assert "No file matches log_paths" in host.get("/")[1]
    assert host.metric("files") == 0


def test_a_reload_moves_it_takes_it_away_and_brings_it_back(host: Watched, langfuse: FakeLangfuse) -> None:
    """The old address is free at once. One that is taken leaves everything as it is."""
    host.start()
    wait_until(host.is_ready, "readiness")
    assert host.daemon is not None
    first, host.port = host.port, free_port()
    host.watch(langfuse)
    host.daemon.send_signal(signal.SIGHUP)
    wait_until(host.is_ready, "the new address")
    wait_until(lambda: host.get("/healthz", first)[0] == 0, "the end of the old one")
    second = host.port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host.port = taken.getsockname()[1]
        host.watch(langfuse)
        host.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: host.says(f"status.failed address=127.0.0.1:{host.port}"), "a word about it")
    assert host.get("/healthz", second)[0] == 200
    host.configure(langfuse)
    host.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: host.get("/healthz", second)[0] == 0, "silence")
    host.write(kong_line(1, 1))
    wait_until(lambda: observation_id(1, 1) in langfuse.span_ids(), "a line, all the while")


def test_a_refused_reload_is_seen(host: Watched) -> None:
    """Until a good one comes."""
    host.start()
    wait_until(host.is_ready, "readiness")
    assert host.daemon is not None
    good = host.config.read_text()
    host.config.write_text(good + "\nnonsense = 1\n")
    host.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: host.metric("config_last_reload_successful") == 0, "the refusal")
    assert "The last reload was refused" in host.get("/")[1]
    host.config.write_text(good)
    host.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: host.metric("config_last_reload_successful") == 1, "the good one")


def test_an_address_that_is_taken_keeps_no_trace_back(host: Watched, langfuse: FakeLangfuse) -> None:
    """Who watches must not stop what is watched."""
    with socket.create_server(("127.0.0.1", host.port)):
        host.write(kong_line(1, 1))
        host.start()
        wait_until(lambda: observation_id(1, 1) in langfuse.span_ids(), "the line")
    assert host.says("status.failed address=127.0.0.1:")
    host.stop()


def test_two_destinations_have_numbers_of_their_own(host: Watched, langfuse: FakeLangfuse) -> None:
    """One that denies us does not colour the other."""
    with FakeLangfuse() as other:
        other.script("401*")
        project = [
            "[[destination]]",
            'name = "team-a"',
            f'langfuse_endpoint = "{other.url}"',
            'langfuse_public_key = "pk-lf-a"',
            'langfuse_secret_key = "sk-lf-a"',
        ]
        host.watch(langfuse)
        host.config.write_text(host.config.read_text() + "\n".join(project) + "\n")
        host.write(kong_line(1, 1))
        host.start()
        wait_until(lambda: host.metric("spans_delivered_total", destination="langfuse") == 1, "one of them")
        wait_until(lambda: host.metric("destination_holding", destination="team-a") == 1, "the other")
        assert host.metric("destination_holding", destination="langfuse") == 0
        assert host.metric("spans_delivered_total", destination="team-a") == 0
        assert host.is_ready()


def test_nothing_of_it_is_loaded_while_it_is_off() -> None:
    """No address, no import: the daemon stays as light as it was."""
    code = (
        "import sys; import kong_ai_tracing.daemon; "
        "print([name for name in sys.modules if 'prometheus' in name or 'statuspage' in name])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180
    )
    assert said.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_it(host: Watched) -> None:
    """Another program's word on our HTTP."""
    host.start()
    wait_until(host.is_ready, "readiness")
    url = f"http://localhost:{host.port}/healthz"
    said = subprocess.run(["curl", "-sSi", url], capture_output=True, text=True, check=True, timeout=180)
    assert said.stdout.startswith("HTTP/1.1 200 OK")
    refused = subprocess.run(
        ["curl", "-sS", "-H", "Host: evil.example", "-o", os.devnull, "-w", "%{http_code}", url],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert refused.stdout == "421"
