"""Where Langfuse is: one address in, in any form people paste, the addresses we need out.

Accepted are the base URL, the batch endpoint (the default of the Kong plugin) and the OTLP endpoint, also
that of an OpenTelemetry Collector that hands traces on.
Clear text `http://` is for addresses that cannot be on the public internet.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

INGESTION_PATH = "/api/public/ingestion"
OTLP_PATH = "/api/public/otel/v1/traces"
HEALTH_PATH = "/api/public/health"
COLLECTOR_PATH = "/v1/traces"
"""Where OTLP is taken by everything that is not Langfuse."""

# What people paste, longest first, so that the most specific ending is taken off.
_KNOWN_ENDINGS = (OTLP_PATH, "/api/public/otel", INGESTION_PATH, "/api/public")
# Names that no public DNS server knows: container, cluster, office and home networks.
_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc")


class EndpointError(ValueError):
    """An address that cannot be used: `str(error)` is the reason, `fix` says what to write."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


class Endpoint(Struct, frozen=True):
    """The base URL of a Langfuse server, without a trailing slash."""

    base_url: str
    is_private: bool = False
    """True when the host cannot be on the public internet: loopback, private range, local name."""
    names_otlp: bool = False
    """True when the address was given as that of the OTLP endpoint."""
    otlp_path: str = OTLP_PATH

    @property
    def is_clear_text(self) -> bool:
        return self.base_url.startswith("http://")

    @property
    def otlp_url(self) -> str:
        # Exactly this: a trailing slash is answered with a redirect that clients do not follow for POST.
        return self.base_url + self.otlp_path

    @property
    def health_url(self) -> str:
        return self.base_url + HEALTH_PATH

    @property
    def ingestion_url(self) -> str:
        return self.base_url + INGESTION_PATH


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that `text` means, or an EndpointError."""
    parts = _split(text)
    path = parts.path.rstrip("/")
    names_otlp = path.endswith((COLLECTOR_PATH, "/api/public/otel"))
    otlp_path = OTLP_PATH
    for ending in _KNOWN_ENDINGS:
        if path.endswith(ending):
            path = path.removesuffix(ending)
            break
    else:
        if names_otlp:
            path, otlp_path = path.removesuffix(COLLECTOR_PATH), COLLECTOR_PATH
    if path.startswith("/project/") or "/api/" in path:
        raise EndpointError(
            "this is not the address of a Langfuse server but of a page or call of it",
            f"give the part before the path: {parts.scheme}://{parts.netloc}",
        )
    return Endpoint(
        f"{parts.scheme}://{parts.netloc}{path}",
        is_private=_is_private(parts.hostname or ""),
        names_otlp=names_otlp,
        otlp_path=otlp_path,
    )


def _split(text: str) -> SplitResult:
    example = "https://cloud.langfuse.com"
    if any(character.isspace() or not character.isprintable() for character in text):
        raise EndpointError("it holds a blank or a control character", f"write it like {example}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise EndpointError(f"it is not a URL: {error}", f"write it like {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        guess = f"https://{text}" if "://" not in text and text else example
        raise EndpointError("it is not an http or https URL", f"write it like {guess}")
    if parts.username is not None or parts.password is not None:
        raise EndpointError(
            "it holds a user name or password",
            "take them out and give the keys as langfuse_public_key and langfuse_secret_key",
        )
    if parts.query or parts.fragment:
        raise EndpointError("it has a query or a fragment", "remove everything from the '?' or '#' on")
    return parts


def _is_private(host: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(host.split("%")[0])
    except ValueError:
        # A name without a dot is resolved by the container network, the cluster or /etc/hosts.
        return "." not in host or host.endswith((*_PRIVATE_ENDINGS, ".svc.cluster.local"))
    return address.is_loopback or address.is_private or address.is_link_local
