"""A few pages for whoever asks politely, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kong_ai_tracing.listenaddress import ListenAddress
from kong_ai_tracing.statuspage.httpserver import HttpServer, Request, Response

HERE = ListenAddress("127.0.0.1", 0)


async def say_hello(request: Request) -> Response:
    if request.path == "/broken":
        raise ZeroDivisionError("prompt")
    if request.path == "/large":
        return Response(b"x" * 20_000_000, "text/plain")
    return Response(f"hello {request.path} {request.accept}".encode(), "text/plain")


@contextlib.asynccontextmanager
async def started(server: HttpServer, address: ListenAddress = HERE):
    where = await server.start(address)
    try:
        yield where
    finally:
        await server.stop()


def serving(address: ListenAddress = HERE, **limits):
    return started(HttpServer(say_hello, **limits), address)


async def exchange(where: ListenAddress, request: bytes) -> bytes:
    """Everything that is answered until the connection ends."""
    reader, writer = await asyncio.open_connection(where.host, where.port)
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def asking(target: str = "/", host: str = "localhost", method: str = "GET", more: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


async def test_a_request_is_answered_once_and_the_connection_ends():
    """The query says nothing here."""
    async with serving() as where:
        answer = await exchange(where, asking("/metrics?x=1", more="Accept: text/plain\r\n") * 2)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert body == b"hello /metrics text/plain"
        assert b"connection: close" in head.lower()
        assert b"content-length: 25" in head.lower()


async def test_head_has_the_same_head_and_no_body():
    """A probe may ask for less."""
    async with serving() as where:
        answer = await exchange(where, asking(method="HEAD"))
        assert status_of(answer) == 200
        assert b"content-length: 8" in answer.lower()
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
async def test_only_get_and_head_are_served(method):
    """There is nothing to be changed here. A body does not take the answer back."""
    async with serving() as where:
        body = b"x" * 300_000
        answer = await exchange(where, asking(method=method, more="Content-Length: 300000\r\n") + body)
        assert status_of(answer) == 405
        assert b"allow: GET, HEAD" in answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9465", "127.0.0.1:1", "127.0.0.1", "[::1]:9465"])
async def test_it_is_asked_by_address_or_as_localhost(host):
    """These are the names by which it can be meant."""
    async with serving() as where:
        assert status_of(await exchange(where, asking(host=host))) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:9465", "", "127.0.0.1.x"]
)
async def test_a_web_page_that_points_its_own_name_here_reads_nothing(host):
    """DNS rebinding: the browser says which name it thinks it talks to."""
    async with serving() as where:
        answer = await exchange(where, asking(host=host))
        assert status_of(answer) == 421
        assert b"hello" not in answer


async def test_behind_an_address_for_everybody_any_name_will_do():
    """The operator has opened it, and may call it as he likes."""
    async with serving(ListenAddress("0.0.0.0", 0)) as where:
        answer = await exchange(ListenAddress("127.0.0.1", where.port), asking(host="gateway.example"))
        assert status_of(answer) == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without a host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"\x00" * 100_000,
        b"\r\n" * 50_000,
        b"GET /../../etc/passwd\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_others_are_served(garbage):
    """Too much, too strange, or another protocol: a refusal or nothing, and the next one is answered."""
    server = HttpServer(say_hello, deadline_seconds=1.0)
    async with started(server) as where:
        answer = await exchange(where, garbage)
        assert answer == b"" or 400 <= status_of(answer) < 506
        assert b"hello" not in answer
        server._deadline_seconds = 60.0  # who asks politely is not slow because this machine is
        assert status_of(await exchange(where, asking())) == 200


async def test_who_says_nothing_or_one_letter_at_a_time_is_cut_off():
    """A deadline for the whole, not for each letter."""
    async with serving(deadline_seconds=0.3) as where:
        assert await exchange(where, b"") == b""
        reader, writer = await asyncio.open_connection(where.host, where.port)
        sent = 0
        with contextlib.suppress(ConnectionError):
            for letter in b"GET /" + b"a" * 500:
                writer.write(bytes([letter]))
                await writer.drain()
                await asyncio.sleep(0.02)
                if reader.at_eof():
                    break
                sent += 1
        assert sent < 500, "it was listened to for ten seconds"
        writer.close()


async def test_who_does_not_read_his_answer_is_cut_off():
    """It does not wait in our memory for ever."""
    cut_off = asyncio.Event()

    class Watched(HttpServer):
        async def _serve(self, *streams) -> None:
            await super()._serve(*streams)
            cut_off.set()

    async with started(Watched(say_hello, deadline_seconds=0.3)) as where:
        reader, writer = await asyncio.open_connection(where.host, where.port, limit=1024)
        writer.write(asking("/large"))
        await asyncio.wait_for(cut_off.wait(), 60)
        received = 0
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(1 << 20):
                received += len(part)
        assert received < 20_000_000
        writer.close()


async def test_a_long_answer_arrives_whole_at_who_reads_it_slowly():
    """Slower than we linger, and within the deadline."""
    async with serving(deadline_seconds=60.0) as where:
        reader, writer = await asyncio.open_connection(where.host, where.port, limit=1024)
        writer.write(asking("/large"))
        received = await reader.readexactly(1000)
        await asyncio.sleep(1.5)
        received += await reader.read()
        assert len(received.partition(b"\r\n\r\n")[2]) == 20_000_000
        writer.close()


async def test_a_crowd_of_silent_guests_keeps_nobody_out():
    """At the limit the oldest connection goes, so that Prometheus is answered."""
    async with serving(max_connections=4, deadline_seconds=600) as where:
        crowd = [await asyncio.open_connection(where.host, where.port) for _ in range(20)]
        assert status_of(await exchange(where, asking())) == 200
        assert await asyncio.wait_for(crowd[0][0].read(), 60) == b""
        for _, writer in crowd:
            writer.close()


async def test_a_page_that_breaks_says_so_and_not_why(caplog):
    """The reason is in our log, for the operator."""
    async with serving() as where:
        answer = await exchange(where, asking("/broken"))
        assert status_of(answer) == 500
        assert b"prompt" not in answer
        assert "status.broken path=/broken" in caplog.text
        assert status_of(await exchange(where, asking())) == 200


async def test_a_stop_ends_what_is_open_at_once():
    """Also a guest that is in the middle of his request."""
    server = HttpServer(say_hello)
    where = await server.start(HERE)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(b"GET / HT")
    await asyncio.sleep(0.05)
    await asyncio.wait_for(server.stop(), 30)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(where.host, where.port)
