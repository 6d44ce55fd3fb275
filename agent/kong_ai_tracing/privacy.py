"""Calls in, what the operator and the caller agreed to out: less content, hashed users, fewer traces."""

from __future__ import annotations

from hashlib import sha256
from hmac import new as hmac
from typing import Any, Literal

import orjson
from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.context import Context
from kong_ai_tracing.observations import Observation
from kong_ai_tracing.optouts import OptOut
from kong_ai_tracing.ruling import Decision
from kong_ai_tracing.withholding import without_prose, without_quotes, without_texts

WITHHELD = "kong_ai_tracing.withheld"
"""Metadata: what was kept out, `input`, `output` or both."""

_NO_WISH = OptOut()
_CONSUMER = "kong_consumer"
_WHOLE_USER = "kong_ai_tracing.user_id"
"""Metadata: the user as it was before it was shortened."""
_SURE_CHARACTERS = 6
"""A shorter user may stand within any word."""
_SAMPLE_DIGITS = 8
_USER_DIGITS = 32


class PrivacySettings(Struct, frozen=True):
    """What may leave the host.

    `content`: `full`; `metadata`, prompts and answers stay here; `hashed`, only their digest and size leave.
    `user_id`: `plain` or `hash`, keyed with `user_id_salt`. `sample_rate`: which part of the traces is kept,
    from 0 to 1, always the same ones; failed calls are kept with `keep_errors`.
    """

    content: Literal["full", "metadata", "hashed"] = "full"
    user_id: Literal["plain", "hash"] = "plain"
    user_id_salt: str = ""
    sample_rate: float = 1.0
    keep_errors: bool = True


class Privacy:
    """Applies the settings to one call at a time. The same call always has the same outcome.

    The operator's rules, which a call has with it, come before the settings; `heed_rules` is for those who
    look at their own calls.
    """

    def __init__(self, settings: PrivacySettings, *, heed_rules: bool = True) -> None:
        self._settings = settings
        self._heed_rules = heed_rules

    def apply(self, call: AICall) -> AICall | None:
        """The call as it may leave; None when it is not in the sample."""
        settings, context = self._settings, call.context
        if context.ruling is not None and self._heed_rules:
            settings = _ruled(settings, context.ruling)
        if settings.sample_rate < 1 and not _is_sampled(call, settings):
            return None
        observation = call.observation
        if settings.user_id == "hash":
            context, observation = _without_user(context, observation, settings.user_id_salt)
        if settings.content != "full":
            context = without_prose(context)
        wish = context.opt_out or _NO_WISH
        observation = _withheld(observation, settings, wish)
        if call.children:
            # What is a question to one of them may hold the answer of another: no wish divides them.
            any_of_it = OptOut(True, True) if wish.input or wish.output else _NO_WISH
            children = [
                replace(child, observation=_withheld(child.observation, settings, any_of_it))
                for child in call.children
            ]
            return replace(call, context=context, observation=observation, children=children)
        if context is call.context and observation is call.observation:
            return call
        return replace(call, context=context, observation=observation)


def _ruled(settings: PrivacySettings, ruling: Decision) -> PrivacySettings:
    return replace(
        settings,
        content=ruling.content or settings.content,
        user_id=ruling.user_id or settings.user_id,
        sample_rate=settings.sample_rate if ruling.sample_rate is None else ruling.sample_rate,
    )


def _is_sampled(call: AICall, settings: PrivacySettings) -> bool:
    if settings.keep_errors and call.observation.level == "ERROR":
        return True
    place = int(call.context.trace_id[:_SAMPLE_DIGITS], 16)
    return place < settings.sample_rate * 16.0**_SAMPLE_DIGITS


def _without_user(context: Context, observation: Observation, salt: str) -> tuple[Context, Observation]:
    """A digest in each place where it is said who asked."""
    if (user := context.user_id) is not None:
        digest = _hashed(user, salt)

        def unnamed(value: Any) -> Any:
            # Who takes an address for the user takes it for a session or a label as well.
            if not isinstance(value, str):
                return value
            if len(user) < _SURE_CHARACTERS:
                return digest if value == user else value
            return value.replace(user, digest)

        context = replace(
            context,
            user_id=digest,
            session_id=unnamed(context.session_id),
            trace_name=unnamed(context.trace_name),
            tags=[unnamed(tag) for tag in context.tags],
            metadata={
                name: unnamed(value) for name, value in context.metadata.items() if name != _WHOLE_USER
            },
        )
    if (consumer := observation.metadata.get(_CONSUMER)) is not None:
        metadata = observation.metadata | {_CONSUMER: _hashed(str(consumer), salt)}
        observation = replace(observation, metadata=metadata)
    return context, observation


def _hashed(user_id: str, salt: str) -> str:
    return hmac(salt.encode(), user_id.encode(), sha256).hexdigest()[:_USER_DIGITS]


def _withheld(observation: Observation, settings: PrivacySettings, wish: OptOut) -> Observation:
    """Prompts and answers leave only as far as the operator and the caller both agree."""
    all_of_it, hashed = settings.content != "full", settings.content == "hashed"
    hide_input, hide_output = all_of_it or wish.input, all_of_it or wish.output
    if not (hide_input or hide_output):
        return observation
    # Whoever answers may repeat what was asked.
    observation = without_quotes(observation)
    names = []
    if hide_input:
        observation = without_texts(observation)
        if observation.input is not None:
            names.append("input")
            observation.input = _instead(observation.input, hashed=hashed)
    if hide_output and observation.output is not None:
        names.append("output")
        observation.output = _instead(observation.output, hashed=hashed)
    if names:
        observation.metadata = observation.metadata | {WITHHELD: ",".join(names)}
    return observation


def _instead(text: bytes, *, hashed: bool) -> bytes | None:
    return orjson.dumps({"sha256": sha256(text).hexdigest(), "bytes": len(text)}) if hashed else None
