"""`127.0.0.1:9465` in, a host and a port out: where something of ours listens."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

_LOOPBACK_NAME = "localhost"


class ListenAddressError(ValueError):
    """It is no address, with the way out in `fix`."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


class ListenAddress(Struct, frozen=True):
    """A host without brackets, and a port; 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can connect."""
        return self.host == _LOOPBACK_NAME or ip_address(self.host).is_loopback


def parse_listen_address(text: str) -> ListenAddress:
    """Raises ListenAddressError. A host is an address or `localhost`: a name could mean another tomorrow."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ListenAddressError("it must be an address and a port", 'write it like "127.0.0.1:9465"')
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ListenAddressError("the port must be a number up to 65535", 'write it like "127.0.0.1:9465"')
    if host != _LOOPBACK_NAME:
        host = str(_address(host))
    return ListenAddress(host, int(port))


def _address(host: str) -> IPv4Address | IPv6Address:
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if is_bracketed else host)
    except ValueError:
        reason = "the host must be an IP address or localhost"
        raise ListenAddressError(reason, 'write it like "127.0.0.1:9465"') from None
    if is_bracketed is isinstance(address, IPv4Address):
        reason = "brackets belong around an IPv6 address, and only there"
        raise ListenAddressError(reason, 'write it like "[::1]:9465"')
    return address
