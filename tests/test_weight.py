"""What the real process weighs on its host: memory with long lines, wake-ups while nothing happens."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kong_host import PROGRAM, Host, wait_until
from kong_writer import kong_line
from langfuse_server import FakeLangfuse

LINE_BYTES = (16 << 20) - (64 << 10)
LINES = 4
IDLE_SECONDS = 6.0
MOST_WAKEUPS_PER_SECOND = 3.0
"""Looking for new bytes four times a second alone would be more."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def of_status(process: subprocess.Popen[bytes], name: str) -> int:
    said = Path(f"/proc/{process.pid}/status").read_text()
    return next((int(line.split()[1]) for line in said.splitlines() if line.startswith(f"{name}:")), 0)


def ascii_words() -> object:
    return "the quick brown fox jumps over the lazy dog " * (LINE_BYTES // 44)


def emoji_and_words() -> object:
    return "schöne Grüße 😀🎉 " * (LINE_BYTES // 28)


def picture() -> object:
    data = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(LINE_BYTES * 3 // 4 - 100_000)
    return [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"},
        }
    ]


def json_in_json() -> object:
    item = json.dumps({"name": "word", "value": 17, "mail": "x", "nested": {"list": [1, 2, 3]}})
    return "[" + ",".join([item] * (LINE_BYTES // (len(item) + 50))) + "]"


def long_line(content: object, number: int) -> bytes:
    line = json.loads(kong_line(1, number))
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}
    line["ai"]["proxy"]["payload"]["request"] = json.dumps(request, ensure_ascii=False)
    data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
    assert len(data) <= 16 << 20
    return data


def words_and_one_emoji() -> object:
    """The dearest text for Python: each character takes four bytes because one does."""
    return "😀" + str(ascii_words())


@pytest.mark.parametrize(
    ("content", "most_megabytes"),
    [
        (ascii_words, 140),
        (emoji_and_words, 150),
        (picture, 140),
        (json_in_json, 140),
        (words_and_one_emoji, 175),
    ],
)
def test_the_longest_lines_fit_into_little_memory(
    host: Host, langfuse: FakeLangfuse, content: Callable[[], object], most_megabytes: int
) -> None:
    """Whatever they hold, with all redaction and compressed requests. Each is in memory alone."""
    host.configure(langfuse, "[delivery]", 'compression = "gzip"', "[redaction]", 'kinds = ["all"]')
    for number in range(LINES):
        host.write(long_line(content(), number))
    with host.messages.open("wb") as messages:
        command = [*PROGRAM, "run", "--once", "--config", str(host.config)]
        process = host.daemon = subprocess.Popen(command, env=host.environ, stderr=messages)
    most = 0
    while process.poll() is None:
        most = max(most, of_status(process, "VmHWM") * 1024)
        time.sleep(0.005)
    assert process.returncode == 0, host.messages.read_text()
    assert len(langfuse.span_ids()) == LINES
    assert most < most_megabytes * 1e6, f"{most / 1e6:.0f} MB"


def test_nothing_is_done_while_nothing_happens(host: Host) -> None:
    """Quiet files are not looked at all the time: the kernel says when one is written to."""
    host.log.touch()
    host.start()
    assert host.daemon is not None
    wait_until(lambda: b"service.ready" in host.messages.read_bytes(), "readiness")

    def is_at_rest() -> bool:
        before = of_status(host.daemon, "voluntary_ctxt_switches")
        time.sleep(IDLE_SECONDS)
        return (
            of_status(host.daemon, "voluntary_ctxt_switches") - before
            < MOST_WAKEUPS_PER_SECOND * IDLE_SECONDS
        )

    time.sleep(2)
    wait_until(is_at_rest, "the end of what a start has to do")
    assert of_status(host.daemon, "voluntary_ctxt_switches") > 0


def test_a_line_in_a_quiet_file_is_taken_at_once(host: Host, langfuse: FakeLangfuse) -> None:
    """Long before it would be looked at."""
    host.configure(
        langfuse, "[tailing]", "scan_interval_seconds = 300", "[delivery]", "batch_max_age_seconds = 0.1"
    )
    host.log.touch()
    host.start()
    wait_until(lambda: b"service.ready" in host.messages.read_bytes(), "readiness")
    for number in range(2):
        time.sleep(5)  # until all is quiet
        host.write(kong_line(1, number))
        wait_until(lambda number=number: len(langfuse.span_ids()) == number + 1, "the line")
    # A name that comes is an event of its own, and what is written to the new file from then on another.
    os.rename(host.log, f"{host.log}.1")
    host.write(kong_line(1, 2))
    wait_until(lambda: len(langfuse.span_ids()) == 3, "the line after a rotation")
