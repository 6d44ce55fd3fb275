"""What `check` says of servers, and why it cannot reach those that are not there: over real sockets."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import trustme

from kong_ai_tracing.checks import server
from kong_ai_tracing.checks.connections import unreachable
from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.server import check_server
from kong_ai_tracing.config import Config
from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.endpoint import parse_endpoint
from kong_ai_tracing.secret import Secret

KEYS = {"langfuse_public_key": Secret("pk-lf-1"), "langfuse_secret_key": Secret("sk-lf-hush")}

PATIENCE_SECONDS = server._PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def much_patience(monkeypatch):
    """A server of these tests answers; a busy machine is not to be taken for one that does not."""
    monkeypatch.setattr(server, "_PATIENCE_SECONDS", 60.0)


class _Langfuse(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = {"version": "4.16.0"} if self.path.endswith("/health") else {"data": [{"name": "gateway"}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def langfuse(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server with these certificates; the address of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Langfuse)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ask(url: str, **keys: object) -> dict[str, Finding]:
    config = Config(langfuse_enabled=True, langfuse_endpoint=url, **KEYS, **keys)
    return {finding.id: finding for finding in check_server(Surroundings(config, {}))}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_a_good_server_gives_no_problem(authority, tmp_path):
    """In clear text on this host, and over TLS with a private authority that is named."""
    with langfuse() as url:
        assert {finding.severity for finding in ask(url).values()} == {"ok"}
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with langfuse(context_of(authority.issue_cert("127.0.0.1"))) as url:
        found = ask(url, langfuse_ca_file=tmp_path / "ca.pem")
    assert {finding.severity for finding in found.values()} == {"ok"}


def test_a_private_authority_that_is_not_named_is_told_with_the_setting_for_it(authority):
    """The message of OpenSSL helps nobody."""
    with langfuse(context_of(authority.issue_cert("127.0.0.1"))) as url:
        finding = ask(url)["langfuse.tls"]
    assert "no known authority signed" in finding.what
    assert "langfuse_ca_file" in finding.fix
    assert finding.command.startswith("openssl s_client -connect 127.0.0.1:")


def test_other_trouble_with_certificates_has_words_of_its_own(authority, tmp_path):
    """Another name, or expired: each has another fix."""
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    with langfuse(context_of(authority.issue_cert("langfuse.test"))) as url:
        assert "for another name" in ask(url, langfuse_ca_file=ca_file)["langfuse.tls"].what
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    before = yesterday - datetime.timedelta(days=1)
    old = authority.issue_cert("127.0.0.1", not_before=before, not_after=yesterday)
    with langfuse(context_of(old)) as url:
        assert "expired" in ask(url, langfuse_ca_file=ca_file)["langfuse.tls"].what


def test_a_server_that_asks_for_a_certificate_is_told(authority, tmp_path):
    """Mutual TLS."""
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # refuses within the handshake
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with langfuse(context) as url:
        finding = ask(url, langfuse_ca_file=ca_file)["langfuse.tls"]
    assert "wants a certificate from us" in finding.what
    assert "langfuse_client_certificate" in finding.fix


def test_https_to_a_port_without_tls_is_told():
    """The most usual slip with a server of one's own."""
    with langfuse() as url:
        finding = ask(url.replace("http://", "https://"))["langfuse.tls"]
    assert "speaks no TLS" in finding.what


def test_a_port_on_which_nothing_listens_and_a_name_that_nobody_knows_are_told_apart():
    """One is a server that is down, the other a slip of the pen."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        assert "nothing listens" in ask(f"http://127.0.0.1:{port}")["langfuse.unreachable"].what
    for said in ("[Errno -2] Name or service not known", "[Errno -3] Temporary failure in name resolution"):
        error = httpx.ConnectError(said)
        finding = unreachable(parse_endpoint("https://lanfguse.example.com"), error)
        assert "cannot resolve" in finding.what
        assert finding.command == "getent hosts lanfguse.example.com"


def test_a_server_that_hangs_is_given_up_soon(monkeypatch):
    """A check takes less than three seconds, also with several destinations."""
    monkeypatch.setattr(server, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tables = tuple(
            DestinationTable(name=f"team-{number}", langfuse_endpoint=url, **KEYS) for number in range(20)
        )
        config = Config(destination=tables, langfuse_timeout=60_000)
        began = time.monotonic()
        found = list(check_server(Surroundings(config, {})))
        assert time.monotonic() - began < 20, "one after the other would take two seconds each"
    unreached = [finding for finding in found if finding.id == "langfuse.unreachable"]
    assert len(unreached) == 20
    assert all("does not answer in time" in finding.what for finding in unreached)


def test_a_name_server_that_hangs_is_given_up_as_well(monkeypatch):
    """The system's resolver takes half a minute, and knows no time-out."""
    monkeypatch.setattr(server, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(120) and [])
    began = time.monotonic()
    found = ask("https://langfuse.example.com")
    took = time.monotonic() - began
    released.set()
    assert took < 30
    assert "does not answer in time" in found["langfuse.unreachable"].what


def test_every_destination_is_asked_and_named():
    """One project may work and the other not."""
    with langfuse() as url:
        tables = (
            DestinationTable(name="team-a", langfuse_endpoint=url, **KEYS),
            DestinationTable(name="team-b", langfuse_endpoint="http://127.0.0.1:9", **KEYS),
        )
        found = list(check_server(Surroundings(Config(destination=tables), {})))
    assert [f.what for f in found if f.id == "langfuse.keys"] == [
        "team-a: the keys belong to project 'gateway'"
    ]
    assert [f.what.partition(":")[0] for f in found if f.severity == "error"] == ["team-b"]
    assert "hush" not in str(found)


def test_nobody_is_asked_when_offline():
    """Each destination is still named."""
    table = DestinationTable(name="team-a", langfuse_endpoint="https://a.example.com", **KEYS)
    config = Config(destination=(table,))
    found = list(check_server(Surroundings(config, {}, offline=True)))
    assert [f.what for f in found if f.id == "langfuse.skipped"] == [
        "team-a: https://a.example.com was not asked (--offline)"
    ]
