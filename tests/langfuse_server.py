"""A Langfuse that runs in a thread or a process of its own and does what it is told.

It answers as Langfuse 4.16 does (OTLP, batch endpoint, health, projects; redirects and web pages on wrong
paths), keeps every span it accepted, and notes what would have harmed the real server. Its answers to
ingestion requests follow a script (see `langfuse_script.py`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import select
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from langfuse_media import MEDIA, STORAGE, MediaShelf
from langfuse_rules import RejectedError, read_export
from langfuse_script import Answer, Script

OTLP = "/api/public/otel/v1/traces"
BATCH = "/api/public/ingestion"
_MAX_BATCH_BYTES = int(4.5 * 1024 * 1024)
_WEB_PAGE = b"<!DOCTYPE html><html><head><title>404</title></head><body>" + b"<p>not found</p>" * 200


@dataclass
class Request:
    """One request as it arrived. `status` is None while, or because, it was never answered."""

    number: int
    path: str
    arrived_at: float
    headers: dict[str, str]
    wire_bytes: int
    spans: int = 0
    status: int | None = None


@dataclass
class FakeLangfuse:
    """Use as `with FakeLangfuse() as langfuse:` (or `async with`); `langfuse.url` is its base address."""

    host: str = "127.0.0.1"
    port: int = 0
    public_key: str = "pk-lf-test"
    secret_key: str = "sk-lf-test"
    version: str = "4.16.0"
    has_otlp: bool = True
    """False: a server older than 3.22."""
    takes_batches: bool = False
    """True: version 3, or version 4 in its `dual` mode."""
    tls: ssl.SSLContext | None = None
    max_body_bytes: int | None = None
    """What a proxy in front lets through; a larger body is answered with 413."""
    event_status: Callable[[dict[str, Any]], int | None] = lambda event: 201
    """What becomes of an event on the batch endpoint; None: it stands in neither list."""
    record: Path | None = None
    """A file that gets one JSON line per accepted span, for other processes to read."""
    requests: list[Request] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the batch endpoint accepted."""
    violations: list[str] = field(default_factory=list)

    connections: int = 0
    media: MediaShelf = field(default_factory=MediaShelf)

    def __post_init__(self) -> None:
        self._script = Script()
        self._changed = threading.Condition()
        self._starts: dict[tuple[str, str], int] = {}
        self.stopping = threading.Event()
        self._server = _Server((self.host, self.port), _Handler)
        self._server.langfuse = self
        if self.tls is not None:
            # The handshake is made by the thread that reads, so that one client cannot keep out the others.
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake-langfuse")

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def script(self, text: str) -> None:
        """Replace the answers to come; what was held is answered now."""
        with self._changed:
            self._script.replaced.set()
            self._script = Script(text)

    def script_media(self, *, asking: str = "", storing: str = "") -> None:
        """Replace the answers to come of the media store."""
        with self._changed:
            self.media.asking, self.media.storing = Script(asking), Script(storing)

    def wait_for(self, condition: Callable[[FakeLangfuse], bool], timeout_seconds: float = 90) -> None:
        """Block until the condition holds; it is looked at when a request arrives, and after each."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_seconds):
                raise TimeoutError(f"after {len(self.requests)} requests with {len(self.spans)} spans")

    def hear_out(self, timeout_seconds: float = 90) -> None:
        """Block until all is dealt with that clients sent which have ended, but for what hangs or is held.

        A process that was killed may have sent what is read here only later.
        """
        # Connections are taken in their order: when this one is served, those before it are known.
        with urllib.request.urlopen(f"{self.url}/api/public/health", timeout=timeout_seconds):
            ended = self._server.ended()
        ends = time.monotonic() + timeout_seconds
        while self._server.is_busy_with(ended):
            if time.monotonic() > ends:
                raise TimeoutError("something of a client that has ended is still being dealt with")
            time.sleep(0.01)

    def span_ids(self) -> set[str]:
        return {span["spanId"] for span in self.spans}

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        self.script("")
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    # What follows is called by the handler's threads.

    def arrived(self, path: str, headers: dict[str, str], wire_bytes: int) -> tuple[Request, Answer]:
        with self._changed:
            request = Request(len(self.requests) + 1, path, time.time(), headers, wire_bytes)
            self.requests.append(request)
            self._changed.notify_all()
            if path == MEDIA:
                return request, self.media.asking.next()
            if path.startswith(STORAGE):
                return request, self.media.storing.next()
            return request, self._script.next() if path in (OTLP, BATCH) else Answer()

    def take_media(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        with self._changed:
            if path == MEDIA:
                return self.media.ask(json.loads(body), self.url)
            name = path.rpartition("/")[2]
            if path.startswith(MEDIA):
                return self.media.tell(name, json.loads(body))
            self.media.put(name, headers, body)
            return 200, ""

    def accept(self, request: Request, spans: list[dict[str, Any]], violations: list[str]) -> None:
        with self._changed:
            request.spans = len(spans)
            self.violations += [f"request {request.number}: {each}" for each in violations]
            for span in spans:
                self._accept_span(request, span)
            if self.record:
                with self.record.open("a") as file:
                    file.writelines(json.dumps(span) + "\n" for span in spans)

    def answered(self, request: Request, status: int | None) -> None:
        with self._changed:
            request.status = status
            self._changed.notify_all()

    def _accept_span(self, request: Request, span: dict[str, Any]) -> None:
        span |= {"request": request.number, "arrivedAt": request.arrived_at}
        self.spans.append(span)
        key = span["traceId"], span["spanId"]
        if self._starts.setdefault(key, span["startTimeUnixNano"]) != span["startTimeUnixNano"]:
            self.violations.append(
                f"request {request.number}: {span['spanId']} came again with another start"
            )


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # joined on closing, so that no socket outlives a test
    request_queue_size = 128
    langfuse: FakeLangfuse

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.langfuse.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    @contextmanager
    def letting_wait(self, request: Any) -> Iterator[None]:
        """Nobody waits for this connection meanwhile."""
        self._open.discard(request)
        yield
        self._open.add(request)

    def ended(self) -> set[socket.socket]:
        """The connections whose clients have hung up, also when they sent something before."""
        by_number = {connection.fileno(): connection for connection in list(self._open)}
        by_number.pop(-1, None)
        poll = select.poll()
        for number in by_number:
            poll.register(number, select.POLLRDHUP)
        return {by_number[number] for number, _ in poll.poll(0)}

    def is_busy_with(self, connections: set[socket.socket]) -> bool:
        return bool(connections & self._open)

    def hang_up(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # head and body leave together
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        langfuse = self.server.langfuse
        path = self.path.partition("?")[0]
        if path == "/api/public/health":
            self._answer(200, {"status": "OK", "version": langfuse.version})
        elif path == "/api/public/projects":
            status = self._unauthorized()
            project = {"id": "project-1", "name": "test", "organization": {"id": "org-1", "name": "test"}}
            self._answer(*status) if status else self._answer(200, {"data": [project]})
        elif path in (OTLP, BATCH):
            self._answer(405, {"message": "Method not allowed"})
        else:
            self._wrong_path(path)

    def do_POST(self) -> None:
        langfuse = self.server.langfuse
        path = self.path.partition("?")[0]
        body = self._body()
        if path == "/fake/script":
            langfuse.script(body.decode())
            self._answer(200, {})
            return
        if path == MEDIA:
            self._take_media(path, body)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, answer = langfuse.arrived(path, headers, len(body))
        takes = {OTLP: self._take_export, BATCH: self._take_batch}
        if path not in takes or (path == OTLP and not langfuse.has_otlp):
            self._wrong_path(path)
            langfuse.answered(request, 308 if path.endswith("/") else 404)
            return
        if langfuse.max_body_bytes is not None and len(body) > langfuse.max_body_bytes:
            self._answer(413, "Request Entity Too Large")
            langfuse.answered(request, 413)
            return
        if answer.word == "hold":
            with self.server.letting_wait(self.request):
                answer.released.wait()
        status, said = self._unauthorized() or (answer.status, {"message": f"scripted {answer.word}"})
        if status != 401 and answer.accepts:
            try:
                status, said = takes[path](request, body)
            except RejectedError as rejected:
                status, said = rejected.status, {"error": rejected.error}
        self._reply(request, answer, status, said)

    def do_PUT(self) -> None:
        self._take_media(self.path.partition("?")[0], self._body())

    def do_PATCH(self) -> None:
        self._take_media(self.path.partition("?")[0], self._body())

    def _take_media(self, path: str, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, answer = self.server.langfuse.arrived(path, headers, len(body))
        wants_keys = path.startswith(MEDIA)
        refusal = self._unauthorized() if wants_keys else None
        status, said = refusal or (answer.status, {"message": f"scripted {answer.word}"})
        if refusal is None and answer.accepts:
            status, said = self.server.langfuse.take_media(path, headers, body)
        self._reply(request, answer, status, said)

    def _reply(self, request: Request, answer: Answer, status: int, said: Any) -> None:
        langfuse = self.server.langfuse
        if answer.word.endswith("hang"):
            langfuse.answered(request, None)
            with self.server.letting_wait(self.request):
                langfuse.stopping.wait(answer.seconds)
        if answer.word.endswith(("hang", "cut")):
            langfuse.answered(request, None)
            self.close_connection = True
            return
        if answer.word == "slow":
            langfuse.stopping.wait(answer.seconds)
        waits = answer.seconds is not None and answer.word != "slow"
        self._answer(status, said, {"Retry-After": f"{answer.seconds:g}"} if waits else {})
        langfuse.answered(request, status)  # before a client can see the answer and look here
        self.wfile.flush()

    def _take_export(self, request: Request, body: bytes) -> tuple[int, Any]:
        version = self.headers.get("x-langfuse-ingestion-version", "4")
        if not version.isdigit() or int(version) > 4:
            raise RejectedError(400, "Invalid x-langfuse-ingestion-version")
        if self.headers.get("content-encoding") == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError) as error:
                raise RejectedError(400, "Failed to decompress gzip body") from error
        spans, violations = read_export(body, self.headers.get("content-type", ""))
        self.server.langfuse.accept(request, spans, violations)
        return 200, {"id": f"job-{request.number}", "name": "otel-ingestion-job"} if spans else {}

    def _take_batch(self, request: Request, body: bytes) -> tuple[int, Any]:
        if len(body) > _MAX_BATCH_BYTES:
            return 413, "Body exceeded 4.5mb limit"
        try:
            batch = json.loads(body)
        except ValueError:
            return 400, "Invalid JSON"
        if not isinstance(batch, dict) or not isinstance(batch.get("batch"), list):
            raise RejectedError(400, "Invalid request data")
        langfuse = self.server.langfuse
        successes, errors = [], []
        for event in batch["batch"]:
            if langfuse.takes_batches or event["type"] == "score-create":
                status = langfuse.event_status(event)
                if status == 201:
                    successes.append({"id": event["id"], "status": status})
                    langfuse.events.append(event)
                elif status is not None:
                    errors.append({"id": event["id"], "status": status, "message": f"scripted {status}"})
            elif event["type"] != "sdk-log":
                message = "Traces and observations are only accepted over OpenTelemetry (events_only)"
                errors.append({"id": event["id"], "status": 400, "message": "Bad Request", "error": message})
        return 207, {"successes": successes, "errors": errors}

    def _unauthorized(self) -> tuple[int, Any] | None:
        """The secret key decides; the public key only has to be there."""
        scheme, _, credentials = self.headers.get("authorization", "").partition(" ")
        try:
            secret = b64decode(credentials).decode().split(":")[1] if scheme == "Basic" else ""
        except (ValueError, IndexError):
            secret = ""
        if secret == self.server.langfuse.secret_key:
            return None
        return 401, {"message": "Invalid credentials. Confirm that you've configured the correct host."}

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _wrong_path(self, path: str) -> None:
        if path.endswith("/") and path != "/":
            self._answer(308, "", {"Location": path.rstrip("/")})
        else:
            self._answer(404, _WEB_PAGE)

    def _answer(self, status: int, said: Any, headers: dict[str, str] | None = None) -> None:
        """JSON for objects, plain text for texts, a web page for bytes."""
        kind = {str: "text/plain", bytes: "text/html; charset=utf-8"}.get(type(said), "application/json")
        body = (
            said
            if isinstance(said, bytes)
            else said.encode()
            if isinstance(said, str)
            else json.dumps(said).encode()
        )
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet: tests read `requests`."""


def main() -> None:
    """Run until SIGTERM or Ctrl-C. The first line of stdout is the base address."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--record", type=Path, help="append each accepted span to this file, a JSON line each"
    )
    parser.add_argument("--script", default="", help="answers, for example 200*3,429:2,cut,500*")
    parser.add_argument("--takes-batches", action="store_true", help="behave as version 3 or `dual`")
    options = parser.parse_args()
    langfuse = FakeLangfuse(port=options.port, record=options.record, takes_batches=options.takes_batches)
    langfuse.script(options.script)
    with langfuse:
        print(langfuse.url, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    for violation in langfuse.violations:
        print(violation, file=sys.stderr)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
