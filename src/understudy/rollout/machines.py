"""What machines say of their gateway workers through the control store, and what that counts for. Pure.

A machine speaks for its workers while it has been heard within `SPEAKS_S`. One that is silent for longer counts as not
having acknowledged anything: its workers may serve on by the table they had. After `GONE_S` it is taken for gone, and
nobody waits for it any more. A machine whose last word was that no worker lives holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from understudy.rollout.publish import Heartbeat, Kill, Tripped
from understudy.rollout.store.base import Said

SPEAKS_S = 5.0
"""A machine that was heard within so many seconds speaks for its workers."""
GONE_S = 900.0
"""A machine that was not heard for so long is taken for gone."""


class Machine(NamedTuple):
    """What a machine last said, and how many seconds ago."""

    name: str
    silent_s: float
    workers: tuple[Heartbeat, ...] = ()
    """Those that lived when it was said."""
    kills: tuple[Kill, ...] = ()
    """The kill files of that machine."""
    problem: str = ""
    """Why it does not follow, in its own words."""

    @property
    def speaks(self) -> bool:
        return self.silent_s <= SPEAKS_S


def report(beats: Iterable[Heartbeat], kills: Iterable[Kill], problem: str, now: float) -> dict[str, Any]:
    """What a machine says of itself. Whether a worker lives is decided there, where its process can be seen."""
    return {
        "workers": [
            {
                "worker": beat.worker,
                "pid": beat.pid,
                "generation": beat.generation,
                "epoch": beat.epoch,
                "open_breakers": [list(tripped) for tripped in beat.open_breakers],
                "killed": list(beat.killed),
            }
            for beat in beats
            if beat.live(now)
        ],
        "kills": [list(kill) for kill in kills],
        "problem": problem,
    }


def machine(said: Said, now: float) -> Machine:
    """What was said, as heard at `now`. A word that cannot be read says nothing of any worker but that it is there."""
    at = now - said.silent_s
    try:
        return Machine(
            said.machine,
            said.silent_s,
            tuple(_worker(said.machine, each, at) for each in said.document["workers"]),
            tuple(Kill(*each) for each in said.document["kills"]),
            str(said.document["problem"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        unread = Heartbeat(said.machine, pid=0, generation="", epoch=-1, at=at, there=True)
        return Machine(said.machine, said.silent_s, (unread,), (), f"its report cannot be read: {error!r}")


def _worker(name: str, said: Mapping[str, Any], at: float) -> Heartbeat:
    return Heartbeat(
        worker=f"{name}/{said['worker']}",
        pid=int(said["pid"]),
        generation=str(said["generation"]),
        epoch=int(said["epoch"]),
        at=at,
        open_breakers=tuple(Tripped(*each) for each in said["open_breakers"]),
        killed=tuple(said["killed"]),
        there=True,
    )


def heartbeats(machines: Sequence[Machine], now: float) -> list[Heartbeat]:
    """The live workers of all machines; one voice without an epoch for those of a machine that has fallen silent."""
    found: list[Heartbeat] = []
    for one in machines:
        if one.speaks:
            found += one.workers
        elif one.workers and one.silent_s <= GONE_S:
            name = f"{one.name} (not heard for {one.silent_s:.0f} s)"
            found.append(Heartbeat(name, pid=0, generation="", epoch=-1, at=now, there=True))
    return found


def kills(machines: Sequence[Machine]) -> dict[str, Kill]:
    """The kill files of all machines that are not gone, by workload, with where each is; the earliest of a workload."""
    found: dict[str, Kill] = {}
    for one in machines:
        for kill in one.kills:
            if one.silent_s <= GONE_S and (kill.workload not in found or kill.at < found[kill.workload].at):
                found[kill.workload] = kill._replace(by=f"{kill.by} on {one.name}")
    return found


def notes(machines: Sequence[Machine]) -> list[str]:
    """What somebody should know of the machines, a sentence each."""
    said = []
    for one in machines:
        if not one.speaks and one.workers and one.silent_s <= GONE_S:
            said.append(
                f"{one.name} was not heard for {one.silent_s:.0f} s and counts as not acknowledged, "
                f"for {GONE_S:.0f} s: see that `understudy follow` runs there; "
                "`understudy rollback WORKLOAD --local` works there"
            )
        elif one.speaks and one.problem:
            said.append(f"{one.name} does not follow: {one.problem}")
    return said


class Mark(NamedTuple):
    """Which table one is."""

    generation: str
    epoch: int


def refuses(local: Mark | None, offered: Mark) -> str:
    """ "" where a machine may take the table on offer over its own, else why it may not."""
    if local is None or local.generation != offered.generation or offered.epoch >= local.epoch:
        return ""
    return (
        f"the control store offers epoch {offered.epoch}, this machine is at {local.epoch} of the same generation: "
        "the store was restored from an older copy; `understudy controller --reseal` accepts it"
    )


FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


def pause_s(failures: int, draw: float) -> float:
    """How long to wait before the next attempt to reach the store: doubled each time, up to a limit, and spread by
    `draw` (from 0 to 1) over its upper half, so that many machines do not come back in one moment.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + draw / 2)
