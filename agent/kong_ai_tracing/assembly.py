"""From the configuration to the parts of the way, each handed only the few values it needs.

What only one destination needs is loaded with it: the HTTP client is a quarter of what a daemon loads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kong_ai_tracing.batches import Batcher, Body, WireForm
from kong_ai_tracing.calls import CallSettings
from kong_ai_tracing.config import Config
from kong_ai_tracing.delivery import Delivery, DeliveryLimits, Destination
from kong_ai_tracing.outcomes import Accepted, Outcome
from kong_ai_tracing.pipeline import Rhythm
from kong_ai_tracing.places import Places
from kong_ai_tracing.pricing import Prices
from kong_ai_tracing.privacy import Privacy, PrivacySettings
from kong_ai_tracing.protection import MediaPolicy, Protection
from kong_ai_tracing.redact import OwnPattern, RedactionSettings, Redactor
from kong_ai_tracing.ruling import Providers, Rules
from kong_ai_tracing.spans import Span
from kong_ai_tracing.store import Restored, Store
from kong_ai_tracing.throttle import Throttle
from kong_ai_tracing.traces import Grouping, GroupingLimits

if TYPE_CHECKING:
    from kong_ai_tracing.httpclient import Connection
    from kong_ai_tracing.mediaclient import MediaClient


class Nowhere:
    """The destination of a dry run: takes everything, keeps nothing, and needs neither server nor keys."""

    name = "nowhere"
    patience_seconds = 0.0
    max_span_bytes = None

    def __init__(self, form: WireForm) -> None:
        self._form = form

    def encode(self, span: Span) -> bytes:
        return self._form.encode(span)

    def join(self, spans: Sequence[bytes]) -> bytes:
        return self._form.join(spans)

    def merge(self, bodies: Sequence[bytes]) -> bytes | None:
        return None

    def split(self, data: bytes) -> list[bytes]:
        return [data]

    def shorten(self, span: bytes, max_bytes: int) -> bytes | None:
        """Nothing is too large for nobody."""
        return None

    async def send(self, body: Body) -> Outcome:
        return Accepted()

    async def close(self) -> None:
        """Nothing is held open."""


def destination_of(config: Config) -> Destination:
    """Langfuse when it is enabled, else the embedded local store."""
    if not config.langfuse_enabled:
        from kong_ai_tracing.local import Local
        from kong_ai_tracing.localstore import FILE_NAME, LocalStore

        return Local(
            lambda: LocalStore(
                config.state_dir / FILE_NAME,
                max_age_seconds=config.local.max_age_days * 86_400,
                max_bytes=config.local.max_bytes,
            )
        )
    from kong_ai_tracing.langfuse import Langfuse

    assert config.langfuse_public_key is not None, "checked when the configuration was loaded"
    assert config.langfuse_secret_key is not None, "checked when the configuration was loaded"
    endpoint = config.endpoint
    compression = config.delivery.compression
    return Langfuse(
        endpoint=endpoint,
        public_key=config.langfuse_public_key.reveal(),
        secret_key=config.langfuse_secret_key.reveal(),
        connection=connection_of(config),
        compress=compression == "gzip" or (compression == "auto" and not endpoint.is_private),
        transport=config.delivery.transport,
    )


def wire_form_of(config: Config) -> WireForm:
    """How the destination wants its spans, for who has nothing to do with it otherwise."""
    if config.langfuse_enabled:
        from kong_ai_tracing import otlp

        return otlp
    from kong_ai_tracing import localrecords

    return localrecords


def connection_of(config: Config) -> Connection:
    from kong_ai_tracing.httpclient import Connection

    return Connection(
        timeout_seconds=config.langfuse_timeout / 1000,
        max_connections=config.delivery.max_concurrency,
        ca_file=config.langfuse_ca_file,
        client_certificate=config.langfuse_client_certificate,
        client_key=config.langfuse_client_key,
    )


def call_settings_of(config: Config) -> CallSettings:
    return CallSettings(
        environment=config.environment,
        trace_name=config.trace_name,
        group_by_correlation_id=config.grouping.group_by_correlation_id,
        release=config.release,
        version=config.version,
        join_caller_trace=config.grouping.join_caller_trace,
        places=Places(config.mapping),
        rules=Rules(config.rule),
        providers=Providers(config.provider),
        prices=Prices(config.price),
    )


def protection_of(config: Config, has_room: Callable[[int], bool] = lambda _: True) -> Protection:
    """`has_room` says which media may be uploaded; `preview` shows what is sent when all may."""
    own = [text.partition("=") for text in config.redaction.patterns]
    redaction = RedactionSettings(
        kinds=config.redaction.kinds,
        patterns=tuple(OwnPattern(name, expression) for name, _, expression in own),
    )
    salt = config.privacy.user_id_salt
    privacy = PrivacySettings(
        content=config.privacy.content,
        user_id=config.privacy.user_id,
        user_id_salt=salt.reveal() if salt else "",
        sample_rate=config.privacy.sample_rate,
        keep_errors=config.privacy.keep_errors,
    )
    media = MediaPolicy(upload=uploads_media(config), has_room=has_room)
    return Protection(Privacy(privacy), Redactor(redaction), media)


def uploads_media(config: Config) -> bool:
    """Whether pictures, sounds and documents go to Langfuse's media store. They are content."""
    privacy = config.privacy
    return config.langfuse_enabled and privacy.media == "upload" and privacy.content == "full"


