"""`understudy who-served`: which variant answered a user at a time, and why that one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.assign.choose import Reason
from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.moment import moment, said
from understudy.cli.output import errors_shown, facts, out, plain, print_json
from understudy.core.errors import CannotMeasure

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.ledger.queries import Served

app = typer.Typer(add_completion=False)

REASONS = {
    Reason.KILL_FILE: "a rollback file was in place",
    Reason.NO_ROUTE: "no upgrade gave the candidate traffic",
    Reason.CONVERSATION: "the conversation had begun with it",
    Reason.BREAKER_OPEN: "the candidate was failing and rested",
    Reason.LEASE_EXPIRED: "no controller had renewed the canary",
    Reason.NO_UNIT: "the request named nobody",
    Reason.BELOW_SHARE: "the unit's place is below the canary's share",
    Reason.ABOVE_SHARE: "the unit's place is above the canary's share",
}
"""What the reasons of an assignment mean; one that is not here is shown as it is."""


@app.command()
def who_served(
    user: Annotated[str, typer.Option("--user", "-u", help="The unit, as requests name it.")],
    workload: Annotated[str | None, typer.Option("--workload", "-w", help="Name of the workload.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="When, like 2026-03-01T09:30Z; now if left out.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show which variant answered a user last at or before a time: model, prompt, effort, stage, epoch, and why.

    Exit code 3 where nobody answered that user by then, or the ledger no longer holds it.
    """
    from understudy.config.project import open_project
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        when = time.time() if at is None else moment(at)
        ledger = Ledger(lake_of(project))
        try:
            seen = [ledger.who_served(name, unit, when) for unit in project.kept_as(user)]
        finally:
            ledger.close()
        found = max((each for each in seen if each is not None), key=lambda each: each.started_at, default=None)
        if found is None:
            raise CannotMeasure(
                f"the ledger has no exchange of {user!r} in {name} at or before {said(when)}",
                remedy="check the user's name as requests give it; what is not committed yet shows after "
                "`understudy ledger commit`",
            )
        document = _document(project, name, user, found)
        print_json(document) if as_json else _print(document)


def _document(project: Project, workload: str, user: str, found: Served) -> dict[str, Any]:
    variants = project.variants(workload)
    assigned = next((v for v in variants.values() if v.fingerprint == found.fingerprint), None)
    # A masked failure was answered by the incumbent, whose fingerprint the exchange does not carry.
    answered = variants.get(found.served_variant) if found.masked else assigned
    return {
        "workload": workload,
        "user": user,
        **found._asdict(),
        "at": said(found.started_at),
        "why": next((said for reason, said in REASONS.items() if reason == found.reason), found.reason),
        "system_prompt": None if answered is None else answered.system_prompt,
        "reasoning": None if answered is None or answered.reasoning is None else answered.reasoning.as_dict(),
        "still_configured": answered is not None,
    }


def _print(document: dict[str, Any]) -> None:
    masked = f" (assigned {document['variant']}, which failed: {document['error']})" if document["masked"] else ""
    prompt = document["system_prompt"]
    step = f", step {document['step'] + 1}" if document["step"] >= 0 else ""
    rows = [
        ["answered at", document["at"]],
        ["exchange", document["exchange"]],
        ["variant", document["served_variant"] + masked],
        ["model", document["model_served"] or document["model_requested"]],
        ["reasoning", document["reasoning"] or "-"],
        ["prompt", "no longer configured" if prompt is None else prompt or "none"],
        ["stage", f"{document['stage'] or 'none'}{step}"],
        ["upgrade", document["upgrade"] or "-"],
        ["arm", f"{document['arm']}: {document['why']}"],
        ["epoch", f"{document['epoch']} of {document['generation']}"],
    ]
    out().print(plain(f"{document['user']} in {document['workload']}"), style="bold", markup=False)
    out().print(facts((name, said) for name, said in rows))
