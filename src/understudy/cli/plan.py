"""`understudy plan`: how long an upgrade takes, whether it fits before a deadline, and what its gates can tell.

The traffic comes from the ledger where it has seen the workload, else from options. What can be decided is
`gates.planning`'s, the rehearsal `gates.simulation`'s.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from understudy.cli import deadline as deadlines
from understudy.cli.output import errors_shown, out, plain, print_json, progress, table, waiting
from understudy.core.errors import EXIT_FINDING, CannotMeasure, UsageError
from understudy.core.lasting import lasting

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console

    from understudy.config.project import Project
    from understudy.core.playbook import Profile
    from understudy.gates.planning import Figures, GatePlan, PlanRow
    from understudy.gates.simulation import Simulated
    from understudy.ledger.queries import Ledger
    from understudy.rollout.gating import Metric

app = typer.Typer(add_completion=False)

DAY = 86_400.0
ICC = 0.1
"""Part of the variance between users that is assumed where nothing is known of them."""
MEANS = {"errors": 0.01, "refusals": 0.01, "invalid_format": 0.01, "quality": 0.85, "win_rate": 0.5, "cost": 0.0}
"""Rates assumed where neither the ledger nor an option gives one; `cost` is a mean of logarithms."""
LOG_SPREAD = 0.6
"""Standard deviation of a logarithm of cost that is assumed then."""


class Known(NamedTuple):
    """Figures by (metric, slice), and where they are from."""

    figures: dict[tuple[str, str], Figures]
    source: str
    assumed: tuple[str, ...]
    approximate: bool = False
    """Whether the limits of latency are quantiles that an engine estimated."""


class Traffic(NamedTuple):
    """What the command line says of the traffic, as written."""

    requests: float | None
    users: float | None
    icc: float
    figures: tuple[str, ...]
    slices: tuple[str, ...]
    upgrade: str

    @property
    def described(self) -> bool:
        """Whether any of it was given."""
        return bool(self.requests or self.users or self.figures or self.slices or self.upgrade)


Deadline = Annotated[
    str | None,
    typer.Option(help="First day without the incumbent; default: the date known of its model, if there is one."),
]
PromptWork = Annotated[float, typer.Option(min=0, max=365, help="Days that eval and prompt work take before shadow.")]
Today = Annotated[str, typer.Option(help="Plan as if it were this day.")]


@app.command()
def plan(
    workload: Annotated[str, typer.Argument(help="The workload to be upgraded.")],
    gates: Annotated[
        bool,
        typer.Option(
            "--gates", help="What each gate can tell, per slice and rung, by when; also asked by describing traffic."
        ),
    ] = False,
    simulate: Annotated[
        int, typer.Option("--simulate", metavar="N", min=0, max=10_000, help="Rehearse N good and N bad canaries.")
    ] = 0,
    requests: Annotated[
        float | None, typer.Option("--requests-per-day", min=1, help="Traffic, instead of what the ledger saw.")
    ] = None,
    users: Annotated[
        float | None, typer.Option("--users", min=1, help="Users a day; default: 5 requests each.")
    ] = None,
    icc: Annotated[float, typer.Option(min=0, max=0.9, help="Part of the variance that lies between users.")] = ICC,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            "--figure",
            metavar="METRIC=MEAN[:SD[:SHARE]]",
            help="A metric's mean, spread, and how many of the requests carry it; may be repeated.",
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="KEY=VALUE:SHARE", help="A slice and its share of the traffic; may be repeated."
        ),
    ] = None,
    upgrade: Annotated[str, typer.Option(help="Read the incumbent's traffic during this upgrade.")] = "",
    seed: Annotated[int, typer.Option(help="Of the rehearsal.")] = 1,
    deadline: Deadline = None,
    prompt_work: PromptWork = 12.0,
    today: Today = "",
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the timeline of an upgrade; with --gates what can be decided when; with --simulate how often wrongly.

    Where the incumbent's model is shut down, or with --deadline, it is planned backwards from that day: when each stage
    has to begin at the latest, and what has to be given up to be in time.

    Exit code 1 where a margin lies below the workload's own noise, so that its gate could never decide, and where the
    upgrade does not fit before the deadline without giving something up.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        profile = project.profile(workload)
        document: dict[str, Any] = {"workload": workload, "profile": profile.name, "timeline": timeline(profile)}
        planned: GatePlan | None = None
        document.update(_backwards(project, workload, deadline, today, prompt_work * DAY))
        traffic = Traffic(requests, users, icc, tuple(figure or ()), tuple(slices or ()), upgrade)
        gates = gates or (traffic.described and not simulate)  # whoever describes traffic asks what can be told with it
        if gates or simulate:
            with waiting("asking the ledger"):
                chosen, known = _known(project, workload, profile, traffic)
            document["traffic"] = {
                "source": known.source,
                "assumed": list(known.assumed),
                "approximate": known.approximate,
                "unknown": [m.gate.metric for m in chosen if (m.gate.metric, "") not in known.figures],
            }
            if gates:
                planned = _planned(project, workload, profile, chosen, known)
                document["gates"] = planned.as_dict()
            if simulate:
                found = _simulated(profile, chosen, known, _critical(project, workload, known), simulate, seed)
                document["simulation"] = {**found.as_dict(), "seed": seed}
        if as_json:
            print_json(document)
        else:
            _print(out(), document, planned)
    late = document.get("deadline", {}).get("verdict", "fits") != "fits"
    if late or (planned is not None and planned.refusals):
        sys.exit(EXIT_FINDING)


def _backwards(
    project: Project, workload: str, deadline: str | None, today: str, preparation_s: float
) -> dict[str, Any]:
    """The plan counted back from the deadline, as a part of the document; nothing where there is none."""
    gone, why = _deadline(project, workload, deadline)
    if gone is None:
        return {"no_deadline": why}
    found = deadlines.planned(project, workload, gone, deadlines.today(today), preparation_s)
    return {"deadline": {**found.as_dict(), "why": why}}


def _deadline(project: Project, workload: str, written: str | None) -> tuple[date | None, str]:
    """The first day without the incumbent, and who says so; None and where to look where nobody does."""
    from understudy.registry.inventory import unknown_day

    if written is not None:
        return deadlines.day(written, "--deadline"), ""
    incumbent = project.workload(workload).incumbent
    known = deadlines.known(project, deadlines.registry(project), workload, incumbent)
    found = known.lifetime
    retirement = found.retirement if found else None
    if found is None or retirement is None:
        model = project.workload(workload).variants[incumbent].model
        return None, f"{unknown_day(model, known)}, and give --deadline DAY to plan backwards from it"
    which = "is shut down" if retirement.kind == "announced" else "may be shut down, at the earliest"
    said = retirement.as_of or retirement.read
    as_of = f" as of {said}" if said else ""
    return retirement.day, f"{found.model} {which}{known.where}, says {retirement.source}{as_of}"


def timeline(profile: Profile) -> list[dict[str, Any]]:
    """The stages an upgrade passes, with the time each takes at least and at most, in seconds."""
    rows = [{"stage": "shadow", "share": 0.0, "least_s": profile.shadow_min_s, "most_s": profile.shadow_max_s}]
    for step in profile.ladder[:-1]:
        most = max(step.hold_s, profile.max_wait_s)
        rows.append({"stage": "canary", "share": step.share / 1e6, "least_s": step.hold_s, "most_s": most})
    rows.append({"stage": "soak", "share": 1.0, "least_s": profile.soak_s, "most_s": profile.soak_s})
    kept = max(0.0, profile.retain_s - profile.soak_s)
    rows.append({"stage": "incumbent kept", "share": 1.0, "least_s": kept, "most_s": kept})
    return rows


def _known(project: Project, workload: str, profile: Profile, traffic: Traffic) -> tuple[list[Metric], Known]:
    given = _given(traffic.figures)
    if traffic.requests is not None:
        chosen = _metrics(project, workload, profile, {"latency_s": (1.0, 1.0, 1.0)}, {*given, "quality"})
        users = traffic.users or max(1.0, traffic.requests / 5)
        return chosen, _from_options(chosen, traffic.requests, users, traffic.icc, given, _shares(traffic.slices))
    if traffic.figures or traffic.slices or traffic.users is not None:
        raise UsageError("--users, --figure and --slice describe traffic", remedy="give --requests-per-day with them")
    return _from_ledger(project, workload, profile, traffic.upgrade)


def _metrics(
    project: Project, workload: str, profile: Profile, baseline: dict[str, tuple[float, ...]], graded: set[str]
) -> list[Metric]:
    from understudy.rollout.gating import metrics

    return metrics(project.workload(workload).gates, profile, graded, baseline)


def _given(written: Sequence[str]) -> dict[str, tuple[float, float | None, float]]:
    """METRIC=MEAN[:SD[:SHARE]] by metric. Raises UsageError naming what cannot be read."""
    found: dict[str, tuple[float, float | None, float]] = {}
    for text in written:
        metric, _, numbers = text.partition("=")
        try:
            values = [float(number) for number in numbers.split(":")]
            if not metric or not 1 <= len(values) <= 3 or (len(values) == 3 and not 0 < values[2] <= 1):
                raise ValueError
            if len(values) > 1 and values[1] <= 0:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"--figure {text!r} cannot be read",
                remedy="write METRIC=MEAN, METRIC=MEAN:SD or METRIC=MEAN:SD:SHARE, like satisfaction=0.8:0.4:0.05",
            ) from None
        found[metric] = (values[0], values[1] if len(values) > 1 else None, values[2] if len(values) > 2 else 1.0)
    return found


def _shares(written: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in written:
        name, _, share = text.rpartition(":")
        try:
            value = float(share.removesuffix("%")) / (100.0 if share.endswith("%") else 1.0)
            if "=" not in name or not 0 < value <= 1:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"--slice {text!r} cannot be read", remedy="write KEY=VALUE:SHARE, like ticket=refund:5%"
            ) from None
        found[name] = value
    return found


def _from_options(
    chosen: Sequence[Metric],
    requests: float,
    users: float,
    icc: float,
    given: dict[str, tuple[float, float | None, float]],
    shares: dict[str, float],
) -> Known:
    from understudy.gates.planning import Figures

    unknown = sorted(set(given) - {metric.gate.metric for metric in chosen})
    if unknown:
        names = ", ".join(metric.gate.metric for metric in chosen)
        raise UsageError(f"there is no gate on {', '.join(unknown)}", remedy=f"this workload's gates are {names}")
    figures: dict[tuple[str, str], Figures] = {}
    assumed: list[str] = []
    for metric in chosen:
        gate = metric.gate
        mean, spread, part = given.get(gate.metric, (_assumed_mean(gate.metric), None, 1.0))
        if mean is None:
            continue
        if gate.metric not in given:
            assumed.append(f"{gate.metric} = {mean:g}")
        if spread is None:
            spread = LOG_SPREAD if gate.kind == "log_mean" else max(0.0, mean * (1.0 - mean)) ** 0.5
        per_day = (users if gate.kind == "count" else requests) * part
        per_user = max(1.0, per_day / users)
        for name, share in {"": 1.0, **shares}.items():
            figures[gate.metric, name] = Figures(mean, spread**2, per_day * share, per_user, icc, users * share)
    return Known(figures, "options", tuple(assumed))


def _assumed_mean(metric: str) -> float | None:
    _, _, quantile = metric.rpartition("_p")
    if metric.startswith(("latency_p", "ttft_p")):
        return 1.0 - float(quantile) / 100.0
    return MEANS.get(metric)


def _from_ledger(project: Project, workload: str, profile: Profile, upgrade: str) -> tuple[list[Metric], Known]:
    """The incumbent's figures as the ledger saw them: outside any upgrade, or during the last one there was."""
    from understudy.evals.live import live_graders
    from understudy.evals.setup import load_suites
    from understudy.gates.planning import figures_from
    from understudy.gates.tally import gather
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of
    from understudy.rollout.gating import FROZEN, QUANTILES

    nothing = CannotMeasure(
        f"the ledger has not seen traffic of {workload} yet",
        remedy="describe it: --requests-per-day 20000 --users 4000",
    )
    section = project.workload(workload)
    graders = live_graders(load_suites(project, workload)) if section.suites else None
    graded = {grader.label for grader in graders.graders} if graders else set()
    if graders and graders.counting:
        graded.add("quality")
    ledger = Ledger(lake_of(project))
    try:
        upgrades = [upgrade] if upgrade else list(dict.fromkeys(s.upgrade for s in reversed(ledger.history(workload))))
        for each in sorted(upgrades, key=bool):
            baseline = {
                name: ledger.quantiles(name, QUANTILES, workload=workload, arm="incumbent", upgrade=each).values
                for name in FROZEN.values()
            }
            chosen = _metrics(project, workload, profile, {k: v for k, v in baseline.items() if v}, graded)
            specs = [metric.spec for metric in chosen]
            tallies = gather(ledger.sums(specs, workload=workload, upgrade=each, cycle_s=profile.cycle_s))
            everyone = tallies.get(("errors", ""))
            one_cycle = None if everyone is None else figures_from(everyone, cycle_s=profile.cycle_s)
            turnover = _turnover(ledger, workload, each, one_cycle)
            found = {
                key: figures_from(tally, cycle_s=profile.cycle_s, turnover=turnover) for key, tally in tallies.items()
            }
            figures = {key: known for key, known in found.items() if known is not None}
            if figures:
                seen = f"ledger, during upgrade {each}" if each else "ledger"
                return chosen, Known(figures, seen, (), ledger.approximates)
    finally:
        ledger.close()
    raise nothing


