"""Private authorities, client certificates, proxies and kept connections, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from kong_ai_tracing import otlp
from kong_ai_tracing.batches import Body
from kong_ai_tracing.endpoint import parse_endpoint
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.httpclient import Connection, open_client, tls_of
from kong_ai_tracing.langfuse import Langfuse
from kong_ai_tracing.outcomes import Accepted, Outcome, TryLater
from langfuse_server import FakeLangfuse
from test_otlp import SPAN

BODY = Body(1, otlp.join([otlp.encode(SPAN)]))


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def server_context(authority: trustme.CA, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "langfuse.test").configure_cert(context)
    if asks_for_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


async def send(url: str, connection: Connection, times: int = 1) -> list[Outcome]:
    destination = Langfuse(
        endpoint=parse_endpoint(url),
        public_key="pk-lf-test",
        secret_key="sk-lf-test",
        connection=connection,
        compress=True,
    )
    try:
        return [await destination.send(BODY) for _ in range(times)]
    finally:
        await destination.close()


async def test_a_private_authority_is_trusted_when_it_is_named(authority: trustme.CA, ca_file: Path) -> None:
    """And not otherwise: then everything waits."""  # covers SNK-11
    with FakeLangfuse(tls=server_context(authority)) as server:
        [outcome] = await send(server.url, Connection())
        assert isinstance(outcome, TryLater)
        assert "certificate" in outcome.reason.lower()
        assert await send(server.url, Connection(ca_file=ca_file)) == [Accepted()]
        assert len(server.spans) == 1


async def test_a_client_for_clear_text_trusts_nobody(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has loaded no authorities: should it ever meet TLS, it must not take that for safe."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with FakeLangfuse(tls=server_context(authority)) as server:
        async with open_client(Connection()) as client:
            await client.get(server.url)
        async with open_client(Connection(), clear_text=True) as client:
            with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
                await client.get(server.url)


@pytest.mark.parametrize("in_one_file", [True, False])
async def test_a_client_certificate_is_shown(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, in_one_file: bool
) -> None:
    """With its key in the same file or in another."""
    issued = authority.issue_cert("gateway-1")
    both, certificate, key = tmp_path / "both.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(both)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    connection = (
        Connection(ca_file=ca_file, client_certificate=both)
        if in_one_file
        else Connection(ca_file=ca_file, client_certificate=certificate, client_key=key)
    )
    with FakeLangfuse(tls=server_context(authority, asks_for_certificate=True)) as server:
        [outcome] = await send(server.url, Connection(ca_file=ca_file))
        assert isinstance(outcome, TryLater)
        assert await send(server.url, connection) == [Accepted()]


@pytest.mark.parametrize("error", [ssl.SSLError(1, "tlsv13 alert"), ConnectionResetError(104, "reset")])
async def test_what_the_client_does_not_wrap_is_tried_later_as_well(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS 1.3 refuses a client after the handshake, when the client library expects no such thing."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise error

    client = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    monkeypatch.setattr("kong_ai_tracing.langfuse.open_client", lambda _, **__: client)
    [outcome] = await send("https://langfuse.example.com", Connection())
    assert isinstance(outcome, TryLater)


@pytest.mark.parametrize("setting", ["langfuse_ca_file", "langfuse_client_certificate"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, setting: str, content: str | None) -> None:
    """The operator reads which setting, which file and why."""
    path = tmp_path / "some.pem"
    if content is not None:
        path.write_text(content)
    field = setting.removeprefix("langfuse_")
    with pytest.raises(OperatorError, match=rf"{setting} cannot be used \(.*some.pem\)"):
        tls_of(Connection(**{field: path}))


def test_each_phase_has_its_time_out() -> None:
    """A host that does not answer at all is given up sooner than a slow answer."""  # covers SNK-09
    timeout = open_client(Connection(timeout_seconds=30)).timeout
    assert timeout == httpx.Timeout(30, connect=5)
    assert open_client(Connection(timeout_seconds=2)).timeout == httpx.Timeout(2)


async def test_connections_are_kept_and_used_again() -> None:
    """One handshake serves many requests."""
    with FakeLangfuse() as server:
        assert await send(server.url, Connection(), times=20) == [Accepted()] * 20
        assert server.connections == 1


async def test_a_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    """A server that hangs up between two requests is connected to again."""
    with FakeLangfuse() as server:
        destination = Langfuse(
            endpoint=parse_endpoint(server.url),
            public_key="pk-lf-test",
            secret_key="sk-lf-test",
            connection=Connection(),
            compress=False,
        )
        assert await destination.send(BODY) == Accepted()
        server._server.hang_up()
        await asyncio.sleep(0)
        assert isinstance(await destination.send(BODY), Accepted | TryLater)
        assert await destination.send(BODY) == Accepted()
        await destination.close()
        assert server.connections >= 2


class Proxy:
    """A forward proxy: plain requests with whole addresses, and tunnels by CONNECT. All go to one server."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.asked: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        method, target, _ = line.split()
        self.asked.append(f"{method} {target}")
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        if method == "CONNECT":
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sending = asyncio.create_task(self._pump(reader, upstream))
        else:
            path = "/" + target.split("/", 3)[3]
            upstream.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode())
            sending = asyncio.create_task(self._pump(reader, upstream))
            # The client must know, too, or its next request may go into what is about to be closed.
            writer.write(await upstream_reader.readline() + b"Connection: close\r\n")
        await asyncio.gather(sending, self._pump(upstream_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    async with server, asyncio.timeout(90):
        yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*proxy.tasks)


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up by the proxy: only it knows this one."""  # covers SNK-11
    with FakeLangfuse() as server:
        async with proxy_to(server.port) as (proxy, url):
            monkeypatch.setenv("HTTP_PROXY", url)
            assert await send("http://langfuse.test", Connection()) == [Accepted()]
        assert proxy.asked[-1] == "POST http://langfuse.test/api/public/otel/v1/traces"
        assert len(server.spans) == 1


async def test_tls_goes_through_a_tunnel_of_the_proxy(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees the name and nothing else."""
    with FakeLangfuse(tls=server_context(authority)) as server:
        async with proxy_to(server.port) as (proxy, url):
            monkeypatch.setenv("HTTPS_PROXY", url)
            assert await send("https://langfuse.test", Connection(ca_file=ca_file)) == [Accepted()]
        assert proxy.asked == ["CONNECT langfuse.test:443"]


async def test_no_proxy_is_for_those_that_are_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is honoured as everywhere."""
    with FakeLangfuse() as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        [outcome] = await send(server.url, Connection())
        assert isinstance(outcome, TryLater)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert await send(server.url, Connection()) == [Accepted()]


async def test_no_body_stays_when_it_was_sent() -> None:
    """Megabytes would wait for the collector of garbage, which has no idea of bytes."""
    with FakeLangfuse() as server:
        gc.collect()
        gc.disable()
        try:
            assert await send(server.url, Connection(), times=3) == [Accepted()] * 3
            requests = [each for each in gc.get_objects() if isinstance(each, httpx.Request)]
            assert not [each for each in requests if str(each.url).startswith(server.url)]
        finally:
            gc.enable()
