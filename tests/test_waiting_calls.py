"""Calls that wait for others of their trace outlive a SIGKILL, whatever becomes of their file meanwhile."""

from __future__ import annotations

import contextlib
import sqlite3

from msgspec.structs import replace

from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.lines import Line, Origin, OutOfSightError
from kong_host import Host, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse
from test_gathering import NOW_MS, gathering
from test_pipeline import Rig
from test_store import held_call

PATIENT = "[grouping]\ntrace_idle_seconds = 300\ntrace_hold_seconds = 300"
QUICK = "[grouping]\ntrace_idle_seconds = 0.2\ntrace_hold_seconds = 1"
SCANS = "[tailing]\nscan_interval_seconds = 0.1"


def waiting(host: Host) -> list[bool]:
    """Of each waiting call in the state, whether it is there whole."""
    [path] = host.state.glob("state.sqlite3")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [whole == 1 for (whole,) in db.execute("SELECT call IS NOT NULL FROM held")]


def wait_for(host: Host, state: list[bool]) -> None:
    def is_reached() -> bool:
        with contextlib.suppress(ValueError, sqlite3.Error):  # there is no database yet
            return waiting(host) == state
        return False

    wait_until(is_reached, f"waiting calls to be {state}")


def test_in_a_quiet_log_a_waiting_call_is_soon_written_whole(host: Host, langfuse: FakeLangfuse) -> None:
    """Nothing else needs to happen for it, and its file may be deleted after a kill."""
    host.configure(langfuse, PATIENT, SCANS)
    host.write(kong_line(1, 1, shared=True))
    host.start()
    wait_for(host, [True])
    host.kill()
    host.log.unlink()
    host.configure(langfuse, QUICK, SCANS)
    host.start()
    wait_until(lambda: observation_id(1, 1) in langfuse.span_ids(), "the call")
    host.stop()


def test_a_waiting_call_outlives_a_start_at_which_its_file_is_not_there(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """A disk that is mounted late, a directory that is moved for a moment: what is not seen is not gone."""
    # covers FDS-07, NOT-10
    host.configure(langfuse, PATIENT, SCANS, "[delivery]\nspill_after_seconds = 300")
    host.write(kong_line(1, 1, shared=True))
    host.start()
    wait_for(host, [False])
    host.kill()
    elsewhere = host.log.parent.with_name("elsewhere")
    host.log.parent.rename(elsewhere)
    host.configure(langfuse, QUICK, SCANS)
    host.start()
    wait_until(lambda: b"service.ready" in host.messages.read_bytes()[host.said_before :], "readiness")
    host.kill()
    host.start()
    wait_until(lambda: b"service.ready" in host.messages.read_bytes()[host.said_before :], "readiness")
    elsewhere.rename(host.log.parent)
    wait_until(lambda: observation_id(1, 1) in langfuse.span_ids(), "the call")
    host.stop()
    assert waiting(host) == []
    assert "held.lost" not in host.messages.read_text()


def test_a_waiting_call_whose_file_is_gone_is_counted_once_it_is_sure(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """Deleted in the moment of a kill: it is told, and not waited for again."""  # covers FDS-04
    host.configure(langfuse, PATIENT, SCANS, "[delivery]\nspill_after_seconds = 300")
    host.write(kong_line(1, 1, shared=True))
    host.start()
    wait_for(host, [False])
    host.kill()
    host.log.unlink()
    host.start()
    wait_until(lambda: "held.lost" in host.messages.read_text(), "the word of the loss")
    host.stop()
    assert waiting(host) == []
    assert host.status()["counters"]["calls_lost"] == 1
    assert "file.gone" in host.messages.read_text()


async def test_a_place_that_is_out_of_sight_is_looked_for_after_each_scan() -> None:
    """It is neither lost nor forgotten, and its call is written down anew when it is found."""
    rig, there = Rig(), False
    lines = kong_line(1, 1, shared=True)
    origin = Origin("/log", 1, 0, len(lines))

    async def reread(asked: Origin) -> Line:
        assert asked == origin
        if not there:
            raise OutOfSightError
        return Line("/log", 1, 0, lines.rstrip(b"\n"))

    held = rig.held(observation_id(1, 1), origin)
    await rig.pipeline.restore(held, reread)
    await rig.pipeline.run_to_end()
    assert rig.taker.spans == {}
    assert not any(batch.progress.counts["calls_lost"] for batch in rig.taker.batches)
    there = True
    await rig.pipeline.run_to_end()
    assert list(rig.taker.spans) == [observation_id(1, 1)]
    released = [batch.progress.released for batch in rig.taker.batches if batch.progress.released]
    assert {observation_id(1, 1)} in released


def test_a_call_that_waits_for_nobody_any_more_leaves_at_once() -> None:
    """It was read again under another configuration, by which its trace is its own."""
    steps: Gathering = gathering()
    shared = held_call("a")
    alone = replace(shared, context=replace(shared.context, shared=False))
    steps.hold([alone], NOW_MS)
    batch = steps.close()
    assert batch.body is not None
    assert batch.body.spans == 1
    assert batch.progress.released == {alone.id}
