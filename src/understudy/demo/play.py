"""Plays the demonstration: starts the processes, begins three upgrades, watches them, and does what people would do.

What is decided here is only what a person decides in the stories: switch to the better prompt, stop the upgrade that
users would notice, and pull the plug of a provider. Everything else is decided by the controller it watches.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from understudy.config.project import Project, open_project
from understudy.core.errors import CannotMeasure, UsageError
from understudy.core.playbook import Stage
from understudy.demo import report as reporting
from understudy.demo.cast import Cast
from understudy.demo.report import Act, Moment, Report
from understudy.demo.scenario import BREAKS, MODELS, SCENES, Scene, populations, write
from understudy.demo.traffic import Plan, Seen
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import UpgradeState, fold
from understudy.rollout.intents import Wish
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.rollout.operate import Asked, carry_out
from understudy.wiring import Control, control

CURTAIN_S = 240.0
"""The demonstration gives up this long after its upgrades began, which is six times what they take on two free cores.
What the processes need to start on a busy machine is not counted.
"""
BREAK_AFTER = 25
"""How many answers the third candidate gives its users before its provider begins to fail."""
LOOK_EVERY_S = 0.25
PERSON = "you"

Tell = Callable[[Moment], None]


@dataclass
class House:
    """Everything the play holds while it runs."""

    project: Project
    control: Control
    cast: Cast
    provider_port: int
    tell: Tell
    raised: float
    acts: dict[str, Act]
    moments: list[Moment] = field(default_factory=list)
    users: dict[str, Seen] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    broken_at: dict[str, float] = field(default_factory=dict)

    def say(self, workload: str, what: str, sentence: str) -> None:
        moment = Moment(round(time.monotonic() - self.raised, 1), workload, what, sentence)
        self.moments.append(moment)
        self.tell(moment)


async def play(folder: Path, tell: Tell) -> Report:
    """Play it in an empty folder and return what was seen.

    Raises UsageError where the folder is in use, CannotMeasure where a process dies or the evening takes too long.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", remedy="name another folder with --out, or remove this one")
    folder.mkdir(parents=True, exist_ok=True)
    raised = time.monotonic()
    async with Cast(folder / "logs") as cast:
        provider = await _provider(cast, folder)
        write(folder, provider["base_url"])
        project = open_project(folder / "understudy.yaml")
        await cast.start("understudy up", "understudy", "up", "--port", "0", "--no-dashboard", "--json", cwd=folder)
        up = await cast.ready("understudy up", within_s=90)
        async with control(project) as opened:
            acts = {scene.workload: Act(scene) for scene in SCENES}
            house = House(project, opened, cast, provider["port"], tell, raised, acts)
            plan = Plan(host="127.0.0.1", port=up["port"], populations=populations())
            await cast.start("traffic", "understudy.demo.traffic", cwd=folder, say=msgspec.json.encode(plan) + b"\n")
            await _perform(house)
        report = Report(str(folder), time.monotonic() - raised, list(acts.values()), house.moments, house.users)
    _keep(report, folder)
    return report


async def _provider(cast: Cast, folder: Path) -> dict[str, Any]:
    models = [part for name, faults in MODELS.items() for part in ("--model", f"{name}={json.dumps(faults)}")]
    await cast.start("provider", "understudy.testing.simulated", *models, cwd=folder)
    return await cast.ready("provider", within_s=90)


async def _perform(house: House) -> None:
    process = house.cast.process("traffic")
    assert process.stdout is not None
    listening = asyncio.create_task(_listen(house, process.stdout))
    try:
        for scene in SCENES:
            token = secrets.token_hex(3)
            request = Request(scene.workload, scene.candidate, PERSON, scene.story, token)
            state = await begin(house.project, house.control.store, house.control.board, request, time.time())
            house.acts[scene.workload].upgrade = state.id
        begun = time.monotonic()
        while not all(act.ended for act in house.acts.values()):
            if time.monotonic() - begun > CURTAIN_S:
                remedy = "this machine is busy: look into logs/ of the folder, or remove it and try again"
                raise CannotMeasure(_overdue(house), remedy=remedy)
            house.cast.check()
            for scene in SCENES:
                if not house.acts[scene.workload].ended:
                    await _watch(house, scene)
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.sleep(0.6)
        await house.cast.stop("traffic")
        await listening
    finally:
        listening.cancel()
    for act in house.acts.values():
        _measure(house, act)


async def _listen(house: House, out: asyncio.StreamReader) -> None:
    """Keep the latest counts of what users saw."""
    while line := await out.readline():
        told = json.loads(line)
        house.users = msgspec.convert(told["seen"], dict[str, Seen])


def _overdue(house: House) -> str:
    waiting = ", ".join(name for name, act in house.acts.items() if not act.ended)
    return f"after {CURTAIN_S:g} s these upgrades have not ended: {waiting}"


async def _watch(house: House, scene: Scene) -> None:
    """Look at one upgrade: tell what is new in its journal, and do what its story has people do."""
    act = house.acts[scene.workload]
    events = await house.control.store.journal(act.upgrade)
    state = fold(events)
    for event in events[house.told.get(act.upgrade, 0) :]:
        _tell(house, act, event, state)
    house.told[act.upgrade] = len(events)
    if state.stage is Stage.RETUNE and scene.fixed_by:
        await _retune(house, scene)
    elif state.stage is Stage.SHADOW and state.findings and not act.findings:
        await _stop(house, act, state)
    elif state.stage is Stage.CANARY and scene.ends == "rolled back":
        await _break(house, scene, state)
    if state.over:
        _end(house, act, state)


