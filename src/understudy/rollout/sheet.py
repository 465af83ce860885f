"""Draws the answers that a person reads before signing a slice off: pairs of live answers, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.ledger.answers import PairRow
from understudy.ledger.queries import Ledger
from understudy.ledger.sampling import conversation, in_turn
from understudy.rollout.fold import EVERYTHING, UpgradeState

FEWEST, MOST = 20, 50
"""How many answers a person should read at least, and how many at most are put before them at once."""


def sheet(ledger: Ledger, state: UpgradeState, slice_: str, *, count: int, turn: int) -> dict[str, Any]:
    """A sample of an upgrade's pairs on one slice, or on all traffic.

    slice_: as a suite or as traffic names it (`refund`, `ticket=refund`); "" or `all` is all traffic.
    count: how many pairs, at most `MOST`.
    turn: 0 gives everybody the same sample; each further turn gives the pairs that come next.

    `of` in the result says of how many pairs it was drawn. Answers of which nothing was kept are empty.
    """
    everything = ledger.paired(workload=state.workload, upgrade=state.id, fingerprint=state.candidate.fingerprint)
    there = [pair for pair in everything if belongs(pair.slices, slice_)]
    seed = f"{state.id} {state.candidate.fingerprint}"
    names = in_turn(there, by=None, seed=seed)
    count = max(1, min(count, MOST))
    chosen = names[turn * count : (turn + 1) * count]
    pairs = {
        pair.served.exchange: pair
        for pair in ledger.pairs(
            workload=state.workload, upgrade=state.id, fingerprint=state.candidate.fingerprint, only=chosen
        )
    }
    return {
        "workload": state.workload,
        "upgrade": state.id,
        "slice": slice_ or EVERYTHING,
        "incumbent": state.incumbent.name,
        "candidate": state.candidate.name,
        "of": len(there),
        "turn": turn,
        "turns": -(-len(there) // count),
        "slices": sorted({f"{key}={value}" for pair in everything for key, value in pair.slices.items()}),
        "pairs": [_pair(pairs[name]) for name in chosen if name in pairs],
    }


def belongs(slices: Mapping[str, str], slice_: str) -> bool:
    """Whether an exchange with these slices is in `slice_`, however that is named."""
    return slice_ in ("", EVERYTHING) or slice_ in slices.values() or slice_ in {f"{k}={v}" for k, v in slices.items()}


def _pair(pair: PairRow) -> dict[str, Any]:
    return {
        "exchange": pair.served.exchange,
        "slices": pair.slices,
        "asked": conversation(pair.served.request),
        **{
            arm: {
                "answer": answer.answer,
                "tool_calls": answer.tool_calls,
                "model": answer.model_served or answer.model_requested,
                "latency_s": answer.latency_s,
                "output_tokens": answer.output_tokens,
                "cost_usd": answer.cost_usd,
                "cut": answer.truncated_content,
            }
            for arm, answer in (("incumbent", pair.served), ("candidate", pair.shadow))
        },
    }