def _turnover(ledger: Ledger, workload: str, upgrade: str, one_cycle: Figures | None) -> float:
    """How many times more users the incumbent had over all that time than in one cycle of it."""
    if one_cycle is None:
        return 1.0
    counts = ledger.counts(workload, upgrade=upgrade)
    users = max((each.units for each in counts if (each.role, each.arm) == ("served", "incumbent")), default=0)
    return users * one_cycle.per_user / one_cycle.per_day


def _planned(project: Project, workload: str, profile: Profile, chosen: Sequence[Metric], known: Known) -> GatePlan:
    from understudy.gates.planning import plan_gates

    critical = _critical(project, workload, known)
    return plan_gates([metric.gate for metric in chosen], known.figures, profile, critical_slices=critical)


def _critical(project: Project, workload: str, known: Known) -> list[str]:
    """The critical slices by their names in traffic: `refund` of a suite is `ticket=refund` there."""
    from understudy.rollout.gating import live_names

    return live_names(project.workload(workload).gates.critical, {name for _, name in known.figures if name})


def _simulated(
    profile: Profile, chosen: Sequence[Metric], known: Known, critical: Sequence[str], runs: int, seed: int
) -> Simulated:
    from understudy.gates.simulation import simulate

    gates = [metric.gate for metric in chosen]
    if not any((gate.metric, "") in known.figures and gate.compares for gate in gates):
        raise CannotMeasure("no gate has figures to rehearse with", remedy="give them: --figure errors=0.01")
    with progress("rehearsing", runs) as advance:
        return simulate(
            gates, known.figures, profile, runs, random.Random(seed), critical_slices=critical, progress=advance
        )


