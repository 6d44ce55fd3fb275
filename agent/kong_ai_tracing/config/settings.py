"""Every setting with its type, range, default and reason, as frozen values.

This is the one list: the configuration reader, `config init` and `config show` are made from it
(`keys.py` walks over it). A description says what the key is for and when to change it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.endpoint import Endpoint, parse_endpoint
from kong_ai_tracing.mapping import FieldMapping
from kong_ai_tracing.operatorrules import Price, ProviderRule, Rule
from kong_ai_tracing.secret import Secret

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Tailing(Struct, frozen=True, kw_only=True):
    """How log files are found and read."""

    poll_interval_seconds: Annotated[
        float,
        Meta(
            ge=0.01,
            le=60,
            description="How often known files are looked at for new lines. File events wake"
            " the reader earlier, so a longer interval mostly saves CPU on network file systems.",
        ),
    ] = 0.25
    scan_interval_seconds: Annotated[
        float,
        Meta(ge=0.05, le=3600, description="How often the patterns are searched for new and rotated files."),
    ] = 2.0
    max_line_bytes: Annotated[
        int,
        Meta(
            ge=4 * KIB,
            le=256 * MIB,
            description="A longer line is set aside and counted, not read. Raise it"
            " when prompts carry large images; memory use grows with it.",
        ),
    ] = 16 * MIB
    start_at: Annotated[
        Literal["beginning", "end"],
        Meta(
            description="Where to start in files that are there when the agent sees its patterns for the"
            ' first time. "end" leaves the history to `kong-ai-tracing backfill`.'
        ),
    ] = "beginning"


class Grouping(Struct, frozen=True, kw_only=True):
    """Which calls share a trace, and how long a call waits for company."""

    trace_idle_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="A call that names a shared trace waits this long after the last call of that trace.",
        ),
    ] = 2.0
    trace_hold_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="No call waits longer than this for others of its trace.")
    ] = 10.0
    group_by_correlation_id: Annotated[
        bool,
        Meta(
            description="Calls with the same id of Kong's correlation-id plugin share a trace. Only for"
            " gateways where one id spans several calls."
        ),
    ] = False
    join_caller_trace: Annotated[
        bool,
        Meta(
            description="The caller's own span becomes the parent of its calls. For applications that send"
            " their spans to the same Langfuse project; elsewhere the trace would have no root."
        ),
    ] = False


class Redaction(Struct, frozen=True, kw_only=True):
    """What is taken out of prompts, answers and labels before anything is stored or sent."""

    kinds: Annotated[
        tuple[str, ...],
        Meta(
            description='Presets ("secrets", "personal", "all", "none") and single kinds like "email"; they'
            " add up. Personal are e-mail addresses, phone, card and account numbers and IP addresses."
        ),
    ] = ("secrets",)
    patterns: Annotated[
        tuple[str, ...],
        Meta(
            description="What else is to go, each as name=expression in RE2's syntax; the name stands in the"
            " placeholder.",
            examples=[("badge=B-[0-9]{6}",)],
        ),
    ] = ()


class Privacy(Struct, frozen=True, kw_only=True):
    """How much of a call leaves this host. A caller's opt-out header can only reduce it further."""

    content: Annotated[
        Literal["full", "metadata", "hashed"],
        Meta(
            description='"metadata" keeps prompts and answers on this host; "hashed" sends their digest and'
            " size instead. What quotes them stays as well: errors, texts among settings and labels."
        ),
    ] = "full"
    media: Annotated[
        Literal["placeholder", "upload"],
        Meta(
            description="Pictures, sounds and documents in base64 are replaced by type, size and digest."
            ' "upload" also sends them to Langfuse\'s media store, so that they show in the trace; only while'
            ' content is "full".'
        ),
    ] = "placeholder"
    user_id: Annotated[
        Literal["plain", "hash"],
        Meta(description='"hash" sends a keyed digest of the user instead of the name or address.'),
    ] = "plain"
    user_id_salt: Annotated[
        Secret | None,
        Meta(
            description="The key of that digest. Without it anybody can test a guessed name against a digest;"
            " keep it the same on all hosts.",
            examples=["a long random text"],
        ),
    ] = None
    sample_rate: Annotated[
        float,
        Meta(ge=0, le=1, description="Which part of the traces is sent, always the same ones on all hosts."),
    ] = 1.0
    keep_errors: Annotated[
        bool, Meta(description="Failed calls are sent even when their trace is not in the sample.")
    ] = True


