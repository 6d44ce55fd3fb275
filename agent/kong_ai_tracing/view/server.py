"""An address in, a web server on it until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

import uvicorn
from msgspec import Struct

from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.view.access import Access, Keys
from kong_ai_tracing.view.app import Settings, application
from kong_ai_tracing.view.sources import Source

_STOP_SECONDS = 2


class Address(Struct, frozen=True):
    host: str
    port: int

    @property
    def name(self) -> str:
        """What a browser is told: where every address of this host is listened at, its name."""
        return socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104


def parse_address(text: str) -> Address:
    """`127.0.0.1:8080`, `[::1]:8080`, `:8080` or a name with a port. Raises OperatorError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise OperatorError(f"--listen {text}: write it like 127.0.0.1:8080")
    return Address(host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port))


def listen(address: Address) -> socket.socket:
    """A socket at that address. Raises OperatorError when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listening = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise OperatorError(
            f"cannot listen at {address.host}:{address.port}: {error.strerror or error}"
        ) from None
    # asyncio does this itself only for sockets that it made; without it each answer waits for 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def is_loopback(listening: socket.socket) -> bool:
    return ip_address(listening.getsockname()[0]).is_loopback


def serve(
    listening: socket.socket,
    address: Address,
    source: Source,
    settings: Settings,
    announce: Callable[[str], None],
) -> None:
    keys = Keys(announce)
    port = listening.getsockname()[1]
    app = Access(application(source, settings), keys, port=port, names=frozenset({address.name.lower()}))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    announce(keys.token)
    uvicorn.Server(config).run(sockets=[listening])
