"""A routing table made ready for the hot path: every name looked up, every head of a request written beforehand.

Raises an UnderstudyError for a table that cannot be served here (a key that is not in this environment); the worker
then keeps the last good one. Choosing and calling is done elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from understudy.assign.bucket import buckets
from understudy.assign.source import Source, parse
from understudy.core.errors import DataCorrupt
from understudy.core.playbook import PARTS_PER_MILLION
from understudy.core.routing import GatewayKey, Privacy, Provider, Route, RoutingTable, WorkloadRoute
from understudy.core.variant import Variant
from understudy.gateway.breaker import Breaker
from understudy.gateway.meter import Meter
from understudy.gateway.record import Clean, Keeper, MakeRedact
from understudy.upstream.deadlines import Deadlines
from understudy.upstream.origin import header_line, origin_of, sendable
from understudy.upstream.outbox import Outbox
from understudy.upstream.pool import Pool
from understudy.upstream.wheel import Wheel
from understudy.wires.base import Endpoint, Operation, Wire, WireRequest
from understudy.wires.registry import wire
from understudy.wires.translate import carries

_CALLERS_KEYS = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
_TRACE = (b"traceparent", b"tracestate")
_Lines = tuple[tuple[str, str], ...]
_HEADS = 256
"""Ready-made request heads kept of one variant; paths come from callers, so the number is bounded."""


@dataclass(slots=True)
class Target:
    """A variant with all that is needed to call it."""

    variant: Variant
    fingerprint: str
    wire: Wire
    operations: Mapping[str, Operation]
    """Those of the wire: asked here, each costs a call less."""
    pool: Pool
    shadow_pool: Pool
    """Copies have connections of their own, so that they cannot take those of the served."""
    auth: tuple[tuple[str, str], ...]
    pass_through_key: bool
    also: tuple[bytes, ...]
    """Headers of the caller that this provider gets and others do not: keys of its own, the trace it is in."""
    answer_headers: bytes
    """What an answer by this variant says of itself: x-understudy-variant and -epoch."""
    _heads: dict[tuple[str, _Lines], tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = field(default_factory=dict)

    def head(self, request: WireRequest, method: str, forwarded: bytes, given: Mapping[bytes, bytes]) -> bytes:
        """The whole head of a request. `forwarded` are the caller's headers that go on, `given` all of them."""
        known = self._heads.get((request.path, request.headers)) if method == "POST" else None
        if known is None:
            known = self._prepare(request, method)
        prefix, defaults = known
        for name, line in defaults:
            if name not in given:
                forwarded += line
        if request.forced:
            forwarded = _forced(request.forced, forwarded)
        if self.also:
            forwarded += b"".join(n + b": " + given[n] + b"\r\n" for n in self.also if n in given)
        return b"%b%bcontent-length: %d\r\n\r\n" % (prefix, forwarded, len(request.body))

    def _prepare(self, request: WireRequest, method: str) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        """The part that is the same for every request to this path, and the lines a caller's header replaces."""
        prefix = self.pool.origin.head(request.path, self.auth, method)
        defaults = tuple((name.encode(), header_line(name, value).encode()) for name, value in request.headers)
        if method == "POST" and len(self._heads) < _HEADS:
            self._heads[request.path, request.headers] = prefix, defaults
        return prefix, defaults


@dataclass(slots=True)
class Lane:
    """One workload as it is served now."""

    name: str
    workload: WorkloadRoute
    incumbent: Target
    candidate: Target | None
    route: Route | None
    place: Callable[[str], int] | None
    """A unit's bucket in the upgrade under way."""
    breaker: Breaker
    unit: tuple[Source, ...]
    unit_header: bytes
    """The header that is the first source of the unit, b"" where that is none."""
    conversation: tuple[Source, ...]
    slices: tuple[tuple[str, Source], ...]
    shadow_sample: int
    short: Clean
    """How a short text of a caller or a provider may be kept."""
    who: Clean
    """How a unit or conversation may be kept."""


@dataclass(slots=True)
class Snapshot:
    table: RoutingTable
    epoch: int
    generation: str
    lanes: Mapping[str, Lane]
    keys: Mapping[str, GatewayKey]
    """By SHA-256 of the key; empty: open to everybody who can connect."""
    keeper: Keeper
    """What the ledger may keep."""
    recognised: dict[bytes, GatewayKey] = field(default_factory=dict)
    """Authorization headers seen under this very table; a revoked key is forgotten with the table."""
    meters: Mapping[str, Meter] = field(default_factory=dict)
    """Of the keys that have a limit of requests a minute, by name."""


