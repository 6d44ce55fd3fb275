"""What Prometheus reads, by its own parser's judgement."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kong_ai_tracing.files import FileStatus
from kong_ai_tracing.rotationrisk import RotationRisk
from kong_ai_tracing.statuspage.metrics import MOST_KINDS, MOST_LOGS, exposition
from kong_ai_tracing.statuspage.situation import Now, Situation
from kong_ai_tracing.statusreport import FileLag
from situations import bad_situation, config, report, situation, vitals


def samples(shown: Situation) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels."""
    text, _ = exposition(shown, "")
    return {
        (sample.name.removeprefix("kong_ai_tracing_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_numbers_are_those_of_the_situation():
    """From memory and from the state on disk."""
    got = samples(bad_situation())
    assert got["spans_dropped_total", ("langfuse",)] == 5
    assert got["redactions_total", ("langfuse", "email")] == 7
    assert got["reading_pause_seconds_total", ("langfuse",)] == 12.5
    assert got["requests_failed_total", ("langfuse",)] == 4
    assert got["outbox_bytes", ("langfuse",)] == 900
    assert got["destination_healthy", ("langfuse",)] == 0
    assert got["state_readable", ()] == 0
    assert got["config_last_reload_successful", ()] == 0
    assert got["rotation_risk_seconds", ("langfuse", "ai.log")] == 3600
    assert [value for (name, _), value in got.items() if name == "lag_bytes"] == [9000, 0]
    assert [value for (name, _), value in got.items() if name == "lag_seconds"] == [77]


def test_generations_of_a_log_are_one_series():
    """A rotation makes no new label."""
    files = [
        FileStatus("/a/ai.log", 2, 0, 10),
        FileStatus("/a/ai.log.1", 1, 0, 5),
        FileStatus("/b/x.log", 3, 0, 1),
    ]
    ages = [FileLag("/a/ai.log", 0, 10, 10, 3.0), FileLag("/a/ai.log.1", 0, 5, 5, 9.0)]
    got = samples(situation(one=vitals(files=files), seen=report(files=ages)))
    assert got["lag_bytes", ("langfuse", "ai.log")] == 15
    assert got["lag_bytes", ("langfuse", "x.log")] == 1
    assert got["lag_seconds", ("langfuse", "ai.log")] == 9


def test_the_number_of_series_is_bounded():
    """A pattern that matches thousands of logs, and patterns without end, cannot flood Prometheus."""
    files = [FileStatus(f"/logs/{number:04}x.log", number, 0, 1) for number in range(500)]
    ages = [FileLag(file.path, 0, 1, 1, 5.0) for file in files]
    risks = [RotationRisk(file.path, file.path, 1, 60.0, None) for file in files]
    counters = {f"redacted_kind{number:03}": 1 for number in range(300)}
    got = samples(situation(one=vitals(files=files, risks=risks), seen=report(files=ages, counters=counters)))
    for name in ("lag_bytes", "lag_seconds", "rotation_risk_seconds"):
        assert len([key for key in got if key[0] == name]) == MOST_LOGS + 1
    assert got["lag_bytes", ("langfuse", "other")] == 500 - MOST_LOGS
    assert got["lag_seconds", ("langfuse", "other")] == 5
    assert len([key for key in got if key[0] == "redactions_total"]) == MOST_KINDS + 1
    assert got["redactions_total", ("langfuse", "other")] == 300 - MOST_KINDS


def test_names_follow_prometheus_conventions():
    """Counters end in _total, units are base units, every family has a help text."""
    text, _ = exposition(bad_situation(), "")
    for family in text_string_to_metric_families(text.decode()):
        assert re.fullmatch(r"(kong_ai_tracing|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(milliseconds|ms|kib|mib|percent)\b", family.name)
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)


def test_openmetrics_is_given_to_who_asks_for_it():
    """Prometheus asks for it by default."""
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
    text, content_type = exposition(bad_situation(), accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert "kong_ai_tracing_lines" in {family.name for family in read_openmetrics(text.decode())}


def test_before_anything_was_read_there_are_no_sums_and_no_zeros():
    """A sum that is not known is absent: a zero would look like a reset."""
    empty = Situation(Now(config(), []))
    got = samples(empty)
    assert not any(name.endswith("_total") and not name.startswith("process") for name, _ in got)
    assert got["ready", ()] == 0
    assert got["alive", ()] == 1


def test_the_process_tells_its_memory_also_where_proc_stat_is_closed(monkeypatch: pytest.MonkeyPatch):
    """Our unit hides all of /proc but processes."""
    real = open

    def closed(path, *arguments, **more):
        if str(path) == "/proc/stat":
            raise FileNotFoundError(path)
        return real(path, *arguments, **more)

    monkeypatch.setattr("builtins.open", closed)
    got = samples(situation())
    assert got["process_resident_memory_bytes", ()] > 1 << 20
    assert got["process_open_fds", ()] > 2


def test_an_age_outlives_the_process():
    """What was accepted before a restart is still the last acceptance."""
    young = situation(one=vitals(last_accepted_ms=None))
    assert ("last_accepted_timestamp_seconds", ("langfuse",)) in samples(young)
    never = replace(report(), destinations={})
    assert ("last_accepted_timestamp_seconds", ("langfuse",)) not in samples(
        situation(one=vitals(last_accepted_ms=None), seen=never)
    )
