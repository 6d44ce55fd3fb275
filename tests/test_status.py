"""What the numbers of the store mean to an operator."""

from __future__ import annotations

import fcntl
import io
import json
import os
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from kong_ai_tracing.config import Config, Delivery
from kong_ai_tracing.identity import FileRecord, digest_of
from kong_ai_tracing.lines import EMPTY_MARKER
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.statedir import LOCK_NAME
from kong_ai_tracing.status import Seen, is_running, report_of
from kong_ai_tracing.statusreport import EXIT_CODES, FileLag, Outbox, Report, Target, as_json, together
from kong_ai_tracing.statustext import print_report
from kong_ai_tracing.store import Store
from kong_ai_tracing.storerepair import Damage
from kong_ai_tracing.storesalvage import Salvaged
from kong_ai_tracing.storestatus import StoreStatus, read_status
from kong_ai_tracing.storetrouble import Trouble
from situations import bad_situation

NOW = 1_000_000.0


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "ai.log"
    path.write_bytes(b"x" * 1000)
    return path


def record(path, offset=1000, file_id=1):
    status = path.stat()
    return FileRecord(file_id, str(path), status.st_dev, status.st_ino, None, 0, b"", offset, EMPTY_MARKER)


def stored(*files, accepted_ago=1.0, updated_ago=1.0, outbox=(0, 0), state="ok", **health):
    said = {"state": state, "reason": None, "last_accepted_ms": None, "paused": None, **health}
    if accepted_ago is not None:
        said["last_accepted_ms"] = int((NOW - accepted_ago) * 1000)
    return StoreStatus(
        files=list(files),
        counters={"lines": 7},
        outbox_batches=outbox[0],
        outbox_bytes=outbox[1],
        outbox_spans=3,
        refused=0,
        set_aside=0,
        held=0,
        health={"langfuse": said},
        updated_at_ms=int((NOW - updated_ago) * 1000),
    )


def report(status, log_paths=(), running=True):
    config = Config(
        log_paths=log_paths,
        langfuse_enabled=True,
        delivery=Delivery(outbox_max_bytes=1000, batch_max_bytes=10),
    )
    seen = status if isinstance(status, Seen) else Seen(status)
    return report_of(config, seen, name="langfuse", now=NOW, running=running)


def test_all_read_and_accepted_is_healthy(log):
    """Nothing to do, exit code 0."""
    said = report(stored(record(log)))
    assert (said.state, said.problems, said.lag_bytes) == ("healthy", [], 0)
    assert said.destinations["langfuse"].last_accepted_seconds_ago == 1.0
    assert EXIT_CODES[said.state] == 0


def test_lag_counts_the_unread_bytes_of_files_also_of_those_never_read(log):
    """A log that the daemon has not even seen is lag as well; an archive is not."""
    (log.parent / "ai.log.1").write_bytes(b"y" * 50)
    (log.parent / "ai.log.2.gz").write_bytes(b"z" * 50)
    said = report(stored(record(log, offset=900)), log_paths=(f"{log.parent}/ai.log*",))
    assert said.lag_bytes == 150
    assert [file.lag_bytes for file in said.files] == [100, 50]


def test_a_copy_of_a_known_file_is_not_behind(log):
    """It waits until the log is gone, and is read then; a file that begins otherwise is unread."""
    head = log.read_bytes()
    known = replace(record(log), head_length=len(head), head_digest=digest_of(head))
    log.with_name("ai.log.bak").write_bytes(head)
    log.with_name("ai.log.other").write_bytes(b"y" * 1000)
    said = report(stored(known), log_paths=[f"{log}*"])
    assert {file.path: file.lag_bytes for file in said.files} == {str(log): 0, f"{log}.other": 1000}


def test_lag_is_told_in_seconds_by_the_oldest_unread_request(log):
    """The request's own start says how old it is; what cannot be read has no age."""
    log.write_bytes(b"x" * 900 + b'{"started_at":%d,"request":{}}' % ((NOW - 90) * 1000))
    said = report(stored(record(log, offset=900)))
    assert said.files[0].lag_seconds == 90.0
    assert said.lag_seconds == 90.0
    log.write_bytes(b"x" * 1000)
    assert report(stored(record(log, offset=900))).lag_seconds is None


def test_a_file_that_was_replaced_has_no_known_lag(log):
    """Another file under the old name says nothing about the one that was read."""
    old = record(log)
    log.rename(log.with_suffix(".1"))
    log.write_bytes(b"new")
    said = report(stored(old))
    assert (said.files[0].size, said.files[0].lag_bytes) == (None, None)


