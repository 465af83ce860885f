"""`understudy tune --search`: runs a search, shows what it found, and puts a prompt that passed where it belongs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from understudy.cli.output import counted, err, out, plain, print_json, progress
from understudy.core.errors import EXIT_CANNOT_MEASURE, EXIT_FINDING, EXIT_PASS, CannotMeasure, Refused, UsageError
from understudy.core.playbook import Outcome, Verdict

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project
    from understudy.rollout.fold import UpgradeState
    from understudy.tuning.filing import Report
    from understudy.tuning.search import Plan
    from understudy.tuning.written import Written

EXIT_CODES = {Verdict.PASS: EXIT_PASS, Verdict.FAIL: EXIT_FINDING, Verdict.INCONCLUSIVE: EXIT_CANNOT_MEASURE}
LONGEST_WHY = 300
"""Characters of the reason that is written beside a variant."""


class Wanted(NamedTuple):
    """What the command line asks for; "" and None where it does not say."""

    workload: str
    candidate: str
    reflect_with: str
    calls: int | None
    usd: float | None
    seed: int
    resume: bool
    write: bool
    by: str
    search: str = ""
    """The search that --resume found."""


def searched(project: Project, wanted: Wanted, *, as_json: bool) -> int:
    """Search, show, file; returns the exit code."""
    from understudy.tuning.search import prepare

    project.workload(wanted.workload)
    state = asyncio.run(_upgrade(project, wanted.workload))
    wanted = _resumed(project, wanted) if wanted.resume else wanted
    candidate = wanted.candidate or (state.candidate.name if state else "")
    if not candidate:
        raise UsageError(
            f"workload {wanted.workload} has no upgrade under way, so that it is open which variant to re-tune",
            remedy="name it with --candidate VARIANT",
        )
    if wanted.write and state is not None:
        _check_stage(state)
    plan = prepare(
        project,
        wanted.workload,
        candidate=candidate,
        reflect_with=wanted.reflect_with,
        calls=wanted.calls,
        usd=wanted.usd,
        seed=wanted.seed,
    )
    if wanted.resume and wanted.search != plan.id:
        changed = f"suites, thresholds or variants have changed since {wanted.search}: this is another search"
        err().print(plain(f"note: {changed}"), style="yellow", markup=False)
    for note in plan.notes:
        err().print(plain(f"note: {note}"), style="yellow", markup=False)
    report = _run(project, plan)
    written = _written(project, plan, report)
    filed = state if state is not None and state.candidate.fingerprint == plan.candidate.fingerprint else None
    switched = asyncio.run(_filed(project, plan, report, written, filed, wanted))
    document = {
        **report.as_dict(),
        "written": written._asdict() if written else None,
        "upgrade": filed.id if filed else None,
        "switched": switched,
    }
    if as_json:
        print_json(document)
    else:
        _print(out(), plan, report, written, wanted, upgrade=filed is not None, switched=switched)
    return EXIT_CODES[report.verdict]


def _check_stage(state: UpgradeState) -> None:
    """Raises Refused where the upgrade under way could not take a new variant when the search is over."""
    from understudy.rollout.machine import Kind, legal

    if not legal(state.stage, Kind.SWITCHED):
        raise Refused(
            f"upgrade {state.id} is in stage {state.stage}: its candidate cannot be changed under its users",
            remedy="search without --write, or roll the upgrade back first",
        )


async def _upgrade(project: Project, workload: str) -> UpgradeState | None:
    from understudy.wiring import control

    async with control(project) as (store, _):
        return (await store.read()).active(workload)


def _resumed(project: Project, wanted: Wanted) -> Wanted:
    """The settings of the search that was begun last; a budget on the command line takes the place of its own."""
    from understudy.tuning.filing import folder_of, searches

    if wanted.candidate or wanted.reflect_with or wanted.seed:
        raise UsageError(
            "--resume takes candidate, model and seed from the search that was begun last",
            remedy="leave --candidate, --reflect-with and --seed out, or begin another search with --search",
        )
    begun = searches(folder_of(project.paths.evals, wanted.workload))
    if not begun:
        raise UsageError(f"no search of {wanted.workload} was begun yet", remedy="begin one with --search")
    last = begun[-1]
    return wanted._replace(
        candidate=last["candidate"]["name"],
        reflect_with=last["reflect_with"],
        seed=last["seed"],
        search=last["id"],
        calls=wanted.calls or last["calls"],
        usd=last["usd"] if wanted.usd is None else wanted.usd,
    )


def _run(project: Project, plan: Plan) -> Report:
    """Ctrl-C ends it with what was answered kept."""
    from understudy.evals.setup import prices
    from understudy.tuning.search import carry_out
    from understudy.upstream.client import Client

    console = err()
    shown = console.is_terminal

    def said(line: str) -> None:
        if shown:
            console.print(plain(f"{plan.candidate.name}: {line}"), style="dim", markup=False)

    async def main() -> Report:
        client = Client(plan.providers, project.provider_key)
        try:
            with progress(f"at most {plan.calls:,} questions", plan.calls) as advance:
                return await carry_out(plan, client, prices(project), progress=advance, said=said)
        finally:
            await client.close()

    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        raise CannotMeasure(
            "stopped", remedy=f"understudy tune {plan.workload} --resume goes on where this was: all answers are kept"
        ) from None


def _written(project: Project, plan: Plan, report: Report) -> Written | None:
    """The prompt beside the old one, unless it failed: what failed stays in the search's own file."""
    from understudy.tuning.written import write_prompt

    if report.proof is None or report.verdict is Verdict.FAIL:
        return None
    said = report.document["why"]
    why = said if len(said) <= LONGEST_WHY else f"{said[: LONGEST_WHY - 4]} ..."
    return write_prompt(project, plan.workload, plan.candidate.name, report.proof.result.candidate, why)