def _print(console: Console, document: dict[str, Any], planned: GatePlan | None) -> None:
    rows = [
        [row["stage"], f"{100 * row['share']:g} %", lasting(row["least_s"]), lasting(row["most_s"])]
        for row in document["timeline"]
    ]
    title = f"{document['workload']}, profile {document['profile']}"
    console.print(table(title, ["stage", ("candidate", "right"), ("at least", "right"), ("at most", "right")], rows))
    least = sum(row["least_s"] for row in document["timeline"][:-2])
    console.print(f"100 % after {lasting(least)} at the earliest, not counting the eval and prompt work.\n")
    if "deadline" in document:
        deadlines.print_plan(console, document["deadline"], document["deadline"]["why"])
    else:
        why = document["no_deadline"]
        console.print(plain(f"{why[0].upper()}{why[1:]}.\n"), markup=False)
    if "traffic" not in document:
        console.print(f"What the gates can tell by then: understudy plan {document['workload']} --gates")
    else:
        assumed = ", ".join(document["traffic"]["assumed"])
        about = "; limits of latency are estimates of the engine" if document["traffic"]["approximate"] else ""
        console.print(
            plain(f"Traffic from {document['traffic']['source']}{f'; assumed: {assumed}' if assumed else ''}{about}.")
        )
        if unknown := document["traffic"]["unknown"]:
            said = f"Left out, as nothing is known of them: {', '.join(unknown)}. "
            console.print(plain(f"{said}Describe them: --requests-per-day N --figure METRIC=MEAN"), markup=False)
    if planned is not None:
        _print_gates(console, planned)
    if "simulation" in document:
        _print_simulation(console, document["simulation"])


