"""The control API: documents and wishes as JSON under /api, with the keys of the dashboard's users."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from understudy.core.errors import CannotMeasure
from understudy.core.moment import moment
from understudy.dashboard.access import WRONG_KEY_S, Access, Person, hashed
from understudy.dashboard.acts import act
from understudy.dashboard.facts import Facts
from understudy.dashboard.looking import Looked
from understudy.rollout.sheet import FEWEST, MOST

_bearer = HTTPBearer(auto_error=False, description="A key of `dashboard.users`.")


class Unknown(Exception):
    """Nobody has this key. Never shown as such to a user."""


async def person(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Person:
    """Who asks. Raises Unknown."""
    access: Access = request.app.state.access
    found = access.person(hashed(given.credentials)) if given else None
    if found is None:
        await asyncio.sleep(WRONG_KEY_S)
        raise Unknown
    return found


async def facts(request: Request) -> Facts:
    found: Facts = request.app.state.facts
    found.current()
    return found


Who = Annotated[Person, Depends(person)]
Here = Annotated[Facts, Depends(facts)]
Upgrade = Annotated[str, Query(description="Id of an earlier upgrade; the latest if left out.")]
Slice = Annotated[str, Query(description="One slice alone, like ticket=refund.")]
Document = dict[str, Any]

router = APIRouter(prefix="/api", tags=["control"])


class Wished(BaseModel):
    """What is said with a wish."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field(default="", max_length=2_000, description="The reason, for the journal.")
    upgrade: str = Field(default="", max_length=400, description="Only if this upgrade is under way; not for rollback.")
    subject: str = Field(default="", max_length=400, description="approve, waive: a slice, SLICE/KIND, or `all`.")
    owner: str = Field(default="", max_length=200, description="waive: who answers for it.")
    until: str = Field(default="", max_length=40, description="waive: how long, like 14d, or the last day: 2026-12-24.")
    read: list[str] = Field(default=[], max_length=MOST, description="approve: the exchanges that were read.")


def _value(looked: Looked[Document]) -> Document:
    """The answer with its age. Raises what the ledger said instead, CannotMeasure while it is read."""
    if looked.value is None:
        if looked.error is not None and looked.reading_s is None:
            raise looked.error
        raise CannotMeasure(looked.problem, remedy="ask again in a few seconds")
    return {**looked.value, "as_of": looked.at, "problem": looked.problem}


@router.get("/workloads", summary="Where every workload stands")
async def workloads(who: Who, facts: Here) -> list[Document]:
    """The document of `understudy upgrade status --json` for each workload."""
    return [await facts.status(name) for name in facts.project.config.workloads]


@router.get("/workloads/{workload}", summary="Where a workload stands")
async def workload(who: Who, facts: Here, workload: str, upgrade: Upgrade = "") -> Document:
    """The document of `understudy upgrade status --json`: what serves, stage, gates, what follows."""
    return await facts.status(workload, upgrade)


@router.get("/workloads/{workload}/history", summary="What was decided and served")
async def history(who: Who, facts: Here, workload: str, everything: bool = False) -> Document:
    """The document of `understudy history --json`."""
    changes = await facts.changes(workload, everything=everything)
    return {"workload": workload, "changes": changes, **_value(await facts.seen(workload))}


@router.get("/workloads/{workload}/served", summary="Which variant answered a user")
async def served(who: Who, facts: Here, workload: str, user: str, at: str = "") -> Document:
    """The document of `understudy who-served --json`: the last answer at or before a time."""
    return _value(await facts.served(workload, user, moment(at) if at else time.time()))


@router.get("/workloads/{workload}/shadow", summary="Would users notice the swap?")
async def shadow(
    who: Who,
    facts: Here,
    workload: str,
    upgrade: Upgrade = "",
    slice: Slice = "",
    examples: Annotated[int, Query(ge=0, le=3)] = 1,
) -> Document:
    """The document of `understudy shadow report --json`."""
    return _value(await facts.shadow(await facts.state(workload, upgrade), slice, examples))


@router.get("/workloads/{workload}/figures", summary="Latency, cost and failures by arm and slice")
async def figures(who: Who, facts: Here, workload: str, upgrade: Upgrade = "") -> Document:
    """Of served answers, and of shadow copies. Quantiles are for looking at, not for comparing."""
    state = await facts.state(workload, upgrade)
    return _value(await facts.figures(workload, state.id))


@router.get("/workloads/{workload}/answers", summary="Answers of both sides to read before signing off")
async def answers(
    who: Who,
    facts: Here,
    workload: str,
    upgrade: Upgrade = "",
    slice: Slice = "",
    count: Annotated[int, Query(ge=1, le=MOST)] = FEWEST,
    turn: Annotated[int, Query(ge=0)] = 0,
) -> Document:
    """A sample of pairs; `turn` gives the next ones."""
    return _value(await facts.sheet(await facts.state(workload, upgrade), slice, count, turn))


@router.post("/workloads/{workload}/{what}", summary="Ask for something")
async def wish(
    who: Who,
    facts: Here,
    workload: str,
    what: Literal["promote", "pause", "resume", "approve", "waive", "abort", "rollback", "drill"],
    said: Wished | None = None,
) -> Document:
    """In the name of whoever has the key. A rollback answers when every live worker has it, or says which have
    not; `drill` rehearses it.
    """
    return await act(facts, workload, what, who, (said or Wished()).model_dump())
