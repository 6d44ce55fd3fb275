"""The operator's log."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from kong_ai_tracing.logs import OperatorHandler, Repeats, set_up_logging


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def said(text, *args, level=logging.WARNING, name="kong_ai_tracing.x", times=1, exc_info=None, **more) -> str:
    stream = io.StringIO()
    handler = OperatorHandler(stream, clock=Clock(), **more)
    for _ in range(times):
        record = logging.LogRecord(name, level, "", 0, text, args, exc_info)
        record.created = 1.5
        handler.handle(record)
    return stream.getvalue()


def test_an_event_is_one_line_with_its_time_and_level():
    """Grep and a log collector read the same line."""
    line = said("file.missing path=%s bytes=%d", "/a.log", 12)
    assert line == "1970-01-01T00:00:01.500Z warn  file.missing path=/a.log bytes=12\n"


def test_keys_are_masked_wherever_they_appear():
    """Even an error text that quotes a header shows no key."""
    line = said("delivery.failing reason=%r", "bad key sk-lf-1!", secrets=("sk-lf-1", ""))
    assert "sk-lf-1" not in line
    assert "********" in line


def test_control_characters_never_reach_the_terminal():
    """A file name or a server's answer cannot forge lines or move the cursor."""
    line = said("odd path=%s", "/a\nb\x1b[2J")
    assert line.endswith("odd path=/a\\nb\\x1b[2J\n")


def test_a_long_text_is_cut():
    """A log line stays readable."""
    assert len(said("long %s", "x" * 10_000)) < 2100


def test_the_journal_gets_priorities_and_no_time_of_ours():
    """`journalctl -p` and the journal's own clock work, on every line of a traceback."""
    assert said("store.full", level=logging.ERROR, for_journal=True) == "<3>store.full\n"
    try:
        raise ValueError("ours")
    except ValueError:
        text = said("daemon.crashed", exc_info=sys.exc_info(), level=logging.ERROR, for_journal=True)
    assert text.count("\n") > 2
    assert all(line.startswith("<3>") for line in text.splitlines())


def test_a_library_is_named():
    """A warning of somebody else's code does not look like one of ours."""
    assert "library.asyncio message='slow'" in said("slow", name="asyncio")


def test_a_repeated_warning_is_said_once_and_then_summarised():
    """An outage of an hour is a few lines, not a flood."""
    clock = Clock()
    repeats = Repeats(clock)
    told = {}
    for second in range(3600):
        clock.now = float(second)
        if count := repeats.admit("file.missing path=/a"):
            told[second] = count
    assert told == {0: 1, 60: 60, 180: 120, 420: 240, 900: 480, 1860: 960}
    assert repeats.admit("file.missing path=/b") == 1, "another file is other news"


def test_what_comes_back_after_a_long_silence_is_news_again():
    """A failure of yesterday does not silence one of today."""
    clock = Clock()
    repeats = Repeats(clock)
    assert repeats.admit("a") == 1
    clock.now = 86_400.0
    assert repeats.admit("a") == 1


def test_only_a_bounded_number_of_texts_is_remembered():
    """Many different texts cost no memory."""
    repeats = Repeats(Clock())
    assert all(repeats.admit(str(number)) == 1 for number in range(5000))
    assert len(repeats._known) == 1000


def test_information_is_never_summarised():
    """Two starts are two lines."""
    assert said("daemon.started", level=logging.INFO, times=2).count("\n") == 2
    assert said("daemon.failed", times=2).count("\n") == 1


@pytest.fixture
def _restore_logging():
    root, ours = logging.getLogger(), logging.getLogger("kong_ai_tracing")
    before = root.handlers, root.level, ours.level
    yield
    root.handlers, root.level, ours.level = before


@pytest.mark.usefixtures("_restore_logging")
def test_the_level_is_ours_and_libraries_only_say_warnings(capfd):
    """httpx says every request at level info; nobody wants that."""
    set_up_logging("info", (), {})
    logging.getLogger("kong_ai_tracing.x").debug("a")
    logging.getLogger("kong_ai_tracing.x").info("b")
    logging.getLogger("httpx").info("c")
    assert [line.split()[-1] for line in capfd.readouterr().err.splitlines()] == ["b"]


@pytest.mark.usefixtures("_restore_logging")
def test_the_journal_is_recognised_by_its_stream(capfd):
    """JOURNAL_STREAM names the device and inode of the stream that systemd connected."""
    status = os.fstat(sys.stderr.fileno())
    for stream in (f"{status.st_dev}:{status.st_ino}", "1:2"):
        set_up_logging("info", (), {"JOURNAL_STREAM": stream})
        logging.getLogger("kong_ai_tracing.x").info("a")
    first, second = capfd.readouterr().err.splitlines()
    assert first == "<6>a"
    assert second.endswith("Z info  a")