def test_a_file_that_rotation_renamed_while_reading_waits_counts_under_its_new_name(log):
    """The state has the old name until something is read again; the lag must not shrink meanwhile."""
    known = record(log, offset=400)
    log.rename(log.with_name("ai.log.1"))
    log.write_bytes(b"y" * 50)
    said = report(stored(known), (str(log),))
    lags = {Path(file.path).name: (file.offset, file.size, file.lag_bytes) for file in said.files}
    assert lags == {"ai.log": (0, 50, 50), "ai.log.1": (400, 1000, 600)}
    assert said.lag_bytes == 650


def test_a_truncated_file_counts_once(log):
    """Until the old epoch is retired there are two records of one inode."""
    said = report(stored(record(log, offset=990, file_id=2), record(log, offset=5000, file_id=1)))
    assert said.lag_bytes == 10
    assert len(said.files) == 1


@pytest.mark.parametrize(
    ("more", "running", "state"),
    [
        ({"updated_ago": 5}, True, "healthy"),
        ({"updated_ago": 120}, True, "problems"),
        ({}, False, "problems"),
        ({"state": "holding", "reason": "401"}, True, "destination_down"),
        ({"state": "retrying", "reason": "503", "outbox": (1, 10)}, True, "healthy"),
        (
            {"state": "retrying", "reason": "503", "outbox": (1, 10), "accepted_ago": 90},
            True,
            "destination_down",
        ),
        (
            {"state": "retrying", "reason": "503", "outbox": (1, 10), "accepted_ago": None},
            True,
            "destination_down",
        ),
        ({"outbox": (9, 900)}, True, "problems"),
        ({"outbox": (1, 10), "accepted_ago": 90}, True, "problems"),
        ({"paused": "the outbox is full"}, True, "problems"),
    ],
)
def test_each_way_of_standing_still_is_a_problem(log, more, running, state):
    """Lag that does not move, a full outbox, a hold: each has its state and words."""
    said = report(stored(record(log, offset=900), **more), running=running)
    assert said.state == state, said.problems
    assert bool(said.problems) == (state != "healthy")


def test_a_stopped_daemon_with_nothing_to_do_is_healthy(log):
    """`run --once` from a timer is a way of running it."""
    assert report(stored(record(log), updated_ago=86_400), running=False).state == "healthy"


def test_nothing_has_run_yet(tmp_path):
    """Before the first run there is a hint, not a traceback."""
    said = report(read_status(tmp_path))
    assert said.state == "never_run"
    assert EXIT_CODES[said.state] == 3


def test_the_lock_tells_whether_a_daemon_runs_without_taking_it(tmp_path):
    """Looking must never make a starting daemon give up."""
    assert is_running(tmp_path) is False
    with (tmp_path / LOCK_NAME).open("w") as lock:
        assert is_running(tmp_path) is False
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_running(tmp_path) is True
    assert is_running(tmp_path) is False
    assert is_running(tmp_path, locks=tmp_path / "nowhere") is None


def test_the_status_is_read_beside_an_open_store(tmp_path):
    """Another process asks while the daemon has the database open."""
    store = Store(tmp_path)
    try:
        assert report(read_status(tmp_path)).state == "healthy"
    finally:
        store.close()
    assert report(read_status(tmp_path)).state == "healthy"


def test_it_is_told_when_rotation_will_delete_what_is_unread(log):
    """From the rhythm that was seen and the generations that are there; a problem when reading waits."""
    day = 86_400.0
    seen = Rotations(str(log), rotated_at=[NOW - 2.9 * day, NOW - 1.9 * day, NOW - 0.9 * day], kept=2)
    log.rename(log.with_name("ai.log.1"))
    log.write_bytes(b"x")
    old = log.with_name("ai.log.1")
    os.utime(log, (NOW, NOW))
    os.utime(old, (NOW - day, NOW - day))
    status = msgspec.structs.replace(
        stored(record(old, offset=900), record(log, offset=1, file_id=2), paused="the outbox is full"),
        rotations={str(log): seen},
    )
    said = report(status)
    assert [file.deleted_in_seconds for file in said.files] == [None, pytest.approx(0.1 * day)]
    assert any(
        f"100 unread bytes of {old} will be deleted by rotation in about 2 h" in p for p in said.problems
    )
    text = io.StringIO()
    print_report(said, Console(file=text, width=200))
    assert "deleted in" in text.getvalue()
    assert "about 2 h" in text.getvalue()
    reading = msgspec.structs.replace(status, health={})
    assert not any("deleted" in problem for problem in report(reading).problems)


