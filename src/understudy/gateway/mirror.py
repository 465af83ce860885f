"""Copies requests that the incumbent answers to the candidate, whose answers go to the ledger and to nobody else.

Whether a request is due a copy is decided by a hash before the load is looked at; a copy that is due and not made
is recorded with the reason. A copy runs after the primary request was sent, on connections of its own, and nothing
that happens to it is seen by the client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from understudy.assign.bucket import bucket
from understudy.core.playbook import PARTS_PER_MILLION
from understudy.core.records import Exchange, Record
from understudy.gateway.ask import Ask, Outcome
from understudy.gateway.calling import call_of, streamed
from understudy.gateway.copying import Copy
from understudy.gateway.exchange import exchange_of
from understudy.gateway.failing import of_answer
from understudy.gateway.http import described
from understudy.gateway.snapshot import Target, answers
from understudy.upstream.connection import Headers, Receiver
from understudy.upstream.failure import Failure
from understudy.wires.base import Answer, WireError

REST_S = 30.0
"""How long copies stop after the incumbent's provider said that it is being asked too much."""
BODY_LIMIT = 1024 * 1024
ANSWER_LIMIT = 4 * 1024 * 1024


class Mirror:
    """`shed` counts by reason what was due and not copied."""

    def __init__(self, loop: asyncio.AbstractEventLoop, append: Callable[[Record], object]) -> None:
        self.clock = loop.time
        self._loop = loop
        self._append = append
        self._due: deque[tuple[Ask, str]] = deque()
        self._over: deque[Shadow] = deque()
        self._in_flight: dict[str, int] = {}
        self._resting: dict[str, float] = {}
        self.traced: Callable[[Ask, Target, Exchange], None] | None = None
        """Told of every copy that was made; None where nobody asked for it."""
        self.made = 0
        self.shed: dict[str, int] = {}

    def consider(self, ask: Ask) -> None:
        """Called after the primary request was sent; the copy itself is made in the loop's next turn."""
        sample = ask.lane.shadow_sample
        if not sample or ask.choice.arm == "candidate":
            return
        route = ask.lane.route
        if sample < PARTS_PER_MILLION and route and bucket(f"{route.salt}:shadow", ask.exchange) >= sample:
            return
        if not ask.endpoint.pure or ask.peek.effects or ask.choice.reason == "kill_file":
            return  # such calls are never eligible, whatever the load
        why = self._obstacle(ask)
        if not self._due:
            self._loop.call_soon(self._make)
        self._due.append((ask, why))

    def rest(self, workload: str) -> None:
        self._resting[workload] = self.clock() + REST_S

    def in_flight(self, workload: str) -> int:
        return self._in_flight.get(workload, 0)

    def ended(self, ask: Ask, target: Target, outcome: Outcome, answer: Answer) -> None:
        """A copy is over, or was not made (`attempts` 0): record it."""
        if outcome.attempts:
            self._in_flight[ask.lane.name] -= 1
        # The request is kept with the served exchange and not a second time.
        kept = ask.snapshot.keeper.content(ask.lane.workload.content, b"", answer)
        record = exchange_of(ask, target, outcome, answer, kept, shadow=True)
        self._append(record)
        if self.traced is not None and outcome.attempts:
            self.traced(ask, target, record)

    def _obstacle(self, ask: Ask) -> str:
        """Why the copy cannot be made now, "" where it can."""
        lane = ask.lane
        shadow = lane.route.shadow if lane.route else None
        if shadow is None or lane.candidate is None or not answers(lane.candidate, ask.endpoint):
            return "shadow_wire"
        if len(ask.body) > BODY_LIMIT:
            return "shadow_too_large"
        if self._in_flight.get(lane.name, 0) >= shadow.max_in_flight:
            return "shadow_busy"
        if self._resting and self.clock() < self._resting.get(lane.name, 0.0):
            return "shadow_resting"
        self._in_flight[lane.name] = self._in_flight.get(lane.name, 0) + 1
        return ""

    def _make(self) -> None:
        """The copies of all requests that came in one turn of the loop."""
        try:
            while self._due:
                ask, why = self._due.popleft()
                if why:
                    self._shed(ask, why)
                    continue
                assert ask.lane.candidate is not None
                self.made += 1
                Shadow(self, ask, ask.lane.candidate).start()
        finally:
            if self._due:  # one that failed does not take the others along
                self._loop.call_soon(self._make)

    def over(self, copy: Shadow) -> None:
        """An answer is whole. Nobody waits for its record: those of one turn are made together, which is cheaper."""
        if not self._over:
            self._loop.call_soon(self._settle)
        self._over.append(copy)

    def _settle(self) -> None:
        try:
            while self._over:
                self._over.popleft().settle()
        finally:
            if self._over:
                self._loop.call_soon(self._settle)

    def _shed(self, ask: Ask, why: str) -> None:
        self.shed[why] = self.shed.get(why, 0) + 1
        target = ask.lane.candidate or ask.lane.incumbent
        outcome = Outcome(
            status=0,
            error=why,
            served=None,
            masked=False,
            attempts=0,
            streamed=False,
            ttft_s=None,
            latency_s=None,
        )
        self.ended(ask, target, outcome, Answer(complete=False))