async def _retune(house: House, scene: Scene) -> None:
    """What an engineer does: write a better prompt, and say what the new model wanted."""
    better = house.project.variant(scene.workload, scene.fixed_by)
    why = house.project.config.workloads[scene.workload].variants[scene.fixed_by].why
    asked = Asked(Wish.SWITCH, PERSON, why, {"candidate": better.as_dict()})
    await carry_out(house.project, house.control.store, house.control.board, scene.workload, asked)
    house.acts[scene.workload].retuned = f"{scene.fixed_by}: {why}"


async def _stop(house: House, act: Act, state: UpgradeState) -> None:
    """What a product owner does who is shown that users would notice."""
    act.findings = [finding.sentence for finding in state.findings]
    why = f"users would notice: {len(state.findings)} findings in shadow"
    asked = Asked(Wish.ABORT, PERSON, why, {})
    await carry_out(house.project, house.control.store, house.control.board, act.scene.workload, asked)


async def _break(house: House, scene: Scene, state: UpgradeState) -> None:
    """What nobody does on purpose: the candidate's provider begins to fail while users are on it."""
    seen = house.users.get(scene.workload, Seen()).by_variant.get(scene.candidate, 0)
    if scene.workload in house.broken_at or seen < BREAK_AFTER:
        return

    def post() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", house.provider_port, timeout=5)
        body = json.dumps({"model": state.candidate.model, "set": BREAKS})
        connection.request("POST", "/_control", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise CannotMeasure(f"the provider answered {answer.status} to a planted fault", remedy="report this")

    await asyncio.to_thread(post)
    house.broken_at[scene.workload] = time.time()
    house.say(scene.workload, "fault", f"planted: {scene.candidate} now fails {BREAKS['error_share']:.0%} of its calls")


def _tell(house: House, act: Act, event: Event, state: UpgradeState) -> None:
    """One line of the programme for one event of the journal."""
    workload, data = act.scene.workload, event.data
    match event.kind:
        case Kind.STARTED:
            house.say(workload, "begin", f"{state.incumbent.name} to {act.scene.candidate}: {act.scene.story}")
        case Kind.EVALUATED:
            act.evals.append(_eval_line(house.project.paths.state / data["document"]))
            house.say(workload, Stage.REGRESS, act.evals[-1])
        case Kind.SWITCHED:
            house.say(workload, Stage.RETUNE, f"new prompt {data['candidate']['name']}: {event.why}")
        case Kind.CLOCK_STARTED:
            house.say(workload, Stage.SHADOW, "every request is shadowed; the clock runs")
        case Kind.EXPOSED | Kind.WIDENED:
            act.shadow = act.shadow or event.why
            act.steps.append(f"{data['share'] / 10_000:g} %")
            house.say(workload, Stage.CANARY, f"{data['share'] / 10_000:g} % of users: {event.why}")
        case Kind.TAKEN_OVER:
            house.say(workload, Stage.SOAK, event.why)
            act.soak = event.why
        case Kind.RETIRED | Kind.BLOCKED | Kind.ABORTED | Kind.ROLLED_BACK:
            house.say(workload, str(event.kind).replace("_", " "), event.why)
        case _:
            pass


def _eval_line(document: Path) -> str:
    """The result of an eval in one line: both scores, and the slices that fail."""
    result = json.loads(document.read_text())
    total = result["aggregate"]
    failed = [
        f"{row['slice']} {100 * row['incumbent']:.0f} to {100 * row['candidate']:.0f}"
        + (" (critical)" if row["critical"] else "")
        for row in result["slices"]
        if row["verdict"] == "fail"
    ]
    fails = f"; fails {', '.join(failed)}" if failed else ""
    return f"{result['outcome']}: {100 * total['incumbent']:.1f} to {100 * total['candidate']:.1f}{fails}"


def _end(house: House, act: Act, state: UpgradeState) -> None:
    if state.stage is Stage.ROLLED_BACK:
        act.ended = "rolled back"
        broken = house.broken_at.get(act.scene.workload)
        if broken and state.ended_at:
            act.rollback["fault_to_decision_s"] = round(state.ended_at - broken, 2)
    elif act.findings:
        act.ended = "stopped in shadow"
    else:
        act.ended = str(state.stage).replace("_", " ")


def _measure(house: House, act: Act) -> None:
    """From the fault to the last answer that any user got from the candidate, by the users' own clock."""
    broken = house.broken_at.get(act.scene.workload)
    last = house.users.get(act.scene.workload, Seen()).last_at.get(act.scene.candidate)
    if broken and last:
        act.rollback["fault_to_last_candidate_answer_s"] = round(max(0.0, last - broken), 2)


def _keep(report: Report, folder: Path) -> None:
    """Write the evidence beside the project it speaks of."""
    evidence = folder / "evidence"
    evidence.mkdir(exist_ok=True)
    (evidence / "report.json").write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False) + "\n")
    (evidence / "report.md").write_text(reporting.markdown(report))
