"""Calls in, what may leave of them out: what was agreed to, then without media, then without secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall, Observation
from kong_ai_tracing.media import Attachment, Medium, may_have_media, without_media
from kong_ai_tracing.mediatypes import UPLOADED
from kong_ai_tracing.privacy import Privacy
from kong_ai_tracing.redact import Redactor

SAMPLED_OUT = "calls_sampled_out"
"""Counts calls that are not in the sample; `redacted_<kind>` counts what was taken out."""
REPLACED = "media_replaced"
"""Counts pictures, sounds and documents in base64 for which words stand now."""
NO_ROOM = "media_without_room"
"""Counts those of them that were to be uploaded while the outbox had no room."""
MEDIA = "kong_ai_tracing.media"
"""Metadata: how many media of each type a call held."""


class MediaPolicy(Struct, frozen=True):
    """Which media are uploaded: none, or those that Langfuse can show and for which there is room."""

    upload: bool = False
    has_room: Callable[[int], bool] = lambda _: True
    """Asked with the size of each; what it takes must be uploaded."""


class Protected(Struct):
    """Calls as they may leave, and what was kept back or goes another way."""

    calls: list[AICall] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    media: list[Attachment] = field(default_factory=list)

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


class Protection(Struct, frozen=True):
    """The last step before calls are grouped, stored and sent."""

    privacy: Privacy
    redactor: Redactor
    media: MediaPolicy = MediaPolicy()

    def apply(self, calls: Sequence[AICall]) -> Protected:
        """The calls as they may leave, and how many things were kept back."""
        done = Protected()
        for call in calls:
            allowed = self.privacy.apply(call)
            if allowed is None:
                done.count(SAMPLED_OUT)
                continue
            allowed = self._without_media(allowed, done)
            cleaned, found = self.redactor.redact(allowed)
            for kind, number in found.items():
                done.count(f"redacted_{kind}", number)
            done.calls.append(cleaned)
        return done

    def _without_media(self, call: AICall, done: Protected) -> AICall:
        """The call with words or a reference for each medium.

        Before anything is searched for secrets: in megabytes of base64 there are none to be found, but there
        is what looks like one.
        """
        trace_id = call.context.trace_id
        observation = self._with_words(call.observation, trace_id, call.id, done)
        if call.children:
            children = [
                replace(child, observation=self._with_words(child.observation, trace_id, child.id, done))
                for child in call.children
            ]
            return replace(call, observation=observation, children=children)
        return call if observation is call.observation else replace(call, observation=observation)

    def _with_words(
        self, observation: Observation, trace_id: str, observation_id: str, done: Protected
    ) -> Observation:
        if not (may_have_media(observation.input) or may_have_media(observation.output)):
            return observation
        types: Counter[str] = Counter()

        def cleaned(text: bytes | None, name: str) -> bytes | None:
            return text and without_media(text, lambda medium: named(medium, name))

        def named(medium: Medium, name: str) -> str:
            types[medium.content_type] += 1
            if not self._is_uploaded(medium, done):
                return medium.placeholder
            done.media.append(Attachment(trace_id, observation_id, name, medium))
            return medium.reference

        question, answer = cleaned(observation.input, "input"), cleaned(observation.output, "output")
        if not types:
            return observation
        done.count(REPLACED, types.total())
        metadata = observation.metadata | {MEDIA: dict(sorted(types.items()))}
        return replace(observation, input=question, output=answer, metadata=metadata)

    def _is_uploaded(self, medium: Medium, done: Protected) -> bool:
        if not self.media.upload or medium.content_type not in UPLOADED:
            return False
        if self.media.has_room(len(medium.data)):
            return True
        done.count(NO_ROOM)
        return False