class Compiler:
    """Keeps the connections to providers over the flips of the table. Make it inside a running loop."""

    def __init__(
        self,
        wheel: Wheel,
        outbox: Outbox,
        deadlines: Deadlines,
        redact: MakeRedact,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._wheel = wheel
        self._outbox = outbox
        self._deadlines = deadlines
        self._environment = os.environ if environment is None else environment
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._pools: dict[tuple[str, str, str, str], Pool] = {}
        self._redact = redact
        self._keeper: tuple[Privacy, Keeper] | None = None

    def compile(self, table: RoutingTable) -> Snapshot:
        lanes = {name: self._lane(workload, table) for name, workload in table.workloads.items()}
        return Snapshot(
            table=table,
            epoch=table.epoch,
            generation=table.generation,
            lanes=lanes,
            keys={key.hash: key for key in table.keys},
            keeper=self._keeper_of(table.privacy),
        )

    def breaker(self, workload: str, upgrade: str) -> Breaker:
        """The breaker of an upgrade outlives the flips of the table."""
        return self._breakers.setdefault((workload, upgrade), Breaker())

    def forget_breakers(self, current: Snapshot) -> None:
        """Those of upgrades that are over."""
        kept = {id(lane.breaker) for lane in current.lanes.values()}
        self._breakers = {key: breaker for key, breaker in self._breakers.items() if id(breaker) in kept}

    @property
    def breakers(self) -> Mapping[tuple[str, str], Breaker]:
        return self._breakers

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    @property
    def pools(self) -> Mapping[tuple[str, str, str, str], Pool]:
        return self._pools

    def _keeper_of(self, privacy: Privacy) -> Keeper:
        """Made anew only where the section changed: what it remembers outlives the flips of the table."""
        if self._keeper is None or self._keeper[0] != privacy:
            named = privacy.unit_key_env
            key = privacy.unit_key or (self._environment.get(named, "") if named else "")
            if privacy.unit_key_env and not key:
                raise DataCorrupt(
                    f"units are hashed with the key in ${privacy.unit_key_env}, which is not set here",
                    remedy=f"start the gateway with {privacy.unit_key_env} in its environment",
                )
            self._keeper = privacy, Keeper(self._redact(privacy), key)
        return self._keeper[1]

    def _lane(self, workload: WorkloadRoute, table: RoutingTable) -> Lane:
        route = workload.route
        shadow = route.shadow if route else None
        short, who = self._keeper_of(table.privacy).short_texts(workload)
        try:
            unit = tuple(parse(text) for text in workload.unit)
            return Lane(
                name=workload.name,
                workload=workload,
                incumbent=self._target(workload.variants[workload.incumbent], table),
                candidate=self._target(workload.variants[route.candidate], table) if route else None,
                route=route,
                place=buckets(route.salt) if route else None,
                breaker=self.breaker(workload.name, route.upgrade if route else ""),
                unit=unit,
                unit_header=unit[0].header.encode() if unit else b"",
                conversation=tuple(parse(text) for text in workload.conversation),
                slices=tuple((name, parse(text)) for name, text in workload.slice_by.items()),
                shadow_sample=min(shadow.sample, PARTS_PER_MILLION) if shadow else 0,
                short=short,
                who=who,
            )
        except ValueError as error:
            raise DataCorrupt(
                f"workload {workload.name}: {error}", remedy="correct understudy.yaml and publish the table again"
            ) from error

    def _target(self, variant: Variant, table: RoutingTable) -> Target:
        provider = table.providers[variant.provider]
        spoken = wire(provider.wire)
        key = self._key(provider)
        return Target(
            variant=variant,
            fingerprint=variant.fingerprint,
            wire=spoken,
            operations=spoken.operations,
            pool=self.pool(provider, "served"),
            shadow_pool=self.pool(provider, "shadow"),
            auth=spoken.auth_headers(key) if key and not provider.pass_through_key else (),
            pass_through_key=provider.pass_through_key,
            also=(_CALLERS_KEYS if provider.pass_through_key else ()) + (_TRACE if provider.trace_headers else ()),
            answer_headers=(
                header_line("x-understudy-variant", variant.name) + header_line("x-understudy-epoch", str(table.epoch))
            ).encode("utf-8"),
        )

    def pool(self, provider: Provider, purpose: str) -> Pool:
        name = (provider.name, provider.base_url, provider.ca_file, purpose)
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = Pool(origin_of(provider), self._wheel, self._deadlines, outbox=self._outbox)
        return pool

    def _key(self, provider: Provider) -> str:
        if provider.api_key:
            return sendable(provider.api_key, provider.name)
        if not provider.api_key_env or provider.pass_through_key:
            return ""
        key = sendable(self._environment.get(provider.api_key_env, ""), provider.name)
        if not key:
            raise DataCorrupt(
                f"provider {provider.name} takes its key from ${provider.api_key_env}, which is not set here",
                remedy=f"start the gateway with {provider.api_key_env} in its environment",
            )
        return key


def answers(target: Target, endpoint: Endpoint, effects: tuple[str, ...] = ()) -> bool:
    """Whether the target's provider can answer: in the caller's own dialect, or carried over from its own."""
    return target.wire.name == endpoint.wire or carries(endpoint, effects)


def _forced(headers: _Lines, forwarded: bytes) -> bytes:
    """The forwarded lines with these headers in place of the caller's of the same name."""
    names = tuple(name.encode() + b":" for name, _ in headers)
    kept = [line + b"\r\n" for line in forwarded.split(b"\r\n") if line and not line.startswith(names)]
    return b"".join(kept) + "".join(header_line(name, value) for name, value in headers).encode("latin-1")
