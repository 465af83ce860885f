"""Stage 2 by machine, from a project to a finding: prepares a search, runs it, has its best prompt proven once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from understudy.config.explain import suggest
from understudy.config.project import Project
from understudy.core.canonical import digest
from understudy.core.errors import CannotMeasure, Refused, UsageError
from understudy.core.playbook import Verdict
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals import setup
from understudy.evals.answers import Kept
from understudy.evals.asking import Asker
from understudy.evals.graders import Judge
from understudy.evals.result import Bound, Thresholds
from understudy.evals.runner import DEFAULT_CONCURRENCY, DEFAULT_REPEATS, Job
from understudy.evals.scoring import Price
from understudy.evals.suite import Suite
from understudy.tuning import filing, lineage, proof
from understudy.tuning.asking import Asking, items_of
from understudy.tuning.bar import levels, standing
from understudy.tuning.budget import Budget, Exhausted, unknown_price
from understudy.tuning.filing import Report
from understudy.tuning.lineage import Step
from understudy.tuning.optimizer import Ended, Found, search
from understudy.tuning.proof import Proof
from understudy.tuning.sampling import BATCH
from understudy.tuning.split import Part, Split, split
from understudy.upstream.client import Client

ROUNDS = 20
"""Proposals that a search without --calls can afford, if each of them is scored on the whole selection."""
LEAST = 2
"""Cases that training and selection must have at least; fewer can teach nothing."""
WORDS = """A system prompt was changed so that a new language model answers as well as the one before it. What \
changed, and what that moved:

{evidence}

In one or two plain sentences: what did the new model have to be told that the one before did without being told?"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A search that was prepared and has asked nothing yet."""

    workload: str
    incumbent: Variant
    candidate: Variant
    reflecting: Variant
    providers: Mapping[str, Provider]
    suites: Sequence[Suite]
    split: Split
    thresholds: Thresholds
    seed: int
    calls: int
    usd: float | None
    reflect_with: str
    """The reflecting model as the user named it, for --resume."""
    folder: Path
    """The project's evals."""

    @property
    def tuning(self) -> Path:
        """Where searches of the workload keep what they asked and found."""
        return filing.folder_of(self.folder, self.workload)

    @property
    def id(self) -> str:
        """Names what is searched for, not how much may be spent: a search goes on with a larger budget."""
        bound = Bound.of(self.suites, self.thresholds, self.incumbent, self.candidate)
        return digest([bound.id, self.workload, self.reflecting.fingerprint, self.seed])[:12]

    def part(self, *parts: Part) -> list[Suite]:
        return self.split.cut(self.suites, *parts)

    def count(self, *parts: Part) -> int:
        return sum(len(suite.cases) for suite in self.part(*parts))

    @property
    def watched(self) -> list[Suite]:
        """The must-pass cases outside the proof."""
        return proof.must_pass(self.part(Part.TRAIN, Part.SELECTION))

    @property
    def reserved(self) -> int:
        """Questions that are kept back: the proof's, and one to say what was found."""
        return reserve(self.suites, self.split)

    @property
    def notes(self) -> list[str]:
        """What stands in the way of a proof however good the prompt is."""
        held_out = self.part(Part.PROOF)
        family = proof.family_of(self.incumbent, self.candidate)
        number = 1 + len(proof.earlier(self.tuning / filing.PROOFS, family, held_out, but=self.id))
        alpha = proof.alpha_of(self.thresholds.alpha, number)
        tie = proof.tie(held_out, self.thresholds, alpha)
        short = [
            f"{row.slice or 'the aggregate'} ({row.n} cases, a loss of {100 * row.margin:g} points)"
            for row in (tie.aggregate, *tie.slices)
            if row.verdict is not Verdict.PASS
        ]
        found = []
        if short:
            found.append(f"too few cases are held out to prove even equal answers: {', '.join(short)}; add cases")
        if number > 1:
            before = "1 prompt was" if number == 2 else f"{number - 1} prompts were"
            found.append(f"{before} held against these held-out cases before: this proof has alpha {alpha:.2g}")
        return found


def reserve(suites: Sequence[Suite], parts: Split) -> int:
    held_out = sum(len(suite.cases) for suite in parts.cut(suites, Part.PROOF))
    watched = sum(len(suite.cases) for suite in proof.must_pass(parts.cut(suites, Part.TRAIN, Part.SELECTION)))
    return 2 * DEFAULT_REPEATS * (held_out + watched) + 1