class Shadow(Receiver):
    """One copy under way."""

    __slots__ = (
        "_ask",
        "_called_at",
        "_copy",
        "_encoding",
        "_endpoint",
        "_first_at",
        "_mirror",
        "_not_carried",
        "_over_at",
        "_status",
        "_streamed",
        "_target",
        "_whole",
    )

    def __init__(self, mirror: Mirror, ask: Ask, target: Target) -> None:
        self.connection = None
        self._mirror = mirror
        self._ask = ask
        self._target = target
        self._first_at = 0.0
        self._over_at = 0.0
        self._status = 0
        self._streamed = False
        self._not_carried = ""
        self._copy: Copy | None = None
        self._whole = b""

    def start(self) -> None:
        ask, target = self._ask, self._target
        self._called_at = self._mirror.clock()
        try:
            call = call_of(ask, target)
            request = call.request
            if ask.peek.stream:
                request = target.wire.asking_usage(call.endpoint, request)
        except WireError:
            self._finish("refused", Answer(complete=False))
            return
        self._endpoint = call.endpoint
        self._not_carried = ", ".join(call.losses)
        head = target.head(request, ask.method, b"", {})
        target.shadow_pool.send(self, head, request.body, streamed=ask.peek.stream)

    def head(self, status: int, headers: Headers) -> None:
        self._status = status
        kind, encoding = described(headers)
        self._streamed = streamed(self._endpoint, self._ask.peek.stream, status, kind)
        self._encoding = encoding
        if self._streamed or (encoding and encoding != b"identity"):
            self._copied()

    def data(self, chunk: bytes) -> None:
        if not chunk:
            return
        if not self._first_at:
            self._first_at = self._mirror.clock()
        copy = self._copy or self._copied()
        copy.add(chunk)
        if copy.size > ANSWER_LIMIT:
            self._target.shadow_pool.cancel(self)
            self._finish("shadow_answer_too_large", copy.answer())
        elif self.connection is not None and copy.content_seen:
            self.connection.content_seen()

    def end(self, chunk: bytes) -> None:
        self._over_at = self._mirror.clock()
        if chunk:
            self._first_at = self._first_at or self._over_at
            if self._copy is None:  # it came in one read, as most do
                self._whole = chunk
            else:
                self._copy.add(chunk)
        self._mirror.over(self)

    def settle(self) -> None:
        """Read the answer that is whole and record it."""
        copy, complete = self._copy, True
        if copy is None:
            answer = self._target.operations[self._endpoint.name].read(self._status, self._whole)
        else:
            answer = copy.answer()
            complete = copy.complete
        self._finish(of_answer(self._status, answer, complete=complete), answer)

    def failed(self, failure: Failure) -> None:
        self._finish(failure.kind.value, self._copied().answer() if self._status else Answer(complete=False))

    def _copied(self) -> Copy:
        """The copy that the answer is read from; an answer that comes in one read is read without one."""
        copy = self._copy
        if copy is None:
            copy = self._copy = Copy(self._target.wire, self._endpoint)
            copy.tell(self._status, streamed=self._streamed, encoding=self._encoding)
        return copy

    def _finish(self, error: str, answer: Answer) -> None:
        outcome = Outcome(
            self._status,
            error,
            None,
            False,  # masked
            1,
            self._streamed,
            self._first_at - self._called_at if self._first_at else None,
            (self._over_at or self._mirror.clock()) - self._called_at,
            self._not_carried,
        )
        self._mirror.ended(self._ask, self._target, outcome, answer)
