"""Says what the new model wanted that the old did not, from evidence: changed lines, and the cases they moved. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from understudy.tuning.bar import Held, Level, levels

NAMED = 3
"""Cases that are named for each step; all are counted."""


class Tried(NamedTuple):
    """A prompt that was scored on all cases of the selection, and the one it was made from (None: the first)."""

    prompt: str
    parent: int | None
    cases: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the prompt on the way to the best one."""

    removed: tuple[str, ...]
    added: tuple[str, ...]
    won: Mapping[str, int]
    """Cases that score higher than before, by slice."""
    lost: Mapping[str, int]
    examples: tuple[str, ...]
    """Ids of some cases that score higher."""
    before: float
    after: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def steps(tried: Sequence[Tried], winner: int) -> list[Step]:
    """The changes that led from the first prompt to the winner, the earliest first."""
    path = [winner]
    while (parent := tried[path[-1]].parent) is not None:
        path.append(parent)
    path.reverse()
    return [_step(tried[old], tried[new]) for old, new in pairwise(path)]


def note(found: Sequence[Step], old: str, new: str) -> list[str]:
    """The evidence in plain sentences, one a step."""
    if not found:
        return [f"No change of the prompt brought {new} nearer to {old}."]
    return [_sentence(step) for step in found]


def brief(found: Sequence[Step]) -> str:
    """What changed, without what it moved: the reason that stands beside a variant."""
    return "; ".join(said for step in found if (said := _told(step)))


def _sentence(step: Step) -> str:
    won = ", ".join(f"{name or 'all'} {count}" for name, count in step.won.items())
    lost = ", ".join(f"{name or 'all'} {count}" for name, count in step.lost.items())
    moved = f"cases won: {won or 'none'}" + (f"; cases lost: {lost}" if lost else "")
    named = f" (such as {', '.join(step.examples)})" if step.examples else ""
    return f"{_told(step) or 'only blank lines changed'}: {moved}{named}; {_points(step)}."


def _told(step: Step) -> str:
    said = [f"told {_quoted(step.added)}"] if step.added else []
    said += [f"no longer told {_quoted(step.removed)}"] if step.removed else []
    return "; ".join(said)


def _points(step: Step) -> str:
    return f"{100 * step.before:.1f} to {100 * step.after:.1f} on the cases of the selection"


def _quoted(lines: Sequence[str]) -> str:
    return " / ".join(f'"{line.strip()}"' for line in lines)


def _step(old: Tried, new: Tried) -> Step:
    before, after = old.prompt.splitlines(), new.prompt.splitlines()
    changed = list(difflib.ndiff(before, after))
    scores = {each.case: each.candidate for each in old.cases}
    won = [each for each in new.cases if each.candidate > scores[each.case]]
    lost = [each for each in new.cases if each.candidate < scores[each.case]]
    return Step(
        removed=tuple(line[2:] for line in changed if line.startswith("- ") and line[2:].strip()),
        added=tuple(line[2:] for line in changed if line.startswith("+ ") and line[2:].strip()),
        won=_counted(won),
        lost=_counted(lost),
        examples=tuple(sorted(each.case for each in won)[:NAMED]),
        before=_all(old.cases).candidate,
        after=_all(new.cases).candidate,
    )


def _counted(cases: Sequence[Held]) -> dict[str, int]:
    names = sorted({name for each in cases for name in each.slices or ("",)})
    return {name: sum(name in (each.slices or ("",)) for each in cases) for name in names}


def _all(cases: Sequence[Held]) -> Level:
    return levels(cases)[0]
