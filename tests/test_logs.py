"""The operator's log."""

from __future__ import annotations

import os
import sys

import pytest

from kong_ai_tracing.logs import OperatorLog, operator_log


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines():
    return []


def make(lines, level="info", clock=None, **more):
    return OperatorLog(level, write=lines.append, clock=clock or Clock(), wall_clock=lambda: 1.5, **more)


def test_an_event_is_one_line_of_key_value_pairs(lines):
    """Grep and a log collector read the same line."""
    make(lines).info("file_found", path="/a b.log", bytes=12, lag=1.25, absent=None)
    assert lines == [
        'time=1970-01-01T00:00:01.500Z level=info event=file_found path="/a b.log" bytes=12 lag=1.25\n'
    ]


def test_events_below_the_level_are_not_said(lines):
    """log_level decides."""
    log = make(lines, "warn")
    log.debug("a")
    log.info("b")
    log.warn("c")
    log.error("d")
    assert [line.split("event=")[1] for line in lines] == ["c\n", "d\n"]


def test_keys_are_masked_wherever_they_appear(lines):
    """Even an error text that quotes a header shows no key."""
    make(lines, secrets=("sk-lf-1", "")).error("refused", reason="bad key sk-lf-1!")
    assert "sk-lf-1" not in lines[0]
    assert "********" in lines[0]


def test_control_characters_never_reach_the_terminal(lines):
    """A file name or a server's answer cannot forge lines or move the cursor."""
    make(lines).warn("odd", path='/a\nlevel=error "x"\x1b[2J')
    assert lines[0].count("\n") == 1
    assert "\x1b" not in lines[0]
    assert 'path="/a\\nlevel=error \\"x\\"\\x1b[2J"' in lines[0]


def test_a_long_value_is_cut(lines):
    """A log line stays readable."""
    make(lines).warn("long", text="x" * 10_000)
    assert len(lines[0]) < 700


def test_a_repeated_failure_is_said_once_then_summarised_then_closed(lines):
    """An outage of a night is a few lines, not a flood."""
    clock = Clock()
    log = make(lines, clock=clock)
    for second in range(3600):
        clock.now = float(second)
        log.failing("langfuse_unreachable", "langfuse", reason="refused")
    said = len(lines)
    assert said == 6, "at 0, 60, 180, 420, 900 and 1860 seconds"
    assert "times=61 for_seconds=60" in lines[1]
    log.recovered("langfuse_unreachable", "langfuse")
    log.recovered("langfuse_unreachable", "langfuse")
    assert len(lines) == said + 1
    assert "event=langfuse_unreachable_over subject=langfuse times=3600 for_seconds=3599" in lines[-1]


def test_failures_of_different_subjects_are_kept_apart(lines):
    """One missing file does not hide another."""
    log = make(lines)
    log.failing("file_unreadable", "/a")
    log.failing("file_unreadable", "/b")
    assert len(lines) == 2


def test_the_journal_gets_priorities_and_no_time_of_ours(lines):
    """journalctl -p and its own clock work."""
    make(lines, for_journal=True).error("store_full")
    assert lines == ["<3>event=store_full\n"]


def test_the_journal_is_recognised_by_its_stream(capfd):
    """JOURNAL_STREAM names the device and inode of the stream that systemd connected."""
    status = os.fstat(sys.stderr.fileno())
    operator_log("info", (), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}).info("a")
    operator_log("info", (), {"JOURNAL_STREAM": "1:2"}).info("b")
    first, second = capfd.readouterr().err.splitlines()
    assert first == "<6>event=a"
    assert second.endswith("level=info event=b")
