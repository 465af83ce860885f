"""Makes a project with weeks of traffic: an upgrade in shadow or canary, and a ledger of exchanges and copies.

Everything but the time is real: the upgrade is begun and moved by its journal, records go through segments and the
committer, in as many commits as asked for. The same seed makes the same texts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.config.project import Project, open_project
from understudy.core.playbook import Stage
from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.segments import SegmentWriter
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft
from understudy.rollout.machine import JUDGED_MOVES, Kind
from understudy.wiring import control

DAY = 86_400.0
UNITS = 5_000
SLICES = {
    "ticket": ("refund", "delivery", "login", "invoice"),
    "tier": ("free", "team", "business"),
    "language": ("en", "de", "fr"),
}
CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    owner: support
    slice_by: {ticket: header:x-ticket, tier: header:x-tier, language: header:x-language}
    incumbent: old
    variants:
      old: {provider: local, model: model-1}
      new: {provider: local, model: model-2}
    suites: [suite.yaml]
    gates:
      errors: {margin: 2pt}
      latency: {margin: 5pt}
      cost: {margin: 10%}
      quality: {margin: 2pt}
prices:
  model-1: {input: 0.5, output: 2}
  model-2: {input: 0.25, output: 1}
"""
SUITE = """
suite: reply
cases: [{id: one, prompt: "1 + 1?", reference: "2"}]
graders:
  - {name: polite, type: regex_match, pattern: "(?i)thank|regards"}
"""
SENTENCES = (
    "We received your order {n} on Monday and sent it on its way within {d} working days.",
    "The refund of ${n}.00 goes back to the card you paid with, which usually takes {d} to {n} days.",
    "I'm sorry about the inconvenience this has caused; that is certainly not what we want for you.",
    "Unfortunately the parcel was returned to our warehouse because nobody could be reached at the address.",
    'Please open the settings page, choose "Account", and then confirm the link that we have sent to you.',
    "If the link doesn't open, it may help to copy it into the address line of another browser.",
    'Your invoice for the {d}th month is attached to this mail, and also in your account under "Billing".',
    "Of course you can change the plan at any time; the difference is added to the next invoice.",
    "Could you perhaps tell us which of the two devices you were using when the message appeared?",
    "In general we answer within one day, and sometimes it is a little faster than that.",
    "I think the quickest way is to reset the password once and sign in again afterwards.",
    "As soon as the carrier has scanned the parcel, the tracking page shows where it is.",
    "The team has looked at what happened in detail, and found that a payment had been counted twice.",
    "We've put a credit of ${n}.50 on your account, so that the next month costs you less.",
    "Thank you for your patience, and for the screenshot: it shows exactly where the problem lies!",
    "It depends on the bank how long the amount stays reserved, mostly it is between {d} and {n} days.",
)
LISTED = ("Open the app", "Sign in with your mail address", "Choose the order", "Confirm the return", "Print the label")


def text(rng: random.Random, *, candidate: bool) -> str:
    """An answer of 500 to 1,500 characters; the candidate apologises more, and often leaves out the closing line."""
    parts = ["Dear customer,\n\nthank you for writing to us." if rng.random() < 0.8 else ""]
    for _ in range(rng.randrange(5, 14)):
        parts.append(rng.choice(SENTENCES).format(n=rng.randrange(1, 5_000), d=rng.randrange(2, 9)))
    if candidate and rng.random() < 0.4:
        parts.insert(rng.randrange(1, 4), "We sincerely apologize for this.")
    if rng.random() < 0.15:
        parts.append("\n" + "\n".join(f"{i}. {line}" for i, line in enumerate(rng.sample(LISTED, 3), start=1)))
    if rng.random() < (0.5 if candidate else 0.9):
        parts.append("\n\nKind regards, your support team")
    return " ".join(filter(None, parts))


def unit_of(number: int) -> int:
    """Who sent the exchange of a number."""
    return random.Random(number).randrange(UNITS)


