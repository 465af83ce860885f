"""`understudy check`: what is configured, what is wrong with it, and what will surprise somebody later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.output import errors_shown, out, plain, print_json, table
from understudy.core.lasting import lasting

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project
    from understudy.core.errors import Problem
    from understudy.evals.suite import Suite

app = typer.Typer(add_completion=False)

SHORT = 8
"""Characters of a fingerprint in the table; --json has all of it."""


@app.command()
def check(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema for editors, and do nothing else.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check understudy.yaml with its prompts and suites, and show what is configured.

    Exit code 0 with or without warnings, 2 where something is wrong; every problem is listed with file, line and
    column.
    """
    from understudy.config.project import open_project
    from understudy.config.starter import schema as json_schema

    with errors_shown(as_json):
        if schema:
            print_json(json_schema())
            return
        project = open_project(config)
        suites = read_suites(project)
        refuse_unknown_metrics(project, suites)
        found = [*project.warnings(), *suite_warnings(project, suites), *budget_warnings(project)]
        found += pin_warnings(project)
        warnings = sorted(found, key=lambda warning: warning.where)
        document = describe(project, suites, warnings)
        print_json(document) if as_json else _print(out(), document)


def read_suites(project: Project) -> dict[str, list[Suite]]:
    """The suites of every workload. Raises ConfigError with what is wrong in any of them."""
    from understudy.config.project import shown_path
    from understudy.core.errors import ConfigError
    from understudy.evals.suite import load_suite

    found: dict[str, list[Suite]] = {}
    problems: dict[Problem, None] = {}
    for workload in project.config.workloads:
        found[workload] = []
        for path in project.suites(workload):
            try:
                found[workload].append(load_suite(path, shown_as=shown_path(path)))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(list(problems))
    return found


def refuse_unknown_metrics(project: Project, suites: Mapping[str, Sequence[Suite]]) -> None:
    """Raise ConfigError for gates on a metric that nobody measures: such a gate would wait for ever."""
    from understudy.config.explain import nearest
    from understudy.core.errors import ConfigError
    from understudy.evals.live import live_graders
    from understudy.gates.gate import STANDARD
    from understudy.rollout.gating import FROZEN

    problems: list[Problem] = []
    for workload, found in suites.items():
        known = {*STANDARD, *FROZEN, *(grader.label for grader in live_graders(found).graders)}
        for metric, gate in project.workload(workload).gates.metrics.items():
            if gate.source or metric in known:
                continue
            near = nearest(metric, known)
            hint = f"did you mean {near}? " if near else f"there is {', '.join(sorted(known))}; "
            problems.append(
                project.document.problem(
                    ("workloads", workload, "gates", metric),
                    f"nothing measures {metric!r}: its gate would wait for data for ever",
                    f"{hint}For a number of your own say where it comes from: source: feedback:{metric}, "
                    "grader:NAME or field:NAME",
                )
            )
    if problems:
        raise ConfigError(problems)


def suite_warnings(project: Project, suites: Mapping[str, Sequence[Suite]]) -> Iterator[Problem]:
    """What the suites of a workload leave open that its gates rely on."""
    from understudy.config.explain import suggest
    from understudy.evals.live import QUALITY, live_graders

    for workload, section in project.config.workloads.items():
        path = ("workloads", workload, "gates")
        quality = section.gates.metrics.get(QUALITY)
        if quality is not None and not quality.source and not live_graders(suites[workload]).counting:
            message = f"the quality gate of {workload} has no source of live scores, and would hold for want of data"
            remedy = "give a suite a grader that needs no reference, or add source: feedback:NAME"
            yield project.document.problem((*path, QUALITY), message, remedy)
        known = {name for suite in suites[workload] for name in suite.slices}
        for index, name in enumerate(section.gates.critical):
            if suites[workload] and "=" not in name and name not in known:
                message = f"the critical slice {name!r} is in no suite of {workload}, so no eval protects it"
                yield project.document.problem((*path, "critical", index), message, suggest(name, known))


def budget_warnings(project: Project) -> Iterator[Problem]:
    """Candidates whose copies have a budget and no price: an unknown price is never free, so the copies would rest."""
    import time
    from importlib.util import find_spec

    from understudy.ledger.prices import Price, Prices

    if find_spec("genai_prices") is None:
        return  # the plain install keeps no ledger and has no list of prices
    prices = Prices(
        {model: Price(one.input, one.output, one.cached_input) for model, one in project.config.prices.items()}
    )
    for workload, section in project.config.workloads.items():
        budget = section.shadow.budget.usd_per_day
        for name, variant in section.variants.items():
            if budget is None or name == section.incumbent or prices.known(variant.model, time.time()):
                continue
            path = ("workloads", workload, "variants", name, "model")
            message = f"the price of {variant.model} is not known, so its copies rest under a budget of {budget:g} USD"
            remedy = f"add prices: {{{variant.model}: {{input: ..., output: ...}}}}, or take shadow.budget out"
            yield project.document.problem(path, message, remedy)


def pin_warnings(project: Project) -> Iterator[Problem]:
    """Pins that float or are gone; the dates to come, and what to do by when, are for `understudy models`."""
    from understudy.cli import deadline
    from understudy.registry.naming import Promise

    facts, today = deadline.registry(project), deadline.today("")
    for workload, section in project.config.workloads.items():
        for name, variant in section.variants.items():
            known = deadline.known(project, facts, workload, name)
            path = ("workloads", workload, "variants", name, "model")
            if known.naming.promise is Promise.ALIAS or known.naming.malformed:
                message = f"{variant.model} is no pin: {known.naming.reason}"
                yield project.document.problem(path, message, known.naming.remedy)
            retirement = known.lifetime.retirement if known.lifetime else None
            if known.lifetime is not None and retirement is not None and retirement.passed(today):
                instead = (
                    f"; its provider recommends {known.lifetime.replacement}" if known.lifetime.replacement else ""
                )
                message = f"{variant.model} is gone since {retirement.day}{known.where}, says {retirement.source}"
                yield project.document.problem(path, message, f"see `understudy models`{instead}")