def prepare(
    project: Project,
    workload: str,
    *,
    candidate: str,
    reflect_with: str = "",
    calls: int | None = None,
    usd: float | None = None,
    seed: int = 0,
) -> Plan:
    """What a search would do. Writes the split down, asks nobody.

    Raises UsageError for a name that is not there, too small a budget or too few cases, CannotMeasure for a limit in
    dollars where a price is unknown, ConfigError for what is wrong in a suite.
    """
    if find_spec("gepa") is None:
        raise UsageError(
            "a search needs gepa, which the plain install does not have",
            remedy="install everything for one machine: pip install 'understudy[all]'",
        )
    serving = project.workload(workload).incumbent
    if project.variant(workload, candidate).fingerprint == project.variant(workload, serving).fingerprint:
        raise UsageError(
            f"{candidate} is what serves {workload}: there is no gap between it and {serving}",
            remedy="name the variant that is to take its place with --candidate",
        )
    job = setup.prepare(project, workload, candidate=candidate)
    reflecting = reflecting_model(project, workload, reflect_with or candidate)
    folder = project.paths.evals
    known = filing.load_split(filing.folder_of(folder, workload))
    parts = split(job.suites, known, workload)
    plan = Plan(
        workload=workload,
        incumbent=job.incumbent,
        candidate=job.candidate,
        reflecting=reflecting,
        providers=job.providers,
        suites=job.suites,
        split=parts,
        thresholds=job.thresholds,
        seed=seed,
        calls=0,
        usd=usd,
        reflect_with=reflect_with,
        folder=folder,
    )
    train, selection = plan.count(Part.TRAIN), plan.count(Part.SELECTION)
    if min(train, selection) < LEAST:
        total = sum(len(suite.cases) for suite in job.suites)
        raise UsageError(
            f"workload {workload} has {total} cases: {train} to learn from and {selection} to choose by are too few",
            remedy="add cases to its suites: half of them are held out for the proof",
        )
    least = plan.reserved + 2 * (train + selection) + 1 + 2 * BATCH
    if calls is not None and calls < least:
        raise UsageError(
            f"--calls {calls:,} is below {least:,}, the least for {job.cases:,} cases; {plan.reserved:,} of them are "
            "kept back for the proof",
            remedy=f"give --calls {least:,} or more, or leave it out",
        )
    if usd is not None:
        _check_prices(plan, setup.prices(project))
    filing.save_split(plan.tuning, {**known, **parts.parts})
    usual = plan.reserved + 2 * (train + selection) + ROUNDS * (1 + 2 * BATCH + selection)
    return replace(plan, calls=calls or usual)


def reflecting_model(project: Project, workload: str, named: str) -> Variant:
    """The model that proposes prompts: a variant's, without its prompt and parameters, or PROVIDER/MODEL."""
    variants = project.variants(workload)
    if named in variants:
        return replace(variants[named], name="reflecting", system_prompt="", params={})
    provider, slash, model = named.partition("/")
    if not slash or not model:
        raise UsageError(
            f"--reflect-with {named!r} is no variant of {workload}",
            remedy=f"{suggest(named, variants)}; a model that is no variant is written PROVIDER/MODEL",
        )
    if provider not in project.config.providers:
        raise UsageError(
            f"--reflect-with names provider {provider!r}", remedy=suggest(provider, project.config.providers)
        )
    return Variant(name="reflecting", provider=provider, model=model)


