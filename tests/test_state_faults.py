"""The real daemon on a state directory that fails it: full, damaged, locked, read-only, remote."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from kong_ai_tracing.batches import Body
from kong_ai_tracing.store import FILE_NAME, Commit, Store
from kong_host import Host, wait_until
from kong_writer import kong_line, lost_and_found, observation_id, received_spans
from langfuse_server import FakeLangfuse

SETTINGS = ("[tailing]", "scan_interval_seconds = 0.3", "[delivery]", "free_space_floor_bytes = 0")


@pytest.fixture
def langfuse(tmp_path: Path) -> Iterator[FakeLangfuse]:
    with FakeLangfuse(record=tmp_path / "received.jsonl") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    host = Host(tmp_path, langfuse)
    host.configure(langfuse, *SETTINGS)
    yield host
    host.clean_up()


@pytest.fixture
def disk_mb() -> int:
    return 4


@pytest.fixture
def small_disk(host: Host, disk_mb: int) -> Iterator[Path]:
    """The state directory on a disk of its own that can really be filled."""
    host.state.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m,mode=0700", "tmpfs", host.state],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"A FULL DISK WAS NOT TRIED, it takes the right to mount: {mounted.stderr.strip()}")
    yield host.state
    host.clean_up()
    subprocess.run(["umount", host.state], check=True)


def ids(first: int, last: int) -> set[str]:
    return {observation_id(1, seq) for seq in range(first, last)}


def write(host: Host, first: int, last: int, padding_bytes: int = 0) -> None:
    host.write(*[kong_line(1, seq, padding_bytes) for seq in range(first, last)])


def fill(disk: Path) -> Path:
    """Not a byte is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    assert os.statvfs(disk).f_bavail == 0
    return ballast


def messages(host: Host) -> str:
    return host.messages.read_text()


def test_status_tells_the_truth_about_a_full_disk(
    host: Host, langfuse: FakeLangfuse, small_disk: Path
) -> None:
    """Nothing is claimed, nothing is lost, it is said at once, and it goes on by itself."""  # covers CHK-04
    write(host, 0, 20)
    host.start()
    wait_until(lambda: langfuse.span_ids() >= ids(0, 20), "the first spans")
    wait_until(lambda: host.status()["state"] == "healthy", "health")
    ballast = fill(small_disk)
    langfuse.script("503*")
    write(host, 20, 600, 4000)
    wait_until(lambda: any("cannot be written" in each for each in host.status()["problems"]), "the truth")
    report = host.status()
    assert report["state"] in ("problems", "destination_down")
    assert "full" in " ".join(report["problems"])
    wait_until(
        lambda: host.status()["destinations"]["langfuse"]["paused"] is not None, "the health of this moment"
    )
    write(host, 600, 610)  # who has read everything by now has nothing to wait with
    wait_until(lambda: "reading.paused" in messages(host), "the word to the operator")
    ballast.unlink()
    langfuse.script("200*")
    write(host, 610, 620)
    wait_until(lambda: langfuse.span_ids() >= ids(0, 620), "every line")
    wait_until(lambda: host.status()["problems"] == [], "health")
    host.stop()
    said = messages(host)
    assert said.count("store.failing") == said.count("store.resumed") > 0, said
    assert said.index("reading.paused") < said.index("reading.resumed")


@pytest.mark.parametrize("disk_mb", [28])
@pytest.mark.parametrize("killed", [False, True])
def test_a_disk_that_is_full_inside_a_checkpoint_loses_nothing(
    host: Host, langfuse: FakeLangfuse, small_disk: Path, *, killed: bool
) -> None:
    """What SQLite could not move into the database stays in its log, also for the next process."""
    # covers CHK-04, CHK-02, SNK-01
    random = Random(1)
    lines = [
        kong_line(1, seq, 40_000).replace(b"x" * 40_000, random.randbytes(20_000).hex().encode())
        for seq in range(1_400)
    ]
    langfuse.script("503*")
    host.write(*lines)
    host.start()
    wait_until(lambda: "reading.paused" in messages(host), "reading to wait")
    wait_until(lambda: any("cannot be written" in each for each in host.status()["problems"]), "the truth")
    # With so little room one is tried after each commit, and leaves nothing in the log when it succeeds.
    assert (small_disk / f"{FILE_NAME}-wal").stat().st_size, "a checkpoint came to no end"
    if killed:
        host.kill()
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    if killed:
        host.start()  # not earlier: without any room it gives up and leaves it to the service manager
    langfuse.script("200*")
    wait_until(lambda: langfuse.span_ids() >= ids(0, 1_400), "every line", 180)
    wait_until(lambda: host.status()["problems"] == [], "health")
    host.stop()
    found = lost_and_found(ids(0, 1_400), received_spans(host.directory / "received.jsonl"))
    assert found.nothing_lost, str(found)
    assert killed or found.repeated == {}


def test_a_full_disk_while_it_is_stopped_does_not_hide_the_state(
    host: Host, langfuse: FakeLangfuse, small_disk: Path
) -> None:
    """`status` needs no byte of room."""
    write(host, 0, 20)
    host.start()
    wait_until(lambda: langfuse.span_ids() >= ids(0, 20), "the first spans")
    host.stop()
    fill(small_disk)
    assert host.status()["counters"]["spans_delivered"] == 20


