"""Puts alerts into the control store and carries them from there to their targets, beside the turns of a controller.

At least once: what is queued stays until a target has taken it, over any kill; one that takes it twice sees one id. A
target that hangs, fails or is away keeps nobody waiting but itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from understudy.alerts.alert import Alert, Kind
from understudy.alerts.post import Target, post, wait_s
from understudy.config.project import Project
from understudy.core.errors import ConfigError, UnderstudyError
from understudy.core.playbook import DAY
from understudy.core.routing import RoutingTable
from understudy.rollout import table
from understudy.rollout.alerting import TOLD_FOR_S, Limits, Standing, happened, person_in, standing
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Event
from understudy.rollout.store.base import GIVEN_UP, SENT, Post, Snapshot, Store

KEEP_TRYING_S = 3 * DAY
"""An alert that no attempt delivered for so long is given up."""
MINE_S = 30.0
"""A post that was taken for sending is another sender's again after so long: the first one may be dead."""
LOOK_EVERY_S = 5.0
"""How often it is looked for what goes on too long."""
UNATTENDED = {Kind.CONTROLLER_SILENT, Kind.LEASE_EXPIRED}
AT_ONCE = 20
"""Posts that are taken from the outbox in one look."""


def target_of(project: Project, name: str) -> Target:
    """A configured target, secrets from the environment. Raises ConfigError where a variable is not set."""
    url, secret = project.alert_target(name)
    return Target(name, project.config.alerts.targets[name].form, url, secret)


def posts_for(project: Project, alerts: Iterable[Alert]) -> list[Post]:
    """One for each alert and target that asked for it."""
    found: list[Post] = []
    for alert in alerts:
        for name, section in project.config.alerts.targets.items():
            wanted = not section.on or any(str(kind) in section.on for kind in alert.kinds)
            here = "*" in section.workloads or alert.workload in section.workloads
            if wanted and here:
                found.append(Post(alert.id, name, alert.at, alert.as_dict(), next_at=alert.at))
    return found


@dataclass
class Outbox:
    """The alerts of one controller; forgetting everything here costs nothing but reading journals again."""

    store: Store
    clock: Callable[[], float]
    """Seconds since the epoch."""
    deadline: Callable[[Project, UpgradeState], date | None]
    """The first day without the incumbent's model, None where nobody knows one."""
    silent: list[str] = field(default_factory=list)
    """What the last look found of a controller that does not look, and of leases that ran out."""
    _told: dict[str, int] = field(default_factory=dict)
    """By upgrade: the last event that was looked at."""
    _epoch: int = -1
    _looked_at: float = float("-inf")
    _sending: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def look(self, project: Project, snapshot: Snapshot, published: RoutingTable | None, now: float) -> int:
        """Queue what is new to tell; returns how many posts that made. Raises StoreUnavailable and DataCorrupt."""
        if not project.config.alerts.targets:
            return 0
        alerts: list[Alert] = []
        if snapshot.epoch != self._epoch:
            alerts += await self._happened(now)
            self._epoch = snapshot.epoch
        if not 0 <= now - self._looked_at < LOOK_EVERY_S:
            self._looked_at = now
            self.silent.clear()
            for state in snapshot.upgrades:
                if not state.over and state.workload in project.config.workloads:
                    going_on = await self._standing(project, state, published, now)
                    self.silent += [one.title for one in going_on if UNATTENDED.intersection(one.kinds)]
                    alerts += going_on
        posts = posts_for(project, alerts)
        return await self.store.queue(posts) if posts else 0

    async def _happened(self, now: float) -> list[Alert]:
        """What the journals say that have grown, also those of upgrades that have ended since."""
        found: list[Alert] = []
        for state in await self.store.upgrades():
            lately = not state.over or (state.ended_at or 0.0) >= now - TOLD_FOR_S
            if lately and self._told.get(state.id) != state.seq:
                journal = await self.store.journal(state.id)
                found += happened(journal, now)
                self._told[state.id] = journal[-1].seq
        return found

    async def _standing(
        self, project: Project, state: UpgradeState, published: RoutingTable | None, now: float
    ) -> list[Alert]:
        assessment = await self.store.assessment(state.id)
        seen = Standing(
            assessed_at=float(assessment["at"]) if assessment else None,
            person=person_in(assessment, state),
            lease_until=table.leases_of(published).get(state.id) if published else None,
            deadline=self.deadline(project, state),
            today=datetime.fromtimestamp(now, UTC).date(),
        )
        section = project.config.alerts
        journal: list[Event] = await self.store.journal(state.id) if state.exposing else []
        return standing(state, journal, seen, Limits(section.drill_every, section.deadline), now)

    # -- on the way

    async def send(self, project: Project) -> None:
        """Begin to send what is due, one task a target, and come back at once."""
        configured = project.config.alerts.targets
        for name, task in list(self._sending.items()):
            if task.done():
                del self._sending[name]
                task.result()
        if not configured and not self._sending:
            return
        due: dict[str, list[Post]] = {}
        for one in await self.store.posts(due=self.clock(), limit=AT_ONCE):
            due.setdefault(one.target, []).append(one)
        for name, posts in due.items():
            if name not in self._sending:
                self._sending[name] = asyncio.create_task(self._carry(project, name, posts))

    async def close(self, grace_s: float = 0.0) -> None:
        """Wait so long for what is under way; the rest stays in the outbox."""
        if self._sending:
            _, late = await asyncio.wait(self._sending.values(), timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._sending.clear()

    async def _carry(self, project: Project, name: str, posts: Sequence[Post]) -> None:
        """Send the posts of one target, one after the other, until it fails."""
        for one in posts:
            if not await self._claimed(one):
                continue
            if name not in project.config.alerts.targets:
                gone = one._replace(state=GIVEN_UP, ended_at=self.clock(), problem="the target is not configured")
                await self._settled(gone)
                continue
            try:
                problem = await post(target_of(project, name), one.message, self.clock())
            except ConfigError as error:
                problem = error.problems[0].message
            await self._settled(outcome(one, problem, self.clock()))
            if problem:
                return

    async def _claimed(self, one: Post) -> bool:
        try:
            return await self.store.claim(one, self.clock() + MINE_S)
        except UnderstudyError:
            return False  # the store is away: the post waits there for the next look

    async def _settled(self, one: Post) -> None:
        try:
            await self.store.settle_post(one)
        except UnderstudyError:
            return  # it was taken for MINE_S, and is sent again then, under the same id


def outcome(one: Post, problem: str, now: float) -> Post:
    """What became of an attempt: sent, to be tried again later each time, or given up."""
    tried = one._replace(attempts=one.attempts + 1, problem=problem)
    if not problem:
        return tried._replace(state=SENT, ended_at=now)
    if now - one.at >= KEEP_TRYING_S:
        return tried._replace(state=GIVEN_UP, ended_at=now)
    return tried._replace(next_at=now + wait_s(tried.attempts))