async def carry_out(
    plan: Plan,
    client: Client,
    price: Price,
    *,
    progress: Callable[[int], None] = lambda done: None,
    said: Callable[[str], None] = lambda line: None,
    now: Callable[[], float] = time.time,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> Report:
    """Search, prove, and file what was found; a search that was killed goes on where it was.

    Raises Refused where there is no gap to close, CannotMeasure where models do not answer or the budget ends before
    anything could be tried. What was answered is kept.
    """
    started, notes = now(), plan.notes
    filing.begin(plan.tuning, plan.id, started, _settings(plan))
    budget = Budget(plan.calls, plan.usd, plan.reserved)
    asking = Asking(
        incumbent=plan.incumbent,
        known=(plan.incumbent, plan.candidate),
        asker=Asker(client, dict(plan.providers), now),
        budget=budget,
        evals=plan.folder / plan.workload,
        folder=plan.tuning,
        price=price,
        progress=progress,
        concurrency=concurrency,
        several=len(plan.suites) > 1,
    )
    try:
        found = await _searched(plan, asking, said)
        winner = _winner(plan, found)
        proven = None
        words = ""
        if winner is not None:
            said(f"proof on {plan.count(Part.PROOF):,} cases that the search has not seen")
            proven = await proof.prove(
                plan.id,
                _job(plan, winner, found, concurrency),
                plan.watched,
                client,
                plan.folder,
                plan.tuning / filing.PROOFS,
                price=price,
                progress=progress,
                now=now,
            )
            words, silent = await _words(plan, asking, found)
            notes += [silent] if silent else []
    finally:
        asking.close()
    report = _report(plan, found, winner, proven, asking, words, notes, started, now())
    filing.save(plan.tuning, report)
    return report


async def _searched(plan: Plan, asking: Asking, said: Callable[[str], None]) -> Found:
    train, selection = items_of(plan.part(Part.TRAIN)), items_of(plan.part(Part.SELECTION))
    found = await search(asking, plan.candidate, plan.reflecting, train, selection, plan.seed, said)
    if not found.tried:
        raise CannotMeasure(
            f"the budget ended before the first prompt was scored: {asking.budget.asked:,} questions for "
            f"US$ {asking.budget.spent_usd:.4f}, and {plan.reserved:,} more are kept back for the proof",
            remedy="give the search more with --calls or --usd; what was answered is kept",
        )
    if len(found.tried) == 1 and found.ended is Ended.CLEARED:
        raise Refused(
            f"{plan.candidate.name} holds the bar on the {plan.count(Part.SELECTION)} cases a prompt would be chosen "
            "by: there is no gap to close",
            remedy=f"understudy eval {plan.workload} --candidate {plan.candidate.name} says whether that is proven",
        )
    return found


def _winner(plan: Plan, found: Found) -> Variant | None:
    """The variant with the best prompt; None where that is the one it had."""
    if not found.winner or standing(found.tried[found.winner].cases) <= standing(found.tried[0].cases):
        return None
    return replace(plan.candidate, name=f"{plan.candidate.name}-tuned", system_prompt=found.tried[found.winner].prompt)


def _job(plan: Plan, winner: Variant, found: Found, concurrency: int) -> Job:
    """The proof. Re-tuning is exhausted where the search found nothing better for a while, not where money ended it."""
    return Job(
        workload=plan.workload,
        incumbent=plan.incumbent,
        candidate=winner,
        providers=plan.providers,
        suites=plan.part(Part.PROOF),
        concurrency=concurrency,
        thresholds=plan.thresholds,
        tuning_exhausted=found.ended is not Ended.BUDGET,
    )


async def _words(plan: Plan, asking: Asking, found: Found) -> tuple[str, str]:
    """What the reflecting model makes of the evidence, or why it says nothing: the evidence stands without it."""
    evidence = "\n".join(lineage.note(_steps(found), plan.incumbent.name, plan.candidate.name))
    asking.budget.reserved = 0
    try:
        return (await asking.propose(plan.reflecting, WORDS.format(evidence=evidence), ())).strip(), ""
    except CannotMeasure as error:
        return "", f"{plan.reflecting.model} did not say what was wanted: {error.message}"
    except Exhausted:
        return "", f"{plan.reflecting.model} was not asked what was wanted: the budget is spent"


def _steps(found: Found) -> list[Step]:
    return lineage.steps(found.tried, found.winner)


def _settings(plan: Plan) -> dict[str, Any]:
    return {
        "workload": plan.workload,
        "incumbent": plan.incumbent.as_dict(),
        "candidate": plan.candidate.as_dict(),
        "reflecting": plan.reflecting.as_dict(),
        "reflect_with": plan.reflect_with,
        "seed": plan.seed,
        "calls": plan.calls,
        "usd": plan.usd,
        "cases": {str(part): plan.count(part) for part in Part},
    }


def _report(
    plan: Plan,
    found: Found,
    winner: Variant | None,
    proven: Proof | None,
    asking: Asking,
    words: str,
    notes: list[str],
    started: float,
    finished: float,
) -> Report:
    usage = [result.usage for result in proven.results] if proven else []
    steps = _steps(found) if winner else []
    first, last = found.tried[0], found.tried[found.winner]
    document = {
        **_settings(plan),
        "id": plan.id,
        "started_at": started,
        "finished_at": finished,
        "ended": str(found.ended),
        "rounds": found.rounds,
        "proposals": found.proposals,
        "prompts": [
            {"parent": each.parent, "prompt": each.prompt, "slices": [row._asdict() for row in levels(each.cases)]}
            for each in found.tried
        ],
        "winner": found.winner if winner else 0,
        "tuned": winner.as_dict() if winner else None,
        "gap": {"before": -standing(first.cases).reach, "after": -standing(last.cases).reach},
        "steps": [step.as_dict() for step in steps],
        "why": f"{lineage.brief(steps)} (search {plan.id})",
        "wanted": lineage.note(steps, plan.incumbent.name, plan.candidate.name),
        "words": words,
        "words_by": plan.reflecting.model if words else "",
        "asked": asking.budget.asked + sum(used.asked + used.kept for used in usage),
        "paid": asking.paid + sum(used.asked for used in usage),
        "spent_usd": _spent(asking, proven),
        "notes": notes,
    }
    return Report(document, proven)


def _spent(asking: Asking, proven: Proof | None) -> float | None:
    """US dollars of all answers, None where the price of one is unknown."""
    spent: float | None = None if asking.budget.unpriced else asking.budget.spent_usd
    for result in proven.results if proven else ():
        cost = next(measure for measure in result.measures if measure.name == "cost_usd")
        if spent is None or cost.incumbent is None or cost.candidate is None:
            return None
        spent += cost.n * (cost.incumbent + cost.candidate)
    return spent


def _check_prices(plan: Plan, price: Price) -> None:
    """Raises CannotMeasure where the price of a model that is asked is unknown, UsageError where judges are."""
    for variant in (plan.incumbent, plan.candidate, plan.reflecting):
        probe = Kept(key="", text="", at=time.time(), latency_s=0.0, ttft_s=0.0, input_tokens=1, output_tokens=1)
        if price(variant, probe) is None:
            raise unknown_price(variant.model)
    for suite in plan.suites:
        if any(isinstance(grader, Judge) for grader in suite.graders):
            raise UsageError(
                f"{suite.file} has a judge, whose calls are not priced: --usd cannot be kept",
                remedy="limit the search with --calls",
            )
