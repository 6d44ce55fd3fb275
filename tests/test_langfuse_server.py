"""The fake must be as strict as the real server, or the tests that lean on it prove nothing."""

import gzip
import json
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from langfuse_rules import ExportTraceServiceRequest, ParseDict
from langfuse_server import BATCH, OTLP, FakeLangfuse

KEYS = ("pk-lf-test", "sk-lf-test")
START = 1_795_420_248_810_000_000


@pytest.fixture
def langfuse():
    with FakeLangfuse() as server:
        yield server


@pytest.fixture
def client(langfuse):
    with httpx.Client(base_url=langfuse.url, auth=KEYS, timeout=60) as client:
        yield client


def attribute(key, value):
    return {"key": key, "value": value}


def text(key, value):
    return attribute(key, {"stringValue": value})


def span(**changes):
    attributes = [text("langfuse.observation.type", "generation"), *changes.pop("attributes", [])]
    return {
        "traceId": "8a8bb7cd343aa2ad99b7d762030857a2",
        "spanId": "8a8bb7cd343aa2ad",
        "name": "chat gpt-4o",
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 412_000_000),
        "attributes": attributes,
    } | changes


def export(*spans):
    return {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "langfuse-sdk-x"}, "spans": list(spans)}]}]}


def test_json_and_protobuf_compressed_or_not_mean_the_same(langfuse, client):
    """Every accepted form of one span gives one and the same plain span."""
    body = export(span(attributes=[text("langfuse.user.id", "alice")]))
    as_json = json.dumps(body).encode()
    client.post(OTLP, content=as_json, headers={"content-type": "application/json"})
    client.post(
        OTLP,
        content=gzip.compress(as_json),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    message = ParseDict(body, ExportTraceServiceRequest())
    sent = message.resource_spans[0].scope_spans[0].spans[0]
    sent.trace_id, sent.span_id = bytes.fromhex(span()["traceId"]), bytes.fromhex(span()["spanId"])
    answer = client.post(
        OTLP, content=message.SerializeToString(), headers={"content-type": "application/x-protobuf"}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    kept = [
        {key: each[key] for key in each if key not in ("request", "arrivedAt")} for each in langfuse.spans
    ]
    assert kept[0] == kept[1] == kept[2]
    assert kept[0]["attributes"]["langfuse.user.id"] == "alice"
    assert kept[0]["startTimeUnixNano"] == START
    assert [each["request"] for each in langfuse.spans] == [1, 2, 3]
    assert not langfuse.violations


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"resourceSpans": {}}',
        json.dumps(export(span(traceId=5))),
        json.dumps(export(span(spanId=None))),
        json.dumps(export(span() | {"attributes": {"a": 1}})),
        json.dumps(export(span(events={}))),
    ],
)
def test_a_malformed_export_is_refused_as_a_whole(langfuse, client, body):
    """One ill-typed id or list costs the whole request, as on the real server."""
    answer = client.post(OTLP, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not langfuse.spans


def test_headers_are_judged_as_the_server_does(client):
    """Content type, gzip and the ingestion version can each refuse a request."""
    ok = json.dumps(export(span()))
    json_type = {"content-type": "application/json"}
    assert client.post(OTLP, content=ok).status_code == 400
    assert client.post(OTLP, content=ok, headers=json_type | {"content-encoding": "gzip"}).status_code == 400
    for version in ("5", "x"):
        headers = json_type | {"x-langfuse-ingestion-version": version}
        assert client.post(OTLP, content=ok, headers=headers).status_code == 400
    assert client.post(OTLP, json={"resourceSpans": []}).json() == {}


def test_keys_paths_and_methods(langfuse, client):
    """The secret decides; wrong paths give a web page, a trailing slash a redirect."""
    assert client.get("/api/public/health", auth=None).json() == {"status": "OK", "version": "4.16.0"}
    assert client.get("/api/public/projects").json()["data"][0]["name"] == "test"
    assert client.get("/api/public/projects", auth=("pk-lf-test", "wrong")).status_code == 401
    assert client.post(OTLP, json=export(span()), auth=("pk-lf-test", "wrong")).status_code == 401
    assert client.post(OTLP, json=export(span()), auth=None).status_code == 401
    assert "html" in client.post("/api/public/otel", json={}).headers["content-type"]
    redirect = client.post(OTLP + "/", json={})
    assert (redirect.status_code, redirect.headers["location"]) == (308, OTLP)
    assert client.get(OTLP).status_code == 405
    assert not langfuse.spans


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"traceId": "8A8BB7CD343AA2AD99B7D762030857A2"}, "lower-case hex"),
        ({"traceId": "abc"}, "lower-case hex"),
        ({"traceId": "0" * 32}, "traceId"),
        ({"spanId": "0" * 16}, "spanId"),
        ({"name": ""}, "no name"),
        ({"startTimeUnixNano": "0"}, "absurd time"),
        ({"endTimeUnixNano": str(START - 1)}, "ends before"),
        ({"unknownField": 1}, "published definition"),
        ({"attributes": [text("langfuse.observation.level", "FATAL")]}, "level"),
        ({"attributes": [text("langfuse.observation.type", "generation")]}, "stands twice"),
        ({"attributes": [attribute("langfuse.user.id", {"intValue": "5"})]}, "is not text"),
        ({"attributes": [attribute("x", {"kvlistValue": {"values": []}})]}, "kvlist_value"),
        ({"attributes": [attribute("langfuse.trace.tags", {"arrayValue": {"values": []}})]}, "empty array"),
        ({"attributes": [text("langfuse.environment", "My Env.1")]}, "environment"),
        ({"attributes": [text("langfuse.observation.model.name", "gpt\0")]}, "NUL"),
        ({"attributes": [text("langfuse.observation.input", "a\ud83d b")]}, "surrogate"),
        ({"attributes": [text("langfuse.observation.input", '"a\\ud83d b"')]}, "surrogate"),
        ({"attributes": [text("langfuse.observation.output", '["\\u0000"]')]}, "NUL"),
        ({"attributes": [text("langfuse.observation.usage_details", '{"input": 1e21}')]}, "token count"),
        ({"attributes": [text("langfuse.observation.usage_details", '{"input": -1}')]}, "token count"),
        ({"attributes": [text("langfuse.observation.cost_details", '{"total": "1"}')]}, "cost"),
        ({"attributes": [text("langfuse.observation.metadata", '{"a": NaN}')]}, "JSON object"),
        ({"attributes": [text("langfuse.session.id", "s" * 201)]}, "200 characters"),
        (
            {"attributes": [text("langfuse.observation.completion_start_time", "2020-01-01T00:00:00Z")]},
            "before the start",
        ),
    ],
)
def test_what_would_harm_the_real_server_is_noted(langfuse, client, changes, word):
    """The real server says 200 to all of these and loses or garbles data later."""
    body = json.dumps(export(span(**changes)))
    answer = client.post(OTLP, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert any(word in each for each in langfuse.violations), langfuse.violations


def test_a_repeat_is_harmless_only_with_the_same_start(langfuse, client):
    """Same ids and same start replace the row; another start is a second row for good."""
    for _ in range(2):
        client.post(OTLP, json=export(span()))
    assert not langfuse.violations
    client.post(OTLP, json=export(span(startTimeUnixNano=str(START + 1_000_000))))
    assert "another start" in langfuse.violations[0]


def test_answers_follow_the_script_and_then_everything_is_accepted(langfuse, client):
    """One word per request, with repeats and Retry-After."""
    langfuse.script("429:2, 500*2, 413, slow:0.01")
    answers = [client.post(OTLP, json=export(span())) for _ in range(6)]
    assert [each.status_code for each in answers] == [429, 500, 500, 413, 200, 200]
    assert answers[0].headers["retry-after"] == "2"
    assert len(langfuse.spans) == 2
    assert [each.status for each in langfuse.requests] == [429, 500, 500, 413, 200, 200]


def test_what_is_held_is_accepted_when_the_script_changes(langfuse, client):
    """The test decides when; nothing is accepted before."""
    langfuse.script("hold*")
    with ThreadPoolExecutor() as pool:
        held = pool.submit(client.post, OTLP, json=export(span()))
        langfuse.wait_for(lambda each: len(each.requests) == 1)
        assert (langfuse.spans, langfuse.requests[0].status) == ([], None)
        langfuse.script("500*")
        assert held.result().status_code == 200
    assert len(langfuse.spans) == 1


def test_an_outage_lasts_until_the_script_changes(langfuse, client):
    """`500*` never ends by itself."""
    langfuse.script("500*")
    assert [client.post(OTLP, json=export(span())).status_code for _ in range(3)] == [500] * 3
    langfuse.script("")
    assert client.post(OTLP, json=export(span())).status_code == 200


@pytest.mark.parametrize(
    ("word", "accepted"), [("cut", 0), ("accept-cut", 1), ("hang:0.01", 0), ("accept-hang:0.01", 1)]
)
def test_a_cut_may_come_before_or_after_accepting(langfuse, client, word, accepted):
    """The client cannot tell the two apart; the record can."""
    langfuse.script(word)
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(OTLP, json=export(span()))
    assert len(langfuse.spans) == accepted
    assert langfuse.requests[0].status is None
    assert client.post(OTLP, json=export(span())).status_code == 200


def test_hanging_requests_do_not_keep_the_server_from_stopping():
    """A test that leaves a request hanging still ends at once."""
    started = time.monotonic()
    with FakeLangfuse() as langfuse:
        langfuse.script("hang")
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                langfuse.url + OTLP, json=export(span()), auth=KEYS, timeout=httpx.Timeout(60, read=0.2)
            )
    assert time.monotonic() - started < 30


