"""Why a server cannot be reached, in words, with what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kong_ai_tracing.checks.findings import Finding
from kong_ai_tracing.endpoint import Endpoint

if TYPE_CHECKING:
    import httpx

_WAITS = "traces wait in the outbox"
_TLS = re.compile(r"certificate|SSL|TLS", re.IGNORECASE)


def unreachable(endpoint: Endpoint, error: httpx.HTTPError | OSError) -> Finding:
    """The finding for a request that got no answer."""
    import httpx

    said = str(error) or type(error).__name__
    look = f"curl -sv {endpoint.base_url}/api/public/health"
    if isinstance(error, httpx.TimeoutException):
        return _finding(
            endpoint,
            "does not answer in time",
            "a firewall that drops packets, or a server under load; see that this host may connect to it,"
            " directly or through the proxy in HTTPS_PROXY",
            look,
        )
    if isinstance(error, httpx.ProxyError):
        return _finding(endpoint, f"cannot be reached through the proxy: {said}", "correct HTTPS_PROXY", look)
    if _TLS.search(said):
        return _tls(endpoint, said)
    if re.search(r"Name or service not known|name resolution|No address|nodename", said):
        return _finding(
            endpoint,
            "has a name that this host cannot resolve",
            "correct langfuse_endpoint, or the name servers of this host",
            f"getent hosts {_host(endpoint)[0]}",
        )
    if "refused" in said.lower() or "All connection attempts failed" in said:
        return _finding(
            endpoint,
            "refuses connections: nothing listens there",
            "start Langfuse, or correct the port in langfuse_endpoint",
            look,
        )
    return _finding(endpoint, f"cannot be reached: {said}", "see what this says", look)


def _tls(endpoint: Endpoint, said: str) -> Finding:
    host, port = _host(endpoint)
    show = f"openssl s_client -connect {host}:{port} -servername {host} </dev/null"
    if "wrong version number" in said.lower() or "record layer failure" in said.lower():
        what, fix = (
            "speaks no TLS there",
            "write http:// in langfuse_endpoint, or the port that speaks TLS",
        )
    elif "self-signed" in said or "self signed" in said or "unable to get local issuer" in said:
        what = "has a certificate that no known authority signed"
        fix = (
            "put the certificate of your authority, or of the proxy that opens TLS, into a file and name it"
            " in langfuse_ca_file"
        )
    elif "expired" in said:
        what, fix = "has a certificate that expired", "renew it; if it is not, correct the clock of this host"
    elif "not yet valid" in said:
        what, fix = "has a certificate that is not valid yet", "correct the clock of this host"
    elif "ostname mismatch" in said or "IP address mismatch" in said or "doesn't match" in said:
        what = "has a certificate for another name"
        fix = "write the name of the certificate in langfuse_endpoint"
    elif "certificate required" in said or "handshake failure" in said or "bad certificate" in said:
        what = "wants a certificate from us"
        fix = "name it in langfuse_client_certificate and langfuse_client_key"
    else:
        what, fix = f"fails in TLS: {said}", "see what this says"
    return _finding(endpoint, what, fix, show, "langfuse.tls")


def _host(endpoint: Endpoint) -> tuple[str, int]:
    parts = urlsplit(endpoint.base_url)
    return parts.hostname or "", parts.port or (80 if endpoint.is_clear_text else 443)


def _finding(
    endpoint: Endpoint, what: str, fix: str, command: str, identifier: str = "langfuse.unreachable"
) -> Finding:
    return Finding(identifier, "error", f"{endpoint.base_url} {what}", _WAITS, fix, command)
