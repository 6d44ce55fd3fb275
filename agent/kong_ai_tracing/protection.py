"""Calls in, what may leave of them out: what was agreed to, then without media, then without secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.media import Medium, without_media
from kong_ai_tracing.privacy import Privacy
from kong_ai_tracing.redact import Redactor

SAMPLED_OUT = "calls_sampled_out"
"""Counts calls that are not in the sample; `redacted_<kind>` counts what was taken out."""
REPLACED = "media_replaced"
"""Counts pictures, sounds and documents in base64 for which words stand now."""
MEDIA = "kong_ai_tracing.media"
"""Metadata: how many media of each type a call held."""


class Protection(Struct, frozen=True):
    """The last step before calls are grouped, stored and sent."""

    privacy: Privacy
    redactor: Redactor

    def apply(self, calls: Sequence[AICall]) -> tuple[list[AICall], Counter[str]]:
        """The calls as they may leave, and how many things were kept back."""
        kept: list[AICall] = []
        counts: Counter[str] = Counter()
        for call in calls:
            allowed = self.privacy.apply(call)
            if allowed is None:
                counts[SAMPLED_OUT] += 1
                continue
            allowed, media = _with_words_for_media(allowed)
            if media:
                counts[REPLACED] += media
            cleaned, found = self.redactor.redact(allowed)
            if found:
                counts.update({f"redacted_{kind}": count for kind, count in found.items()})
            kept.append(cleaned)
        return kept, counts


def _with_words_for_media(call: AICall) -> tuple[AICall, int]:
    """The call with a placeholder for each medium, and how many there were.

    Before anything is searched for secrets: in megabytes of base64 there are none to be found, but there is
    what looks like one.
    """
    observation = call.observation
    types: Counter[str] = Counter()

    def name(medium: Medium) -> str:
        types[medium.content_type] += 1
        return medium.placeholder

    question = without_media(observation.input, name) if observation.input else observation.input
    answer = without_media(observation.output, name) if observation.output else observation.output
    if not types:
        return call, 0
    observation = replace(
        observation,
        input=question,
        output=answer,
        metadata=observation.metadata | {MEDIA: dict(sorted(types.items()))},
    )
    return replace(call, observation=observation), types.total()
