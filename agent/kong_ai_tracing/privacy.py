"""Calls in, what the operator and the caller agreed to out: less content, hashed users, fewer traces."""

from __future__ import annotations

from hashlib import sha256
from hmac import new as hmac
from typing import Literal

import orjson
from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.observations import Observation
from kong_ai_tracing.optouts import OptOut

WITHHELD = "kong_ai_tracing.withheld"
"""Metadata: what was kept out, `input`, `output` or both."""

_NO_WISH = OptOut()
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
    """Applies the settings to one call at a time. The same call always has the same outcome."""

    def __init__(self, settings: PrivacySettings) -> None:
        self._settings = settings
        self._below: int = round(settings.sample_rate * 16**_SAMPLE_DIGITS)

    def apply(self, call: AICall) -> AICall | None:
        """The call as it may leave; None when it is not in the sample."""
        settings = self._settings
        if settings.sample_rate < 1 and not self._is_sampled(call):
            return None
        context = call.context
        if settings.user_id == "hash" and context.user_id is not None:
            context = replace(context, user_id=self._hashed(context.user_id))
        wish = context.opt_out or _NO_WISH
        observation = self._withheld(call.observation, wish)
        if call.children:
            # What is a question to one of them may hold the answer of another: no wish divides them.
            any_of_it = OptOut(True, True) if wish.input or wish.output else _NO_WISH
            children = [
                replace(child, observation=self._withheld(child.observation, any_of_it))
                for child in call.children
            ]
            return replace(call, context=context, observation=observation, children=children)
        if context is call.context and observation is call.observation:
            return call
        return replace(call, context=context, observation=observation)

    def _is_sampled(self, call: AICall) -> bool:
        if self._settings.keep_errors and call.observation.level == "ERROR":
            return True
        place = int(call.context.trace_id[:_SAMPLE_DIGITS], 16)
        return place < self._below

    def _hashed(self, user_id: str) -> str:
        return hmac(self._settings.user_id_salt.encode(), user_id.encode(), sha256).hexdigest()[:_USER_DIGITS]

    def _withheld(self, observation: Observation, wish: OptOut) -> Observation:
        """Prompts and answers leave only as far as the operator and the caller both agree."""
        all_of_it = self._settings.content != "full"
        keep_input = observation.input is None or not (all_of_it or wish.input)
        keep_output = observation.output is None or not (all_of_it or wish.output)
        if keep_input and keep_output:
            return observation
        names = [name for name, kept in (("input", keep_input), ("output", keep_output)) if not kept]
        return replace(
            observation,
            input=observation.input if keep_input else self._instead(observation.input),
            output=observation.output if keep_output else self._instead(observation.output),
            metadata=observation.metadata | {WITHHELD: ",".join(names)},
        )

    def _instead(self, text: bytes | None) -> bytes | None:
        if self._settings.content != "hashed" or text is None:
            return None
        return orjson.dumps({"sha256": sha256(text).hexdigest(), "bytes": len(text)})
