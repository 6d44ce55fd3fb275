"""The real program as a process, between a writer like Kong and a server like Langfuse."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_ai_tracing import runaccount
from kong_ai_tracing.checks import viewers
from kong_host import PROGRAM, QUICK_SECONDS, Host, hold_still, wait_until
from kong_writer import kong_line, lost_and_found, observation_id, received_spans, rotate
from langfuse_server import FakeLangfuse
from service_manager import Manager


@pytest.fixture
def langfuse(tmp_path: Path) -> Iterator[FakeLangfuse]:
    with FakeLangfuse(record=tmp_path / "received.jsonl") as server:
        yield server
        assert server.violations == []


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    host = Host(tmp_path, langfuse)
    yield host
    host.clean_up()


def received(langfuse: FakeLangfuse) -> list[dict]:
    assert langfuse.record is not None
    return list(received_spans(langfuse.record))


def test_kills_rotations_and_a_failing_server_lose_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """Every line arrives; repeats carry the same id and start; nothing is invented."""  # covers CHK-01
    langfuse.script("200*2,500*2,429:0.2,cut,accept-cut,200*3,slow:0.3,503")
    host.start()
    host.start_writer(writer=1, lines=10**6, rate=500)
    host.start_writer(writer=2, lines=10**6, rate=500, reopen=True)
    wait_until(lambda: len(langfuse.spans) > 300, "the first spans")
    rotate(host.log, "numbered")
    host.kill()
    wait_until(lambda: host.log.exists() and host.log.stat().st_size > 100_000, "more lines while it is down")
    host.start()
    wait_until(lambda: len(langfuse.spans) > 2_000, "more spans")
    rotate(host.log, "numbered")
    wait_until(lambda: len(langfuse.spans) > 2_500, "spans after the second rotation")
    host.kill()
    host.start()
    wait_until(lambda: len(langfuse.spans) > 4_000, "spans after the last start")
    host.stop_writers()
    written = host.written
    wait_until(lambda: written <= langfuse.span_ids(), "every line written")
    host.stop()
    result = lost_and_found(written, received(langfuse))
    assert result.nothing_lost, result


def test_without_a_crash_every_call_arrives_once(host: Host, langfuse: FakeLangfuse) -> None:
    """Rename rotation, two writers on old and new file at once, stop, start."""  # covers ROT-04
    host.start()
    host.start_writer(writer=1, lines=10**6, rate=600)
    host.start_writer(writer=2, lines=10**6, rate=600, reopen=True)
    wait_until(lambda: len(langfuse.spans) > 200, "the first spans")
    rotate(host.log, "create")
    wait_until(lambda: len(langfuse.spans) > 1_000, "spans after the rotation")
    host.stop()
    host.start()
    wait_until(lambda: len(langfuse.spans) > 2_000, "spans after the stop")
    host.stop_writers()
    written = host.written
    wait_until(lambda: written <= langfuse.span_ids(), "every line written")
    host.stop()
    result = lost_and_found(written, received(langfuse))
    assert result.nothing_lost, result
    assert result.repeated == {}


def test_copytruncate_is_followed(host: Host, langfuse: FakeLangfuse) -> None:
    """After the truncation the file is read from its beginning, and nothing twice."""  # covers TRU-01
    host.write(*[kong_line(1, seq) for seq in range(50)])
    host.start()
    wait_until(lambda: len(langfuse.spans) == 50, "the first lines")
    rotate(host.log, "copytruncate")
    host.write(*[kong_line(1, seq) for seq in range(50, 100)])
    wait_until(lambda: len(langfuse.spans) >= 100, "the lines after the truncation")
    host.stop()
    assert langfuse.span_ids() == {observation_id(1, seq) for seq in range(100)}
    assert len(langfuse.spans) == 100


def test_a_stop_under_load_is_quick_and_loses_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """SIGTERM in the middle of a backlog waits for the answers under way, and for nothing else."""
    # covers PRC-01
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 50000")
    host.write(*[kong_line(1, seq, 3_000) for seq in range(20_000)])
    langfuse.script("slow:1*")  # so that there is work left for minutes, however fast the machine is
    host.start()
    wait_until(lambda: len(langfuse.spans) > 100, "the first spans")
    assert host.stop() < QUICK_SECONDS
    langfuse.script("")
    assert len(langfuse.spans) < 20_000, "it was stopped after the work was done"
    assert host.run("run", "--once").returncode == 0
    result = lost_and_found({observation_id(1, seq) for seq in range(20_000)}, received(langfuse))
    assert result.nothing_lost, result
    assert result.repeated == {}


def test_a_stop_waits_for_answers_under_way(host: Host, langfuse: FakeLangfuse) -> None:
    """Slow answers of a server that does answer end in nothing that is sent again."""
    langfuse.script("200,hold*")
    host.environ["NOTIFY_SOCKET"] = str(host.directory / "notify")
    host.write(kong_line(1, 0))
    with contextlib.closing(Manager(host.directory / "notify")) as manager:
        host.start()
        assert host.daemon is not None
        wait_until(lambda: len(langfuse.spans) == 1, "the first answer")
        host.write(*[kong_line(1, seq) for seq in range(1, 50)])
        wait_until(lambda: len(langfuse.requests) >= 2, "a request under way")
        host.daemon.terminate()
        wait_until(lambda: manager.heard("STOPPING=1"), "the stop")
        langfuse.script("")
        assert host.daemon.wait(QUICK_SECONDS) == 0
    assert host.status()["outbox"]["batches"] == 0
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.spans) == 50


def test_a_stop_is_quick_when_the_server_hangs(host: Host, langfuse: FakeLangfuse) -> None:
    """What was not acknowledged rests in the outbox, and arrives after the next start."""  # covers PRC-02
    langfuse.script("hang*")
    # One batch: it goes when all is read, not when a busy machine has taken a second for that.
    host.configure(langfuse, "[delivery]", "batch_max_age_seconds = 60")
    host.write(*[kong_line(1, seq) for seq in range(100)])
    host.start()
    wait_until(lambda: len(langfuse.requests) > 0, "the first request")
    assert host.stop() < QUICK_SECONDS
    assert host.status()["outbox"]["batches"] == 1
    host.log.unlink()
    langfuse.script("")
    assert host.run("run", "--once").returncode == 0
    assert langfuse.span_ids() == {observation_id(1, seq) for seq in range(100)}


def test_once_reads_to_the_end_delivers_everything_and_exits(host: Host, langfuse: FakeLangfuse) -> None:
    """A second run finds nothing new and sends nothing."""
    host.write(*[kong_line(1, seq) for seq in range(200)])
    assert host.run("run", "--once").returncode == 0
    assert langfuse.span_ids() == {observation_id(1, seq) for seq in range(200)}
    requests = len(langfuse.requests)
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.requests) == requests


def test_a_dry_run_sends_and_moves_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """Not even the state directory is made."""
    host.write(*[kong_line(1, seq) for seq in range(20)])
    result = host.run("run", "--dry-run")
    assert result.returncode == 0
    assert "20" in result.stdout
    assert langfuse.requests == []
    assert not host.state.exists()


@pytest.mark.parametrize("command", ["run", "backfill"])
def test_a_dry_run_needs_no_keys(host: Host, langfuse: FakeLangfuse, command: str) -> None:
    """It sends nothing: not even a key that cannot be read is in its way."""
    host.configure(langfuse, 'langfuse_secret_key_file = "/nowhere/key"')
    host.environ = {name: text for name, text in host.environ.items() if not name.startswith("LANGFUSE")}
    host.write(*[kong_line(1, seq) for seq in range(20)])
    result = host.run(command, "--dry-run", *([str(host.log)] if command == "backfill" else []))
    assert result.returncode == 0, result.stderr
    assert "20" in result.stdout
    assert "Nothing was sent, nothing was moved." in result.stdout
    assert langfuse.requests == []
    assert not host.state.exists()


def test_a_run_once_says_at_its_end_what_it_did(host: Host) -> None:
    """Of this run alone; who tries it out sees whether there was anything."""
    host.write(*[kong_line(1, seq) for seq in range(20)], b"no JSON\n")
    done = (
        "run.done destination=langfuse lines={} calls={} spans_delivered={} lines_other=0 lines_malformed={}"
    )
    assert done.format(21, 20, 20, 1) in host.run("run", "--once").stderr
    assert done.format(0, 0, 0, 0) in host.run("run", "--once").stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up its rights")
def test_a_log_that_may_not_be_read_is_told_from_one_that_is_not_there(open_folder: Path) -> None:
    """`--once` fails for the one and not for the other."""
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    log = closed / "ai.log"
    log.touch()
    paths = [closed, log, open_folder, open_folder / "ai.log"]
    with viewers.seen_by(viewers.Viewer("nobody", 65_534, 65_534)):
        assert [runaccount.is_forbidden(str(path)) for path in paths] == [True, True, False, False]


def test_a_dry_run_counts_only_what_is_unread(host: Host, langfuse: FakeLangfuse) -> None:
    """Beside the daemon, whose own counts are of other lines."""
    host.write(*[kong_line(1, seq) for seq in range(20)])
    assert host.run("run", "--once").returncode == 0
    host.write(kong_line(1, 20))
    assert host.run("run", "--dry-run").stdout.startswith("1 unread lines: 1 AI calls")


def test_a_second_daemon_on_one_state_directory_is_refused(host: Host) -> None:
    """Two would deliver twice; the message names the first."""  # covers PRC-08
    host.start()
    wait_until(lambda: (host.state / "state.sqlite3").exists(), "the first daemon")
    result = host.run("run")
    assert result.returncode == 1
    assert str(host.daemon.pid) in result.stderr  # type: ignore[union-attr]


def test_a_missing_log_is_waited_for(host: Host, langfuse: FakeLangfuse) -> None:
    """The daemon says so, stays up, and reads the file when it comes."""  # covers ROT-05
    host.start()
    wait_until(lambda: str(host.log) in host.messages.read_text(), "a word about the missing log")
    host.write(kong_line(1, 1))
    wait_until(lambda: len(langfuse.spans) == 1, "the line of the new file")


def test_a_bad_configuration_is_refused_with_all_problems(host: Host) -> None:
    """Key, value, reason and fix; exit code 78; no key in clear."""
    host.configure(None, 'log_level = "loud"', "langfuse_timeout = -5", 'langfuse_secret_keyy = "sk-lf-abc"')
    result = host.run("run")
    assert result.returncode == 78
    for word in ("log_level", "loud", "langfuse_timeout", "-5", "fix:", "langfuse_secret_key"):
        assert word in result.stderr
    assert "sk-lf-abc" not in result.stderr


def test_a_wrong_key_keeps_everything_until_it_is_right(host: Host, langfuse: FakeLangfuse) -> None:
    """401 ends `--once` with exit code 4 and a full outbox; the right key delivers it."""  # covers SNK-08
    host.write(*[kong_line(1, seq) for seq in range(50)])
    host.configure(langfuse, secret_key="sk-lf-wrong-secret")
    result = host.run("run", "--once")
    assert result.returncode == 4
    assert "401" in result.stderr
    assert "sk-lf-wrong-secret" not in result.stderr
    host.configure(langfuse)
    assert host.run("run", "--once").returncode == 0
    assert langfuse.span_ids() == {observation_id(1, seq) for seq in range(50)}


def test_what_an_outage_left_behind_goes_in_few_requests(host: Host, langfuse: FakeLangfuse) -> None:
    """A server counts requests: many small bodies go together, and each call arrives once."""
    small = ("[delivery]", "batch_max_bytes = 16384")
    host.write(*[kong_line(1, seq) for seq in range(400)])
    host.configure(langfuse, *small, secret_key="sk-lf-wrong-secret")
    assert host.run("run", "--once").returncode == 4
    batches = host.status()["outbox"]["batches"]
    assert batches > 20
    seen = len(langfuse.requests)
    host.configure(langfuse)
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.requests) - seen < batches // 2
    assert sorted(span["spanId"] for span in received(langfuse)) == sorted(
        observation_id(1, seq) for seq in range(400)
    )
    status = host.status()
    assert (status["outbox"]["batches"], status["counters"]["spans_delivered"]) == (0, 400)


def test_without_langfuse_traces_stay_on_this_machine(host: Host) -> None:
    """The default needs no account: the local store takes the traces."""
    host.configure(None)
    host.write(*[kong_line(1, seq) for seq in range(30)])
    assert host.run("run", "--once").returncode == 0
    assert (host.state / "traces.sqlite3").stat().st_mode & 0o777 == 0o600


def test_keys_and_prompts_are_in_none_of_our_files(host: Host, langfuse: FakeLangfuse) -> None:
    """Secrets travel only to Langfuse; our own log holds no prompt."""
    marker = b"a-prompt-that-must-not-be-logged"
    host.write(kong_line(1, 1).replace(b"writer 1 line 1", marker), b'{"broken": "' + marker + b'"\n')
    result = host.run("run", "--once")
    assert result.returncode == 0
    assert marker.decode() not in result.stderr
    for file in host.state.rglob("*"):
        assert b"sk-lf-test" not in file.read_bytes()
    assert host.status()["counters"]["lines_malformed"] == 1


def test_in_metadata_mode_no_prompt_leaves_or_rests(host: Host, langfuse: FakeLangfuse) -> None:
    """Neither the wire nor our files hold what was asked and answered; the rest of the call arrives."""
    host.configure(langfuse, "[privacy]", 'content = "metadata"', 'user_id = "hash"')
    host.write(*[kong_line(1, seq) for seq in range(5)])
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.spans) == 5
    assert "writer 1 line" not in json.dumps(langfuse.spans)
    assert "user-1" not in json.dumps(langfuse.spans)
    for file in host.state.rglob("*"):
        assert b"writer 1 line" not in file.read_bytes()


def test_backfill_resumes_after_a_kill_and_its_account_adds_up(host: Host, langfuse: FakeLangfuse) -> None:
    """Plain and gzip archives are delivered once, although the first run was killed."""  # covers BKF-01
    plain, packed = host.directory / "ai.log.1", host.directory / "ai.log.2"
    plain.write_bytes(b"".join(kong_line(1, seq, 2_000) for seq in range(10_000)) + b"not json\n")
    packed.write_bytes(b"".join(kong_line(2, seq, 2_000) for seq in range(10_000)))
    subprocess.run(["gzip", str(packed)], check=True)
    paths = [str(plain), f"{packed}.gz"]
    langfuse.script("200*3,hang*")  # so that it cannot come to its end before it is killed
    with host.messages.open("ab") as messages:
        host.daemon = subprocess.Popen(
            [*PROGRAM, "backfill", *paths, "--config", str(host.config)],
            env=host.environ,
            stderr=messages,
            stdout=messages,
        )
    langfuse.wait_for(lambda server: len([each for each in server.requests if each.spans]) == 3)
    host.kill()
    langfuse.script("")
    assert len(langfuse.spans) < 20_000, "it was killed after the work was done"
    result = host.run("backfill", *paths)
    assert result.returncode == 0, result.stderr
    expected = {observation_id(writer, seq) for writer in (1, 2) for seq in range(10_000)}
    found = lost_and_found(expected, received(langfuse))
    assert found.nothing_lost, found
    assert len(found.repeated) < 10_000, "at most what was in flight is repeated"
    assert "lines 20,001 = with calls 20,000 + other 0 + malformed, set aside 1" in result.stdout
    requests = len(langfuse.requests)
    again = host.run("backfill", *paths)
    assert again.returncode == 0
    assert len(langfuse.requests) == requests, "what was delivered is not sent again"
    assert "Nothing new" in again.stdout


RETRIES = Path(__file__).parent / "fixtures" / "kong" / "retries.jsonl"


def parents_in(langfuse: FakeLangfuse) -> dict[str, str | None]:
    """By id of each span the name of the one it hangs under."""
    names = {span["spanId"]: span["name"] for span in langfuse.spans}
    return {span["spanId"]: names.get(span.get("parentSpanId", "")) for span in langfuse.spans}


def test_failed_tries_are_delivered_below_their_calls_and_are_in_the_account(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """Four calls with five failed tries among them."""
    result = host.run("backfill", str(RETRIES))
    assert result.returncode == 0, result.stderr
    assert "spans 9 = calls 4 + roots of shared traces 0 + within calls 5\n" in result.stdout
    parents = list(parents_in(langfuse).values())
    assert (len(parents), parents.count(None)) == (9, 4)


def test_what_happened_within_waiting_calls_outlives_a_kill(host: Host, langfuse: FakeLangfuse) -> None:
    """They wait with their call, which waits for company, and are delivered once with it."""
    host.configure(langfuse, "[grouping]", "trace_idle_seconds = 600", "trace_hold_seconds = 600")
    host.start()
    wait_until(lambda: b"service.ready" in host.messages.read_bytes(), "readiness")
    lines = [json.loads(line) for line in RETRIES.read_bytes().splitlines()]
    for line in lines:
        line["request"]["headers"]["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
    host.write(*(json.dumps(line).encode() + b"\n" for line in lines))
    wait_until(lambda: host.status()["waiting_calls"] == 4, "the calls to be held on disk")
    host.kill()
    host.configure(langfuse, "[grouping]", "trace_idle_seconds = 1")
    host.start()
    wait_until(lambda: len(langfuse.span_ids()) == 10, "the calls, their failed tries and a root")
    host.stop()
    parents = list(parents_in(langfuse).values())
    assert parents.count(None) == 1
    assert sum(parent is not None and parent.startswith("chat") for parent in parents) == 5
    assert {span["traceId"] for span in langfuse.spans} == {"a" * 32}


def test_a_damaged_archive_is_told(host: Host, langfuse: FakeLangfuse) -> None:
    """Also when it is the last file, and the run ends right after it."""  # covers CMP-06
    packed = host.directory / "ai.log.1.gz"
    packed.write_bytes(gzip.compress(b"".join(kong_line(1, seq) for seq in range(50))) + b"rest of a crash")
    result = host.run("backfill", str(packed))
    assert result.returncode == 0
    assert len(langfuse.span_ids()) == 50
    assert f"file.damaged path={packed}" in result.stderr


def test_a_deleted_file_is_read_to_its_end(host: Host, langfuse: FakeLangfuse) -> None:
    """Lines written before the file was unlinked arrive; its disk space is freed."""  # covers FDS-01
    langfuse.script("slow:1,200*")
    host.write(*[kong_line(1, seq) for seq in range(10)])
    host.start()
    wait_until(lambda: len(langfuse.requests) > 0, "the daemon at work")
    assert host.daemon is not None
    with host.log.open("ab") as log:
        # It does not see the one without the other, however long this takes.
        hold_still(host.daemon)
        host.log.unlink()
        log.writelines(kong_line(1, seq) for seq in range(10, 60))
        log.flush()
        host.daemon.send_signal(signal.SIGCONT)
    wait_until(lambda: len(langfuse.span_ids()) == 60, "the lines of the deleted file")
    wait_until(lambda: host.open_logs() == [], "the descriptor to be closed")


def test_the_program_runs_where_there_is_no_home_and_no_terminal(host: Host, langfuse: FakeLangfuse) -> None:
    """A service has neither."""
    host.write(kong_line(1, 1))
    program = shutil.which("kong-ai-tracing", path=str(Path(sys.executable).parent)) or ""
    if not program:
        pytest.skip("the program is not installed beside this interpreter")
    environ = {"LANGFUSE_PUBLIC_KEY": "pk-lf-test", "LANGFUSE_SECRET_KEY": "sk-lf-test"}
    done = subprocess.run(
        [program, "run", "--once", "-c", str(host.config)],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert signal.SIGTERM  # the same handler serves both signals
    assert len(langfuse.spans) == 1


def test_a_reload_keeps_a_deleted_file_that_is_written_to(host: Host, langfuse: FakeLangfuse) -> None:
    """Kong's workers hold a file that was compressed at once until they are reloaded: so do we."""

    # covers PRC-05, FDS-01
    def wait_for_line(seq: int) -> None:
        wait_until(lambda: observation_id(1, seq) in langfuse.span_ids(), f"line {seq}")

    def reload(count: int) -> None:
        host.configure(langfuse, rare_scans, f"[delivery]\nbatch_max_age_seconds = 0.{count}")
        assert host.daemon is not None
        host.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: host.messages.read_text().count("config.reloaded") == count, "a reload")

    # A deleted file is let go when some scans found nothing new in it: there are none in this test's time.
    rare_scans = "[tailing]\nscan_interval_seconds = 3600"
    host.configure(langfuse, rare_scans)
    with host.log.open("ab", buffering=0) as worker:
        worker.write(kong_line(1, 1))
        host.start()
        wait_for_line(1)
        host.log.unlink()
        worker.write(kong_line(1, 2))
        wait_for_line(2)
        for count in (1, 2):
            reload(count)
            worker.write(kong_line(1, 2 + count))
            wait_for_line(2 + count)
    host.stop()
    assert len(langfuse.spans) == 4


def test_a_stop_right_after_a_file_was_deleted_and_read_leaves_nothing_to_miss(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """The next start would look for it, and tell of lines that are lost."""  # covers FDS-04
    host.write(kong_line(1, 1))
    host.start()
    wait_until(lambda: host.status()["lag_bytes"] == 0 and bool(langfuse.spans), "the line")
    host.log.unlink()
    host.stop()
    assert host.status()["files"] == []
