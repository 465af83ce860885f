"""What the demonstration saw, as data: the moments of each upgrade, what users got, and the table at the end. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from understudy.core.playbook import Stage
from understudy.demo.scenario import SCENES, Scene
from understudy.demo.traffic import Seen


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to an upgrade. `at` is seconds since the curtain rose."""

    at: float
    workload: str
    what: str
    sentence: str


@dataclass(slots=True)
class Act:
    """One upgrade of the demonstration, as far as it got."""

    scene: Scene
    upgrade: str = ""
    ended: str = ""
    evals: list[str] = field(default_factory=list)
    retuned: str = ""
    shadow: str = ""
    findings: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    soak: str = ""
    rollback: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """The whole evening."""

    folder: str
    seconds: float
    acts: list[Act]
    moments: list[Moment]
    users: Mapping[str, Seen]

    @property
    def as_meant(self) -> bool:
        """Whether every upgrade ended as its story says and no user saw a failure."""
        ended = {act.scene.workload: act.ended for act in self.acts}
        return all(ended[s.workload] == s.ends for s in SCENES) and not any(seen.failed for seen in self.users.values())

    def as_dict(self) -> dict[str, Any]:
        """What `demo --json` prints and evidence/report.json holds."""
        return {
            "as_meant": self.as_meant,
            "seconds": round(self.seconds, 1),
            "folder": self.folder,
            "upgrades": [
                {
                    "workload": act.scene.workload,
                    "upgrade": act.upgrade,
                    "story": act.scene.story,
                    "ended": act.ended,
                    "regress": act.evals,
                    "retune": act.retuned,
                    "shadow": act.shadow,
                    "findings": act.findings,
                    "canary": act.steps,
                    "soak": act.soak,
                    "rollback": act.rollback,
                    "users": _users(self.users.get(act.scene.workload)),
                }
                for act in self.acts
            ],
            "moments": [asdict(moment) for moment in self.moments],
        }


def _users(seen: Seen | None) -> dict[str, Any]:
    if seen is None:
        return {}
    return {"answers": seen.answered, "failed": seen.failed, "by_variant": dict(seen.by_variant)}


def rows(report: Report) -> list[list[str]]:
    """The table at the end: one row a stage, one column an upgrade."""

    def row(name: str, cells: Sequence[str]) -> list[str]:
        return [name, *(cell or "-" for cell in cells)]

    acts = report.acts
    return [
        row(Stage.REGRESS, ["\n".join(act.evals) for act in acts]),
        row(Stage.RETUNE, [act.retuned for act in acts]),
        row(Stage.SHADOW, ["\n".join([act.shadow, *act.findings[:5]]).strip() for act in acts]),
        row(Stage.CANARY, ["\n".join(act.steps) for act in acts]),
        row(Stage.SOAK, [act.soak for act in acts]),
        row("users saw", [_audience(report.users.get(act.scene.workload)) for act in acts]),
        row("ended", [act.ended for act in acts]),
    ]


def _audience(seen: Seen | None) -> str:
    if seen is None:
        return ""
    parts = ", ".join(f"{name} {count:,}" for name, count in sorted(seen.by_variant.items()))
    return f"{seen.answered:,} answers, {seen.failed} failed\n{parts}"


def markdown(report: Report) -> str:
    """evidence/report.md: the table, the moments, and the commands that look deeper."""
    heads = ["stage", *(act.scene.workload for act in report.acts)]
    lines = ["# Three upgrades", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace(chr(10), '<br>') for cell in cells)} |" for cells in rows(report)]
    lines += ["", "## What happened when", "", "| s | workload | what | |", "|---|---|---|---|"]
    lines += [f"| {m.at:.1f} | {m.workload} | {m.what} | {m.sentence} |" for m in report.moments]
    lines += ["", "## Look deeper", "", "In this folder:", ""]
    lines += [f"    {command}" for command in next_commands()]
    return "\n".join(lines) + "\n"


def next_commands() -> list[str]:
    """What to try in the folder the demonstration leaves behind."""
    return [
        f"understudy history {SCENES[0].workload}",
        f"understudy upgrade status {SCENES[2].workload}",
        f"understudy shadow report {SCENES[1].workload}",
        f"understudy report {SCENES[2].workload} --out pack",
        "understudy ledger verify",
        "understudy dashboard",
    ]
