"""Tells from the journals what each variant is to its workload now: production, canary or fallback. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from understudy.core.playbook import PARTS_PER_MILLION, Stage
from understudy.registry.inventory import Standing, Tier
from understudy.rollout.fold import UpgradeState, apply
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.rollout.table import serving


def standings(
    configured: str, workload: str, journals: Iterable[Sequence[Event]], now: float, retain_s: float
) -> dict[str, Standing]:
    """The standing of every variant that serves, may serve on a rollback or was tested; oldest journal first.

    A variant that was replaced is the fallback for `retain_s` seconds after its last user.
    """
    states: list[UpgradeState] = []
    tested: dict[str, tuple[str, float]] = {}
    for journal in journals:
        state: UpgradeState | None = None
        for event in journal:
            state = apply(state, event)
            if event.kind is Kind.EVALUATED and state.eval is not None:
                tested[state.candidate.name] = (str(state.eval.outcome), event.at)
        if state is not None and state.workload == workload:
            states.append(state)
    production, _ = serving(configured, workload, [state for state in states if state.stage is Stage.DONE])
    found = {production: Standing(Tier.PRODUCTION, 1.0)}
    for state in states:
        taken_over = state.taken_over_at
        if state.stage is Stage.DONE and taken_over is not None and now < taken_over + retain_s:
            found.setdefault(state.incumbent.name, Standing(Tier.FALLBACK, 0.0))
        elif not state.over and state.share == PARTS_PER_MILLION:
            found[state.incumbent.name] = Standing(Tier.FALLBACK, 0.0)
            found[state.candidate.name] = Standing(Tier.PRODUCTION, 1.0, state.exposed_at)
        elif not state.over and state.share:
            share = state.share / PARTS_PER_MILLION
            found[state.incumbent.name] = Standing(Tier.PRODUCTION, 1.0 - share)
            found[state.candidate.name] = Standing(Tier.CANARY, share, state.exposed_at)
    for name, (outcome, at) in tested.items():
        standing = found.get(name, Standing(Tier.EXPERIMENTAL, 0.0))
        found[name] = standing._replace(tested=outcome, tested_at=at)
    return found
