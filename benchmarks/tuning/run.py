"""Searches for a better prompt, many times, against simulated models whose truth is known.

python -m benchmarks.tuning.run [--closable 10] [--hopeless 100] [--markdown FILE]

Every search is a whole one, over HTTP on loopback, on 240 cases in three slices. In the closable rows the candidate
fails half of the refunds until its prompt has two rules among eight ideas. In the hopeless rows a new wording only
changes which refunds fail, never how many: whatever a search finds there is luck, and a pass is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from understudy.config.project import open_project
from understudy.core.errors import Refused
from understudy.core.playbook import Verdict
from understudy.evals.setup import prices
from understudy.testing.background import running
from understudy.testing.behaviour import Behaviour
from understudy.testing.simulated import SimulatedProvider
from understudy.testing.writer import KINDS, is_wrong
from understudy.tuning.filing import Report
from understudy.tuning.search import carry_out, prepare
from understudy.tuning.split import Part
from understudy.upstream.client import Client

SLICES = ("refund", "delivery", "account")
CASES = 80
RULES = "say when the refund arrives|name the card it goes back to"
IDEAS = "|".join(
    (
        *("Be brief.", "Use no exclamation marks.", "Answer in the customer's language.", "Never promise anything."),
        *("If money was taken, say when the refund arrives.", "For money back, name the card it goes back to."),
        *("Begin with the number of the order.", "Offer more help at the end."),
    )
)


class Row(NamedTuple):
    """One search: how it ended, what it cost, and how much of the gap on the held-out cases is closed in truth."""

    ended: str
    verdict: str
    proven: bool
    questions: int
    proposals: int
    closed: float
    believed: float
    """Part of the gap that is closed on the cases the search chose by."""


def write(folder: Path, base_url: str) -> None:
    (folder / "reply.md").write_text("You answer mail.\n")
    lines = ["suite: desk", "graders: [{type: contains, text: reference}]", "cases:"]
    for kind in SLICES:
        for n in range(CASES):
            row = {"id": f"{kind}-{n}", "slice": kind, "prompt": f"[{kind}] order {1000 + n}"}
            lines.append(f"  - {json.dumps({**row, 'reference': KINDS[kind].resolution})}")
    (folder / "desk.yaml").write_text("\n".join(lines) + "\n")
    (folder / "understudy.yaml").write_text(
        f"providers: {{sim: {{wire: openai, base_url: '{base_url}'}}}}\n"
        "workloads:\n  w:\n    incumbent: old\n    suites: [desk.yaml]\n    gates: {quality: {margin: 3pt}}\n"
        "    variants:\n      old: {provider: sim, model: old-1, system_prompt: reply.md}\n"
        "      new: {provider: sim, model: new-2, system_prompt: reply.md}\n"
    )


def one(behaviour: Behaviour, seed: int) -> Row | None:
    """None where the candidate had the luck to have no gap on the cases a prompt is chosen by."""
    models = {"old-1": Behaviour(), "new-2": behaviour, "editor-1": Behaviour(proposes=IDEAS)}
    with tempfile.TemporaryDirectory() as name, running(lambda: SimulatedProvider(models, seed=seed)) as provider:
        folder = Path(name)
        write(folder, provider.base_url)
        project = open_project(folder / "understudy.yaml", {})
        plan = prepare(project, "w", candidate="new", reflect_with="sim/editor-1", seed=seed)

        async def main() -> Report:
            client = Client(plan.providers, lambda name: "")
            try:
                return await carry_out(plan, client, prices(project))
            finally:
                await client.close()

        try:
            report = asyncio.run(main())
        except Refused:
            return None
        held_out = [case.messages[0].content for suite in plan.part(Part.PROOF) for case in suite.cases]

        def gap(system: str) -> float:
            kinds = ((text.partition("]")[0][1:], text) for text in held_out)
            return statistics.fmean(is_wrong(kind, "new-2", text, system, behaviour, seed) for kind, text in kinds)

        tuned = report.document["tuned"] or report.document["candidate"]
        before, after = gap(plan.candidate.system_prompt), gap(tuned["system_prompt"])
        chosen = report.document["gap"]
        return Row(
            ended=report.document["ended"],
            verdict=str(report.verdict),
            proven=report.proof is not None,
            questions=report.document["asked"],
            proposals=report.document["proposals"],
            closed=(before - after) / before if before else 1.0,
            believed=(chosen["before"] - chosen["after"]) / chosen["before"],
        )


def rows(name: str, behaviour: Behaviour, times: int) -> Iterator[str]:
    began = time.process_time()
    made = [row for seed in range(times) if (row := one(behaviour, seed)) is not None]
    spent = time.process_time() - began
    if not made:
        return
    passed = sum(row.verdict == Verdict.PASS for row in made)
    cleared = sum(row.ended == "cleared" for row in made)
    undecided = sum(row.verdict == Verdict.INCONCLUSIVE for row in made)
    middle = sorted(row.questions for row in made)
    proposals = sorted(row.proposals for row in made)
    yield (
        f"| {name} | {len(made)} | {cleared} | {sum(row.proven for row in made)} | {passed} | {undecided} "
        f"| {100 * statistics.fmean(row.believed for row in made):.0f} % "
        f"| {100 * statistics.fmean(row.closed for row in made):.0f} % "
        f"| {statistics.median(proposals):.0f} ({proposals[0]} to {proposals[-1]}) "
        f"| {statistics.median(middle):.0f} ({middle[0]} to {middle[-1]}) | {spent / len(made):.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closable", type=int, default=10, help="searches where the gap can be closed")
    parser.add_argument("--hopeless", type=int, default=100, help="searches a row where it cannot")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    given = parser.parse_args()
    half = Behaviour(wrong_slice="refund", wrong_share=0.5, wrong_unless=RULES)
    planned = [("two rules close it", half, given.closable)]
    for share in (0.1, 0.2, 0.4):
        luck = Behaviour(wrong_slice="refund", wrong_share=share, wrong_by_wording=True)
        planned.append((f"hopeless: {100 * share:.0f} % of refunds lost", luck, given.hopeless))
    lines = [
        "| gap | searches | cleared | went to proof | passed | undecided | gap closed, as the search saw it "
        "| gap closed, held-out cases | proposals | questions | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, behaviour, times in planned:
        lines += rows(name, behaviour, times)
        print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
