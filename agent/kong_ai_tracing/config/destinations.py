"""More Langfuse projects than one, each with the calls that go there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from kong_ai_tracing.matching import Match
from kong_ai_tracing.secret import Secret


class DestinationTable(Match, frozen=True, kw_only=True):
    """Another Langfuse project, with the calls that go there. Each has its own positions, outbox and health,
    so that one that takes nothing stops only itself. With langfuse_enabled, the project of the top-level
    keys gets every call besides.
    """

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9][a-z0-9_-]{0,39}$",
            description="Its name in status and logs, and of its folder: a-z, 0-9, '-' and '_', at most 40.",
            examples=["team-a"],
        ),
    ]
    langfuse_endpoint: Annotated[
        str | None,
        Meta(
            description="Its Langfuse server; without it, the top-level one.",
            examples=["https://langfuse.example.com"],
        ),
    ] = None
    langfuse_public_key: Annotated[
        Secret | None, Meta(description="The project's public key.", examples=["pk-lf-..."])
    ] = None
    langfuse_secret_key: Annotated[
        Secret | None,
        Meta(
            description="The project's secret key. Better in a file or in the unit's credentials folder, as"
            " langfuse_secret_key.NAME.",
            examples=["sk-lf-..."],
        ),
    ] = None
    langfuse_secret_key_file: Annotated[
        Path | None,
        Meta(
            description="A file that holds the secret key and nothing else.",
            examples=["/etc/kong-ai-tracing/secrets/team-a"],
        ),
    ] = None
    content: Annotated[
        Literal["full", "metadata", "hashed"] | None,
        Meta(description="As privacy.content, for this project.", examples=["metadata"]),
    ] = None
    outbox_max_bytes: Annotated[
        int | None,
        Meta(ge=64 * 1024, description="As delivery.outbox_max_bytes.", examples=[1 << 30]),
    ] = None
