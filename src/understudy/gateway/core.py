"""What the connections of one worker share: the snapshot, kill files, breakers, pins, ledger and clocks.

The request path asks here and reports here; polling files and owning sockets is `worker`'s.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Protocol

from understudy.core.records import Exchange, Record
from understudy.core.routing import RoutingTable
from understudy.gateway.ask import Ask, Spot
from understudy.gateway.limits import Limits, overridden
from understudy.gateway.meter import Meters
from understudy.gateway.mirror import Mirror
from understudy.gateway.pins import Pins
from understudy.gateway.record import MakeRedact
from understudy.gateway.snapshot import Compiler, Lane, Snapshot, Target
from understudy.upstream.deadlines import Deadlines
from understudy.upstream.outbox import Outbox
from understudy.upstream.wheel import Wheel

_LOW = [f"{number:03x}" for number in range(16**3)]
"""The last digits of an id; those before them change so seldom that they are not written anew for each request."""


def _ids(boot: str) -> Iterator[str]:
    """Ids for the requests of one boot. A generator goes on where it was, a third cheaper than a call."""
    for number in count():
        high = f"{boot}{number:05x}"
        for low in _LOW:
            yield high + low


class Connected(Protocol):
    """A client's connection, as far as the worker's end is concerned."""

    def drain(self) -> None: ...

    def stop(self) -> None: ...


class Traced(Protocol):
    """Tells somebody else of exchanges."""

    def exchange(self, ask: Ask, target: Target, record: Exchange) -> None: ...


class Gateway:
    """Make it inside the worker's running loop. `append` takes the ledger's records and must not block."""

    def __init__(
        self,
        append: Callable[[Record], object],
        *,
        redact: MakeRedact,
        pins: Pins | None = None,
        meters: Meters | None = None,
        limits: Limits | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.time
        self.now = time.time
        self.append = append
        self.redact = redact
        self.random = random.Random(secrets.randbits(64))
        self.limits = self._own_limits = limits or Limits()
        self.meters = meters or Meters(None)
        self.wheel = Wheel(self.loop)
        self.outbox = Outbox(self.loop)
        self.compiler = Compiler(self.wheel, self.outbox, deadlines or Deadlines(), redact)
        self.pins = pins or Pins(None)
        self.snapshot: Snapshot | None = None
        self.killed: frozenset[str] = frozenset()
        self.mirror = Mirror(self.loop, append)
        self.sessions: set[Connected] = set()
        self.draining = False
        self.exposition: Callable[[], bytes] | None = None
        """The metrics of all workers as text, where there are any."""
        self.in_use: dict[str, int] = {}
        """Requests under way by gateway key."""
        self.refused: dict[tuple[str, str], int] = {}
        """Requests that a limit of their gateway key refused, by key and limit."""
        self.spots: dict[bytes, Spot] = {}
        """Request lines that keep to the rules and to these limits, and the operations behind them."""
        self.tracing: Traced | None = None
        """Told of every exchange that is over, copies included; None where nobody asked for it."""
        self._emptied: asyncio.Event | None = None
        self.next_id: Callable[[], str] = _ids(f"x{time.time_ns() // 1_000_000:011x}{secrets.token_hex(3)}").__next__
        """Unique, and in order of time within a worker."""

    def apply(self, table: RoutingTable) -> None:
        """Serve by this table from now on; raises an UnderstudyError and changes nothing where it cannot be served."""
        snapshot = self.compiler.compile(table)
        snapshot.meters = self.meters.of(table.keys)
        self.snapshot = snapshot
        self.limits = overridden(self._own_limits, table.limits)
        self.spots.clear()
        self.compiler.forget_breakers(self.snapshot)

    def open_breakers(self) -> list[dict[str, str]]:
        return [
            {"workload": workload, "upgrade": upgrade, "why": breaker.why}
            for (workload, upgrade), breaker in sorted(self.compiler.breakers.items())
            if breaker.open
        ]

    def trip(self, opened: Iterable[tuple[str, str, str]]) -> None:
        """Open the breakers that another worker of this machine has opened for the same upgrade."""
        for workload, upgrade, why in opened:
            breaker = self.compiler.breakers.get((workload, upgrade))
            if breaker is not None:
                breaker.trip(why)

    def candidate_ended(self, ask: Ask, error: str) -> None:
        """A request of the candidate's arm is over; `error` is "" where the candidate is not to blame."""
        if error:
            ask.lane.breaker.failed(error)
        else:
            ask.lane.breaker.succeeded()

    def refuse_key(self, key: str, limit: str) -> None:
        """Count a request that a limit of its key refused."""
        self.refused[key, limit] = self.refused.get((key, limit), 0) + 1

    def trace(self, tracing: Traced) -> None:
        """Tell of every exchange from now on."""
        self.tracing = tracing
        self.mirror.traced = tracing.exchange

    def primary_limited(self, lane: Lane) -> None:
        """The incumbent said that it has no room: copies may be the reason, so they stop for a while."""
        self.mirror.rest(lane.name)

    def joined(self, session: Connected) -> None:
        self.sessions.add(session)

    def left(self, session: Connected) -> None:
        self.sessions.discard(session)
        if not self.sessions and self._emptied is not None:
            self._emptied.set()

    async def empty(self) -> None:
        """Wait until no connection is left."""
        self._emptied = asyncio.Event()
        if self.sessions:
            await self._emptied.wait()

    def close(self) -> None:
        self.compiler.close()
        self.wheel.close()
        self.pins.close()
