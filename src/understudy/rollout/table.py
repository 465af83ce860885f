"""Decides what the routing table says: configuration and upgrade states to one table. Pure; writing it is `publish`.

During an upgrade both variants are served as the journal holds them: an edited prompt file never reaches users by
itself, it first makes the upgrade begin again at the regression eval. What is over has no route, so no candidate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from understudy.config.schema import WorkloadSection
from understudy.core.errors import DataCorrupt
from understudy.core.playbook import Stage
from understudy.core.routing import GatewayKey, Privacy, Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
from understudy.core.variant import Variant
from understudy.rollout.fold import UpgradeState

SHADOWED = frozenset({Stage.SHADOW, Stage.CANARY})
"""Stages in which served answers of the incumbent are also asked of the candidate: drift shows again at volume."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the configuration contributes to a table."""

    workloads: Mapping[str, WorkloadSection]
    variants: Mapping[str, Mapping[str, Variant]]
    providers: Mapping[str, Provider]
    keys: tuple[GatewayKey, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    privacy: Privacy = field(default_factory=Privacy)


def serving(configured: str, workload: str, upgrades: Iterable[UpgradeState]) -> tuple[str, Variant | None]:
    """The variant a workload serves beside any upgrade under way, by name, and as the journal has it if it does.

    That is the configured incumbent, unless an upgrade away from it is done: then its candidate, and so on along
    the finished upgrades that the configuration does not name yet.
    """
    name, variant = configured, None
    for upgrade in upgrades:
        if upgrade.workload == workload and upgrade.stage is Stage.DONE and upgrade.incumbent.name == name:
            name, variant = upgrade.candidate.name, upgrade.candidate
    return name, variant


def build(
    sources: Sources,
    upgrades: Iterable[UpgradeState],
    *,
    generation: str,
    epoch: int,
    issued_at: float,
    leases: Mapping[str, float],
) -> RoutingTable:
    """The table for these upgrades. `leases` gives, by upgrade, until when a canary may be served.

    Copies that rest at `issued_at` have a sample of 0. An upgrade in canary without a lease gets one that has expired.
    Raises DataCorrupt for two active upgrades on one workload [S1]; `core.routing.check_meaning` finds what else could
    not be served.
    """
    upgrades = tuple(upgrades)
    return RoutingTable(
        generation=generation,
        epoch=epoch,
        issued_at=issued_at,
        workloads={
            name: _workload(name, section, sources, upgrades, leases, issued_at)
            for name, section in sources.workloads.items()
        },
        providers=dict(sources.providers),
        keys=sources.keys,
        limits=dict(sources.limits),
        privacy=sources.privacy,
    )


def _workload(
    name: str,
    section: WorkloadSection,
    sources: Sources,
    upgrades: tuple[UpgradeState, ...],
    leases: Mapping[str, float],
    issued_at: float,
) -> WorkloadRoute:
    active = [u for u in upgrades if u.workload == name and not u.over]
    if len(active) > 1:
        raise DataCorrupt(
            f"workload {name} has {len(active)} active upgrades: {', '.join(u.id for u in active)}",
            remedy="abort all but one of them",
        )
    incumbent, journaled = serving(section.incumbent, name, upgrades)
    variants = dict(sources.variants[name])
    if journaled is not None:
        variants[incumbent] = journaled
    if active:
        incumbent = active[0].incumbent.name
        variants |= {v.name: v for v in (active[0].incumbent, active[0].candidate)}
    return WorkloadRoute(
        name=name,
        incumbent=incumbent,
        variants=variants,
        unit=tuple(section.unit),
        conversation=tuple(section.conversation),
        slice_by=dict(section.slice_by),
        no_unit=section.no_unit,
        content=section.content,
        units=section.units,
        on_rollback=section.on_rollback,
        passthrough=tuple(section.passthrough),
        route=_route(active[0], section, leases, issued_at) if active else None,
    )


def _route(
    state: UpgradeState, section: WorkloadSection, leases: Mapping[str, float], issued_at: float
) -> Route | None:
    if state.stage not in SHADOWED and not state.exposing:
        return None
    sample = 0 if state.resting(issued_at) else section.shadow.sample
    shadow = Shadow(sample, section.shadow.max_in_flight, section.shadow.budget.usd_per_day)
    return Route(
        upgrade=state.id,
        candidate=state.candidate.name,
        stage=str(state.stage),
        step=state.step,
        share=state.share,
        salt=state.salt,
        lease_until=leases.get(state.id, 0.0) if state.stage is Stage.CANARY else None,
        shadow=shadow if state.stage in SHADOWED else None,
    )


def same(left: RoutingTable, right: RoutingTable) -> bool:
    """Whether two tables route alike; epoch, generation, time of issue and leases left aside."""
    return _bare(left) == _bare(right)


def content_digest(table: RoutingTable) -> str:
    """What `same` compares, as a hash: the publications keep it."""
    return hashlib.sha256(encode(_bare(table))).hexdigest()


def leases_of(table: RoutingTable) -> dict[str, float]:
    """The leases a table carries, by upgrade."""
    routes = [w.route for w in table.workloads.values() if w.route]
    return {r.upgrade: r.lease_until for r in routes if r.lease_until is not None}


def _bare(table: RoutingTable) -> RoutingTable:
    workloads = {
        name: replace(w, route=replace(w.route, lease_until=None) if w.route else None)
        for name, w in table.workloads.items()
    }
    return replace(table, generation="", epoch=0, issued_at=0.0, workloads=workloads)
