"""What a row of the matrix is: a fault, a promise, a run, a judgement, and a planted defect that must turn it red."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.chaos.client import Saw
from benchmarks.chaos.oracle import violations
from benchmarks.chaos.world import BUG, SHORT, Evidence

BY_ROW = {
    1: "keeps_asking",
    2: "keeps_asking",
    3: "patient",
    4: "no_fallback",
    5: "invents_endings",
    6: "decodes_chunks",
    7: "drops_unknown_events",
    8: "status_is_all",
    9: "tries_again",
    10: "passes_pages",
    11: "takes_all",
    12: "keeps_copies",
    13: "waits_for_requests",
    14: "never_cuts_off",
    15: "leaks",
    16: "decodes_chunks",
    17: "lenient",
    18: "gives_up",
    19: "sends_again",
    20: "patient",
    22: "drops_on_restart",
    23: "never_respawns",
    24: "trusts_json",
    25: "forwards_all",
    26: "blocks",
    27: "hasty",
    28: "drops_fields",
    41: "acknowledges_unapplied",
    43: "takes_old_tables",
    44: "trusts_tables",
    57: "no_fallback",
    58: "no_lease",
    62: "needs_the_disk",
    63: "needs_the_disk",
    66: "waits_for_the_disk",
    72: "asks_the_store",
    73: "asks_the_store",
    74: "asks_the_store",
    75: "ignores_kill_files",
    80: "ready_reads_the_disk",
    81: "old_route",
    82: "compares_letters",
    83: "remembers_keys",
    84: "all_workloads",
    88: "believes_headers",
    89: "logs_headers",
    90: "forwards_all",
    91: "opens_the_door",
}
"""The defect of each row, by its name in `sabotage`. The other rows have theirs planted in the evidence alone."""

ENOUGH = 3000
"""Clients in the evidence that a defect is planted in."""

Judge = Callable[[Evidence], list[str]]
Plant = Callable[[Evidence], None]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: `short` for CI, else the full bench."""

    short: bool

    def n(self, short: int, full: int) -> int:
        return short if self.short else full

    @property
    def deadlines(self) -> dict[str, float]:
        """Deadlines to be waited for: in CI, on a shared machine, so long that an honest provider keeps them there."""
        return {name: self.n(3, 1) * seconds for name, seconds in SHORT.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """`fault` is what happens, `promise` what must then be true.

    Each row's typical defect is planted twice, where that can be done: in a running gateway (`defect`), and in the
    evidence of a sound one (`plant`). The row must turn red both times.
    """

    number: int
    fault: str
    promise: str
    run: Callable[[Scale], Awaitable[Evidence]]
    judge: Judge
    plant: Plant

    def verdict(self, evidence: Evidence) -> list[str]:
        """Every violation found; empty where the row holds."""
        return violations(evidence) + self.judge(evidence)

    @property
    def defect(self) -> str:
        """The defect that is planted in the gateway itself, "" where it is planted in the evidence alone."""
        return BY_ROW.get(self.number, "")

    async def run_with_defect(self, scale: Scale) -> list[str]:
        """Run again against a gateway that has the row's defect; returns what was found, which must not be nothing."""
        former = BUG.set(self.defect)
        try:
            evidence = await self.run(scale)
        finally:
            BUG.reset(former)
        return self.verdict(evidence)

    def catches_plant(self, evidence: Evidence) -> bool:
        """Whether the defect planted in the evidence adds violations to what was found without it."""
        sound, spoiled = (replace(evidence.first(ENOUGH), patience=1.0) for _ in range(2))
        self.plant(spoiled)
        return not set(self.verdict(spoiled)) <= set(self.verdict(sound))


def at_most(evidence: Evidence, fact: str, limit: float) -> list[str]:
    """A measured figure against its limit; a figure that is not there is a violation too."""
    value = evidence.facts.get(fact)
    if value is None:
        return [f"{fact} was not measured"]
    return [] if value <= limit else [f"{fact} is {value:.6g}, the limit is {limit:g}"]


def in_time(evidence: Evidence, fact: str, limit: float) -> list[str]:
    """The same for a duration: where the evidence says that the machine is shared, the limit is wider."""
    return at_most(evidence, fact, limit * evidence.patience)


def none_of(evidence: Evidence, fact: str) -> list[str]:
    return at_most(evidence, fact, 0)


def only(evidence: Evidence, *allowed: str) -> list[str]:
    """Violations for requests that ended in another way."""
    return [
        f"{saw.mark} ({saw.dialect}) ended as {saw.outcome}, wanted {' or '.join(allowed)}"
        for saw in evidence.saw
        if saw.outcome not in allowed
    ]


def quantile(values: list[float], q: float) -> float:
    """The q-quantile by the nearest rank."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def plant_fact(fact: str, value: Any) -> Plant:
    def plant(evidence: Evidence) -> None:
        evidence.facts[fact] = value

    return plant


def first_saw(evidence: Evidence, **wanted: Any) -> Saw:
    return next(s for s in evidence.saw if all(getattr(s, name) == value for name, value in wanted.items()))


def plant_fake_ending(evidence: Evidence) -> None:
    """A gateway that invents the end of a stream the provider broke off."""
    saw = next(s for s in evidence.saw if s.outcome in ("broken", "error") and s.stream and s.dialect == "openai")
    saw.status, saw.framed, saw.end = 200, True, "complete"
    saw.payload = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def plant_changed_byte(evidence: Evidence) -> None:
    """A gateway that decodes each packet by itself and mangles a letter."""
    saw = first_saw(evidence, outcome="ok")
    saw.payload = saw.payload.replace("🎭".encode(), b"\xef\xbf\xbd", 1)


def plant_user_failure(evidence: Evidence) -> None:
    """A gateway that shows the caller a failure it should have kept from it."""
    saw = first_saw(evidence, outcome="ok")
    saw.status, saw.payload = 502, b'{"error":{"message":"bad gateway","type":"server_error"}}'


def plant_hang(evidence: Evidence) -> None:
    """A gateway that never answers."""
    saw = evidence.saw[0]
    saw.end, saw.status, saw.framed = "timeout", 0, False


def plant_second_call(evidence: Evidence) -> None:
    """A gateway that sends a POST again and tells nobody."""
    calls = next(calls for calls in evidence.received.values() if calls)
    calls.append(copy.deepcopy(calls[0]))
