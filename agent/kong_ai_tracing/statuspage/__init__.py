"""The daemon's pages for whoever watches it: `/metrics`, `/healthz`, `/readyz`, and `/` for people.

Loaded only when `status.listen` says so. It watches and never holds up what it watches: what it cannot do, an
address that is taken, a state that hangs, is told, and tracing goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from kong_ai_tracing.listenaddress import ListenAddress, parse_listen_address
from kong_ai_tracing.statuspage.concerns import not_alive, not_ready
from kong_ai_tracing.statuspage.httpserver import HttpServer, Request, Response, plain
from kong_ai_tracing.statuspage.page import CONTENT_SECURITY_POLICY, page_of
from kong_ai_tracing.statuspage.situation import Now, Observer

__all__ = ["Now", "StatusPage"]

log = logging.getLogger(__name__)


class StatusPage:
    """Serves at one address, at another when it is told to, or at none."""

    def __init__(self, now: Callable[[], Now]) -> None:
        self._observer = Observer(now)
        self._listen: str | None = None
        self._server: HttpServer | None = None
        self.address: ListenAddress | None = None
        """Where it is served, with the real port."""

    async def listen_at(self, listen: str | None) -> None:
        """Move to an address; None ends it. One that cannot be had is told, and the one before stays."""
        if listen == self._listen:
            return
        before = self._server
        if listen is None:
            self._server = self.address = None
        else:
            server = HttpServer(self._respond)
            try:
                self.address = await server.start(parse_listen_address(listen))
            except OSError as error:
                log.error("status.failed address=%s reason=%r", listen, error.strerror or str(error))
                return
            self._server = server
            log.info("status.listening address=%s", self.address)
        self._listen = listen
        if before is not None:
            await before.stop()

    async def _respond(self, request: Request) -> Response:
        if request.path not in ("/", "/metrics", "/healthz", "/readyz"):
            return plain(HTTPStatus.NOT_FOUND, "there are /, /metrics, /healthz and /readyz")
        if request.path == "/healthz":
            return _verdict("alive", "stuck", not_alive(self._observer.from_memory()))
        situation = await self._observer.situation()
        if request.path == "/metrics":
            from kong_ai_tracing.statuspage.metrics import exposition

            return Response(*exposition(situation, request.accept))
        if request.path == "/readyz":
            return _verdict("ready", "not ready", not_ready(situation))
        headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "refresh": "5"}
        return Response(page_of(situation).encode(), "text/html; charset=utf-8", headers=headers)


def _verdict(good: str, bad: str, reasons: list[str]) -> Response:
    body = msgspec.json.encode({"status": bad if reasons else good, "reasons": reasons})
    return Response(body + b"\n", "application/json", 503 if reasons else 200)
