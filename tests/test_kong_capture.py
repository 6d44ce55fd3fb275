"""The Lua that `kong-config` prints, run by nginx as Kong runs it, before a model as models are."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from bedrock_wire import event
from kong_entries import CHAT_ANSWER, CHAT_REQUEST
from kong_gateway import MISSING, Asked, Gateway, Model, gateway

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

CHAT = "/v1/chat/completions"
ANSWER = json.dumps(CHAT_ANSWER).encode()
SMALL = ("--max-body-bytes", "4096")


@pytest.fixture
def kong() -> Iterator[Gateway]:
    with gateway() as found:
        yield found


async def plain(asked: Asked) -> None:
    """A model that answers at once."""
    await asked.answer(ANSWER)


def call(kong: Gateway, model: Model = plain, path: str = CHAT, **request: Any) -> httpx.Response:
    """One call from its beginning to its end."""

    async def run() -> httpx.Response:
        async with kong.behind(model) as client:
            if not request.keys() & {"content", "json", "data", "files"}:
                request["json"] = CHAT_REQUEST
            return await client.post(path, **request)

    return asyncio.run(run())


def token(text: str) -> bytes:
    delta = {"role": "assistant", "content": ""} if text == "" else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"model": "gpt-4o", "choices": [choice]}).encode() + b"\n\n"


END = (
    b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":24,"completion_tokens":8}}\n\n'
    b"data: [DONE]\n\n"
)


# -- what comes out is what our reader reads


def test_a_json_answer_is_read_with_input_output_and_usage(kong):
    """The plainest call there is."""
    response = call(kong, headers={"x-api-key": "sk-1"})
    assert response.content == ANSWER
    capture = kong.lines()[0]["capture"]
    assert (capture["v"], capture["complete"], capture["response_size"]) == (1, True, len(ANSWER))
    found = kong.observation()
    assert found["input"] == CHAT_REQUEST["messages"]
    assert found["output"]["content"] == "hello"
    assert found["usageDetails"] == {"input": 10, "output": 5, "total": 15}


def test_tokens_are_passed_on_one_by_one(kong):
    """The model sends a token only after the caller has the one before: one held back ends in silence."""
    pieces = [token(""), *(token(f"word{i} ") for i in range(20)), END]
    arrived = [asyncio.Event() for _ in pieces]

    async def model(asked: Asked) -> None:
        await asked.begin_stream()
        for piece, received in zip(pieces, arrived, strict=True):
            await asked.chunk(piece)
            await received.wait()
            if piece == pieces[0]:
                await asyncio.sleep(0.03)  # the model thinks before its first token
        await asked.chunk(b"")

    async def run() -> bytes:
        got = b""
        async with kong.behind(model) as client, client.stream("POST", CHAT, json=CHAT_REQUEST) as response:
            async for data in response.aiter_raw():
                got += data
                for i, received in enumerate(arrived):
                    if len(got) >= sum(map(len, pieces[: i + 1])):
                        received.set()
        return got

    assert asyncio.run(asyncio.wait_for(run(), 90)) == b"".join(pieces)
    capture = kong.lines()[0]["capture"]
    assert capture["ttft_ms"] - capture["ttfb_ms"] >= 25
    assert capture["ttft_ms"] <= capture["last_ms"]
    assert capture["chunks"] >= len(pieces)
    found = kong.observation()
    assert found["output"]["content"] == "".join(f"word{i} " for i in range(20))
    assert found["usageDetails"] == {"input": 24, "output": 8, "total": 32}
    assert found["completionStartTime"] > found["startTime"]


def test_a_compressed_answer_is_kept_as_base64_and_read(kong):
    """Some servers compress although nobody asked for it; the caller gets their bytes."""

    async def model(asked: Asked) -> None:
        assert "accept-encoding" not in asked.headers
        await asked.answer(gzip.compress(ANSWER), content_encoding="gzip")

    assert call(kong, model).content == ANSWER
    capture = kong.lines()[0]["capture"]
    assert gzip.decompress(b64decode(capture["response_b64"])) == ANSWER
    assert "response" not in capture
    assert kong.observation()["output"]["content"] == "hello"


def test_a_compressed_request_is_kept_as_base64_and_read(kong):
    """The bytes are not text, whatever the content-type says."""
    asked = gzip.compress(json.dumps(CHAT_REQUEST).encode())
    call(kong, content=asked, headers={"content-type": "application/json", "content-encoding": "gzip"})
    assert kong.observation()["input"] == CHAT_REQUEST["messages"]


def test_frames_of_bedrock_are_kept_as_base64_and_read(kong):
    """Amazon streams binary frames, which are no text."""
    frames = [
        event("messageStart", {"role": "assistant"}),
        *(
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})
            for text in ("Gr\u00fc\u00df", " Gott")
        ),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}}),
    ]

    async def model(asked: Asked) -> None:
        await asked.begin_stream("application/vnd.amazon.eventstream")
        for frame in frames:
            await asked.chunk(frame)
        await asked.chunk(b"")

    asked = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    response = call(kong, model, "/model/anthropic.claude-3/converse-stream", json=asked)
    assert response.content == b"".join(frames)
    capture = kong.lines()[0]["capture"]
    assert b64decode(capture["response_b64"]) == response.content
    assert capture["ttft_ms"] >= capture["ttfb_ms"]
    found = kong.observation()
    assert found["output"]["content"] == "Grüß Gott"
    assert found["usageDetails"] == {"input": 7, "output": 3, "total": 10}


# -- limits


def test_a_long_stream_keeps_its_beginning_its_end_and_its_usage():
    """What is dropped is the middle, and it is counted."""
    tokens = [token(f"größe{i} ") for i in range(2000)]

    async def model(asked: Asked) -> None:
        await asked.begin_stream()
        for piece in tokens:
            await asked.chunk(piece)
        await asked.chunk(END)
        await asked.chunk(b"")

    with gateway(*SMALL) as kong:
        response = call(kong, model)
        capture = kong.lines()[0]["capture"]
        found = kong.observation()
    sent = b"".join(tokens) + END
    assert response.content == sent
    head, tail = capture["response"].encode(), capture["response_tail"].encode()
    assert sent.startswith(head)
    assert sent.endswith(tail)
    assert 4092 < len(head) <= 4096
    assert 32760 < len(tail) <= 32768
    assert capture["response_size"] == len(sent) == len(head) + capture["dropped"] + len(tail)
    assert found["output"]["content"].startswith("größe0 größe1 ")
    assert found["output"]["content"].endswith("größe1998 größe1999 ")
    assert found["usageDetails"] == {"input": 24, "output": 8, "total": 32}


@pytest.mark.parametrize("extra", range(4))
def test_a_cut_never_tears_a_character(extra):
    """Wherever the limit falls within a character of four bytes, what is kept is text."""
    asked = json.dumps({"x": "." * extra} | CHAT_REQUEST | {"pad": "😀" * 4000}, ensure_ascii=False).encode()
    answer = json.dumps({"x": "." * extra} | CHAT_ANSWER | {"pad": "😀" * 30000}, ensure_ascii=False).encode()

    async def model(got: Asked) -> None:
        assert got.body == asked
        await got.answer(answer)

    with gateway(*SMALL) as kong:
        response = call(kong, model, content=asked, headers={"content-type": "application/json"})
        capture = kong.lines()[0]["capture"]
        found = kong.observation()
    assert response.content == answer
    assert capture["request_size"] == len(asked)
    for name, whole in (("request", asked), ("response", answer)):
        assert whole.startswith(capture[name].encode())
        assert 4092 < len(capture[name].encode()) <= 4096
    assert answer.endswith(capture["response_tail"].encode())
    assert "cut" in json.dumps(found["metadata"])


def test_what_is_kept_in_memory_is_bounded_by_the_limits():
    """However long the answer is, and in however many pieces it comes."""

    async def model(asked: Asked) -> None:
        await asked.begin_stream()
        for _ in range(40):
            await asked.send(b"5\r\nabcde\r\n" * 400)
        for _ in range(40):
            await asked.chunk(b"x" * 60_000)
        await asked.chunk(b"")

    with gateway(*SMALL) as kong:
        response = call(kong, model, headers={"x-measure": "1"}, json=CHAT_REQUEST | {"pad": "y" * 100_000})
        [line] = kong.lines()
    assert len(response.content) == 40 * 400 * 5 + 40 * 60_000
    # Both beginnings, two blocks of the end, and what a table needs for pieces of a few bytes.
    assert 36_000 < line["measured"] < 2 * 4096 + 2 * 32768 + 60_000


def test_a_compressed_answer_above_the_limit_is_read_as_far_as_it_goes():
    """The beginning of what is compressed can be inflated, its end cannot."""
    content = "".join(f"{number * 7919 % 10007} " for number in range(40_000))
    message = {"role": "assistant", "content": content}
    answer = json.dumps(CHAT_ANSWER | {"choices": [{"index": 0, "message": message}]}).encode()

    async def model(asked: Asked) -> None:
        await asked.answer(gzip.compress(answer), content_encoding="gzip")

    with gateway(*SMALL) as kong:
        assert call(kong, model).content == answer
        capture = kong.lines()[0]["capture"]
        found = kong.observation()
    assert len(b64decode(capture["response_b64"])) == 4096
    assert content.startswith(found["output"]["content"][:5000])
    assert "cut" in found["metadata"]["response_body"]


def test_requests_at_the_same_time_keep_their_bodies_apart(kong):
    """One worker serves them all."""
    streams = 20
    together = asyncio.Barrier(streams)

    async def model(asked: Asked) -> None:
        name = json.loads(asked.body)["user"]
        await asked.begin_stream()
        for _ in range(3):
            await together.wait()
            await asked.chunk(token(name))
        await asked.chunk(END)
        await asked.chunk(b"")

    async def run() -> None:
        async with kong.behind(model) as client:
            asked = [CHAT_REQUEST | {"user": f"user-{number:02}"} for number in range(streams)]
            await asyncio.gather(*(client.post(CHAT, json=body) for body in asked))

    asyncio.run(asyncio.wait_for(run(), 90))
    for line in kong.lines(streams):
        name = json.loads(line["capture"]["request"])["user"]
        assert line["capture"]["response"].encode() == token(name) * 3 + END


# -- requests


def test_a_request_that_nginx_keeps_in_a_file_is_captured(kong):
    """Above its buffer nginx writes a body to a file; Kong 3.8 reads it back."""
    asked = CHAT_REQUEST | {"messages": [{"role": "user", "content": "long " * 8000}]}
    call(kong, json=asked)
    assert "buffered to a temporary file" in kong.errors()
    assert kong.observation()["input"] == asked["messages"]


def test_an_older_kong_says_why_there_is_no_request():
    """It does not give out a body from a file; the answer is there all the same."""
    asked = CHAT_REQUEST | {"messages": [{"role": "user", "content": "long " * 8000}]}
    with gateway(version="3.7") as kong:
        assert call(kong, json=asked).content == ANSWER
        capture = kong.lines()[0]["capture"]
        found = kong.observation()
    assert "client_body_buffer_size" in capture["skip"]
    assert capture["request_size"] > 40_000
    assert found["output"]["content"] == "hello"
    assert "not captured" in json.dumps(found["metadata"])


def test_the_oldest_kong_captures_too():
    """2.8 has no get_start_time."""
    with gateway(version="2.8") as kong:
        call(kong)
        assert kong.lines()[0]["capture"]["ttfb_ms"] >= 0
        assert kong.observation()["output"]["content"] == "hello"


def test_a_request_far_above_the_limit_is_not_read_back(kong):
    """Memory is bounded: of a file of more than 4 MiB not even the beginning is fetched."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 100_000

    for content in (b" " * 5_000_000, chunks()):
        assert call(kong, content=content, headers={"content-type": "application/json"}).content == ANSWER
    known, unknown = (line["capture"] for line in kong.lines(2))
    assert (known["skip"], known["request_size"]) == ("larger than 4194304 bytes", 5_000_000)
    assert "too big" in unknown["skip"]