def test_a_state_that_is_damaged_in_mid_run_is_built_anew(host: Host, langfuse: FakeLangfuse) -> None:
    """The daemon goes on by itself, nothing is missing, and it is said until somebody has seen it."""
    # covers CHK-03
    langfuse.script("503*")
    write(host, 0, 50)
    host.start()
    wait_until(lambda: host.status()["outbox"]["spans"] == 50, "the outbox")
    database = host.state / "state.sqlite3"
    wait_until(lambda: (host.state / "state.sqlite3-wal").exists(), "the log")
    with sqlite3.connect(database, timeout=20) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with database.open("r+b") as file:
        for page in range(1, database.stat().st_size // 16_384):
            file.seek(page * 16_384)
            file.write(b"\xff" * 64)
    # The daemon's own cache hides the damage from it until it reads what it does not hold.
    write(host, 50, 3_000, 2_000)
    langfuse.script("200*")
    wait_until(lambda: langfuse.span_ids() >= ids(0, 3_000), "every line")
    host.stop()
    host.start()
    wait_until(lambda: host.status()["damaged_states"] != [], "the folder")
    assert "store.damaged" in messages(host)
    report = host.status()
    assert report["state"] == "problems"
    assert "damaged and built anew" in report["problems"][0]
    shutil.rmtree(report["damaged_states"][0])
    wait_until(lambda: host.status()["state"] == "healthy", "health")
    host.stop()
    assert langfuse.span_ids() == ids(0, 3_000)


def test_a_transaction_of_another_program_is_waited_for(host: Host, langfuse: FakeLangfuse) -> None:
    """Twice as long as SQLite waits by itself; it is said, and nothing is lost."""  # covers CHK-05, CHK-13
    host.start()
    write(host, 0, 10)
    wait_until(lambda: langfuse.span_ids() >= ids(0, 10), "the first spans")
    other = sqlite3.connect(host.state / "state.sqlite3", isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    write(host, 10, 20)
    wait_until(lambda: "store.failing" in messages(host), "the word to the operator")
    assert "database is locked" in " ".join(host.status()["problems"])
    write(host, 20, 30)
    time.sleep(3)
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: langfuse.span_ids() >= ids(0, 30), "every line")
    wait_until(lambda: host.status()["problems"] == [], "health")
    host.stop()
    assert "store.resumed" in messages(host)
    assert len(langfuse.spans) == 30


def test_a_read_only_state_directory_is_refused_at_the_start(host: Host, small_disk: Path) -> None:
    """With the fix, not with a traceback."""  # covers CHK-06
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    answer = host.run("run")
    assert answer.returncode == 1
    assert "Read-only file system" in answer.stderr
    assert "set another state_dir" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_what_was_refused_is_sent_again_by_the_running_daemon(host: Host, langfuse: FakeLangfuse) -> None:
    """Seen, exported, asked for, delivered with the same ids, and gone from the list."""  # covers SNK-14
    langfuse.script("400*")
    write(host, 0, 3)
    host.start()
    wait_until(lambda: host.status()["refused_spans"] == 3, "the refusals")
    listed = host.run("refused", "list").stdout
    assert "400" in listed
    shown = host.run("refused", "show", "1").stdout
    assert f"observation {observation_id(1, 0)}" in shown
    exported = host.directory / "refused.jsonl"
    assert host.run("refused", "export", "--output", str(exported)).returncode == 0
    assert exported.stat().st_mode & 0o777 == 0o600
    assert len(exported.read_text().splitlines()) == 3
    langfuse.script("200*")
    said = host.run("refused", "retry", "2")
    assert "1 span will be sent again within seconds" in said.stderr
    wait_until(lambda: len(langfuse.spans) == 1, "the one that was asked for")
    host.stop()
    assert "when the daemon" in host.run("refused", "retry", "--all").stderr
    assert host.run("run", "--once").returncode == 0
    assert langfuse.span_ids() == ids(0, 3)
    assert len(langfuse.spans) == 3
    assert "nothing was refused" in host.run("refused", "list").stderr


def test_a_file_is_read_again_from_where_the_operator_says(host: Host, langfuse: FakeLangfuse) -> None:
    """Only while nobody else moves positions; the same ids arrive."""
    write(host, 0, 10)
    host.start()
    wait_until(lambda: langfuse.span_ids() >= ids(0, 10), "the first spans")
    refused = host.run("checkpoint", "rewind", str(host.log))
    assert refused.returncode == 1
    assert "in use by another" in refused.stderr
    host.stop()
    size = host.log.stat().st_size
    assert f"{size} of {size}" in host.run("checkpoint", "show").stdout
    seventh = sum(len(line) for line in host.log.read_bytes().splitlines(keepends=True)[:7])
    answer = host.run("checkpoint", "rewind", str(host.log), "--to", str(seventh + 5))
    assert f"from byte {seventh} on" in answer.stderr
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.spans) == 13
    assert langfuse.span_ids() == ids(0, 10)
    assert host.run("checkpoint", "forget", str(host.log)).returncode == 0
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.spans) == 23
    assert host.run("checkpoint", "forget", "/nowhere").returncode == 1


def test_the_write_ahead_log_leaves_room_on_a_small_disk(tmp_path: Path) -> None:
    """Else it takes all there is, cannot be moved into the database for want of room, and stays for ever."""
    # covers CHK-04
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("A SMALL DISK WAS NOT TRIED, it takes the right to mount")
    try:
        with contextlib.closing(Store(disk)) as store:
            for number in range(1, 200):
                body = Body(1, Random(number).randbytes(100_000), packed=True)
                store.commit(Commit(spilled={number: body}, delivered=[number - 10]))
            assert len(store.restore().outbox) == 10
    finally:
        subprocess.run(["umount", disk], check=True)