def exchange(
    state: UpgradeState, number: int, at: float, arm: str, rng: random.Random, *, copy: bool = False, **fields: Any
) -> Exchange:
    """One record of a gateway; a copy is the shadow of the exchange of the same number."""
    candidate = arm == "candidate"
    variant = state.candidate if candidate else state.incumbent
    failed = rng.random() < 0.01
    of_user = random.Random(number)
    unit = unit_of(number)
    return Exchange(
        exchange=f"{'c' if copy else 's'}{number:019x}",
        pair=f"s{number:019x}" if copy else "",
        workload=state.workload,
        started_at=at,
        epoch=int(at // 3_600) % 100_000,
        generation="g",
        upgrade=state.id,
        role="shadow" if copy else "served",
        arm=arm,
        reason="below_share" if candidate else "above_share",
        variant=variant.name,
        served_variant="" if copy else variant.name,
        fingerprint=variant.fingerprint,
        unit=f"user-{unit}",
        unit_bucket=unit * 199,
        slices={key: of_user.choice(values) for key, values in SLICES.items()},
        endpoint="/v1/chat/completions",
        status=504 if failed else 200,
        error="timeout" if failed else "",
        ttft_s=0.1 + rng.expovariate(5),
        latency_s=0.5 + rng.expovariate(1),
        model_requested=variant.model,
        model_served=variant.model,
        finish_reason="stop",
        input_tokens=rng.randrange(200, 2_000),
        output_tokens=rng.randrange(100, 400),
        cost_usd=rng.uniform(0.001, 0.002) * (0.6 if candidate else 1.0),
        request=b""
        if failed
        else b'{"messages": [{"role": "user", "content": "%s"}]}' % text(of_user, candidate=False).encode(),
        answer="" if failed else text(rng, candidate=candidate),
        **fields,
    )


def shadowed(state: UpgradeState, count: int, began: float, days: float, rng: random.Random) -> Iterator[Exchange]:
    """So many served exchanges, each with its copy, evenly over so many days."""
    for number in range(count):
        at = began + days * DAY * number / count
        yield exchange(state, number, at, "incumbent", rng, stage="shadow", step=-1)
        yield exchange(state, number, at + 0.3, "candidate", rng, copy=True, stage="shadow", step=-1)


def exposed(
    state: UpgradeState, first: int, count: int, began: float, days: float, rng: random.Random
) -> Iterator[Exchange]:
    """So many served exchanges of a canary at 25 %."""
    for number in range(first, first + count):
        arm = "candidate" if unit_of(number) % 4 == 0 else "incumbent"
        at = began + days * DAY * (number - first) / count
        yield exchange(state, number, at, arm, rng, stage="canary", step=2)


def commit(folder: Path, records: Iterator[Exchange], each: int) -> None:
    """Bring records into the lake of a project, so many a commit, and compacted as a committer does."""
    state = folder / ".understudy"
    with Committer(state / "segments", state / "lake") as committer:
        while True:
            writer = SegmentWriter(state / "segments", "w0", max_buffered=1 << 40)
            wrote = 0
            for record in records:
                writer.append(record)
                wrote += 1
                if wrote == each:
                    break
            writer.close()
            committer.run_once()
            if wrote < each:
                return


def project(folder: Path, stage: Stage, at: float) -> tuple[Project, UpgradeState]:
    """A project whose upgrade came to shadow or canary at a time; nothing in its ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "understudy.yaml").write_text(CONFIG)
    (folder / "suite.yaml").write_text(SUITE)
    opened = open_project(folder / "understudy.yaml")
    return opened, asyncio.run(_moved(opened, stage, at))


async def _moved(opened: Project, stage: Stage, at: float) -> UpgradeState:
    async with control(opened) as found:
        store = found.store
        state = await begin(opened, store, found.board, Request("reply", "new", "bench", "", "bench"), at)
        moves = [(Kind.OPENED, 0), (Kind.CLEARED, 0), (Kind.CLOCK_STARTED, 0)]
        if stage is Stage.CANARY:
            moves += [(Kind.EXPOSED, 10_000), (Kind.WIDENED, 50_000), (Kind.WIDENED, 250_000)]
        for kind, share in moves:
            seen = (await store.read()).epoch
            judged = {"judged": state.clock, "share": share} if kind in JUDGED_MOVES else {}
            state = await store.append(seen, state.id, [Draft(kind, "bench", "", judged)], at)
        return state