def test_what_a_client_sent_before_its_end_can_be_heard_out(langfuse):
    """It was killed and awaits no answer; who hangs is not waited for."""
    body = json.dumps(export(span())).encode()
    keys = b64encode(":".join(KEYS).encode()).decode()
    asks = f"POST {OTLP} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {keys}\r\n"
    asks += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    langfuse.script("200,200,hang*")
    for _ in range(3):
        with socket.create_connection((langfuse.host, langfuse.port)) as client:
            client.sendall(asks.encode() + body)
    langfuse.hear_out()
    assert len(langfuse.spans) == 2
    assert len(langfuse.requests) == 3


def test_connections_are_kept_alive(langfuse, client):
    """Many requests travel over one connection, as with the real server."""
    answers = [client.post(OTLP, json=export(span())) for _ in range(3)]
    assert len({id(each.extensions["network_stream"]) for each in answers}) == 1


def test_version_4_refuses_traces_inside_a_207(langfuse, client):
    """The batch endpoint says 207 while it keeps nothing but scores."""
    batch = [{"id": "1", "type": "trace-create", "body": {}}, {"id": "2", "type": "score-create", "body": {}}]
    answer = client.post(BATCH, json={"batch": batch})
    assert answer.status_code == 207
    assert [each["id"] for each in answer.json()["successes"]] == ["2"]
    assert [(each["id"], each["status"]) for each in answer.json()["errors"]] == [("1", 400)]
    assert client.post(BATCH, json={}).status_code == 400
    assert client.post(BATCH, content=gzip.compress(b"{}")).text == "Invalid JSON"
    assert client.post(BATCH, content=b" " * 5_000_000).status_code == 413


