"""The settings of each table with type, range, default and reason, as frozen values."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

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
    ] = 1 * MIB
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
