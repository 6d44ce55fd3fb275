"""A small HTTP server for a few pages of our own: one request in, one answer out, the connection closed.

h11 reads the request, so what is no HTTP gets no further. Whoever is slow, sends too much, or comes in
crowds, loses his own connection and nothing else: a request has a deadline and a greatest size, and when too
many connections are open the oldest goes, so that nobody can keep Prometheus out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11
from msgspec import Struct

from kong_ai_tracing.listenaddress import ListenAddress

log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 8 << 10
_MAX_CONNECTIONS = 32
_DEADLINE_SECONDS = 10.0
_LINGER_SECONDS = 1.0
_READ_BYTES = 4096
_METHODS = (b"GET", b"HEAD")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "connection": "close",
}


class Request(Struct, frozen=True):
    """What is asked for. `path` has no query."""

    path: str
    accept: str = ""


class Response(Struct, frozen=True):
    """The whole answer."""

    body: bytes
    content_type: str
    status: int = 200
    headers: dict[str, str] = {}


Handler = Callable[[Request], Awaitable[Response]]


def plain(status: HTTPStatus, text: str, **headers: str) -> Response:
    """A word to whoever asked for something else."""
    return Response(f"{text}\n".encode(), "text/plain; charset=utf-8", status, headers)


class HttpServer:
    """Listens at one address from `start` to `stop`."""

    def __init__(
        self,
        handler: Handler,
        *,
        max_connections: int = _MAX_CONNECTIONS,
        deadline_seconds: float = _DEADLINE_SECONDS,
    ) -> None:
        self._handler = handler
        self._max_connections = max_connections
        self._deadline_seconds = deadline_seconds
        self._server: asyncio.Server | None = None
        self._hosts: frozenset[str] | None = None
        """The names by which we may be called; None for any."""
        self._open: dict[asyncio.Task[None], None] = {}
        """The conversations, oldest first."""

    async def start(self, address: ListenAddress) -> ListenAddress:
        """Listen; gives the address with its real port. Raises OSError.

        At a loopback address a Host that is none is refused: a web page that makes its own name point here
        must not read what is served.
        """
        self._server = await asyncio.start_server(
            self._serve, address.host, address.port, limit=_MAX_HEAD_BYTES
        )
        if address.is_loopback:
            own = f"[{address.host}]" if ":" in address.host else address.host
            self._hosts = frozenset((*_LOOPBACK_NAMES, own))
        return ListenAddress(address.host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        conversations = list(self._open)
        for each in conversations:
            each.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = None
        if len(self._open) > self._max_connections:
            next(iter(self._open)).cancel()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._converse(reader, writer)
        except (TimeoutError, OSError):
            pass  # his loss
        except asyncio.CancelledError:
            pass  # pushed out, or a stop; asyncio's streams would log it as a defect of ours
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        head_alone = False
        try:
            request = await _request(http, reader)
            if request is None:
                return
            head_alone = request.method == b"HEAD"
            response = await self._answer(request)
        except h11.RemoteProtocolError as error:
            response = plain(
                HTTPStatus(error.error_status_hint), "this is no HTTP request that is served here"
            )
        writer.transport.set_write_buffer_limits(0)  # what was drained has left
        writer.write(_encoded(http, response, head_alone=head_alone))
        await writer.drain()
        writer.write_eof()
        # A body that nobody wanted is read away: to close over it would take the answer back.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await reader.read(_READ_BYTES):
                    pass

    async def _answer(self, request: h11.Request) -> Response:
        if request.method not in _METHODS:
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are served", allow="GET, HEAD")
        headers = dict(request.headers)
        if not self._is_ours(headers.get(b"host")):
            return plain(HTTPStatus.MISDIRECTED_REQUEST, "ask by address or as localhost")
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        accept = headers.get(b"accept", b"").decode("latin-1")
        try:
            return await self._handler(Request(path, accept))
        except Exception:
            log.exception("status.broken path=%s", path)
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "this page is broken; our log says how")

    def _is_ours(self, host: bytes | None) -> bool:
        if self._hosts is None or host is None:  # only HTTP/1.0 comes without one, and no browser speaks it
            return True
        name = host.decode("latin-1").lower()
        return name in self._hosts or name.rpartition(":")[0] in self._hosts


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The head of the request; None when nobody asks for anything."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        http.receive_data(await reader.read(_READ_BYTES))


def _encoded(http: h11.Connection, response: Response, *, head_alone: bool) -> bytes:
    headers = {
        "content-type": response.content_type,
        "content-length": str(len(response.body)),
        **_HEADERS,
        **response.headers,
    }
    status = HTTPStatus(response.status)
    events: list[h11.Event] = [
        h11.Response(status_code=status, reason=status.phrase, headers=list(headers.items()))
    ]
    if not head_alone:
        events.append(h11.Data(data=response.body))
    events.append(h11.EndOfMessage())
    return b"".join(http.send(event) or b"" for event in events)