def test_a_request_in_chunks_is_captured(kong):
    """Its length is known only at its end."""

    async def chunks() -> AsyncIterator[bytes]:
        body = json.dumps(CHAT_REQUEST).encode()
        yield body[:10]
        yield body[10:]

    call(kong, content=chunks(), headers={"content-type": "application/json"})
    assert kong.observation()["input"] == CHAT_REQUEST["messages"]


def test_a_request_without_a_body_and_one_that_asks_no_model(kong):
    """An empty body is an empty text; a GET is none of our business."""

    async def run() -> None:
        async with kong.behind(plain) as client:
            await client.post(CHAT)
            await client.get("/v1/models")

    asyncio.run(run())
    asked, listed = kong.lines(2)
    assert (asked["capture"]["request"], asked["capture"]["request_size"]) == ("", 0)
    assert "capture" not in listed


def test_uploads_and_sounds_are_not_captured(kong):
    """A recording sent is skipped with the reason; of one received only the size is kept."""

    async def model(asked: Asked) -> None:
        await asked.answer(b"\xff\xfb" * 5000, "audio/mpeg")

    files = {"file": ("a.mp3", b"\xff\xfb\x00" * 100)}
    assert len(call(kong, model, "/v1/audio/transcriptions", files=files).content) == 10_000
    capture = kong.lines()[0]["capture"]
    assert (capture["skip"], capture["response_size"], capture["complete"]) == ("content-type", 10_000, True)
    assert capture.keys() & {"request", "request_b64", "response", "response_b64"} == set()


