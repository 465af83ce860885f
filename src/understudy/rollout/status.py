"""Describes where a workload stands, as one JSON document that `upgrade status` prints and a page can show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.playbook import PARTS_PER_MILLION, Profile, Stage, Step
from understudy.core.routing import RoutingTable
from understudy.core.variant import Variant
from understudy.rollout.fold import UpgradeState
from understudy.rollout.publish import Acknowledged, Kill
from understudy.rollout.reconcile import rung
from understudy.rollout.table import serving

SILENT_AFTER_S = 30.0
"""A controller that has not looked at an active upgrade for so long is taken for dead."""


def describe(
    workload: str,
    configured: str,
    state: UpgradeState | None,
    *,
    now: float,
    profile: Profile,
    finished: Sequence[UpgradeState],
    assessment: Mapping[str, Any] | None,
    table: RoutingTable | None,
    acknowledged: Acknowledged | None,
    kill: Kill | None,
) -> dict[str, Any]:
    """Everything that is known of a workload now. `state` is its latest upgrade, `finished` those that are done."""
    incumbent, _ = serving(configured, workload, finished)
    return {
        "workload": workload,
        "serves": _serves(incumbent, state),
        "upgrade": upgrade(state, profile, assessment) if state else None,
        "outlook": outlook(state, profile) if state and not state.over else None,
        "exposure": exposure(workload, table, acknowledged, kill),
        "notes": notes(configured, incumbent, state, assessment, table, acknowledged, kill, now),
    }


def _serves(incumbent: str, state: UpgradeState | None) -> dict[str, float]:
    """Share of the traffic by variant, as planned."""
    if state is None or state.over or not state.share:
        return {incumbent: 1.0}
    share = state.share / PARTS_PER_MILLION
    rest = {state.incumbent.name: 1.0 - share} if share < 1 else {}
    return {state.candidate.name: share, **rest}


def upgrade(state: UpgradeState, profile: Profile, assessment: Mapping[str, Any] | None) -> dict[str, Any]:
    """One upgrade, with the latest assessment where it is of the present stage."""
    fresh = assessment if assessment and assessment.get("stage") == str(state.stage) and not state.over else None
    return {
        "id": state.id,
        "stage": str(state.stage),
        "step": state.step if state.step >= 0 else None,
        "share": state.share / PARTS_PER_MILLION,
        "ladder": [step.share / PARTS_PER_MILLION for step in profile.ladder],
        "paused": state.paused,
        "profile": profile.name,
        "gives_up": list(profile.gives_up),
        "incumbent": variant(state.incumbent),
        "candidate": variant(state.candidate),
        "started_at": state.started_at,
        "started_by": state.started_by,
        "why": state.why,
        "entered_at": state.entered_at,
        "held_s": fresh.get("held_s") if fresh else None,
        "assessment": dict(fresh) if fresh else None,
        "eval": {**state.eval._asdict(), "outcome": str(state.eval.outcome)} if state.eval else None,
        "waivers": [{**w._asdict(), "stage": str(w.stage)} for w in state.waivers],
        "approvals": [a._asdict() for a in state.approvals],
        "switches": [
            {"at": s.at, "by": s.by, "why": s.why, "old": variant(s.old), "new": variant(s.new)} for s in state.switches
        ],
        "findings": [f._asdict() for f in state.findings],
        "tracked": list(state.tracked),
        "exposed_at": state.exposed_at,
        "taken_over_at": state.taken_over_at,
        "soaked_at": state.soaked_at,
        "ended_at": state.ended_at,
        "ended_by": state.ended_by,
        "ended_why": state.ended_why,
    }


def outlook(state: UpgradeState, profile: Profile) -> dict[str, Any]:
    """What follows the present stage or rung, not before when, and when somebody has to decide at the latest.

    Both times count the time that a controller has watched, so they are the earliest possible ones; None where no
    clock runs.
    """
    shortest, longest, then = _spans(state, profile)
    began = state.clock_at
    return {
        "next": _next(state, profile),
        "not_before": began + shortest if began is not None and shortest is not None else None,
        "deadline": began + longest if began is not None and longest is not None else None,
        "at_deadline": then,
        "rollback_armed": True,
    }


def _next(state: UpgradeState, profile: Profile) -> str:
    match state.stage:
        case Stage.DRAFT:
            return "the regression eval"
        case Stage.REGRESS:
            return "shadow"
        case Stage.RETUNE:
            return "the regression eval again, of a re-tuned candidate"
        case Stage.SHADOW:
            return f"canary at {_percent(profile.ladder[0])}"
        case Stage.CANARY:
            above = [step for step in profile.ladder if step.share > state.share]
            return f"canary at {_percent(above[0])}" if above else "soak"
        case _:
            return "done: the incumbent may retire"


def _percent(step: Step) -> str:
    return f"{100 * step.share / PARTS_PER_MILLION:g} % of the users"


def _spans(state: UpgradeState, profile: Profile) -> tuple[float | None, float | None, str]:
    """The shortest and the longest time of the present clock, in seconds, and what happens after the longest."""
    match state.stage:
        case Stage.SHADOW:
            return profile.shadow_min_s, profile.shadow_max_s, "it stops if a finding is neither waived nor re-tuned"
        case Stage.CANARY:
            longest = profile.max_wait_s if state.share < PARTS_PER_MILLION else None
            return rung(profile, state.share).hold_s, longest, "an undecided canary asks a person to look"
        case Stage.SOAK:
            return profile.soak_s, None, ""
        case _:
            return None, None, ""


def variant(which: Variant) -> dict[str, str]:
    return {"name": which.name, "model": which.model, "fingerprint": which.fingerprint}


def exposure(
    workload: str, table: RoutingTable | None, acknowledged: Acknowledged | None, kill: Kill | None
) -> dict[str, Any]:
    """What gateways were told, and whether they have said that they do it."""
    route = table.workloads[workload].route if table and workload in table.workloads else None
    return {
        "epoch": table.epoch if table else None,
        "candidate": route.candidate if route else None,
        "share": route.share / PARTS_PER_MILLION if route else 0.0,
        "lease_until": route.lease_until if route else None,
        "effective": acknowledged.effective if acknowledged and acknowledged.live else None,
        "workers": acknowledged.live if acknowledged else 0,
        "waiting": list(acknowledged.waiting) if acknowledged else [],
        "kill_file": kill._asdict() if kill else None,
    }


def notes(
    configured: str,
    incumbent: str,
    state: UpgradeState | None,
    assessment: Mapping[str, Any] | None,
    table: RoutingTable | None,
    acknowledged: Acknowledged | None,
    kill: Kill | None,
    now: float,
) -> list[str]:
    """What somebody should do or know, a sentence each."""
    said: list[str] = []
    if incumbent != configured:
        said.append(f"{incumbent} has taken over: write `incumbent: {incumbent}` into the configuration")
    if kill is not None:
        said.append(f"a kill file by {kill.by} forces the incumbent: {kill.why}")
    if state is None or state.over:
        return said
    looked_at = float(assessment["at"]) if assessment else state.entered_at
    if now - looked_at > SILENT_AFTER_S:
        said.append(f"no controller has looked for {now - looked_at:.0f} s: start `understudy up`")
    if assessment and assessment.get("problem"):
        said.append(str(assessment["problem"]))
    if state.stage in (Stage.SHADOW, Stage.CANARY):
        rest = state.resting(now)
        if rest is not None:
            said.append(rest.why)
        elif assessment and assessment.get("spending"):
            said.append(str(assessment["spending"]))
    if state.stage in (Stage.SHADOW, Stage.CANARY, Stage.SOAK):
        if acknowledged is None or not acknowledged.live:
            said.append("no gateway worker is alive: start `understudy up` or `understudy gateway`")
        route = table.workloads[state.workload].route if table and state.workload in table.workloads else None
        if route and route.lease_until is not None and route.lease_until <= now:
            said.append("the canary's lease has run out: gateways serve the incumbent until a controller renews it")
    if state.paused:
        said.append("paused: nothing moves forward; guards and rollback stay armed")
    return said
