"""Puts what the stages saw into sections: evals, shadow, canary rung by rung, soak, and what the eval foretold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.lasting import lasting
from understudy.core.playbook import QUESTIONS, Stage, Verdict
from understudy.drift.figures import cells
from understudy.evals.figures import MEASURES, change, points, signed
from understudy.gates.figures import amount, scale_of, unit
from understudy.pack.agreement import AGREES, CONTRADICTS
from understudy.pack.blocks import (
    TONES,
    Block,
    Cell,
    Drawing,
    Facts,
    Grid,
    Head,
    Said,
    Section,
    Tone,
    moment,
    percent,
    spoken,
    verdict,
)
from understudy.pack.drawing import Range, ranges

Found = Mapping[str, Any]


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def regress(pack: Found) -> Section:
    """Stage 1: each eval with its slices and the hashes it is bound to."""
    section = Section("regress", "Stage 1, regression eval", [Said(QUESTIONS[Stage.REGRESS], "quiet")])
    if not pack["evals"]:
        section.brief.append(Said("No eval has been recorded.", "open"))
    for number, one in enumerate(pack["evals"], start=1):
        if len(pack["evals"]) > 1:
            section.brief.append(Head(f"Eval {number}, {moment(one['at'])}"))
        tone: Tone = "good" if one["outcome"] == "proceed" else "bad"
        section.brief.append(Said(f"{spoken(one['outcome'])}: {one['summary']}", tone))
        if one["result"] is None:
            section.brief.append(Said("Its full result is missing; see What is missing.", "open"))
            continue
        section.brief.append(_scores(one["result"]))
        section.brief += _eval_figures(one["result"])
    return section


def _scores(result: Found) -> Grid:
    rows: list[list[str | Cell]] = []
    for row in [result["aggregate"], *result["slices"]]:
        between = f"{signed(row['low'])} to {signed(row['high'])}" if row["n"] else "-"
        name = row["slice"] or "all cases"
        rows.append(
            [
                f"{name} (critical)" if row["critical"] else name,
                f"{row['n']:,}",
                points(_nan(row["incumbent"])),
                points(_nan(row["candidate"])),
                signed(_nan(row["difference"])),
                between,
                f"{100 * row['margin']:g}",
                verdict(row["verdict"]),
            ]
        )
    sides = (f"{result['incumbent']['name']} >", f"{result['candidate']['name']} >")
    level = f"{100 * (1 - 2 * result['alpha']):g} % interval >"
    return Grid("in points of 100", ("slice", "cases >", *sides, "change >", level, "margin >", "verdict"), rows)


def _eval_figures(result: Found) -> list[Block]:
    """The intervals drawn, what was measured beside the score, and what the verdict is bound to."""
    seen = [row for row in [result["aggregate"], *result["slices"]] if row["n"] and row["difference"] is not None]
    lines = [
        Range(r["slice"] or "all cases", 100 * r["low"], 100 * r["difference"], 100 * r["high"], TONES[r["verdict"]])
        for r in seen
    ]
    blocks: list[Block] = []
    if lines:
        blocks.append(Drawing(ranges(lines, " pt"), "The change on each slice with its interval, in points."))
    rows = []
    for measure in result["measures"]:
        name, form = MEASURES[measure["name"]]
        sides = [form(measure[side]) if measure[side] is not None else "unknown" for side in ("incumbent", "candidate")]
        rows.append([name, *sides, change(measure["ratio"])])
    blocks.append(Grid("per answer", ("measured", "incumbent >", "candidate >", "change >"), rows))
    bound, usage = result["bound"], result["usage"]
    suites = ", ".join(f"{name} {value}" for name, value in bound["suites"].items())
    blocks.append(
        Facts(
            [
                ("bound to", f"suite {suites}; thresholds {bound['thresholds']}; understudy {bound['code']}"),
                ("variants", f"incumbent {bound['incumbent']}, candidate {bound['candidate']}"),
                ("asked", f"{usage['asked']:,} calls, {usage['kept']:,} answers kept from before"),
                ("eval", f"{bound['id']}, finished {moment(result['finished_at'])}"),
            ]
        )
    )
    for text in result["examples"]:
        blocks.append(Said(f"{text['case']}: {text['asked']}"))
        blocks.append(Facts([("incumbent", text["incumbent"]), ("candidate", text["candidate"])]))
    return blocks


def shadow(pack: Found) -> Section:
    """Stage 3: what users would have noticed."""
    section = Section("shadow", "Stage 3, shadow", [Said(QUESTIONS[Stage.SHADOW], "quiet")])
    visits = [visit for visit in pack["stages"] if visit["stage"] == Stage.SHADOW]
    if not visits:
        section.brief.append(Said("The upgrade has not come to this stage.", "open"))
        return section
    for visit in visits:
        section.brief.append(_left(visit))
    report = pack["shadow"]
    if report is None:
        section.brief.append(Said("What the pairs say is missing; see What is missing.", "open"))
        return section
    coverage = report["coverage"]
    lost = ", ".join(f"{count:,} {spoken(reason)}" for reason, count in coverage["lost"].items()) or "none"
    made = f"{coverage['copies']:,} copies of {coverage['served']:,} answers served; lost: {lost}"
    later = "" if report["stage"] == Stage.SHADOW else ", those that were made since the shadow ended among them"
    section.brief.append(Facts([("coverage", made), ("pairs", f"{report['pairs']:,} compared{later}")]))
    for finding in report["findings"]:
        waived = " (waived)" if finding["waived"] else ""
        where = f"{finding['slice']}: " if finding["slice"] else ""
        section.brief.append(Said(f"{where}{finding['sentence']}{waived}", "open" if waived else "bad"))
        for example in finding["examples"]:
            section.full.append(Facts([("served", example["incumbent"]), ("candidate", example["candidate"])]))
    if not report["findings"]:
        section.brief.append(Said("Nothing a user would notice.", "good"))
    section.full.append(_pairs(report))
    if report["thin"]:
        thin = ", ".join(f"{name} ({count})" for name, count in report["thin"].items())
        section.full.append(Said(f"Too thin to tell: {thin}.", "open"))
    return section


def _pairs(report: Found) -> Grid:
    columns = ("slice", "feature", "incumbent >", "candidate >", "change >", "95 % interval >", "pairs >", "")
    rows: list[list[str | Cell]] = []
    for row in report["rows"]:
        if not row["slice"] or row["flagged"]:
            mark = Cell("✗ drift", "bad") if row["flagged"] else Cell("")
            rows.append([row["slice"] or "all traffic", *cells(row), mark])
    return Grid("all traffic, and slices that drift", columns, rows)


def canary(pack: Found) -> Section:
    """Stage 4: each rung with its gates."""
    section = Section("canary", "Stage 4, canary", [Said(QUESTIONS[Stage.CANARY], "quiet")])
    visits = [visit for visit in pack["stages"] if visit["stage"] == Stage.CANARY]
    if not visits:
        section.brief.append(Said("The upgrade has not come to this stage: no user was given the candidate.", "open"))
    for visit in visits:
        section.brief.append(_left(visit, f"{percent(visit['share'])} of users"))
        section.full += _judged(visit, f"at {percent(visit['share'])}", pack["upgrade"]["tracked"])
    return section


def soak(pack: Found) -> Section:
    """Stage 5: the watch at 100 %."""
    section = Section("soak", "Stage 5, soak", [Said(QUESTIONS[Stage.SOAK], "quiet")])
    visits = [visit for visit in pack["stages"] if visit["stage"] == Stage.SOAK]
    if not visits:
        section.brief.append(Said("The upgrade has not come to this stage.", "open"))
    for visit in visits:
        section.brief.append(_left(visit))
        section.full += _judged(visit, "during the soak", pack["upgrade"]["tracked"])
    return section


def _left(visit: Found, name: str = "") -> Said:
    """How long a stage lasted, and what ended it."""
    began = f"{name + ', ' if name else ''}from {moment(visit['since'])}"
    ended = visit["ended"]
    if ended is None:
        present = visit.get("present")
        said = f"{present['verdict']}: {present['sentence']}" if present else "not assessed yet"
        missing = "; missing: " + "; ".join(present["missing"]) if present and present["missing"] else ""
        return Said(f"{began}, still there. {said}{missing}", "open")
    held = lasting(visit["until"] - visit["since"])
    tone: Tone = "bad" if ended["event"] in ("rolled_back", "blocked", "aborted", "gave_up", "fell_short") else "good"
    return Said(f"{began}, for {held}; {spoken(ended['event'])} by {ended['by']}: {ended['why']}", tone)


def _judged(visit: Found, where: str, tracked: Sequence[str]) -> list[Block]:
    """The gates that the decision was made on, and the hashes these are bound to."""
    ended, present = visit["ended"], visit.get("present")
    document = ended["document"] if ended else present
    if document is None:
        why = "left before its gates were judged" if ended and not ended["evidence"] else "their evidence was not kept"
        return [Said(f"Gates {where}: {why}.", "open")]
    details = document["details"]
    blocks: list[Block] = []
    gates = [g for g in details.get("gates", ()) if _worth(g, tracked)]
    if gates:
        columns = ("gate", "change >", "interval >", "allowed >", "candidate values >", "verdict")
        blocks.append(
            Grid(f"gates {where}", columns, [_gate(gate, scale_of(details["gates"], gate["metric"])) for gate in gates])
        )
        rest = len(details["gates"]) - len(gates)
        if rest:
            blocks.append(
                Said(f"{rest} more verdicts on slices that pass or wait are in the data of this pack.", "quiet")
            )
    for tail in details.get("tails", ()):
        blocks.append(Said(tail["sentence"], TONES.get(tail["verdict"], "quiet")))
    for judged in visit["judged"]:
        blocks.append(Said(f"{moment(judged['at'])} {judged['verdict']}: {judged['why']}", "quiet"))
    binds = details.get("binds", {})
    rows = [("bound to", ", ".join(f"{name} {str(value)[:16]}" for name, value in binds.items()))] if binds else []
    named = [("evidence", ended["evidence"])] if ended and ended["evidence"] else []
    return [*blocks, Facts([*rows, *named])] if rows or named else blocks


def _worth(gate: Found, tracked: Sequence[str]) -> bool:
    critical = bool(gate["critical"]) and gate["verdict"] != Verdict.INCONCLUSIVE
    watched = gate["slice"] in tracked or gate["slice"].partition("=")[2] in tracked
    return not gate["slice"] or gate["required"] or gate["verdict"] == Verdict.FAIL or critical or watched


def _gate(gate: Found, scale: Found) -> list[str | Cell]:
    low, high = gate["low"], gate["high"]
    name = gate["metric"] + (f" in {gate['slice']}" if gate["slice"] else "")
    return [
        f"{name}{' (critical)' if gate['critical'] else ''}{'' if gate['required'] else ' (watched)'}",
        "-" if gate["estimate"] is None else amount(scale, gate["estimate"]) + unit(scale),
        "-" if low is None or high is None else f"{amount(scale, low)} to {amount(scale, high)}",
        "-" if gate["tolerated"] is None else amount(scale, gate["tolerated"]).lstrip("+") + unit(scale),
        f"{gate['n']:,}",
        verdict(gate["verdict"]),
    ]


def agreement(pack: Found) -> Section:
    """Whether the eval had foretold the canary."""
    section = Section("agreement", "Did the eval foretell the canary?")
    rows: list[list[str | Cell]] = []
    for one in pack["agreement"]:
        tone: Tone = {AGREES: "good", CONTRADICTS: "bad"}.get(one["says"], "open")  # type: ignore[assignment]
        said = Cell(one["says"] + (f": {one['why']}" if one["why"] else ""), tone)
        name = one["slice"] or "all"
        both = name if one["live_slice"] in ("", one["slice"]) else f"{name} ({one['live_slice']})"
        rows.append([both, *_interval(one, "foretold"), *_interval(one, "live"), said])
    if not rows:
        section.brief.append(Said("There is nothing to compare: see What is missing.", "open"))
        return section
    counts = {word: sum(1 for one in pack["agreement"] if one["says"] == word) for word in (AGREES, CONTRADICTS)}
    section.brief.append(Said(f"{counts[AGREES]} of {len(rows)} agree, {counts[CONTRADICTS]} contradict."))
    columns = ("slice", "eval >", "interval >", "live >", "interval >", "")
    section.full.append(Grid("change in points of 100", columns, rows))
    note = (
        "The live score comes from those graders of the suites that need no reference. A contradiction speaks of the "
        "eval: its cases, or what it can grade live, are not what users ask there."
    )
    section.full.append(Said(note, "quiet"))
    return section


def _interval(one: Found, which: str) -> list[str | Cell]:
    if one[which] is None or one[f"{which}_low"] is None:
        return ["-", "-"]
    return [signed(one[which]), f"{signed(one[f'{which}_low'])} to {signed(one[f'{which}_high'])}"]
