"""What an exchange cost, from the public price list or the operator's own prices; an unknown price stays unknown.

Prices are resolved once a (model, day) and then applied per exchange. Own prices win over the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.core.records import Exchange
from understudy.ledger.pricebook import Listed, PriceBook, Tier

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices

MILLION = 1_000_000
FROM_RECORD = "record"
FROM_CONFIG = "config"


class Price(NamedTuple):
    """US dollars per million tokens. `cached` None: cached input tokens cost what others cost."""

    input: float
    output: float
    cached: float | None = None
    as_of: str = ""
    """The day these figures are from, as YYYY-MM-DD; "" is the day of the exchange."""


class Cost(NamedTuple):
    """`usd` None where tokens or price are unknown; then there is no source either."""

    usd: float | None
    source: str = ""
    as_of: str = ""


PRICED_BY = (
    "cost_usd", "input_tokens", "output_tokens", "cached_tokens", "model_requested", "model_served", "started_at",
)  # fmt: skip
"""The fields of an exchange that its cost depends on."""


class Prices:
    """own: price by model, as requested or as the provider names it; wins over the public list. book: what of the list
    a person has to agree to; without one the list is taken as it is.
    """

    def __init__(self, own: Mapping[str, Price] | None = None, book: PriceBook | None = None) -> None:
        self._own = dict(own or {})
        self._book = book
        self._reads = 0 if book is None else book.reads
        self._resolved: dict[tuple[str, str, float], Listed | None] = {}

    def cost(self, exchange: Exchange) -> Cost:
        """The cost of one exchange: the recorded one, else by own price, else by the list, else unknown."""
        ((usd,), (source,), (as_of,)) = self.costs({name: [getattr(exchange, name)] for name in PRICED_BY})
        return Cost(usd, source, as_of)

    def known(self, model: str, at: float) -> bool:
        """Whether a call of this model on that day can be priced."""
        return model in self._own or _listed(model, at) is not None

    def costs(self, columns: Mapping[str, Sequence[Any]]) -> tuple[list[float | None], list[str], list[str]]:
        """`cost` of many exchanges, given as the columns PRICED_BY: US dollars, sources and days."""
        amounts: list[float | None] = []
        sources: list[str] = []
        days: list[str] = []
        if self._book is not None:
            self._book.changed()
            if self._book.reads != self._reads:
                self._reads = self._book.reads
                self._resolved.clear()
        known = self._resolved
        for usd, into, out, cached, requested, served, at in zip(*(columns[name] for name in PRICED_BY), strict=True):
            amount, source, as_of = usd, FROM_RECORD, ""
            if usd is None:
                source = ""
                if into is not None and out is not None:
                    key = (requested, served, at // 86_400)
                    rates = known[key] if key in known else self._resolve(key, at)
                    if rates is not None:
                        tiers, source, as_of = rates
                        read = (cached if cached < into else into) if cached else 0
                        for above, a_token, a_written, a_cached in tiers:
                            if into > above:
                                amount = ((into - read) * a_token + read * a_cached + out * a_written) / MILLION
                                break
            amounts.append(amount)
            sources.append(source)
            days.append(as_of)
        return amounts, sources, days

    def _resolve(self, key: tuple[str, str, float], at: float) -> Listed | None:
        found = self._resolved[key] = self._look_up(*key[:2], at)
        return found

    def _look_up(self, requested: str, served: str, at: float) -> Listed | None:
        models = [name for name in (served, requested) if name]
        for model in models:
            if (price := self._own.get(model)) is not None:
                cached = price.input if price.cached is None else price.cached
                tier = Tier(-1, price.input, price.output, cached)
                return Listed((tier,), FROM_CONFIG, price.as_of or _day(at))
        for model in models:
            if (found := _listed(model, at)) is not None:
                return found if self._book is None else self._book.agreed(model, found)
        return None


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _listed(model: str, at: float) -> Listed | None:
    """The public list's price of a model on a day. Applied here, as the list's own arithmetic takes 0.1 ms a call;
    the tests compare the two."""
    import genai_prices

    when = datetime.fromtimestamp(at, UTC)
    one = genai_prices.Usage(input_tokens=1, output_tokens=1)
    try:
        price = genai_prices.calc_price(one, model, genai_request_timestamp=when).model_price
    except LookupError:
        return None
    if price.input_mtok is None or price.output_mtok is None:
        return None
    cached = price.input_mtok if price.cache_read_mtok is None else price.cache_read_mtok
    tiers = _tiers(price.input_mtok, price.output_mtok, cached)
    return Listed(tiers, f"genai-prices {genai_prices.__version__}", _day(at))


def _tiers(*rates: Decimal | TieredPrices) -> tuple[Tier, ...]:
    """The tiers of the three rates together, the highest first."""
    starts = {tier.start for rate in rates if not isinstance(rate, Decimal) for tier in rate.tiers}
    return tuple(Tier(start, *(_rate(rate, start) for rate in rates)) for start in sorted({-1, *starts}, reverse=True))


def _rate(rate: Decimal | TieredPrices, start: int) -> float:
    if isinstance(rate, Decimal):
        return float(rate)
    return float(next((tier.price for tier in reversed(rate.tiers) if tier.start <= start), rate.base))
