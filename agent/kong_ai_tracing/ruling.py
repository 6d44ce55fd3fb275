"""Which of the operator's rules hold for a call. Asking costs nothing where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct, field

from kong_ai_tracing.entries import LogEntry
from kong_ai_tracing.matching import Place, matcher_of, place_of
from kong_ai_tracing.operatorrules import ProviderRule, Rule

_REMEMBERED_PLACES = 4096


class Decision(Struct, frozen=True, kw_only=True):
    """What the rules say of the calls of one place; None where they say nothing."""

    content: Literal["full", "metadata", "hashed"] | None = None
    user_id: Literal["plain", "hash"] | None = None
    sample_rate: float | None = None
    environment: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    """Which rule said it."""


_KEYS = tuple(name for name in Decision.__struct_fields__ if name != "sources")


class Rules:
    """The `[[rule]]` tables: for each key the first rule decides that fits and has it."""

    __slots__ = ("_decide_at", "_rules")

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = [(f"rule[{number}]", rule, matcher_of(rule)) for number, rule in enumerate(rules, 1)]
        self._decide_at = lru_cache(_REMEMBERED_PLACES)(self._decide)

    def decide(self, entry: LogEntry) -> Decision | None:
        """What holds for the calls of an entry; None when no rule fits."""
        return self._decide_at(place_of(entry)) if self._rules else None

    def _decide(self, place: Place) -> Decision | None:
        values: dict[str, object] = {}
        sources: dict[str, str] = {}
        for name, rule, fits in self._rules:
            if fits(place):
                for key in _KEYS:
                    if key not in values and (value := getattr(rule, key)) is not None:
                        values[key], sources[key] = value, name
        return Decision(**values, sources=sources) if values else None  # type: ignore[arg-type]


class Providers:
    """The `[[provider]]` tables: the first that fits holds."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Sequence[ProviderRule] = ()) -> None:
        self._rules = [
            (f"provider[{number}]", rule, matcher_of(rule)) for number, rule in enumerate(rules, 1)
        ]

    def find(self, entry: LogEntry) -> ProviderRule | None:
        """What answers the request of an entry, where the operator says it."""
        if not self._rules:
            return None
        place = place_of(entry)
        return next((rule for _, rule, fits in self._rules if fits(place)), None)

    def name_of(self, rule: ProviderRule) -> str:
        """How the configuration calls a rule."""
        return next(name for name, each, _ in self._rules if each is rule)


NO_RULES = Rules()
NO_PROVIDERS = Providers()