async def _filed(
    project: Project, plan: Plan, report: Report, written: Written | None, state: UpgradeState | None, wanted: Wanted
) -> bool:
    """File the finding with the upgrade under way; with --write put a prompt that passed into file and upgrade."""
    from understudy.config.project import open_project
    from understudy.rollout.fold import finding_data
    from understudy.rollout.intents import Wish
    from understudy.rollout.operate import Asked, carry_out
    from understudy.tuning.written import insert
    from understudy.wiring import control

    passed = report.verdict is Verdict.PASS and written is not None
    if wanted.write and passed and written is not None:
        insert(project, plan.workload, written)
    if state is None:
        return False
    async with control(project) as (store, board):
        now = (await store.read()).active(plan.workload)
        if now is None or now.id != state.id:
            return False  # it ended while the search ran; the search's own file has the finding
        noted = {"findings": finding_data(report.findings)}
        why = f"search {plan.id}: {report.sentence}"
        await carry_out(project, store, board, plan.workload, Asked(Wish.NOTE, wanted.by, why, noted))
        if not (wanted.write and passed and written is not None):
            return False
        project = open_project(project.file)
        tuned = project.variant(plan.workload, written.name)
        data = {"candidate": tuned.as_dict()}
        await carry_out(project, store, board, plan.workload, Asked(Wish.SWITCH, wanted.by, written.why, data))
    return True


def _print(
    console: Console,
    plan: Plan,
    report: Report,
    written: Written | None,
    wanted: Wanted,
    *,
    upgrade: bool,
    switched: bool,
) -> None:
    from understudy.cli.eval_view import scores
    from understudy.evals.prompts import side_by_side

    document = report.document
    cases = document["cases"]
    spent = "an unknown sum" if document["spent_usd"] is None else f"US$ {document['spent_usd']:.4f}"
    console.print(
        plain(
            f"search {plan.id}: {cases['train']} cases to learn from, {cases['selection']} to choose by, "
            f"{cases['proof']} held out for the proof"
        ),
        markup=False,
    )
    console.print(
        plain(
            f"{counted(document['proposals'], 'proposal')} by {plan.reflecting.model}, "
            f"{counted(len(document['prompts']), 'prompt')} scored, ended: {document['ended']}; "
            f"{document['asked']:,} questions ({document['paid']:,} asked now), {spent} for all of them"
        ),
        markup=False,
    )
    if report.proof is not None:
        both = side_by_side(plan.candidate, report.proof.result.candidate, "")
        console.print("\nsystem prompt:")
        for shown in both.prompt:
            console.print(plain(f"  {shown}"), markup=False)
        console.print("\nwhat the new model wanted that the old did not:")
        for wish in document["wanted"]:
            console.print(plain(f"  {wish}"), markup=False)
        if document["words"]:
            console.print(plain(f"  in the words of {document['words_by']}: {document['words']}"), markup=False)
        proof = report.proof
        console.print(plain(f"\nproof, number {proof.number} on these cases, alpha {proof.alpha:g}:"), markup=False)
        console.print(scores(proof.result, console.width))
    console.print(plain(f"{report.outcome.value.upper()}  {report.sentence}"), markup=False)
    for line in _next(plan, report, written, wanted, upgrade=upgrade, switched=switched):
        console.print(plain(line), markup=False)


def _next(
    plan: Plan, report: Report, written: Written | None, wanted: Wanted, *, upgrade: bool, switched: bool
) -> list[str]:
    """What a person does now."""
    workload = plan.workload
    lines: list[str] = []
    if written is not None:
        lines.append(f"The new prompt is {written.prompt}.")
    if switched and written is not None:
        return [*lines, f"{written.name} is in understudy.yaml, and the upgrade goes on with it."]
    if report.verdict is Verdict.PASS and written is not None:
        if wanted.write:
            lines.append(f"{written.name} is in understudy.yaml.")
        else:
            lines += ["Put its variant into understudy.yaml, or run this again with --write:", written.block.rstrip()]
        go_on = f'tune {workload} --candidate {written.name} --why "..."'
        begin = f"upgrade start {workload} --candidate {written.name}"
        return [*lines, f"Then: understudy {go_on if upgrade else begin}"]
    match report.outcome:
        case Outcome.INCONCLUSIVE:
            lines += [f"What would decide it: {need}" for need in (report.proof.result.needs if report.proof else ())]
        case Outcome.RETUNE:
            lines.append(f"There was no budget left: understudy tune {workload} --resume --calls {2 * plan.calls}")
        case Outcome.CAUTION:
            lines.append("Better or equal as a whole, worse on a slice: each such slice needs a waiver, or more work.")
        case _:
            lines.append("Stay with the incumbent, and take this finding to whoever chose the model.")
            if upgrade:
                lines.append(f'End the upgrade: understudy tune {workload} --give-up --why "..."')
    return lines