def describe(project: Project, suites: Mapping[str, Sequence[Suite]], warnings: Sequence[Problem]) -> dict[str, Any]:
    """Everything the table shows, as data."""
    return {
        "file": project.document.file,
        "state": str(project.paths.state),
        "store": _store(project),
        "providers": {
            name: {
                "wire": provider.wire,
                "base_url": provider.base_url,
                "key": f"${provider.api_key_env}"
                if provider.api_key_env
                else "in the file"
                if provider.api_key
                else "",
            }
            for name, provider in project.providers().items()
        },
        "workloads": {name: _workload(project, name, suites[name]) for name in project.config.workloads},
        "warnings": [{**p.where._asdict(), "message": p.message, "remedy": p.remedy} for p in warnings],
    }


def _store(project: Project) -> str:
    """Where the control store is, without any password. Raises ConfigError for an address that is none."""
    from understudy.config.environment import reference

    name = reference(project.config.store)
    return f"${name}" if name and not project.environment.get(name) else project.store().shown


def _workload(project: Project, name: str, suites: Sequence[Suite]) -> dict[str, Any]:
    section, profile = project.workload(name), project.profile(name)
    return {
        "owner": section.owner,
        "incumbent": section.incumbent,
        "policy": section.policy,
        "shadow_s": [profile.shadow_min_s, profile.shadow_max_s],
        "ladder": [{"share": step.share / 1_000_000, "hold_s": step.hold_s} for step in profile.ladder],
        "soak_s": profile.soak_s,
        "retain_s": profile.retain_s,
        "variants": [
            {
                "name": variant.name,
                "provider": variant.provider,
                "model": variant.model,
                "reasoning": variant.reasoning.as_dict() if variant.reasoning else None,
                "prompt_characters": len(variant.system_prompt),
                "fingerprint": variant.fingerprint,
            }
            for variant in project.variants(name).values()
        ],
        "suites": [
            {"name": suite.name, "file": suite.file, "cases": len(suite.cases), "slices": suite.slices}
            for suite in suites
        ],
        "slice_by": dict(section.slice_by),
        "critical": list(section.gates.critical),
        "gates": {metric: gate.model_dump(exclude_none=True) for metric, gate in section.gates.metrics.items()},
    }


def _print(console: Console, found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    for name, workload in found["workloads"].items():
        owner = f", owned by {workload['owner']}" if workload["owner"] else ""
        console.print(f"\n{plain(name)}", style="bold", end="")
        console.print(plain(owner), markup=False)
        rows = [
            [v["name"], v["model"], v["provider"], _dial(v["reasoning"]), v["fingerprint"][:SHORT]]
            for v in workload["variants"]
        ]
        console.print(table("", ["variant", "model", "provider", "effort", "fingerprint"], rows))
        lines = Table.grid(padding=(0, 2, 0, 1))
        for label, said in _lines(workload):
            lines.add_row(label, Text(plain(said)))
        console.print(lines)
    console.print()
    for warning in found["warnings"]:
        console.print("warning: ", style="yellow", end="")
        console.print(
            plain(f"{warning['file']}:{warning['line']}:{warning['column']}: {warning['message']}"), markup=False
        )
        console.print(f"  remedy: {plain(warning['remedy'])}", markup=False)
    console.print(f"control store: {plain(found['store'])}", markup=False, soft_wrap=True)
    count = len(found["warnings"])
    said = "no warnings" if not count else "1 warning" if count == 1 else f"{count} warnings"
    console.print(f"{plain(found['file'])} is in order, {said}", markup=False)


def _lines(workload: dict[str, Any]) -> list[tuple[str, str]]:
    ladder = ", ".join(f"{step['share'] * 100:g} %" for step in workload["ladder"])
    shadow = " to ".join(lasting(seconds) for seconds in workload["shadow_s"])
    gates = [
        f"{metric} within {gate['margin']}" if "margin" in gate else metric
        for metric, gate in workload["gates"].items()
    ]
    slices = [f"{key} from {source}" for key, source in workload["slice_by"].items()]
    stages = f"shadow {shadow}, canary {ladder}, soak {lasting(workload['soak_s'])}"
    return [
        ("incumbent", workload["incumbent"]),
        ("policy", f"{workload['policy']}: {stages}, incumbent kept {lasting(workload['retain_s'])}"),
        ("suites", "; ".join(_suite(suite) for suite in workload["suites"]) or "none"),
        ("slices", f"{', '.join(slices) or 'none'}; critical: {', '.join(workload['critical']) or 'none'}"),
        ("gates", ", ".join(gates) or "the built-in ones"),
    ]


def _suite(suite: dict[str, Any]) -> str:
    slices = ", ".join(f"{name} {count:,}" for name, count in suite["slices"].items())
    return f"{suite['name']} of {suite['cases']:,} cases" + (f" ({slices})" if slices else "")


def _dial(reasoning: dict[str, Any] | None) -> str:
    if not reasoning:
        return "-"
    return ", ".join(str(value) if key == "effort" else f"{value:,} tokens" for key, value in reasoning.items())
