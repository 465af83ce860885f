"""Prices one answer of an eval, by the project's own prices or the public list, the way the ledger prices traffic."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from understudy.core.records import Exchange
from understudy.core.variant import Variant
from understudy.evals.answers import Kept
from understudy.evals.scoring import Price
from understudy.ledger import prices as ledger
from understudy.ledger.pricebook import PriceBook


def pricing(own: Mapping[str, ledger.Price], book: PriceBook | None = None) -> Price:
    """A price for every answer whose tokens and model's price are known; None, never 0, for the others."""
    known = ledger.Prices(own, book)
    listed = importlib.util.find_spec("genai_prices") is not None

    def price(variant: Variant, kept: Kept) -> float | None:
        if not listed and not {variant.model, kept.model} & set(own):
            return None
        return known.cost(
            Exchange(
                exchange="",
                workload="",
                started_at=kept.at,
                epoch=0,
                generation="",
                model_requested=variant.model,
                model_served=kept.model,
                input_tokens=kept.input_tokens,
                output_tokens=kept.output_tokens,
                cached_tokens=kept.cached_tokens,
            )
        ).usd

    return price
