"""Files that go away under the real daemon, and come back compressed."""

from __future__ import annotations

import gzip
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_host import Host, wait_until
from kong_writer import kong_line, lost_and_found, observation_id, received_spans
from langfuse_server import FakeLangfuse


@pytest.fixture
def langfuse(tmp_path: Path) -> Iterator[FakeLangfuse]:
    with FakeLangfuse(record=tmp_path / "received.jsonl") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    one = Host(tmp_path, langfuse)
    one.configure(langfuse, "[tailing]", "scan_interval_seconds = 0.2")
    yield one
    one.clean_up()


def test_a_file_deleted_during_an_outage_is_secured_and_let_go(host: Host, langfuse: FakeLangfuse) -> None:
    """Its lines rest in the outbox, and its disk space is free while Langfuse is still down."""
    # covers FDS-02
    langfuse.script("503*")
    host.write(*[kong_line(1, seq, 500) for seq in range(2000)])
    host.start()
    wait_until(lambda: len(langfuse.requests) > 0, "the file to be read")
    assert str(host.log) in host.open_logs()
    host.log.unlink()
    wait_until(lambda: host.open_logs() == [], "the descriptor to be closed")
    host.kill()
    langfuse.script("")
    assert host.run("run", "--once").returncode == 0
    expected = {observation_id(1, seq) for seq in range(2000)}
    assert lost_and_found(expected, received_spans(host.directory / "received.jsonl")).nothing_lost


def test_kills_in_the_middle_of_a_compressed_file_lose_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """It is taken up again at the offset of the last commit, and read to its end once."""
    # covers CMP-01, CMP-09, CHK-01
    host.configure(
        langfuse, "[tailing]", "scan_interval_seconds = 0.2", "[delivery]", "batch_max_bytes = 50000"
    )
    host.write(*[kong_line(1, seq, 2000) for seq in range(6000)])
    # Each life comes to so much and no further, however fast it is.
    langfuse.script("200*8,hang*")
    host.start()
    wait_until(lambda: len(langfuse.spans) > 100, "the first lines")
    host.kill()
    packed = host.log.with_name("ai.log.1.gz")
    packed.write_bytes(gzip.compress(host.log.read_bytes(), 1))
    host.log.unlink()
    host.write(*[kong_line(1, seq) for seq in range(6000, 6010)])
    for _ in range(2):
        before = len(langfuse.spans)
        langfuse.script("200*8,hang*")
        host.start()
        wait_until(lambda before=before: len(langfuse.spans) > before, "more lines")
        host.kill()
        packed = packed.rename(host.log.with_name("ai.log.2.gz"))
    langfuse.script("")
    assert host.run("run", "--once").returncode == 0
    expected = {observation_id(1, seq) for seq in range(6010)}
    assert lost_and_found(expected, received_spans(host.directory / "received.jsonl")).nothing_lost
    read = len(langfuse.spans)
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.spans) == read, "nothing of it is read again"


def read_and_deleted(host: Host, langfuse: FakeLangfuse, *settings: str) -> set[str]:
    """The daemon has read its log to the end, has room for a part of it only, and the log is gone."""
    langfuse.script("hang*")
    host.configure(langfuse, "[tailing]", "scan_interval_seconds = 0.2", "[delivery]", *settings)
    host.write(*[kong_line(1, seq, 500) for seq in range(2000)])
    size = host.log.stat().st_size
    host.start()
    wait_until(lambda: host.read_bytes() == size, "the file to be read to its end")
    host.log.unlink()
    wait_until(lambda: "file.no_log" in host.messages.read_text(), "the deletion to be seen")
    return {observation_id(1, seq) for seq in range(2000)}


def test_a_stop_secures_what_was_read_of_a_deleted_file(host: Host, langfuse: FakeLangfuse) -> None:
    """Also what still waited for room in memory: nobody can read it again."""
    # covers FDS-01, FDS-02, PRC-02
    expected = read_and_deleted(host, langfuse, "spill_after_seconds = 600")
    host.stop()
    langfuse.script("")
    assert host.run("run", "--once").returncode == 0
    assert lost_and_found(expected, received_spans(host.directory / "received.jsonl")).nothing_lost


def test_a_reload_goes_on_with_a_deleted_file_for_which_the_outbox_was_full(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """The very reload that makes room: what was read and is not on disk is read again."""
    # covers FDS-01, FDS-02, PRC-05
    limits = "batch_max_bytes = 65_536", "outbox_max_bytes = 65_536", "spill_after_seconds = 600"
    expected = read_and_deleted(host, langfuse, *limits)
    wait_until(lambda: "the outbox is full" in host.messages.read_text(), "the outbox to be full")
    langfuse.script("")
    host.configure(langfuse, "[tailing]", "scan_interval_seconds = 0.2")
    assert host.daemon is not None
    host.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: expected <= langfuse.span_ids(), "all lines")
    wait_until(lambda: host.open_logs() == [], "the descriptor to be closed")
