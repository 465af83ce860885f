"""The plan machine: ALL transitions as tables, with the theory on top. Pure: it decides what may follow, never when.

Theory
======
An upgrade is a journal of events; its place in the plan is what those events lead to, and nothing else. Three kinds
of events exist, and three tables say all there is to know of them:

- a *move* changes the stage (`MOVES`): stage and event give the next stage. The canary ladder is one stage with a
  step: `widened` moves from step i to step i+1 and never further, `taken_over` leaves from 100 % only.
- a *record* changes no stage (`RECORDS`): an eval result, a waiver, a finding, the clock of the shadow.
- `paused` and `resumed` set a flag. A flag and no stage, because a stage of its own could hide the exits: while the
  flag is set every event of `FORWARD` is illegal, and the exits are as open as ever.

Whatever is in none of the tables is illegal: it raises `Illegal` and changes nothing. What must hold for every path
through the tables (in brackets the names that ARCHITECTURE.md gives these promises):

- the exits `rolled_back` and `aborted` leave every active stage, paused or not, so a rollback is never refused and
  from every stage some action of an operator ends the upgrade [L1, L5];
- an upgrade that is over stays over: resuming is a new upgrade with a new id and a new salt [S6];
- the share of the candidate never falls while the upgrade is active, and it rises by one step at a time [S3, S4];
- an event that raises or keeps the candidate's share names the clock it was judged by (`judged`), which every such
  event restarts: so one verdict can never be used for two steps [S3].

The diagram of ARCHITECTURE.md is drawn from these tables by `mermaid`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from understudy.core.errors import Refused
from understudy.core.playbook import PARTS_PER_MILLION, Stage


class Kind(StrEnum):
    """What can happen to an upgrade; the past tense, because the journal tells what was."""

    STARTED = "started"
    OPENED = "opened"
    CLEARED = "cleared"
    FELL_SHORT = "fell_short"
    SWITCHED = "switched"
    DRIFTED = "drifted"
    EXPOSED = "exposed"
    WIDENED = "widened"
    TAKEN_OVER = "taken_over"
    RETIRED = "retired"
    BLOCKED = "blocked"
    GAVE_UP = "gave_up"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"

    EVALUATED = "evaluated"
    WAIVED = "waived"
    APPROVED = "approved"
    CLOCK_STARTED = "clock_started"
    BASELINED = "baselined"
    JUDGED = "judged"
    PROMOTED = "promoted"
    NOTED = "noted"
    SOAKED = "soaked"
    RESTED = "rested"
    DRILLED = "drilled"

    PAUSED = "paused"
    RESUMED = "resumed"


ACTIVE: tuple[Stage, ...] = tuple(stage for stage in Stage if not stage.over)
EXITS: Mapping[Kind, Stage] = {Kind.ABORTED: Stage.ABORTED, Kind.ROLLED_BACK: Stage.ROLLED_BACK}

MOVES: Mapping[Stage, Mapping[Kind, Stage]] = {
    Stage.DRAFT: {
        Kind.OPENED: Stage.REGRESS,
        Kind.SWITCHED: Stage.DRAFT,
        Kind.BLOCKED: Stage.BLOCKED,
        **EXITS,
    },
    Stage.REGRESS: {
        Kind.CLEARED: Stage.SHADOW,
        Kind.FELL_SHORT: Stage.RETUNE,
        Kind.SWITCHED: Stage.REGRESS,
        Kind.BLOCKED: Stage.BLOCKED,
        **EXITS,
    },
    Stage.RETUNE: {
        Kind.SWITCHED: Stage.REGRESS,
        Kind.GAVE_UP: Stage.BLOCKED,
        **EXITS,
    },
    Stage.SHADOW: {
        Kind.EXPOSED: Stage.CANARY,
        Kind.DRIFTED: Stage.RETUNE,
        Kind.SWITCHED: Stage.REGRESS,
        Kind.BLOCKED: Stage.BLOCKED,
        **EXITS,
    },
    Stage.CANARY: {
        Kind.WIDENED: Stage.CANARY,
        Kind.TAKEN_OVER: Stage.SOAK,
        **EXITS,
    },
    Stage.SOAK: {
        Kind.RETIRED: Stage.DONE,
        **EXITS,
    },
    Stage.DONE: {},
    Stage.BLOCKED: {},
    Stage.ROLLED_BACK: {},
    Stage.ABORTED: {},
}
"""Stage and event to the next stage. `started` alone begins an upgrade, where there is no stage yet."""

EXPOSING = frozenset({Stage.CANARY, Stage.SOAK})
"""The stages in which users may be answered by the candidate."""

RECORDS: Mapping[Kind, frozenset[Stage]] = {
    Kind.EVALUATED: frozenset({Stage.REGRESS, Stage.SHADOW}),
    Kind.WAIVED: frozenset({Stage.REGRESS, Stage.SHADOW, Stage.CANARY, Stage.SOAK}),
    Kind.APPROVED: frozenset({Stage.REGRESS, Stage.SHADOW, Stage.CANARY, Stage.SOAK}),
    Kind.CLOCK_STARTED: frozenset({Stage.SHADOW}),
    Kind.BASELINED: frozenset({Stage.CANARY}),
    Kind.JUDGED: frozenset({Stage.SHADOW, Stage.CANARY, Stage.SOAK}),
    Kind.PROMOTED: frozenset({Stage.CANARY}),
    Kind.NOTED: frozenset(ACTIVE),
    Kind.SOAKED: frozenset({Stage.SOAK}),
    Kind.RESTED: frozenset({Stage.SHADOW, Stage.CANARY}),
    Kind.DRILLED: frozenset(ACTIVE),
    Kind.PAUSED: frozenset(ACTIVE),
    Kind.RESUMED: frozenset(ACTIVE),
}
"""Events that leave the stage as it is, and the stages in which they may happen."""

FORWARD = frozenset(
    {
        Kind.OPENED,
        Kind.CLEARED,
        Kind.FELL_SHORT,
        Kind.EXPOSED,
        Kind.WIDENED,
        Kind.TAKEN_OVER,
        Kind.RETIRED,
        Kind.BLOCKED,
        Kind.CLOCK_STARTED,
        Kind.SOAKED,
    }
)
"""What a pause stops: the moves a controller makes by itself. An operator's wishes and all exits stay open."""

