import orjson
import pytest

from kong_ai_tracing.calls import Context, Observation
from kong_ai_tracing.lines import Origin
from kong_ai_tracing.spans import Span
from kong_ai_tracing.tracejson import rfc3339, trace_json

TRACE = "0123456789abcdef0123456789abcdef"
START = 1_795_420_248_810


def span(id_="a" * 16, parent=None, context=None, **said):
    said = {
        "type": "generation",
        "name": "chat gpt-4o",
        "started_at_ms": START,
        "ended_at_ms": START + 412,
    } | said
    about = {"trace_id": TRACE, "shared": False, "trace_name": "openai-chat", "environment": "production"}
    return Span(TRACE, id_, parent, Context(**about | (context or {})), Observation(**said))


def written(spans):
    return orjson.loads(orjson.dumps(trace_json(spans)))


def test_a_full_call_is_written_in_the_words_of_the_contract():
    """Every field of the contract has its name, its form and its value."""
    call = span(
        context={
            "user_id": "alice",
            "session_id": "s-1",
            "tags": ["a"],
            "release": "r1",
            "version": "v1",
            "metadata": {"project_id": "p"},
        },
        completion_started_at_ms=START + 100,
        level="ERROR",
        status_message="429 from the provider",
        provider="openai",
        model="gpt-4o-2024-08-06",
        model_parameters={"temperature": 0.2},
        input=b'[{"role":"user","content":"Hi"}]',
        output=b'{"role":"assistant","content":"Hello"}',
        usage_details={"input": 3, "output": 2, "total": 5},
        cost_details={"total": 0.1},
        metadata={"status_code": 429, "total_duration_ms": 412},
        origin=Origin("/var/log/kong/ai.log", 7, 1000, 2000),
    )
    assert written([call]) == {
        "id": TRACE,
        "name": "openai-chat",
        "userId": "alice",
        "sessionId": "s-1",
        "tags": ["a"],
        "environment": "production",
        "release": "r1",
        "version": "v1",
        "metadata": {
            "project_id": "p",
            "provider": "openai",
            "model": "gpt-4o-2024-08-06",
            "environment": "production",
            "status_code": 429,
            "total_duration_ms": 412,
        },
        "observations": [
            {
                "id": "a" * 16,
                "type": "generation",
                "name": "chat gpt-4o",
                "startTime": "2026-11-23T07:50:48.810Z",
                "endTime": "2026-11-23T07:50:49.222Z",
                "completionStartTime": "2026-11-23T07:50:48.910Z",
                "level": "ERROR",
                "statusMessage": "429 from the provider",
                "provider": "openai",
                "model": "gpt-4o-2024-08-06",
                "modelParameters": {"temperature": 0.2},
                "input": [{"role": "user", "content": "Hi"}],
                "output": {"role": "assistant", "content": "Hello"},
                "usageDetails": {"input": 3, "output": 2, "total": 5},
                "costDetails": {"total": 0.1},
                "metadata": {"status_code": 429, "total_duration_ms": 412},
                "origin": {"file": "/var/log/kong/ai.log", "offset": 1000, "length": 2000},
            }
        ],
    }


def test_absent_values_are_left_out():
    """No null, no empty object, no empty list stands in the JSON."""
    trace = written([span()])
    assert set(trace) == {"id", "name", "environment", "metadata", "observations"}
    assert set(trace["observations"][0]) == {"id", "type", "name", "startTime", "endTime", "level"}


@pytest.mark.parametrize("said", [b"0", b'""', b"false", b"[]", b"null"])
def test_an_input_that_is_there_stays_whatever_it_says(said):
    """Only a missing input is absent: an empty or a false one was really said."""
    assert written([span(input=said)])["observations"][0]["input"] == orjson.loads(said)


def test_the_trace_is_one_line_even_when_a_body_was_pretty_printed():
    """Line breaks between the tokens of a raw body never split the line, those inside strings survive."""
    text = orjson.dumps(trace_json([span(input=b'{\n  "a":\r\n  "b\\nc"\n}')]))
    assert b"\n" not in text
    assert b"\r" not in text
    assert orjson.loads(text)["observations"][0]["input"] == {"a": "b\nc"}


def test_the_root_comes_first_and_the_others_by_start():
    """Readers find the root at the top and the calls in the order they happened."""
    spans = [
        span("c" * 16, "f" * 16, started_at_ms=START + 20),
        span("b" * 16, "f" * 16, started_at_ms=START + 5),
        span("f" * 16, type="span", started_at_ms=START),
    ]
    assert [each["id"][0] for each in written(spans)["observations"]] == ["f", "b", "c"]


def test_a_trace_of_several_calls_has_no_single_model_or_status():
    """The facts of one call say nothing of a group, so they stay on the calls."""
    spans = [
        span("f" * 16, type="span"),
        span("b" * 16, "f" * 16, provider="openai", model="m", metadata={"status_code": 200}),
    ]
    assert "metadata" not in written(spans)


def test_the_root_has_the_last_word_on_trace_values_and_others_fill_gaps():
    """A value that only a child knows is kept; where both speak, the root is right."""
    spans = [
        span("f" * 16, context={"trace_name": "chat", "metadata": {"a": 1}}),
        span("b" * 16, "f" * 16, context={"trace_name": "x", "user_id": "bob", "metadata": {"a": 2, "b": 3}}),
    ]
    trace = written(spans)
    assert (trace["name"], trace["userId"], trace["metadata"]) == ("chat", "bob", {"a": 1, "b": 3})


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (999, "1970-01-01T00:00:00.999Z"), (START, "2026-11-23T07:50:48.810Z")],
)
def test_times_are_utc_with_milliseconds(epoch_ms, text):
    """Milliseconds are exact and the zone is written as Z."""
    assert rfc3339(epoch_ms) == text


def test_a_call_with_observations_of_its_own_is_still_one_call():
    """What happened within it takes nothing away from its facts; tries of one millisecond are in order."""
    call = span(metadata={"status_code": 200}, provider="openai")
    tries = [
        span(f"{9 - number}" * 16, "a" * 16, name=f"try {number}", metadata={"kong_object": "tries"})
        for number in (1, 2)
    ]
    found = written([call, *tries])
    assert (found["metadata"]["status_code"], found["metadata"]["provider"]) == (200, "openai")
    assert [each["name"] for each in found["observations"]] == ["chat gpt-4o", "try 1", "try 2"]