class Delivery(Struct, frozen=True, kw_only=True):
    """How batches travel, and what happens to them while Langfuse is away."""

    batch_max_bytes: Annotated[
        int,
        Meta(
            ge=16 * KIB,
            le=4 * MIB,
            description="A batch is sent when it has this size before compression. Lower"
            " it when a proxy in front of Langfuse answers 413.",
        ),
    ] = 2 * MIB
    batch_max_age_seconds: Annotated[
        float,
        Meta(
            ge=0.01,
            le=60,
            description="A batch is sent at this age even if it is small; after a silence of that length"
            " at once.",
        ),
    ] = 1.0
    spill_after_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="A batch that Langfuse has not accepted by then goes to the outbox on disk,"
            " and the log file is no longer needed for it.",
        ),
    ] = 2.0
    outbox_max_bytes: Annotated[
        int,
        Meta(
            ge=64 * KIB,
            description="The outbox on disk never grows beyond this. When it is full, reading pauses"
            " and the log itself is the buffer, unless on_full says otherwise.",
        ),
    ] = 1 * GIB
    on_full: Annotated[
        Literal["pause", "drop_oldest"],
        Meta(
            description='What gives way when the outbox is full: "pause" stops reading and drops nothing;'
            ' "drop_oldest" deletes the oldest batches of the outbox and counts them.'
        ),
    ] = "pause"
    free_space_floor_bytes: Annotated[
        int,
        Meta(ge=0, description="The outbox also stops growing when the disk has less free space than this."),
    ] = 256 * MIB
    transport: Annotated[
        Literal["auto", "otlp", "ingestion"],
        Meta(
            description="The way into Langfuse: OTLP, there from 3.22 on and the only one in version 4, or"
            ' the older batch endpoint. "auto" finds out, and changes over when the server wants the other.'
        ),
    ] = "auto"
    compression: Annotated[
        Literal["auto", "gzip", "none"],
        Meta(description='"auto" compresses unless Langfuse is on this host or in a private network.'),
    ] = "auto"
    max_concurrency: Annotated[
        int, Meta(ge=1, le=64, description="At most this many requests are under way at once.")
    ] = 8
    allow_insecure_http: Annotated[
        bool,
        Meta(
            description="Allows an http:// endpoint outside loopback and private networks. Prompts and keys"
            " then travel in clear text."
        ),
    ] = False


class Local(Struct, frozen=True, kw_only=True):
    """The embedded trace store, used while langfuse_enabled is false."""

    max_age_days: Annotated[float, Meta(gt=0, le=3650, description="Older traces are removed.")] = 7.0
    max_bytes: Annotated[
        int, Meta(ge=1 * MIB, description="The oldest traces are removed when the store is larger than this.")
    ] = 1 * GIB


class StatusPage(Struct, frozen=True, kw_only=True):
    """How the daemon can be watched: metrics, health and a page for people."""

    listen: Annotated[
        str | None,
        Meta(
            description="Where /metrics (for Prometheus), /healthz, /readyz and a page for people are served."
            " Nothing listens without it. It tells names of files and what Langfuse answered, never prompts.",
            examples=["127.0.0.1:9465"],
        ),
    ] = None
    allow_remote: Annotated[
        bool,
        Meta(
            description="Allows an address that other hosts can reach. There is no password and no TLS: leave"
            " both to a proxy, or to a firewall that lets only Prometheus in."
        ),
    ] = False


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