LARGEST = math.log(11.0)
"""Nobody asks by how much more than ten times the price rose."""
ABREAST = 3
"""Rungs in one table: so many fit in 80 columns with the names whole."""


def _print_gates(console: Console, planned: GatePlan) -> None:
    shares = sorted({row.share for row in planned.rows})
    cells: dict[tuple[str, str], dict[float, str]] = {}
    for row in planned.rows:
        after = "never" if row.decided_after_s is None else lasting(row.decided_after_s)
        cells.setdefault((row.metric, row.slice), {})[row.share] = f"{_loss(row)} {after:>6}"
    console.print(
        "Per rung: the loss that is seen by the end of its hold (80 % power; pt are points, hundredths of a share or "
        "score), and when a candidate without any loss may leave it."
    )
    for first in range(0, len(shares), ABREAST):
        some = shares[first : first + ABREAST]
        rows = [
            [f"  {name}" if name else metric, *(by_share.get(share, "-") for share in some)]
            for (metric, name), by_share in cells.items()
        ]
        console.print(table("", ["metric and slice", *((f"at {100 * share:g} %", "right") for share in some)], rows))
    for text in planned.advice:
        console.print(plain(f"- {text}"), markup=False)


def _print_simulation(console: Console, found: dict[str, Any]) -> None:
    rows = [
        [
            "false rollbacks",
            _share(found["false_rollbacks"]["rate"]),
            f"at most {_share(found['false_rollbacks']['high'])}",
        ],
        [
            "missed regressions",
            _share(found["missed_regressions"]["rate"]),
            f"at most {_share(found['missed_regressions']['high'])}",
        ],
        ["good ones held for a person", _share(found["held_for_a_person"]["equal"]), ""],
        ["bad ones held for a person", _share(found["held_for_a_person"]["worse"]), ""],
        ["time until 100 %", _days(found["days_to_full"]), "median"],
        ["time until rollback", _days(found["days_to_rollback"]), "median"],
        ["candidate answers until rollback", _count(found["values_to_rollback"]), "median"],
    ]
    title = f"{found['runs']} good and {found['runs']} bad canaries rehearsed, seed {found['seed']}"
    console.print(table(title, ["", ("", "right"), "95 % limit"], rows))
    caught = [[name, _share(each["caught"]), each["runs"]] for name, each in found["by_metric"].items()]
    console.print(
        table(
            "rolled back, by the metric that was made worse", ["metric", ("caught", "right"), ("runs", "right")], caught
        )
    )


def _loss(row: PlanRow) -> str:
    from understudy.gates.planning import said

    if row.detectable == float("inf"):
        return "-"
    if row.scale == "percent" and row.detectable > LARGEST:
        return "> 1000 %"
    return said(row.detectable, row.scale).replace("points", "pt")


def _days(value: float | None) -> str:
    return "-" if value is None else lasting(value * DAY)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