def media_client_of(config: Config) -> MediaClient:
    from kong_ai_tracing.mediaclient import MediaClient

    assert config.langfuse_public_key is not None, "checked when the configuration was loaded"
    assert config.langfuse_secret_key is not None, "checked when the configuration was loaded"
    return MediaClient(
        endpoint=config.endpoint,
        public_key=config.langfuse_public_key.reveal(),
        secret_key=config.langfuse_secret_key.reveal(),
        connection=connection_of(config),
    )


def openness() -> Protection:
    """For the eyes of who runs `preview`: everything, with words for media as they are always sent."""
    return Protection(
        Privacy(PrivacySettings(), heed_rules=False), Redactor(RedactionSettings(kinds=("none",)))
    )


def grouping_of(config: Config) -> Grouping:
    return Grouping(
        GroupingLimits(
            idle_ms=int(config.grouping.trace_idle_seconds * 1000),
            hold_ms=int(config.grouping.trace_hold_seconds * 1000),
        )
    )


def delivery_of(
    config: Config,
    destination: Destination,
    store: Store,
    restored: Restored,
    throttle: Throttle | None = None,
) -> Delivery:
    return Delivery(
        destination,
        store,
        restored,
        DeliveryLimits(
            spill_after_seconds=config.delivery.spill_after_seconds,
            max_concurrency=config.delivery.max_concurrency,
            max_merged_bytes=config.delivery.batch_max_bytes,
            outbox_max_bytes=config.delivery.outbox_max_bytes,
            free_space_floor_bytes=config.delivery.free_space_floor_bytes,
            on_full=config.delivery.on_full,
        ),
        media_store=None
        if isinstance(destination, Nowhere) or not uploads_media(config)
        else media_client_of(config),
        throttle=throttle,
        random=random.random,
    )


def batcher_of(
    config: Config, destination: Destination, delivery: Delivery, throttle: Throttle | None = None
) -> Batcher:
    return Batcher(
        destination,
        first_number=delivery.first_number,
        max_bytes=config.delivery.batch_max_bytes,
        max_age_seconds=config.delivery.batch_max_age_seconds,
        max_spans=throttle.max_spans if throttle is not None else None,
        max_span_bytes=destination.max_span_bytes,
        random=random.random,
    )


def rhythm_of(config: Config) -> Rhythm:
    return Rhythm(
        poll_interval_seconds=config.tailing.poll_interval_seconds,
        scan_interval_seconds=config.tailing.scan_interval_seconds,
    )
