"""History beside the daemon: what is asked for is delivered once, and every call is accounted for."""

from __future__ import annotations

import gzip
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing.backfill import progress_percent, seconds_left
from kong_ai_tracing.selection import moment_text
from kong_ai_tracing.storestatus import read_status
from kong_host import PATIENCE_SECONDS, PROGRAM, Host, wait_until
from kong_writer import SHARED_START_MS, START_MS, kong_line, observation_id
from langfuse_server import FakeLangfuse


def ids(writer: int, seqs: range) -> set[str]:
    return {observation_id(writer, seq) for seq in seqs}


def sent(langfuse: FakeLangfuse) -> set[str]:
    return {span["spanId"] for span in langfuse.spans}


def as_sent(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Spans by id, without what the server noted of their arrival."""
    return {
        span["spanId"]: {key: value for key, value in span.items() if key not in ("request", "arrivedAt")}
        for span in spans
    }


def killed(host: Host, langfuse: FakeLangfuse, ledger: Path, *arguments: str) -> None:
    """A backfill that is killed when its ledger says that something was delivered, and always before its end:
    Langfuse falls silent after some answers. The first batch has one of them, in whatever order they come."""
    langfuse.script("200*12,hang*")

    def has_delivered() -> bool:
        [state] = list(ledger.glob("**/state.sqlite3")) or [None]
        status = read_status(state.parent) if state is not None else None
        return status is not None and status.counters.get("spans_delivered", 0) > 0

    with host.messages.open("ab") as messages:
        process = subprocess.Popen(
            [*PROGRAM, "backfill", *arguments, "--config", str(host.config)],
            env=host.environ,
            stdout=messages,
            stderr=messages,
        )
    try:
        wait_until(has_delivered, "the first commit")
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        langfuse.hear_out()
        langfuse.script("")


def test_a_filtered_backfill_resumes_after_a_kill(host: Host, langfuse: FakeLangfuse) -> None:
    """At file and decompressed offset; what is filtered is counted, and nothing of it is sent."""
    # covers BKF-01
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000")
    plain, packed = host.directory / "ai.log.1", host.directory / "ai.log.2.gz"
    plain.write_bytes(b"".join(kong_line(1, seq, 2_000) for seq in range(3_000)) + b"not json\n")
    packed.write_bytes(gzip.compress(b"".join(kong_line(2, seq, 2_000) for seq in range(3_000, 6_000)), 1))
    selection = "--since", moment_text(START_MS + 1_000), "--until", moment_text(START_MS + 5_000)
    command = str(host.directory / "ai.log.*"), *selection, "--service", "openai-*", "--model", "gpt-4o*"
    killed(host, langfuse, host.state / "backfill", *command)
    assert len(sent(langfuse)) < 4_000, "it was killed after the work was done"
    sent_before = len(langfuse.spans)
    result = host.run("backfill", *command)
    assert result.returncode == 0, result.stderr
    assert sent(langfuse) == ids(1, range(1_000, 3_000)) | ids(2, range(3_000, 5_000))
    assert len(langfuse.spans) - sent_before < 4_000, "what was delivered is not sent again"
    assert "lines 6,001 = with calls 6,000 + other 0 + malformed, set aside 1\n" in result.stdout
    assert "calls 6,000 = delivered 4,000 + already there 0 + set aside 0 + filtered 2,000\n" in result.stdout
    assert "spans 4,000 = delivered 4,000 + set aside 0 + waiting 0" in result.stdout


def test_what_one_selection_left_out_is_there_for_another(host: Host, langfuse: FakeLangfuse) -> None:
    """A position that moved over a filtered call must not hide it from a later run."""
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(kong_line(1, seq) for seq in range(100)))
    middle = moment_text(START_MS + 50)
    for selection, seqs in (["--until", middle], range(50)), (["--since", middle], range(50, 100)):
        langfuse.spans.clear()
        assert host.run("backfill", str(archive), *selection).returncode == 0
        assert sent(langfuse) == ids(1, seqs)
        requests = len(langfuse.requests)
        assert host.run("backfill", str(archive), *selection).returncode == 0
        assert len(langfuse.requests) == requests, "a selection remembers what it delivered"
    langfuse.spans.clear()
    assert host.run("backfill", str(archive)).returncode == 0
    assert sent(langfuse) == ids(1, range(100))


def test_progress_is_never_above_all_of_it() -> None:
    """By the bytes on disk, compressed or not; a file that grows while it is read changes nothing."""
    # covers BKF-06
    assert [progress_percent(read, 200) for read in (0, 1, 199, 200, 500)] == [0, 0, 99, 100, 100]
    assert progress_percent(0, 0) == 100
    assert seconds_left(50, 200, 10.0) == 30
    assert seconds_left(300, 200, 10.0) == 0
    assert seconds_left(0, 200, 10.0) is None


def test_a_time_that_is_none_is_a_sentence(host: Host, langfuse: FakeLangfuse) -> None:
    """Nothing is read then."""
    archive = host.directory / "ai.log.1"
    archive.write_bytes(kong_line(1, 1))
    result = host.run("backfill", str(archive), "--since", "yesterday")
    assert result.returncode == 2
    assert "is no time; write" in result.stderr
    assert langfuse.spans == []


def test_a_trace_that_began_before_the_range_keeps_its_calls_within(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """They arrive in the same trace, with the same ids, under a root of what is within."""
    # covers BKF-04
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(kong_line(1, seq, shared=True) for seq in range(300)))
    assert host.run("backfill", str(archive)).returncode == 0
    whole = {span["spanId"]: span for span in langfuse.spans}
    langfuse.spans.clear()
    result = host.run("backfill", str(archive), "--again", "--since", moment_text(SHARED_START_MS + 3_000))
    assert result.returncode == 0, result.stderr
    part = {span["spanId"]: span for span in langfuse.spans}
    every_call = ids(1, range(300))
    calls = every_call & set(part)
    assert 50 < len(calls) < 150
    traces = {whole[call]["traceId"] for call in calls}
    assert {part[call]["traceId"] for call in calls} == traces
    assert traces & {whole[call]["traceId"] for call in every_call - calls}, "some began before the range"
    assert {part[call].get("parentSpanId") for call in calls} <= {None, *part}, (
        "none hangs under what is not there"
    )
    assert re.search(
        r"calls 300 = delivered \d+ \+ already there 0 \+ set aside 0 \+ filtered \d+\n", result.stdout
    )


def test_a_rate_is_kept(host: Host, langfuse: FakeLangfuse) -> None:
    """Within each second, too: a batch is no larger than what one second may send."""
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(kong_line(1, seq) for seq in range(100)))
    began = time.time()
    result = host.run("backfill", str(archive), "--rate", "25")
    assert result.returncode == 0, result.stderr
    assert sent(langfuse) == ids(1, range(100))
    exports = [request for request in langfuse.requests if request.spans]
    assert max(request.spans for request in exports) <= 25
    assert len(exports) >= 4
    assert exports[-1].arrived_at - began >= 2.0, "a second of the three is forgiven"


def test_history_and_live_traffic_do_not_hinder_each_other(host: Host, langfuse: FakeLangfuse) -> None:
    """A daemon at work on the same host stays close to its log; both deliver all of theirs."""
    # covers BKF-05
    archive = host.directory / "ai.log.1.gz"
    archive.write_bytes(gzip.compress(b"".join(kong_line(2, seq, 1_000) for seq in range(5_000)), 1))
    host.start()
    wait_until(lambda: b"service.ready" in host.messages.read_bytes(), "readiness")
    host.start_writer(writer=1, lines=1_000, rate=250)
    result = host.run("backfill", str(archive))
    host.wait_for_writers()
    assert result.returncode == 0, result.stderr
    wait_until(lambda: ids(1, range(1_000)) <= sent(langfuse), "the live calls")
    assert sent(langfuse) == ids(1, range(1_000)) | ids(2, range(5_000))


def test_what_the_daemon_delivered_is_not_sent_again(host: Host, langfuse: FakeLangfuse) -> None:
    """Whatever became of its file since; `--again` sends it under the same ids: Langfuse replaces it."""
    # covers BKF-02, BKF-07
    host.write(*(kong_line(1, seq) for seq in range(50)))
    host.start()
    wait_until(lambda: sent(langfuse) == ids(1, range(50)), "the live calls")
    wait_until(lambda: host.status()["lag_bytes"] == 0, "the daemon's position")
    live = as_sent(langfuse.spans)
    packed = host.directory / "elsewhere.gz"
    packed.write_bytes(gzip.compress(host.log.read_bytes() + kong_line(1, 50)))
    with host.log.open("ab") as log:
        log.write(kong_line(1, 50)[:80])
    result = host.run("backfill", str(host.log))
    assert result.returncode == 0, result.stderr
    assert "calls 50 = delivered 0 + already there 50 + set aside 0 + filtered 0\n" in result.stdout
    assert len(langfuse.spans) == 50
    result = host.run("backfill", str(packed))
    assert result.returncode == 0, result.stderr
    assert "calls 51 = delivered 1 + already there 50 + set aside 0 + filtered 0\n" in result.stdout
    assert sent(langfuse) == ids(1, range(51))
    assert len(langfuse.spans) == 51
    result = host.run("backfill", str(host.log), "--again")
    assert "calls 50 = delivered 50 + already there 0 + set aside 0 + filtered 0\n" in result.stdout
    assert as_sent(langfuse.spans[51:]) == live


def test_what_the_daemon_left_out_at_its_first_start_is_sent(host: Host, langfuse: FakeLangfuse) -> None:
    """It began at the end of the file: what stands before was delivered by nobody."""
    # covers BKF-02
    host.configure(langfuse, "[tailing]", 'start_at = "end"')
    host.write(*(kong_line(1, seq) for seq in range(40)))
    host.start()
    wait_until(lambda: (known := read_status(host.state)) is not None and bool(known.files), "a scan")
    host.write(*(kong_line(1, seq) for seq in range(40, 60)))
    wait_until(lambda: sent(langfuse) == ids(1, range(40, 60)), "the live calls")
    wait_until(lambda: host.status()["lag_bytes"] == 0, "the daemon's position")
    host.write(kong_line(1, 60))
    host.stop()
    langfuse.spans.clear()
    result = host.run("backfill", str(host.log))
    assert result.returncode == 0, result.stderr
    assert sent(langfuse) - ids(1, range(60, 61)) == ids(1, range(40))
    assert re.search(r"calls 61 = delivered 4[01] \+ already there 2[01] ", result.stdout)


def test_what_was_rotated_away_is_known_when_it_comes_back(host: Host, langfuse: FakeLangfuse) -> None:
    """The daemon has forgotten the file, which is gone; its content lies in an archive."""
    # covers BKF-02
    host.configure(langfuse, "[tailing]", "scan_interval_seconds = 0.1")
    host.write(*(kong_line(1, seq) for seq in range(50)))
    archived = gzip.compress(host.log.read_bytes())
    host.start()
    wait_until(lambda: sent(langfuse) == ids(1, range(50)), "the live calls")
    host.log.unlink()
    host.write(kong_line(1, 100))
    wait_until(lambda: ids(1, range(100, 101)) <= sent(langfuse), "the new file")
    wait_until(lambda: _knows_no_other(host), "the old one to be forgotten")
    host.stop()
    archive = host.directory / "elsewhere.gz"
    archive.write_bytes(archived)
    result = host.run("backfill", str(archive))
    assert "calls 50 = delivered 0 + already there 50 + set aside 0 + filtered 0\n" in result.stdout
    assert len(langfuse.spans) == 51


def test_an_earlier_backfill_is_remembered_whatever_form_its_files_take(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """Renamed, compressed, grown; with a selection, too, and after it was sent again on purpose."""
    # covers BKF-02
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(kong_line(1, seq) for seq in range(100)) + b"not json\n")
    assert host.run("backfill", str(archive)).returncode == 0
    packed = host.directory / "old.gz"
    packed.write_bytes(gzip.compress(archive.read_bytes() + kong_line(1, 100)))
    archive.unlink()
    result = host.run("backfill", str(packed))
    assert "lines 1 = with calls 1 + other 0 + malformed, set aside 0\n" in result.stdout
    assert "calls 101 = delivered 1 + already there 100 + set aside 0 + filtered 0\n" in result.stdout
    result = host.run("backfill", str(packed), "--since", moment_text(START_MS + 50))
    assert "calls 101 = delivered 0 + already there 101 + set aside 0 + filtered 0\n" in result.stdout
    assert len(langfuse.spans) == 101
    for _ in range(2):
        langfuse.spans.clear()
        result = host.run("backfill", str(packed), "--again")
        assert "calls 101 = delivered 101 + already there 0 + set aside 0 + filtered 0\n" in result.stdout
        assert sent(langfuse) == ids(1, range(101))


def _knows_no_other(host: Host) -> bool:
    status = read_status(host.state)
    return status is not None and len(status.files) == 1


@pytest.mark.parametrize("reader", ["daemon", "backfill"])
def test_what_other_settings_left_out_is_sent(host: Host, langfuse: FakeLangfuse, reader: str) -> None:
    """It was read, and nobody was to have it: that is not delivered. What is unchanged is not sent again."""

    # covers BKF-02
    def wants(service: str) -> None:
        destination = ["[[destination]]", 'name = "one"', f'langfuse_endpoint = "{langfuse.url}"']
        keys = ['langfuse_public_key = "pk-lf-test"', 'langfuse_secret_key = "sk-lf-test"']
        host.configure(None, *destination, *keys, f'service = ["{service}"]')

    def read() -> None:
        if reader == "backfill":
            assert host.run("backfill", str(host.log)).returncode == 0
        else:
            assert host.run("run", "--once").returncode == 0

    host.write(
        *(kong_line(1, seq) for seq in range(20)), *(kong_line(2, seq, service="hr") for seq in range(5))
    )
    wants("hr")
    read()
    assert sent(langfuse) == ids(2, range(5))
    result = host.run("backfill", str(host.log))
    assert "already there 5 " in result.stdout or "Nothing new" in result.stdout
    wants("*")
    if reader == "daemon":
        assert host.run("run", "--once").returncode == 0  # nothing is unread
    result = host.run("backfill", str(host.log))
    assert result.returncode == 0, result.stderr
    assert sent(langfuse) == ids(1, range(20)) | ids(2, range(5))
    before = len(langfuse.spans)
    result = host.run("backfill", str(host.log))
    assert "Nothing new" in result.stdout
    assert len(langfuse.spans) == before
