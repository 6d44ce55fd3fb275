"""Which of its two ways in does a Langfuse server offer?

OTLP is there from 3.22 on, and version 4 takes traces only there. Older servers have the batch endpoint. What
is chosen here is a beginning: the answers to what is sent have the last word.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import httpx
from msgspec import Struct

from kong_ai_tracing.endpoint import Endpoint

Transport: TypeAlias = Literal["otlp", "ingestion"]
Version: TypeAlias = tuple[int, ...]

OLDEST_WITH_OTLP = (3, 22)
OLDEST_WITH_OTLP_ONLY = (4,)
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


class Choice(Struct, frozen=True):
    """A transport and why it was taken."""

    transport: Transport
    reason: str


def choose_transport(
    setting: Literal["auto", "otlp", "ingestion"], endpoint: Endpoint, version: Version | None
) -> Choice:
    """The transport to begin with. `version` is None where the server does not tell it."""
    if setting != "auto":
        return Choice(setting, "delivery.transport says so")
    if endpoint.names_otlp:
        return Choice("otlp", "langfuse_endpoint is the OTLP endpoint")
    if version is None:
        return Choice("otlp", "the server does not tell its version")
    name = f"the server is Langfuse {version_text(version)}"
    if version < OLDEST_WITH_OTLP:
        return Choice("ingestion", f"{name}, which has no OTLP")
    return Choice("otlp", name)


def version_of(health: httpx.Response) -> Version | None:
    """The version in the answer of `/api/public/health`."""
    try:
        text = health.json()["version"]
    except (ValueError, KeyError, TypeError):
        return None
    match = _VERSION.match(str(text))
    return tuple(int(part) for part in match.groups() if part) if match else None


def version_text(version: Version) -> str:
    return ".".join(map(str, version))