# -- what goes wrong


def test_a_caller_who_leaves_in_mid_stream_leaves_what_was_said(kong):
    """nginx says 200; the capture says that the end was not seen."""
    left = asyncio.Event()

    async def model(asked: Asked) -> None:
        await asked.begin_stream()
        await asked.chunk(token("Once upon"))
        await left.wait()
        while True:  # until nginx closes
            await asked.chunk(token(" a time"))
            await asyncio.sleep(0.01)

    async def run() -> None:
        async with kong.behind(model) as client:
            async with client.stream("POST", CHAT, json=CHAT_REQUEST) as response:
                await anext(response.aiter_raw())
            left.set()
            await asyncio.to_thread(kong.lines)

    asyncio.run(asyncio.wait_for(run(), 90))
    [line] = kong.lines()
    assert (line["response"]["status"], line["capture"]["complete"]) == (200, False)
    found = kong.observation()
    assert found["output"]["content"].startswith("Once upon")
    assert found["level"] == "WARNING"


def test_an_answer_that_breaks_off_is_told_as_far_as_it_came(kong):
    """The model dies in mid-stream."""

    async def model(asked: Asked) -> None:
        await asked.begin_stream()
        await asked.chunk(token("Once upon"))
        asked.writer.transport.abort()

    async def run() -> None:
        async with kong.behind(model) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(CHAT, json=CHAT_REQUEST)

    asyncio.run(run())
    assert kong.lines()[0]["capture"]["complete"] is False
    assert kong.observation()["output"]["content"] == "Once upon"


