"""Every setting with its type, range, default and reason, as frozen values; tables are in `tables.py`.

This is the one list: the configuration reader, `config init` and `config show` are made from it
(`keys.py` walks over it). A description says what the key is for and when to change it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.config.tables import Delivery, Grouping, Local, Privacy, Redaction, StatusPage, Tailing
from kong_ai_tracing.endpoint import Endpoint, parse_endpoint
from kong_ai_tracing.mapping import FieldMapping
from kong_ai_tracing.operatorrules import Price, ProviderRule, Rule
from kong_ai_tracing.secret import Secret


class Config(Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    log_paths: Annotated[
        tuple[str, ...],
        Meta(
            description="The files that Kong's file-log plugin writes, as absolute paths or patterns. A"
            " pattern may also match rotated files; each is read once.",
            examples=[("/var/log/kong-ai/ai.log",)],
        ),
    ] = ()
    state_dir: Annotated[
        Path,
        Meta(
            description="Where positions, the outbox and the local store live. Without it: $STATE_DIRECTORY"
            " (set by systemd), else /var/lib/kong-ai-tracing if it can be written, else"
            " ~/.local/state/kong-ai-tracing.",
            examples=["/var/lib/kong-ai-tracing"],
        ),
    ] = Path("/var/lib/kong-ai-tracing")
    langfuse_enabled: Annotated[
        bool,
        Meta(
            description="true sends traces to Langfuse. false keeps them in the local store on this machine."
        ),
    ] = False
    langfuse_endpoint: Annotated[
        str,
        Meta(description="The Langfuse server: its base URL, its batch endpoint or its OTLP endpoint."),
    ] = "https://cloud.langfuse.com/api/public/ingestion"
    langfuse_public_key: Annotated[
        Secret | None,
        Meta(
            description="The project's public key. Also taken from LANGFUSE_PUBLIC_KEY.",
            examples=["pk-lf-..."],
        ),
    ] = None
    langfuse_secret_key: Annotated[
        Secret | None,
        Meta(
            description="The project's secret key. Better kept out of this file: in"
            " langfuse_secret_key_file, in the unit's credentials folder, or in LANGFUSE_SECRET_KEY.",
            examples=["sk-lf-..."],
        ),
    ] = None
    langfuse_secret_key_file: Annotated[
        Path | None,
        Meta(
            description="A file that holds the secret key and nothing else.",
            examples=["/etc/kong-ai-tracing/secrets/langfuse_secret_key"],
        ),
    ] = None
    langfuse_ca_file: Annotated[
        Path | None,
        Meta(
            description="A PEM file with the certificate authority of a Langfuse with a private certificate,"
            " or of a proxy that opens TLS. It is trusted beside the public ones.",
            examples=["/etc/kong-ai-tracing/company-ca.pem"],
        ),
    ] = None
    langfuse_client_certificate: Annotated[
        Path | None,
        Meta(
            description="A PEM file with the certificate to show to a server that asks for one.",
            examples=["/etc/kong-ai-tracing/client.pem"],
        ),
    ] = None
    langfuse_client_key: Annotated[
        Path | None,
        Meta(
            description="The key of that certificate, unless it is in the same file. Without a password.",
            examples=["/etc/kong-ai-tracing/secrets/client-key.pem"],
        ),
    ] = None
    langfuse_timeout: Annotated[
        int,
        Meta(
            ge=100,
            le=600_000,
            description="Milliseconds that Langfuse may take for each step of a request: to be connected"
            " (5000 at most), to receive it, to answer. After that it is tried again.",
        ),
    ] = 5000
    environment: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="Langfuse's environment label. Lower-case letters, digits, '-' and '_', at most 40,"
            ' not beginning with "langfuse".',
        ),
    ] = "production"
    log_level: Annotated[
        Literal["debug", "info", "warn", "error"],
        Meta(description="How much the agent itself says on stderr. Never prompts, never keys."),
    ] = "info"
    trace_name: Annotated[
        Literal["route", "path"],
        Meta(description="What names a trace where the caller does not: Kong's route, or the request path."),
    ] = "route"
    release: Annotated[
        str | None, Meta(description="Langfuse's release label on every trace.", examples=["2026-11-23"])
    ] = None
    version: Annotated[
        str | None, Meta(description="Langfuse's version label on every observation.", examples=["1.4.0"])
    ] = None
    tailing: Tailing = field(default_factory=Tailing)
    grouping: Grouping = field(default_factory=Grouping)
    mapping: FieldMapping = field(default_factory=FieldMapping)
    redaction: Redaction = field(default_factory=Redaction)
    privacy: Privacy = field(default_factory=Privacy)
    delivery: Delivery = field(default_factory=Delivery)
    local: Local = field(default_factory=Local)
    status: StatusPage = field(default_factory=StatusPage)
    rule: tuple[Rule, ...] = ()
    provider: tuple[ProviderRule, ...] = ()
    price: tuple[Price, ...] = ()
    destination: tuple[DestinationTable, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        """The Langfuse server with its URLs. Valid, because a loaded configuration was checked."""
        return parse_endpoint(self.langfuse_endpoint)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must never be printed, for the operator's log."""
        projects: tuple[Config | DestinationTable, ...] = (self, *self.destination)
        keys = [key for one in projects for key in (one.langfuse_public_key, one.langfuse_secret_key)]
        return tuple(key.reveal() for key in keys if key)
