"""What the ledger answers with: plain rows, and nothing that reads the lake again."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """One exchange as the drift tests, the graders and a person read it."""

    exchange: str
    workload: str
    started_at: float
    unit: str
    bucket: int
    slices: dict[str, str]
    upgrade: str
    stage: str
    step: int
    role: str
    arm: str
    variant: str
    served_variant: str
    fingerprint: str
    model_requested: str
    model_served: str
    masked: bool
    status: int
    error: str
    finish_reason: str
    latency_s: float | None
    ttft_s: float | None
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    request: bytes
    answer: str
    tool_calls: str
    truncated_content: bool

    @property
    def kept(self) -> bool:
        """Whether the workload keeps content."""
        return bool(self.request)


class Asked(NamedTuple):
    """One exchange without its content."""

    exchange: str
    slices: dict[str, str]


class PairRow(NamedTuple):
    """A served exchange and the shadow copy that was made of it."""

    served: Answer
    shadow: Answer

    @property
    def slices(self) -> dict[str, str]:
        return self.served.slices

    @property
    def unit(self) -> str:
        return self.served.unit


class Compared(NamedTuple):
    """One side of a pair as the drift tests read it; of a request they only need to know whether it was kept."""

    exchange: str
    bucket: int
    slices: dict[str, str]
    fingerprint: str
    status: int
    error: str
    finish_reason: str
    latency_s: float | None
    ttft_s: float | None
    cost_usd: float | None
    output_tokens: int | None
    reasoning_tokens: int | None
    answer: str
    tool_calls: str
    kept: bool


class ComparedPair(NamedTuple):
    """A served exchange and its shadow copy, as the drift tests read them."""

    served: Compared
    shadow: Compared


class Mark(NamedTuple):
    """How far exchanges were read: a version of their table, and its data files."""

    version: int
    files: frozenset[str]


class Coverage(NamedTuple):
    """How much of what the incumbent served was copied: copies answered, and what became of the rest, by reason."""

    served: int
    copies: int
    lost: dict[str, int]


class Span(NamedTuple):
    """A variant that answered, from when to when and how often, under one epoch of the routing table."""

    generation: str
    epoch: int
    upgrade: str
    stage: str
    step: int
    arm: str
    served_variant: str
    fingerprint: str
    model_served: str
    first_at: float
    last_at: float
    exchanges: int
    masked: int
    units: int


class Served(NamedTuple):
    """Which variant answered a unit, and why that one."""

    exchange: str
    started_at: float
    generation: str
    epoch: int
    upgrade: str
    stage: str
    step: int
    arm: str
    reason: str
    variant: str
    served_variant: str
    fingerprint: str
    masked: bool
    model_requested: str
    model_served: str
    conversation: str
    status: int
    error: str


class Quantiles(NamedTuple):
    """Quantiles in the order they were asked for."""

    values: tuple[float, ...]
    approximate: bool
    """True where the engine estimates them: never compare those across engines, and say so to people."""


class Drawn(NamedTuple):
    step: int
    arm: str
    units: int


class Ended(NamedTuple):
    """How one exchange ended."""

    status: int
    error: str
    masked: bool


class EvalSeen(NamedTuple):
    """One side of an eval: the mean of the score that its gate compared."""

    eval: str
    arm: str
    variant: str
    fingerprint: str
    score: float | None
    cases: int
    answers: int
    first_at: float
    last_at: float


class Count(NamedTuple):
    """How much was seen of one role and arm in one step."""

    stage: str
    step: int
    role: str
    arm: str
    exchanges: int
    units: int
    errors: int
    masked: int
    first_at: float
    last_at: float


class SliceFigures(NamedTuple):
    """One arm on one slice; None where there is no value."""

    slice: str
    arm: str
    exchanges: int
    errors: int
    latency_mean_s: float | None
    latency_p50_s: float | None
    latency_p99_s: float | None
    ttft_p50_s: float | None
    cost_usd: float | None
    """Total, over the exchanges whose cost is known."""
    priced: int
    """Exchanges whose cost is known."""
    approximate: bool = False
    """True where the engine estimates quantiles (the p50 and p99 here)."""