CALLS = [
    "kong.request.get_method",
    "kong.request.get_header",
    "kong.request.get_raw_body",
    "kong.request.get_start_time",
    "kong.response.get_header",
    "kong.service.request.clear_header",
    "kong.log.set_serialize_value",
    "ngx.now",
    "ngx.re.find",
    "ngx.encode_base64",
]


@pytest.mark.parametrize("after_auth", [(), ("--after-auth",)], ids=["pre", "after-auth"])
def test_no_error_in_our_lua_reaches_the_request_or_costs_the_line(after_auth):
    """Whatever raises: the answer is whole, the line is written, and Kong's log says what happened."""
    stream = b"\xff" + token("x") + END

    async def model(asked: Asked) -> None:
        await asked.begin_stream()
        await asked.chunk(stream)
        await asked.chunk(b"")

    async def run(kong: Gateway) -> None:
        async with kong.behind(model) as client:
            for name in CALLS:
                response = await client.post(CHAT, json=CHAT_REQUEST, headers={"x-break": name})
                assert (response.status_code, response.content) == (200, stream), name

    with gateway(*after_auth) as kong:
        asyncio.run(run(kong))
        lines = kong.lines(len(CALLS))
        errors = kong.errors()
    assert [line["request"]["headers"]["x-break"] for line in lines] == CALLS
    for name, line in zip(CALLS, lines, strict=True):
        assert f"broken on purpose: {name}" in errors
        assert ("capture" in line) == (name == "kong.log.set_serialize_value"), name


