import io
import re

import orjson
import pytest
from rich.console import Console
from rich.text import Text

from kong_ai_tracing.tree import PIPE_WIDTH, _Row, console_for, print_trace

TRACE = "8a8bb7cd343aa2ad99b7d762030857a2"


def observation(id_, parent=None, **values):
    values = {
        "id": id_,
        "type": "generation",
        "name": "chat gpt-4o",
        "startTime": "2026-11-23T07:50:48.810Z",
        "endTime": "2026-11-23T07:50:50.222Z",
        "level": "DEFAULT",
    } | values
    return values | ({"parentObservationId": parent} if parent else {})


def trace(*observations, **values):
    return {
        "id": TRACE,
        "name": "support",
        "environment": "production",
        "observations": list(observations),
    } | values


def printed(shown, width=120, **options):
    stream = io.StringIO()
    print_trace(shown, Console(file=stream, width=width, **options))
    return stream.getvalue()


def test_a_call_shows_who_asked_what_and_what_it_cost():
    """One glance tells name, user, session, model, time, tokens, cost, question and answer."""
    text = printed(
        trace(
            observation(
                "a",
                provider="openai",
                model="gpt-4o-2024-08-06",
                completionStartTime="2026-11-23T07:50:48.999Z",
                usageDetails={"input": 20, "input_cached_tokens": 5, "output": 12, "total": 37},
                costDetails={"total": 0.000183},
                input=[{"role": "user", "content": "What is 1 + 1?"}],
                output={"role": "assistant", "content": "2"},
            ),
            userId="alice",
            sessionId="chat-42",
            tags=["beta"],
        )
    )
    for word in (
        "support",
        "user alice",
        "session chat-42",
        "production",
        "beta",
        "2026-11-23 07:50:48 UTC",
        TRACE,
        "generation chat gpt-4o",
        "openai gpt-4o-2024-08-06",
        "1.41 s",
        "first token 189 ms",
        "25 → 12 tokens",
        "$0.000183",
        "user: What is 1 + 1?",
        "assistant: 2",
    ):
        assert word in text


def test_calls_hang_under_their_root_and_sums_stand_at_the_top():
    """The tree has the shape of the trace; the trace line adds its calls up."""
    text = printed(
        trace(
            observation("r", type="span", name="turn"),
            observation("a", "r", name="first", usageDetails={"input": 1, "output": 2, "total": 3}),
            observation("b", "r", name="second", usageDetails={"input": 10, "output": 20, "total": 30}),
        )
    )
    lines = text.splitlines()
    assert "3 observations  11 → 22 tokens" in lines[1]
    assert lines[2].startswith("└── ○ span turn")
    assert lines[3].startswith("    ├── ◆ generation first")
    assert lines[4].startswith("    └── ◆ generation second")


def test_what_happened_within_a_call_hangs_below_it():
    """Each kind has a mark of its own."""
    text = printed(
        trace(
            observation("a", name="chat gpt-4o"),
            observation("b", "a", type="guardrail", name="lakera-guard input", level="WARNING"),
            observation("c", "a", type="retriever", name="rag-inject"),
            observation("d", "a", type="tool", name="list_orders"),
        )
    )
    lines = text.splitlines()
    assert [line.strip() for line in lines[2:]] == [
        each.strip() for each in lines[2:] if re.search(r"◆ generation|▲ guardrail|▤ retriever|⚙ tool", each)
    ]
    assert lines[2].startswith("└── ◆ generation chat gpt-4o")
    assert all(line.startswith("    ") for line in lines[3:])


def test_an_observation_without_its_parent_is_still_shown():
    """A parent that lives in another system, or ids in a circle, must not hide a call or hang the tree."""
    assert "lonely" in printed(trace(observation("a", "elsewhere", name="lonely")))
    printed(trace(observation("a", "b"), observation("b", "a"), observation("c")))


def test_errors_and_warnings_catch_the_eye_and_say_why():
    """Level has its own mark and colour, the message its own line."""
    failed = trace(
        observation("a", level="ERROR", statusMessage="429 from the provider"),
        observation("b", level="WARNING", statusMessage="the client left"),
    )
    plain = printed(failed)
    assert "✖ generation" in plain
    assert re.search(r"error\s+429 from the provider", plain)
    assert "▲ generation" in plain
    assert "\x1b[31m429 from the provider" in printed(failed, force_terminal=True, color_system="standard")


def test_retries_are_listed():
    """Which addresses were tried, and how each try ended, is part of the story."""
    tries = [{"ip": "10.0.0.1", "port": 443, "code": 502}, {"ip": "10.0.0.2", "port": 443}]
    assert re.search(
        r"tries\s+2: 10.0.0.1:443 502, 10.0.0.2:443",
        printed(trace(observation("a", metadata={"tries": tries}))),
    )


def test_inputs_that_are_still_raw_json_are_read():
    """Trees are made from freshly built traces too, where bodies are spliced-in JSON texts."""
    fresh = trace(observation("a", input=orjson.Fragment(b'"Hello there"'), output=orjson.Fragment(b'"Hi"')))
    assert "Hello there" in printed(fresh)


def test_nothing_in_a_trace_acts_on_the_terminal():
    """Escapes and control characters from strangers are shown as what they are, wherever they stand."""
    evil = "\x1b[2Jx\rx\x07[bold]"
    text = printed(
        trace(
            observation(
                "a", name=evil, model=evil, statusMessage=evil, input=evil, output=evil, provider=evil
            ),
            name=evil,
            userId=evil,
            sessionId=evil,
            tags=[evil],
        )
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "[bold]" in text


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_screen(width):
    """Narrow terminals get a narrow tree; a long prompt takes one line, whatever its length."""
    long = observation("a", model="m" * 60, input="word " * 200, output="w" * 3000, statusMessage="s " * 300)
    text = printed(trace(long, userId="u" * 50), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("word") <= width


def test_no_color_is_honoured():
    """NO_COLOR keeps colours away even from a terminal."""
    text = printed(
        trace(observation("a", level="ERROR", statusMessage="x")),
        force_terminal=True,
        _environ={"NO_COLOR": "1"},
    )
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


def test_a_pipe_gets_plain_text_of_a_useful_width(monkeypatch):
    """Without a terminal there are no escapes, and more than 80 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    console = console_for(io.StringIO())
    assert console.width == PIPE_WIDTH
    print_trace(trace(observation("a")), console)
    assert "\x1b" not in console.file.getvalue()


def test_a_stream_that_knows_only_ascii_gets_a_tree_too():
    """An old locale shows question marks at worst; it never makes the program fail."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_trace(
        trace(observation("a", input="Grüße", usageDetails={"input": 1, "output": 2})), console_for(stream)
    )
    stream.flush()
    assert b"* generation" in raw.getvalue()
    assert b"1 -> 2 tokens" in raw.getvalue()


def test_on_a_narrow_screen_a_number_stays_with_its_unit() -> None:
    """What does not fit begins the next line as a whole."""
    stream = io.StringIO()
    row = _Row([Text("generation chat gpt-4o"), Text("460 ms"), Text("16 → 40 tokens"), Text("$0.00044")])
    Console(file=stream, width=40).print(row)
    assert stream.getvalue().splitlines() == [
        "generation chat gpt-4o  460 ms",
        "  16 → 40 tokens  $0.00044",
    ]
