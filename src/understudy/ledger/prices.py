"""What an exchange cost, from the public price list or the operator's own prices; an unknown price stays unknown.

Prices are resolved once a (model, day) and then applied per exchange. Own prices win over the list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from understudy.core.records import Exchange

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
    """The day these figures are from, as YYYY-MM-DD."""


class Cost(NamedTuple):
    """`usd` None where tokens or price are unknown; then there is no source either."""

    usd: float | None
    source: str = ""
    as_of: str = ""


UNKNOWN = Cost(None)
_Rule = Callable[[Exchange], float]


class Prices:
    """own: price by model, as requested or as the provider names it; wins over the public list."""

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._own = dict(own or {})
        self._resolved: dict[tuple[str, str, float], tuple[_Rule, str, str] | None] = {}

    def cost(self, exchange: Exchange) -> Cost:
        """The cost of one exchange: the recorded one, else by own price, else by the list, else unknown."""
        if exchange.cost_usd is not None:
            return Cost(exchange.cost_usd, FROM_RECORD)
        if exchange.input_tokens is None or exchange.output_tokens is None:
            return UNKNOWN
        key = (exchange.model_requested, exchange.model_served, exchange.started_at // 86_400)
        try:
            resolved = self._resolved[key]
        except KeyError:
            resolved = self._resolved[key] = self._resolve(exchange)
        if resolved is None:
            return UNKNOWN
        rule, source, as_of = resolved
        return Cost(rule(exchange), source, as_of)

    def _resolve(self, exchange: Exchange) -> tuple[_Rule, str, str] | None:
        models = [name for name in (exchange.model_served, exchange.model_requested) if name]
        for model in models:
            if (price := self._own.get(model)) is not None:
                return _flat(price), FROM_CONFIG, price.as_of
        for model in models:
            if (found := _listed(model, exchange.started_at)) is not None:
                return found
        return None


def _flat(price: Price) -> _Rule:
    cached = price.input if price.cached is None else price.cached
    return lambda exchange: _amount(exchange, price.input, price.output, cached)


def _amount(exchange: Exchange, into: float, out: float, cached: float) -> float:
    tokens = exchange.input_tokens or 0
    read = min(exchange.cached_tokens or 0, tokens)
    return ((tokens - read) * into + read * cached + (exchange.output_tokens or 0) * out) / MILLION


def _listed(model: str, at: float) -> tuple[_Rule, str, str] | None:
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
    return _by_tier(tiers), f"genai-prices {genai_prices.__version__}", when.date().isoformat()


class _Tier(NamedTuple):
    """Rates of a call with more input tokens than `above`; they hold for all its tokens."""

    above: int
    input: float
    output: float
    cached: float


def _tiers(*rates: Decimal | TieredPrices) -> tuple[_Tier, ...]:
    """The tiers of the three rates together, the highest first."""
    starts = {tier.start for rate in rates if not isinstance(rate, Decimal) for tier in rate.tiers}
    return tuple(_Tier(start, *(_rate(rate, start) for rate in rates)) for start in sorted({-1, *starts}, reverse=True))


def _rate(rate: Decimal | TieredPrices, start: int) -> float:
    if isinstance(rate, Decimal):
        return float(rate)
    return float(next((tier.price for tier in reversed(rate.tiers) if tier.start <= start), rate.base))


def _by_tier(tiers: tuple[_Tier, ...]) -> _Rule:
    def rule(exchange: Exchange) -> float:
        tokens = exchange.input_tokens or 0
        for above, into, out, cached in tiers:
            if tokens > above:
                return _amount(exchange, into, out, cached)
        raise AssertionError("the lowest tier begins below 0")

    return rule