def test_after_auth_nothing_is_kept_of_what_was_refused():
    """Whoever has no key cannot fill the log with bodies; by default the refusal is on the line."""
    refused = {"x-refuse": "1"}
    with gateway("--after-auth") as kong:
        assert call(kong, headers=refused).status_code == 401
        assert call(kong).content == ANSWER
        first, second = kong.lines(2)
    assert "capture" not in first
    assert second["capture"]["response"] == ANSWER.decode()
    with gateway() as kong:
        call(kong, headers=refused)
        assert "No API key" in kong.lines()[0]["capture"]["response"]


# -- what must not stand on the line


@pytest.mark.parametrize("bodies", ["capture", "ai-proxy"])
def test_secrets_in_headers_and_queries_stay_off_the_line(bodies):
    """Kong hides two headers; the rest is ours."""
    names = ["x-api-key", "api-key", "x-goog-api-key", "apikey", "cookie", "authorization", "x-own-key"]
    headers = dict.fromkeys(names, "sk-secret-1") | {"x-user-id": "alice"}

    async def model(asked: Asked) -> None:
        assert asked.headers["x-api-key"] == "sk-secret-1"
        await asked.answer(ANSWER, set_cookie="session=sk-secret-2")

    with gateway("--bodies", bodies, "--drop-header", "X-Own-Key") as kong:
        response = call(kong, model, f"{CHAT}?key=sk-secret-3", headers=headers)
        [line] = kong.lines()
    assert "set-cookie" in response.headers
    assert "sk-secret" not in json.dumps(line)
    assert (line["request"]["uri"], line["upstream_uri"]) == (CHAT, CHAT)
    assert line["request"]["headers"]["x-user-id"] == "alice"
    assert ("capture" in line) == (bodies == "capture")


def test_a_logging_plugin_before_file_log_carries_no_bodies(kong):
    """What http-log sends elsewhere is what it was without us."""
    call(kong)
    kong.lines()
    earlier = json.loads((kong.directory / "http.log").read_text())
    assert "capture" not in earlier
    assert earlier["request"]["headers"]["content-type"] == "application/json"


def test_an_answer_that_nginx_keeps_in_a_file_is_captured(kong):
    """A slow caller makes nginx write the answer to a file; all of it passes our eyes."""
    answer = json.dumps(CHAT_ANSWER | {"pad": "z" * 200_000}).encode() + b" " * 8_000_000

    async def run() -> int:
        sent = asyncio.Event()

        async def model(asked: Asked) -> None:
            await asked.answer(answer)
            sent.set()

        size = 0
        async with kong.behind(model) as client, client.stream("POST", CHAT, json=CHAT_REQUEST) as response:
            await sent.wait()
            async for data in response.aiter_raw():
                size += len(data)
        return size

    assert asyncio.run(asyncio.wait_for(run(), 90)) == len(answer)
    assert "upstream response is buffered to a temporary file" in kong.errors()
    capture = kong.lines()[0]["capture"]
    assert (capture["response_size"], capture["complete"]) == (len(answer), True)
