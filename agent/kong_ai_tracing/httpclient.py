"""The HTTP client of a destination: time-outs for each phase, private authorities, proxies, kept connections.

Proxies come from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), which httpx reads itself.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from kong_ai_tracing import __version__
from kong_ai_tracing.errors import OperatorError

_MAX_CONNECT_SECONDS = 5.0
"""A host that is there answers sooner; a request may take longer."""
_READ = httpx.ByteStream(b"")


class Connection(Struct, frozen=True, kw_only=True):
    """How to reach a server."""

    timeout_seconds: float = 5.0
    """For each phase: to connect, to send, to be answered."""
    max_connections: int = 8
    ca_file: Path | None = None
    """Certificates to trust beside the public ones."""
    client_certificate: Path | None = None
    client_key: Path | None = None
    """Without it the key is looked for in the certificate's file."""


def tls_of(connection: Connection) -> ssl.SSLContext | bool:
    """What httpx takes as `verify`. Raises OperatorError when a file cannot be used."""
    if connection.ca_file is None and connection.client_certificate is None:
        return True
    context = httpx.create_ssl_context()
    if connection.ca_file is not None:
        try:
            context.load_verify_locations(connection.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise _unusable("langfuse_ca_file", connection.ca_file, error) from None
    if connection.client_certificate is not None:
        try:
            context.load_cert_chain(
                connection.client_certificate, connection.client_key, password=_no_password
            )
        except (ssl.SSLError, OSError) as error:
            raise _unusable("langfuse_client_certificate", connection.client_certificate, error) from None
    return context


class _Client(httpx.AsyncClient):
    """Keeps no body of a request in memory.

    A response that was read and its stream know each other, and the request hangs on them: with megabytes of
    body it would stay until the next look for such rings.
    """

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await super().send(request, **options)
        if response.is_closed:
            response.stream = _READ
        return response


def open_client(connection: Connection, *, clear_text: bool = False) -> httpx.AsyncClient:
    """A client without credentials. Redirects are not followed: a POST would arrive as something else.

    One for `clear_text` trusts nobody who speaks TLS: to load the public authorities takes 20 ms of a
    start, and a megabyte.
    """
    most = connection.max_connections
    tls = tls_of(connection)
    if clear_text and tls is True:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _Client(
        verify=tls,
        timeout=httpx.Timeout(
            connection.timeout_seconds, connect=min(connection.timeout_seconds, _MAX_CONNECT_SECONDS)
        ),
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
        headers={"user-agent": f"kong-ai-tracing/{__version__}"},
    )


def _no_password() -> str:
    raise OperatorError(
        "langfuse_client_key has a password, and there is nobody to ask for it; give a key without one"
    )


def _unusable(key: str, path: Path, error: Exception) -> OperatorError:
    reason = getattr(error, "strerror", None) or str(error)
    return OperatorError(
        f"{key} cannot be used ({path}): {reason}; it must be a PEM file that this user may read"
    )


def words_of(error: Exception) -> str:
    """What went wrong on the way. The client says "all attempts failed" where the system says why."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError) and cause.errno:
            return f"{type(error).__name__}: {os.strerror(cause.errno)}"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
