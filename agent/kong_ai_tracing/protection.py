"""Calls in, what may leave of them out: first what was agreed to, then without secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.privacy import Privacy
from kong_ai_tracing.redact import Redactor

SAMPLED_OUT = "calls_sampled_out"
"""Counts calls that are not in the sample; `redacted_<kind>` counts what was taken out."""


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
            cleaned, found = self.redactor.redact(allowed)
            if found:
                counts.update({f"redacted_{kind}": count for kind, count in found.items()})
            kept.append(cleaned)
        return kept, counts
