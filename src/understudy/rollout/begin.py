"""Begins an upgrade: what is asked for is checked against configuration, store and kill files, then journaled."""

from __future__ import annotations

import re
from typing import NamedTuple

from understudy.config.project import Project
from understudy.core.errors import Refused
from understudy.rollout import table
from understudy.rollout.board import Board
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.store.base import Stale, Store, already_active

ATTEMPTS = 10
"""How often a write is tried again when somebody else wrote in between."""


class Request(NamedTuple):
    """What a person asks for. `token` is a random word that makes the id and the salt this upgrade's own."""

    workload: str
    candidate: str
    by: str
    why: str
    token: str


async def begin(project: Project, store: Store, board: Board, request: Request, now: float) -> UpgradeState:
    """Journal a new upgrade in stage draft.

    Raises UsageError for an unknown workload or variant, Refused where one is under way already, where candidate and
    incumbent are the same, or where a kill file is in force.
    """
    section = project.workload(request.workload)
    candidate = project.variant(request.workload, request.candidate)
    kill = (await board.kills()).get(request.workload)
    if kill is not None:
        raise Refused(
            f"a kill file by {kill.by} holds workload {request.workload} on the incumbent",
            remedy=f"remove {project.paths.routing}/rollback.{request.workload}, on the machine where it was put, "
            "when what caused it is over",
        )
    for attempt in range(ATTEMPTS):
        snapshot = await store.read()
        if snapshot.active(request.workload):
            raise already_active(request.workload)
        name, journaled = table.serving(section.incumbent, request.workload, snapshot.upgrades)
        incumbent = journaled or project.variant(request.workload, name)
        if candidate.fingerprint == incumbent.fingerprint:
            raise Refused(
                f"candidate {candidate.name} is the incumbent {incumbent.name}: provider, model, prompt, parameters "
                f"and effort are the same ({candidate.fingerprint})",
                remedy="name a variant that differs from it",
            )
        data = {
            "workload": request.workload,
            "incumbent": incumbent.as_dict(),
            "candidate": candidate.as_dict(),
            "salt": f"{request.workload}:{request.token}",
            "profile": section.policy,
        }
        identity = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', request.workload)}-{request.token}"
        try:
            return await store.begin(snapshot.epoch, identity, Draft(Kind.STARTED, request.by, request.why, data), now)
        except Stale:
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("unreachable")
