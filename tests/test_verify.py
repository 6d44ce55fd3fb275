"""Of each call in a log, what became of it: by the hour, from what this host's state says."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kong_ai_tracing.selection import selection_of
from kong_ai_tracing.selectionnotes import note_selection
from kong_ai_tracing.storestatus import read_status
from kong_host import Host, wait_until
from kong_writer import START_MS, kong_line
from langfuse_server import FakeLangfuse

HOUR_MS = 3_600_000


def line(seq: int, hour: int) -> bytes:
    """A call that began so many hours later."""
    began = b'"started_at":%d'
    return kong_line(1, seq).replace(began % (START_MS + seq), began % (START_MS + hour * HOUR_MS + seq))


def verify(host: Host, *arguments: str | Path, code: int) -> list[dict[str, Any]]:
    result = host.run("verify", *map(str, arguments), "--json")
    assert result.returncode == code, result.stderr
    [found] = json.loads(result.stdout)
    return [{name: n for name, n in hour.items() if n and name != "hour"} for hour in found["hours"]]


def test_what_was_delivered_is_told_from_what_is_missing(host: Host, langfuse: FakeLangfuse) -> None:
    """By the daemon, by a backfill, compressed meanwhile or not; a hole in the log is a row."""
    host.write(*(line(seq, 0) for seq in range(20)), *(line(seq, 1) for seq in range(20, 50)))
    host.start()
    wait_until(lambda: len(langfuse.span_ids()) == 50, "the live calls")
    wait_until(lambda: host.status()["lag_bytes"] == 0, "the daemon's position")
    host.stop()
    old = host.directory / "old.gz"
    old.write_bytes(gzip.compress(b"".join(line(seq, 5) for seq in range(100, 107)) + b"not json\n"))
    live = host.directory / "copy.gz"
    live.write_bytes(gzip.compress(host.log.read_bytes()))
    expected = [{"calls": 20, "accepted": 20}, {"calls": 30, "accepted": 30}]
    assert verify(host, host.log, code=0) == expected
    assert verify(host, live, old, code=3) == [*expected, {"calls": 7, "missing": 7}]
    told = host.run("verify", str(live), str(old))
    assert told.returncode == 3
    assert "no call in 3 hours" in told.stdout
    assert "7 calls are missing" in told.stdout
    assert "1 lines cannot be read, and are of no hour." in told.stdout
    assert host.run("backfill", str(old)).returncode == 0
    assert verify(host, live, old, code=0) == [*expected, {"calls": 7, "accepted": 7}]


def test_what_waits_and_what_was_refused_is_neither_accepted_nor_missing(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """The outbox and the refused bodies say which calls they hold; what the daemon has not read, waits."""
    langfuse.script("503*")
    host.write(*(line(seq, 0) for seq in range(10)))
    host.start()

    def outbox_spans() -> int:
        status = read_status(host.state)
        return status.outbox_spans if status is not None else 0

    wait_until(lambda: outbox_spans() == 10, "the outbox")
    host.kill()
    host.write(line(10, 0))
    assert verify(host, host.log, code=0) == [{"calls": 11, "waiting": 11}]
    langfuse.script("400*")
    host.start()
    wait_until(
        lambda: (status := read_status(host.state)) is not None and status.refused == 11, "the refusals", 60
    )
    assert verify(host, host.log, code=0) == [{"calls": 11, "refused": 11}]


def test_what_a_selection_left_out_is_told_from_what_it_delivered(host: Host, langfuse: FakeLangfuse) -> None:
    """It was asked to leave it out: that is not missing."""
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(line(seq, seq // 10) for seq in range(20)))
    middle = datetime.fromtimestamp((START_MS + HOUR_MS) / 1000, UTC).isoformat()
    assert host.run("backfill", str(archive), "--since", middle).returncode == 0
    assert len(langfuse.span_ids()) == 10
    expected = [{"calls": 10, "filtered": 10}, {"calls": 10, "accepted": 10}]
    assert verify(host, archive, code=0) == expected
    assert verify(host, archive, "--since", middle, code=0) == expected[1:]
    told = host.run("verify", str(archive)).stdout
    assert f"kong-ai-tracing backfill {archive} --config {host.config} delivers them" in told
    [ledger] = (host.state / "backfill" / "selections").iterdir()
    (ledger / "selection.json").unlink()
    assert verify(host, archive, code=0) == [{"calls": 10, "unknown": 10}] * 2, "an older version's ledger"
    assert host.run("backfill", str(archive)).returncode == 0
    assert verify(host, archive, code=0) == [{"calls": 10, "accepted": 10}] * 2


def test_what_lies_between_two_beginnings_of_one_selection_is_not_known(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """The beginning of `2h` moves on: which run read a line is not noted."""
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(line(seq, seq // 10) for seq in range(30)))
    began = [datetime.fromtimestamp((START_MS + hour * HOUR_MS) / 1000, UTC).isoformat() for hour in (1, 2)]
    assert host.run("backfill", str(archive), "--since", began[0]).returncode == 0
    [ledger] = (host.state / "backfill" / "selections").iterdir()
    note_selection(ledger, selection_of(since=began[1]))
    assert verify(host, archive, code=0) == [
        {"calls": 10, "filtered": 10},
        {"calls": 10, "unknown": 10},
        {"calls": 10, "accepted": 10},
    ]


def test_a_backfill_of_everything_is_enough_after_a_selection(host: Host, langfuse: FakeLangfuse) -> None:
    """What one left out, another delivered."""
    archive = host.directory / "ai.log.1"
    archive.write_bytes(b"".join(line(seq, 0) for seq in range(10)))
    assert host.run("backfill", str(archive), "--model", "nothing*").returncode == 0
    assert langfuse.span_ids() == set()
    assert verify(host, archive, code=0) == [{"calls": 10, "filtered": 10}]
    assert verify(host, archive, "--model", "nothing*", code=0) == []
    assert host.run("backfill", str(archive)).returncode == 0
    assert verify(host, archive, code=0) == [{"calls": 10, "accepted": 10}]
