"""What a call costs by the operator's own prices, in US dollars, in the buckets of its usage.

Langfuse adds nothing to a cost that it is told, so the total stands beside the parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache

from kong_ai_tracing.operatorrules import Price

_PER = 1_000_000
_DECIMALS = 12
"""As many as Langfuse keeps."""


class Prices:
    """The `[[price]]` tables: the first that fits holds."""

    __slots__ = ("_prices", "find")

    def __init__(self, prices: Sequence[Price] = ()) -> None:
        self._prices = [(price, _test(price.model), _test(price.provider)) for price in prices]
        self.find = lru_cache(1024)(self._find)

    def __bool__(self) -> bool:
        return bool(self._prices)

    def cost_of(
        self, names: Sequence[str | None], provider: str | None, usage: dict[str, int]
    ) -> dict[str, float]:
        """The cost by bucket, and in total; empty without a price or without tokens.

        `names` are those of the model, the most exact first.
        """
        price = next((found for name in names if name and (found := self.find(name, provider))), None)
        if price is None:
            return {}
        costs = {
            bucket: round(tokens * _rate(price, bucket) / _PER, _DECIMALS)
            for bucket, tokens in usage.items()
            if bucket.startswith(("input", "output")) and tokens
        }
        return costs | {"total": round(sum(costs.values()), _DECIMALS)} if costs else {}

    def _find(self, model: str, provider: str | None) -> Price | None:
        return next(
            (
                price
                for price, fits_model, fits_provider in self._prices
                if fits_model(model) and (not price.provider or fits_provider(provider or ""))
            ),
            None,
        )


def _rate(price: Price, bucket: str) -> float:
    if bucket == "input_cached_tokens" and price.input_cached is not None:
        return price.input_cached
    if bucket == "output_reasoning_tokens" and price.output_reasoning is not None:
        return price.output_reasoning
    return price.input if bucket.startswith("input") else price.output


def _test(patterns: Sequence[str]) -> Callable[[str], object]:
    return re.compile("|".join(map(translate, patterns))).match


def priced_by(usage_source: str | None) -> str:
    """The metadata `cost_source` of a cost that was worked out here: no better than what was counted."""
    return "price_table_estimate" if usage_source == "kong_estimate" else "price_table"


NO_PRICES = Prices()
