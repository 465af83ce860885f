"""Which model a tier of a workload is pinned to, for code that asks a provider itself."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.core.errors import DataCorrupt, UsageError

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.core.routing import WorkloadRoute

PRODUCTION, CANARY, FALLBACK = "production", "canary", "fallback"
TIERS = (PRODUCTION, CANARY, FALLBACK)
VARIABLE = "LLM_MODEL"
_ALL = 1_000_000
_opened: dict[Path, tuple[int, Project]] = {}


class FloatingModel(UserWarning):
    """A model's name that the provider may point at another model tomorrow."""


def get_model(tier: str = PRODUCTION, workload: str = "", *, environment: Mapping[str, str] | None = None) -> str:
    """The model of a tier, as its provider spells it.

    `production` is what serves, `fallback` what a rollback goes back to, `canary` the candidate of the upgrade under
    way. $LLM_MODEL takes the place of `production`, with a FloatingModel warning where it names no fixed version. The
    upgrade is read from this machine's routing table; where there is none, `production` and `fallback` are the
    incumbent of understudy.yaml. With one workload its name may be left out.

    Raises UsageError for an unknown tier or workload, and where no canary is known; ConfigError for what is wrong in
    understudy.yaml; DataCorrupt where the routing table cannot be read.
    """
    environment = os.environ if environment is None else environment
    if tier not in TIERS:
        raise UsageError(f"there is no tier {tier!r}", remedy=f"it is one of {', '.join(TIERS)}")
    given = environment.get(VARIABLE, "").strip()
    if tier == PRODUCTION and given:
        from understudy.registry.naming import Promise, classify

        naming = classify(given)
        if naming.promise is Promise.ALIAS:
            message = f"{VARIABLE}={given} floats: {naming.reason}"
            warnings.warn(f"{message}; {naming.remedy}" if naming.remedy else message, FloatingModel, stacklevel=2)
        return given
    project = project_of(environment)
    name = project.workload_of(workload)
    incumbent = project.variant(name, project.workload(name).incumbent)
    route = _route(project.paths.table, name)
    serving = route.variants[route.incumbent] if route is not None else incumbent
    candidate = route.variants[route.route.candidate] if route is not None and route.route is not None else None
    if tier == FALLBACK:
        return serving.model
    if tier == PRODUCTION:
        return (candidate if candidate is not None and _everybodys(project, name, route) else serving).model
    if candidate is None:
        raise UsageError(
            f"no upgrade of {name} is under way in the routing table of this machine, so there is no canary",
            remedy="start one with `understudy upgrade start`, or ask for production",
        )
    return candidate.model


def project_of(environment: Mapping[str, str]) -> Project:
    """The project, read again only when its file changed. Raises UsageError where there is none, ConfigError."""
    from understudy.config.project import find, open_project

    file = find(None, environment)
    changed = file.stat().st_mtime_ns
    known = _opened.get(file)
    if known is None or known[0] != changed or known[1].environment != environment:
        known = _opened[file] = (changed, open_project(file, dict(environment)))
    return known[1]


def _route(table: Path, workload: str) -> WorkloadRoute | None:
    """What gateways of this machine do; None where they have no table, or it does not know the workload."""
    from understudy.core.routing import decode

    try:
        written = table.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return decode(json.loads(written)).workloads.get(workload)
    except ValueError:
        raise DataCorrupt(f"{table} is no JSON", remedy="start the controller, which writes it anew") from None


def _everybodys(project: Project, workload: str, route: WorkloadRoute | None) -> bool:
    """Whether the candidate serves everybody: at 100 %, without a rollback, with a lease that holds or none."""
    if route is None or route.route is None or route.route.share < _ALL:
        return False
    from understudy.core.routing import KILL_FILE_PREFIX

    if (project.paths.routing / f"{KILL_FILE_PREFIX}{workload}").exists():
        return False
    return route.route.lease_until is None or route.route.lease_until > time.time()