def test_the_report_is_json_and_text(log):
    """The same facts for programs and for people."""
    said = report(stored(record(log, offset=900), state="holding", reason="401 Unauthorized"))
    document = json.loads(as_json(said))
    assert document["files"][0] == {
        "path": str(log),
        "offset": 900,
        "size": 1000,
        "lag_bytes": 100,
        "lag_seconds": None,
        "deleted_in_seconds": None,
        "destination": "langfuse",
    }
    out = io.StringIO()
    print_report(said, Console(file=out))
    text = out.getvalue()
    assert text.startswith("destination down  daemon running")
    assert "401 Unauthorized" in text
    assert str(log) in text
    assert "\x1b" not in text, os.environ.get("TERM")


def test_while_the_state_cannot_be_written_its_health_comes_from_the_note(log):
    """What the database says is old then."""
    health = {"langfuse": {"state": "retrying", "reason": "503", "paused": "the state cannot be written"}}
    trouble = Trouble(int((NOW - 12) * 1000), int(NOW * 1000), "database or disk is full", health)
    said = report(Seen(stored(record(log)), trouble))
    assert said.state == "problems"
    assert "the state cannot be written for 12 s (database or disk is full)" in said.problems[0]
    assert said.destinations["langfuse"].state == "retrying"


def test_a_damaged_state_is_a_problem_until_its_folder_is_gone(log):
    """With what is missing, and where the rest is."""
    damage = Damage("/state/damaged-1", "file is not a database", "", Salvaged(incomplete=["outbox"]))
    said = report(Seen(stored(record(log)), damages=[damage]))
    assert said.state == "problems"
    assert "a part of outbox is missing; see /state/damaged-1" in said.problems[0]
    assert said.damaged_states == ["/state/damaged-1"]


def test_several_destinations_are_told_apart(log):
    """Each has a line, and the whole is as bad as the worst."""
    good = report(stored(record(log)))
    bad = report(stored(record(log, offset=900), state="holding", reason="401", outbox=(2, 20)))
    bad = msgspec.structs.replace(bad, destinations={"team-a": bad.destinations["langfuse"]})
    said = together({"langfuse": good, "team-a": bad}, "/state")
    assert (said.state, said.lag_bytes, said.outbox.batches) == ("destination_down", 100, 2)
    assert said.problems[0].startswith("team-a: ")
    out = io.StringIO()
    print_report(said, Console(file=out))
    lines = out.getvalue().splitlines()
    [line] = [line for line in lines if line.startswith("team-a")]
    assert "holding" in line
    assert "  team-a: 401" in lines
    assert any(line.startswith("langfuse") for line in lines)


def test_every_field_of_the_json_output_is_documented():
    """`docs/cli.md` is the contract."""
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    fields = {name for struct in (Report, FileLag, Outbox, Target) for name in struct.__struct_fields__}
    assert [name for name in sorted(fields) if f"`{name}" not in text] == []


def test_what_was_dropped_is_said() -> None:
    """An operator who chose it wants to know how much it was."""
    out = io.StringIO()
    report = Report("healthy", [], "/state", True, updated_seconds_ago=1.0, updated_at="2026-11-23T12:00:00Z")
    print_report(report, Console(file=out))
    assert "dropped" not in out.getvalue()
    print_report(msgspec.structs.replace(report, counters={"spans_dropped": 12}), Console(file=out))
    assert "dropped: 12 spans" in out.getvalue()


def test_a_state_that_was_only_just_made_is_not_called_old():
    """Before the first commit nothing has a time: nobody is told of decades."""
    young = msgspec.structs.replace(stored(), updated_at_ms=0)
    assert report(young).updated_seconds_ago == 0


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_can_be_read_at_every_width(width) -> None:
    """No cell is cut, no line is longer than the terminal, and nobody else's words are obeyed."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    print_report(bad_situation().reports["langfuse"], console)
    said = out.getvalue()
    assert all(len(line) <= width for line in said.splitlines())
    assert "…" not in said
    for words in ("retrying", "900 bytes", "  langfuse: 503", "8.8 KiB", "77 s", r"/logs/\x1b[2J"):
        assert words in said
    assert not {"\x1b", "\u202e", "\udcff"} & set(said)
