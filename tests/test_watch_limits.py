"""The real daemon against the kernel's limits on inotify: no watch, no instance, a queue that overflows."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from kong_host import PROGRAM, Host, hold_still, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def write(host: Host, seq: int) -> None:
    host.write(kong_line(1, seq))


def wait_for(langfuse: FakeLangfuse, *seqs: int) -> None:
    expected = {observation_id(1, seq) for seq in seqs}
    wait_until(lambda: expected <= langfuse.span_ids(), f"lines {seqs}")


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_without_a_watch_new_files_are_found_by_polling(
    host: Host, langfuse: FakeLangfuse, limit: str
) -> None:
    """The kernel refuses, the operator hears of it once, and a rotation is followed all the same."""
    # covers NOT-01, NOT-03
    lower = f'echo 0 > /proc/sys/user/{limit} && exec "$@"'
    namespace = ["unshare", "--user", "--map-root-user", "sh", "-c", lower, "sh"]
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"THE LIMIT WAS NOT TRIED, it takes a user namespace: {tried.stderr.strip()}")
    host.configure(langfuse, "[tailing]", "scan_interval_seconds = 0.3")
    write(host, 0)
    with host.messages.open("ab") as messages:
        host.daemon = subprocess.Popen(
            [*namespace, *PROGRAM, "run", "--config", str(host.config)], env=host.environ, stderr=messages
        )
    wait_for(langfuse, 0)
    for seq in (1, 2, 3):
        host.log.rename(f"{host.log}.{seq}")
        write(host, seq)
        wait_for(langfuse, seq)
    host.stop()
    said = host.messages.read_text()
    assert said.count("watch.unavailable") == 1, said
    assert "fallback=polling" in said


def test_an_overflow_of_the_event_queue_hides_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """What the kernel drops is found by the scan that the others asked for, long before it is due."""
    # covers NOT-02
    events = int(QUEUE.read_text())
    if events > 100_000:
        pytest.skip(f"THE OVERFLOW WAS NOT TRIED: {events} events would be needed")
    host.configure(langfuse, "[tailing]", "scan_interval_seconds = 300")
    write(host, 0)
    host.start()
    wait_for(langfuse, 0)
    assert host.daemon is not None
    hold_still(host.daemon)
    noise = host.log.with_name("noise")
    for _ in range(events // 2 + 1_000):
        os.close(os.open(noise, os.O_WRONLY | os.O_CREAT))
        noise.unlink()
    # The queue is full: nobody is told of this one.
    host.log.rename(f"{host.log}.1")
    write(host, 1)
    host.daemon.send_signal(signal.SIGCONT)
    wait_for(langfuse, 0, 1)
    host.log.rename(f"{host.log}.2")
    write(host, 2)
    wait_for(langfuse, 0, 1, 2)
    host.stop()
