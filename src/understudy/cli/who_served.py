"""`understudy who-served`: which variant answered a user at a time, and why that one."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated, Any

import typer

from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.output import errors_shown, facts, out, plain, print_json, waiting
from understudy.core.moment import moment

app = typer.Typer(add_completion=False)


@app.command()
def who_served(
    user: Annotated[str, typer.Option("--user", "--unit", "-u", help="The unit, as requests name it.")],
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
    from understudy.rollout.lookback import who_served

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        when = time.time() if at is None else moment(at)
        with waiting("asking the ledger"), closing(Ledger(lake_of(project))) as ledger:
            document = who_served(project, ledger, name, user, when)
        print_json(document) if as_json else _print(document)


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
        ["stage", f"{document['stage'] or '-'}{step}"],
        ["upgrade", document["upgrade"] or "-"],
        ["arm", f"{document['arm']}: {document['why']}"],
        ["epoch", f"{document['epoch']} of {document['generation']}"],
    ]
    out().print(plain(f"{document['user']} in {document['workload']}"), style="bold", markup=False)
    out().print(facts((name, said) for name, said in rows))