JUDGED_MOVES = frozenset({Kind.EXPOSED, Kind.WIDENED, Kind.TAKEN_OVER, Kind.RETIRED})
"""Moves that rest on a verdict; each names the clock it was judged by."""


class Illegal(Refused):
    """An event the tables do not allow here; nothing was changed."""


class Place(NamedTuple):
    """Where an upgrade stands in the plan.

    `step` counts from 0 and is -1 outside canary and soak; `share` is the candidate's in parts per million; `clock`
    is the number of the event that started the present stage's or step's clock, 0 where none runs yet.
    """

    stage: Stage
    step: int = -1
    share: int = 0
    clock: int = 0
    paused: bool = False


def legal(stage: Stage, kind: Kind) -> bool:
    """Whether the tables allow the event in the stage, before data and the pause are looked at."""
    return kind in MOVES[stage] or stage in RECORDS.get(kind, frozenset())


def move(place: Place | None, kind: Kind, seq: int, data: Mapping[str, Any]) -> Place:
    """The place after event number `seq`. Raises Illegal, with the way out as its remedy, and changes nothing."""
    if place is None:
        if kind is not Kind.STARTED:
            raise Illegal(f"{kind} cannot begin an upgrade", remedy="an upgrade begins with `upgrade start`")
        return Place(Stage.DRAFT, clock=seq)
    if not legal(place.stage, kind):
        raise Illegal(_refusal(place.stage, kind), remedy=_remedy(place.stage))
    if place.paused and kind in FORWARD:
        raise Illegal(f"{kind} has to wait: the upgrade is paused", remedy="lift the pause with `upgrade resume`")
    if kind in JUDGED_MOVES and data.get("judged") != place.clock:
        raise Illegal(
            f"{kind} rests on a verdict of clock {data.get('judged')}, the present clock is {place.clock}",
            remedy="a verdict counts once, and only for the step it was made in; wait for the next one",
        )
    if kind in MOVES[place.stage]:
        return _moved(place, kind, seq, data)
    return _recorded(place, kind, seq)


def _moved(place: Place, kind: Kind, seq: int, data: Mapping[str, Any]) -> Place:
    stage = MOVES[place.stage][kind]
    match stage:
        case Stage.CANARY:
            share = data.get("share")
            if not isinstance(share, int) or not place.share < share <= PARTS_PER_MILLION:
                raise Illegal(
                    f"{kind} to {share} parts per million, from {place.share}",
                    remedy=f"the share of an active upgrade only rises, to {PARTS_PER_MILLION} at most",
                )
            return Place(stage, place.step + 1, share, seq, place.paused)
        case Stage.SOAK:
            if place.share != PARTS_PER_MILLION:
                raise Illegal(
                    f"{kind} at {place.share} parts per million",
                    remedy=f"a soak begins at {PARTS_PER_MILLION}, after every step of the ladder",
                )
            return Place(stage, place.step, place.share, seq, place.paused)
        case Stage.SHADOW:
            return Place(stage, paused=place.paused)
        case Stage.DRAFT | Stage.REGRESS | Stage.RETUNE:
            return Place(stage, clock=seq, paused=place.paused)
        case Stage.DONE:
            return Place(stage, place.step, place.share, seq)
        case Stage.BLOCKED | Stage.ROLLED_BACK | Stage.ABORTED:
            return Place(stage, clock=seq)


def _recorded(place: Place, kind: Kind, seq: int) -> Place:
    match kind:
        case Kind.PAUSED:
            return place._replace(paused=True)
        case Kind.RESUMED:
            return place._replace(paused=False)
        case Kind.CLOCK_STARTED:
            return place._replace(clock=seq)
        case _:
            return place


def _refusal(stage: Stage, kind: Kind) -> str:
    if stage.over:
        return f"{kind} comes too late: the upgrade is over ({stage})"
    return f"{kind} cannot happen in stage {stage}"


def _remedy(stage: Stage) -> str:
    if stage.over:
        return "what is over stays over; begin again with `upgrade start`"
    possible = [str(kind) for kind in Kind if legal(stage, kind)]
    return f"in stage {stage} these can happen: {', '.join(possible)}"


def edges() -> Iterator[tuple[Stage, Kind, Stage]]:
    """Every move of the tables, in the order they are written."""
    for stage, row in MOVES.items():
        for kind, target in row.items():
            yield stage, kind, target


def mermaid() -> str:
    """The tables as a Mermaid state diagram; the two exits that leave every active stage are drawn once."""
    lines = ["stateDiagram-v2", f"    [*] --> {Stage.DRAFT}: {Kind.STARTED}", "    state active {"]
    inner = [(a, k, b) for a, k, b in edges() if k not in EXITS and not b.over]
    lines += [f"        {a} --> {b}: {k}" for a, k, b in inner]
    lines.append("    }")
    lines += [f"    {a} --> {b}: {k}" for a, k, b in edges() if k not in EXITS and b.over]
    lines += [f"    active --> {target}: {kind}" for kind, target in EXITS.items()]
    lines += [f"    {stage} --> [*]" for stage in Stage if stage.over]
    return "\n".join(lines) + "\n"
