"""What `check` reads out of the newest lines of a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checkups import findings, problems, surroundings
from kong_ai_tracing.checks.findings import Finding
from kong_ai_tracing.checks.logshape import check_log_shape
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, capture, record, request

FIXTURES = Path(__file__).parent / "fixtures" / "kong"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "ai.log"


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def found(path: Path) -> dict[str, Finding]:
    return findings(check_log_shape, surroundings(path))


def wrong(path: Path) -> set[str]:
    return problems(check_log_shape, surroundings(path))


def sized(size: int, **changes: Any) -> dict[str, Any]:
    return record(request={**request(), "size": size}, **changes)


GOOD = sized(300, capture=capture(CHAT_REQUEST, CHAT_ANSWER))


def section(**members: Any) -> dict[str, Any]:
    meta = {"provider_name": "openai", "request_model": "gpt-4o", "response_model": "gpt-4o"}
    return {"proxy": {"meta": meta, **members}}


def test_captured_calls_are_fine(log):
    """Nothing is said against the recommended configuration."""
    lines(log, GOOD, GOOD)
    assert wrong(log) == set()


@pytest.mark.parametrize("name", ["ai-proxy-chat-openai", "ai-transformers", "kong-3.6-namespace"])
def test_ai_proxy_with_both_switches_is_fine_in_every_generation_of_kong(log, name):
    """Lines as real gateways wrote them, without those that were made with other switches."""
    kept = [
        line
        for line in (FIXTURES / f"{name}.jsonl").read_text().splitlines()
        if '"payload":{"' in line and '"request":"' in line.partition('"payload":{')[2]
    ]
    assert kept
    log.write_text("\n".join(kept) + "\n")
    assert wrong(log) <= {"shape.no_request_id"}


def test_statistics_without_payloads_are_told_with_the_command_that_configures_both():
    """The most usual reason for empty traces."""
    path = FIXTURES / "real-gateway" / "aichat-stats.jsonl"
    finding = found(path)["shape.no_payloads"]
    assert finding.command.startswith("kong-ai-tracing kong-config --service aichat-stats --bodies ai-proxy")


def test_ai_proxy_without_statistics_is_told(log):
    """Kong logs nothing at all then; only the header of the answer shows that ai-proxy was there."""
    answer = {"status": 200, "headers": {"x-kong-llm-model": "openai/gpt-4o"}}
    lines(log, record(response=answer))
    assert "shape.no_statistics" in wrong(log)


def test_calls_without_token_counts_are_told(log):
    """Only payloads were switched on, or the server reports nothing."""
    payload = {"request": json.dumps(CHAT_REQUEST), "response": "hello"}
    lines(log, record(ai=section(payload=payload)))
    assert wrong(log) == {"shape.no_usage"}
    lines(log, record(ai=section(payload=payload, usage={"prompt_tokens": 3, "completion_tokens": 2})))
    assert wrong(log) == set()


def test_estimated_tokens_are_told_with_the_capture_that_brings_the_real_ones():
    """Streams through ai-proxy."""
    finding = found(FIXTURES / "ai-proxy-stream.jsonl")["shape.estimated_tokens"]
    assert "--bodies both" in finding.command


def test_long_requests_without_bodies_beside_short_ones_with_them_are_the_buffer(log):
    """Kong's 8 KiB."""
    lines(log, GOOD, sized(9000))
    assert wrong(log) == {"shape.large_bodies_missing"}
    assert "nginx_http_client_body_buffer_size" in found(log)["shape.large_bodies_missing"].command


def test_no_bodies_at_all_are_a_missing_capture(log):
    """Long or short."""
    lines(log, sized(300), sized(9000))
    assert wrong(log) == {"shape.no_bodies"}
    finding = found(log)["shape.no_bodies"]
    assert "2 calls" in finding.what
    assert "--service models --bodies capture" in finding.command


def test_requests_without_answers_are_told(log):
    """`custom_fields_by_lua` alone cannot do more."""
    lines(log, record(capture=capture(CHAT_REQUEST)))
    assert wrong(log) == {"shape.no_answers"}


def test_requests_that_ai_proxy_refused_for_their_size_are_told():
    """It takes 8 KiB unless told otherwise, and the caller sees an error."""
    assert "shape.refused_for_size" in wrong(FIXTURES / "real-gateway" / "aichat-8k.jsonl")


def test_failed_calls_are_not_blamed_on_kongs_settings(log):
    """What was refused has no answer and no tokens."""
    lines(log, record(response={"status": 500, "headers": {}}, capture=capture(CHAT_REQUEST)))
    assert wrong(log) == set()


def test_lines_without_request_ids_are_told(log):
    """Kong before 3.5."""
    old = {name: value for name, value in GOOD["request"].items() if name != "id"}
    lines(log, {**GOOD, "request": old})
    assert wrong(log) == {"shape.no_request_id"}


def test_what_an_unknown_plugin_writes_is_told_and_what_known_ones_write_is_not(log):
    """A newer Kong may say more than this version reads."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    payload = {"request": json.dumps(CHAT_REQUEST), "response": "hello"}
    known = section(payload=payload, usage=usage)
    lines(log, record(ai={**known, "sanitizer": {"duration": 1}, "lakera-guard": {"x": 1}}))
    assert wrong(log) == set()
    lines(log, record(ai={**known, "ai-dreamer": {"x": 1}}))
    assert wrong(log) == {"shape.unknown_namespace"}
    assert "ai.ai-dreamer" in found(log)["shape.unknown_namespace"].what


def test_torn_lines_are_told(log):
    """A disk was full."""
    log.write_text('{"request":{"id":"1"\n' + json.dumps(GOOD) + "\n")
    assert "shape.damaged" in wrong(log)


def test_no_finding_shows_a_prompt(log):
    """The output goes into tickets."""
    secret = "the merger with Acme"
    asked = {"model": "m", "messages": [{"role": "user", "content": secret}]}
    lines(log, sized(9000, capture=capture(asked)), GOOD, sized(9001))
    assert secret not in str(found(log))


def test_a_large_log_is_read_from_its_end_only(log):
    """A gigabyte takes no longer than a megabyte."""
    with log.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"\n" + json.dumps(GOOD).encode() + b"\n")
    assert "1 AI call in" in found(log)["shape.ai_calls"].what


def test_just_after_a_rotation_the_lines_before_it_are_looked_at(log):
    """The new file is empty until the next call."""
    lines(log.with_name("ai.log.1"), GOOD)
    log.touch()
    assert found(log)["shape.ai_calls"].what.startswith(f"{log}.1: 1 AI call")
