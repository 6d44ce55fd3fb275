"""One screen of `top`, at any size, whatever others have written."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from kong_ai_tracing.localstore import TraceSummary
from kong_ai_tracing.topsamples import History, Sample
from kong_ai_tracing.topscreen import screen_of, sparkline
from situations import bad_situation, report

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\u2066\x9b31m\r\n[red]\ud800"


def trace(number: int, name: str = "openai-chat", errors: int = 0) -> TraceSummary:
    return TraceSummary(
        number,
        "a" * 32,
        name,
        "user-7",
        "s",
        "production",
        1_795_000_000_000,
        1_795_000_001_500,
        1,
        errors,
        1234,
        0.02,
    )


def history(*samples: Sample) -> History:
    made = History()
    for sample in samples or (Sample(0.0, report()),):
        made.add(sample)
    return made


def lines(shown: History, width: int = 100, height: int = 24, **more) -> list[str]:
    """As the terminal gets them; without colours, so that any escape is somebody else's."""
    written = io.StringIO()
    console = Console(file=written, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(screen_of(shown, width=width, height=height, **more))
    return written.getvalue().split("\n")


def test_rates_are_taken_from_what_was_counted_between_two_looks():
    """Before the second look there is none."""
    one = Sample(10.0, report(counters={"lines": 100, "calls": 50, "spans_delivered": 0}))
    other = Sample(12.0, report(counters={"lines": 300, "calls": 150, "spans_delivered": 5}))
    assert lines(history(one))[1].startswith("- lines/s   - calls/s")
    assert lines(history(one, other))[1].startswith("100 lines/s   50 calls/s   2.5 spans sent/s")


def test_a_state_that_was_built_anew_gives_no_negative_rate():
    """Its sums begin anew."""
    one, other = (Sample(at, report(counters={"lines": count})) for at, count in ((0.0, 900), (1.0, 1)))
    assert history(one, other).rate("lines") == 0


@pytest.mark.parametrize("width", [1, 20, 40, 59, 60, 79, 80, 120, 200])
@pytest.mark.parametrize("height", [1, 8, 24])
def test_no_line_is_longer_than_the_terminal_is_wide(width, height):
    """A line that wraps would tear the screen."""
    sample = Sample(0.0, bad_situation().reports["langfuse"], [trace(1, "long " * 50)])
    for line in lines(history(sample), width, height):
        assert len(line) <= width


@pytest.mark.parametrize("width", [60, 80, 200])
def test_what_matters_is_there_on_every_terminal(width):
    """State, lag, outbox, problems, files, traces."""
    sample = Sample(0.0, bad_situation().reports["langfuse"], [trace(1)])
    text = "\n".join(lines(history(sample), width))
    for word in (
        "destination down",
        "behind 8.8 KiB, 77 s",
        "outbox 90 spans",
        "retrying",
        "openai-chat",
        "1.5 s",
    ):
        assert word in text


def test_a_screen_is_no_higher_than_the_terminal():
    """With a thousand files and traces the first of each are shown, and how many more there are."""
    from kong_ai_tracing.statusreport import FileLag

    files = [FileLag(f"/logs/{number}.log", 0, number, number) for number in range(1000)]
    sample = Sample(0.0, report(files=files), [trace(number) for number in range(50)])
    shown = lines(history(sample), 100, 30)
    assert len(shown) <= 31
    text = "\n".join(shown)
    assert "/logs/999.log" in text
    assert "/logs/1.log" not in text
    assert re.search(r"and 9\d\d more", text)
    assert "openai-chat" in text


def test_nothing_that_others_wrote_reaches_the_terminal_as_a_command():
    """Names of files, callers and routes, and the words of servers."""
    seen = bad_situation().reports["langfuse"]
    shown = history(Sample(0.0, seen, [trace(1, HOSTILE)]))
    shown.error = HOSTILE
    text = "\n".join(lines(shown, 200))
    for character in ("\x1b", "\x07", "\x9b", "\r", "\u202e", "\ud800"):
        assert character not in text
    assert "[red]" in text
    assert r"\x1b[2J" in text


def test_an_old_terminal_gets_plain_bars():
    """Where nothing but ASCII can be written."""
    assert sparkline([0, 5, 10], 10) == "▁▅█"
    assert sparkline([0, 5, 10], 10, ascii_only=True).isascii()
    assert sparkline([1.0] * 50, 7) == "█" * 7
    assert sparkline([], 7) == ""
    assert sparkline([1, 2], 0) == ""


def test_before_the_first_look_it_says_so():
    """And why it takes so long."""
    empty = History()
    assert lines(empty)[0] == "reading the state …"
    empty.error = "the disk does not answer"
    assert "the disk does not answer" in lines(empty)[0]
