"""Measures one answer: every feature of the catalogue that it has, as a number.

Some features are habits of the incumbent (its closing line, its tools, its slowest percent). They are learned from
its own answers first, so that nobody has to describe them.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from understudy.core.refusal import refusal
from understudy.drift.catalogue import NOTICED_S
from understudy.drift.form import form, tools
from understudy.drift.text import MOST, first_line, is_data, last_line, opening, part, unfenced, words
from understudy.drift.tone import tone

HABIT = 0.25
"""Share of the incumbent's answers that makes a line or an opening its habit."""
USED = 0.01
"""Share of the incumbent's tool calls that makes a tool, or a shape of arguments, usual."""
TAIL = 0.99
BEYOND = 1.10
"""How far beyond the incumbent's p99 an answer is far beyond it."""
LEAST_FOR_TAIL = 100
LEAST_FOR_HABIT = 20
_CUT_OFF = {"length", "max_tokens", "max_output_tokens"}
_COUNTED = 20_000
"""Distinct lines that are counted; a habit is among the first."""


class Side(Protocol):
    """One side of a pair, as the ledger keeps it. None is unknown, never 0."""

    @property
    def kept(self) -> bool:
        """False where the workload keeps no content: an empty answer then means nothing."""
        ...

    @property
    def answer(self) -> str: ...
    @property
    def tool_calls(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def error(self) -> str: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def latency_s(self) -> float | None: ...
    @property
    def ttft_s(self) -> float | None: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def reasoning_tokens(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Habits:
    """What the incumbent's own answers have in common."""

    answers: int = 0
    closings: frozenset[str] = frozenset()
    """Last lines that many of its answers end with."""
    openings: frozenset[str] = frozenset()
    """Forms of the first word (see `text.opening`) and first lines that many of its answers begin with."""
    tools: frozenset[str] = frozenset()
    shapes: frozenset[tuple[str, str]] = frozenset()
    latency_p99_s: float | None = None
    cost_p99_usd: float | None = None


def learn(answers: Iterable[Side]) -> Habits:
    """The habits of the incumbent, from its answers; failures are left out."""
    first: Counter[str] = Counter()
    last: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    named: Counter[str] = Counter()
    shaped: Counter[tuple[str, str]] = Counter()
    latencies, costs = array("d"), array("d")
    count = 0
    for side in answers:
        if failed(side):
            continue
        count += 1
        begins = [(begun, opening(side.answer))]
        if not is_data(side.answer):
            begins += [(first, first_line(side.answer)), (last, last_line(side.answer))]
        for counter, seen in begins:
            if seen and (seen in counter or len(counter) < _COUNTED):
                counter[seen] += 1
        for name, arguments in tools(side.tool_calls):
            named[name] += 1
            shaped[name, arguments] += 1
        latencies.extend(value for value in (side.latency_s,) if value is not None)
        costs.extend(value for value in (side.cost_usd,) if value is not None)
    least = max(LEAST_FOR_HABIT, HABIT * count) if count >= LEAST_FOR_HABIT else float("inf")
    calls = named.total()
    return Habits(
        answers=count,
        closings=frozenset(line for line, n in last.items() if n >= least),
        openings=frozenset(seen for counter in (begun, first) for seen, n in counter.items() if n >= least),
        tools=frozenset(name for name, n in named.items() if n >= USED * calls),
        shapes=frozenset(seen for seen, n in shaped.items() if n >= USED * calls),
        latency_p99_s=_tail(latencies),
        cost_p99_usd=_tail(costs),
    )


def failed(side: Side) -> bool:
    """Whether one side of a pair is no answer at all."""
    return bool(side.error) or side.status >= 400


def measure(side: Side, habits: Habits) -> dict[str, float]:
    """Every feature the answer has; one that is not in the result could not be measured on it.

    A failure has nothing else. A refusal has no length, form or tone: these would only say again that it refused.
    """
    if failed(side):
        return {"failure": 1.0}
    text, calls = side.answer, tools(side.tool_calls)
    tokens = None if side.output_tokens is None else max(0, side.output_tokens - (side.reasoning_tokens or 0))
    found: dict[str, float | None] = {
        "failure": 0.0,
        "tool_call": float(bool(calls)),
        "cut_off": float(side.finish_reason.lower() in _CUT_OFF),
        "latency": side.latency_s,
        "first_byte": side.ttft_s,
        "slow_tail": _beyond(side.latency_s, habits.latency_p99_s, NOTICED_S),
        "cost": side.cost_usd,
        "dear_tail": _beyond(side.cost_usd, habits.cost_p99_usd),
    }
    if calls and habits.tools:
        found["usual_tools"] = float(all(name in habits.tools for name, _ in calls))
        found["usual_arguments"] = float(all(call in habits.shapes for call in calls))
    if text.strip() or side.kept:
        found["empty"] = float(not text.strip() and not calls)
    refused = bool(text) and bool(refusal(text))
    if text.strip():
        found["refusal"] = float(refused)
    if not refused:
        found["tokens"] = tokens if tokens and not calls else None
        if text.strip():
            found.update(_content(text, habits))
    return {name: value for name, value in found.items() if value is not None}


def _content(text: str, habits: Habits) -> dict[str, float]:
    """What the text itself has. Length and tone are those of the body: a missing closing line is one thing, not two."""
    found = {name: float(value) for name, value in form(text).items()}
    if habits.openings:
        found["opening"] = float(opening(text) in habits.openings or first_line(text) in habits.openings)
    body = unfenced(text)
    if not is_data(text):
        parts = part(text, habits.closings)
        body = parts.body
        found["greeting"] = float(bool(parts.greeting))
        if habits.closings:
            found["closing"] = float(bool(parts.closing))
        if not found["code_fence"]:
            found.update(tone(body))
    if body:
        found["characters"] = float(len(body) + max(0, len(text) - MOST))
        found["words"] = float(len(body.split()))
    return found


def distance(one: str, other: str) -> float:
    """Share of the words of both texts that they do not share, counted with repetition: 0 the same, 1 nothing."""
    first, second = words(unfenced(one)), words(unfenced(other))
    mine, yours = Counter(first), Counter(second)
    shared = mine.keys() & yours.keys()
    both = sum(map(min, map(mine.__getitem__, shared), map(yours.__getitem__, shared)))
    union = len(first) + len(second) - both
    return 1.0 - both / union if union else 0.0


def _beyond(value: float | None, limit: float | None, least: float = 0.0) -> float | None:
    """Whether a value lies beyond a limit by a ratio, and a distance, that matter: a shift of a hair is no fat tail."""
    return None if value is None or limit is None else float(value > max(limit * BEYOND, limit + least))


def _tail(values: array[float]) -> float | None:
    """The empirical 99 % quantile; None where there are too few to have one."""
    if len(values) < LEAST_FOR_TAIL:
        return None
    return sorted(values)[min(len(values) - 1, int(TAIL * len(values)))]
