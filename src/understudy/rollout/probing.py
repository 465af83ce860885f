"""Asks the incumbent every minute while a rollback may need it, so that nobody finds out the hard way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from understudy.config.project import Project
from understudy.core.errors import UnderstudyError
from understudy.core.variant import Variant
from understudy.rollout.fold import UpgradeState
from understudy.rollout.observation import Probe
from understudy.upstream.client import Client
from understudy.wires.base import Message
from understudy.wires.registry import wire

EVERY_S = 60.0
QUESTION = "Reply with the word ready."
"""What a probe asks; the answer is not read, only its status."""


@dataclass
class IncumbentProber:
    """The probes of one controller, by upgrade."""

    every_s: float = EVERY_S
    _last: dict[str, Probe] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def probe(self, project: Project, state: UpgradeState, now: float) -> Probe | None:
        task = self._tasks.get(state.id)
        due = now - self._asked_at.get(state.id, 0.0) >= self.every_s
        if due and (task is None or task.done()):
            self._asked_at[state.id] = now
            self._tasks[state.id] = asyncio.create_task(self._ask(project, state, now))
        return self._last.get(state.id)

    async def _ask(self, project: Project, state: UpgradeState, now: float) -> None:
        before = self._last.get(state.id)
        problem = await ask(project, state.incumbent)
        if not problem:
            self._last[state.id] = Probe(now, None)
        else:
            since = before.failing_since if before and before.failing_since is not None else now
            self._last[state.id] = Probe(before.answered_at if before else None, since, problem)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()


async def ask(project: Project, variant: Variant) -> str:
    """Ask a variant for a word; "" where it answered, else what went wrong."""
    providers = project.providers()
    client = Client(providers, project.provider_key)
    try:
        provider = providers[variant.provider]
        request = wire(provider.wire).compose(variant, [Message("user", QUESTION)])
        response = await client.send(variant.provider, request)
    except UnderstudyError as error:
        return error.message
    finally:
        await client.close()
    return "" if response.status == 200 else f"HTTP status {response.status}"