def test_older_servers_take_batches_and_know_no_otlp():
    """What a client must cope with on version 3."""
    with FakeLangfuse(version="3.20.0", has_otlp=False, takes_batches=True) as langfuse:
        assert httpx.post(langfuse.url + OTLP, json=export(span()), auth=KEYS, timeout=60).status_code == 404
        batch = {"batch": [{"id": "1", "type": "trace-create", "body": {"id": "t"}}]}
        assert not httpx.post(langfuse.url + BATCH, json=batch, auth=KEYS, timeout=60).json()["errors"]
        assert [each["body"]["id"] for each in langfuse.events] == ["t"]


async def test_waiting_works_inside_an_event_loop():
    """Async tests use it as an async context manager."""
    async with FakeLangfuse() as langfuse, httpx.AsyncClient(auth=KEYS, timeout=60) as client:
        await client.post(langfuse.url + OTLP, json=export(span()))
        langfuse.wait_for(lambda each: len(each.spans) == 1)


def test_as_a_process_it_records_what_other_processes_can_read(tmp_path):
    """Runs alone, prints its address first, follows its script, writes each span down before it answers."""
    record = tmp_path / "received.jsonl"
    program = Path(__file__).with_name("langfuse_server.py")
    command = [sys.executable, str(program), "--record", str(record), "--script", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert httpx.post(url + OTLP, json=export(span()), auth=KEYS, timeout=60).status_code == 500
        assert httpx.post(url + OTLP, json=export(span()), auth=KEYS, timeout=60).status_code == 200
        assert json.loads(record.read_text())["spanId"] == span()["spanId"]
        httpx.post(url + "/fake/script", content="503")
        assert httpx.post(url + OTLP, json=export(span()), auth=KEYS, timeout=60).status_code == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
