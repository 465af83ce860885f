"""Puts two variants side by side: what changed in prompt, parameters and effort, and why; judges nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from understudy.core.canonical import canonical_json
from understudy.core.variant import Variant

CONTEXT = 2
"""Unchanged lines that are shown around a change."""

Kind = Literal["same", "removed", "added", "gap"]


class Line(NamedTuple):
    """One line of the two prompts laid over each other; a gap stands for unchanged lines that are left out."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return {"same": "  ", "removed": "- ", "added": "+ ", "gap": "  "}[self.kind] + self.text


class Change(NamedTuple):
    """A setting with another value; None where one variant does not have it."""

    setting: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.setting}: {_written(self.before)} -> {_written(self.after)}"


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two variants, what differs between them, and the reason that was written down for the second."""

    before: str
    after: str
    why: str
    settings: tuple[Change, ...]
    prompt: tuple[Line, ...]
    """Empty where the prompts are the same."""

    @property
    def same(self) -> bool:
        return not self.settings and not self.prompt

    def lines(self) -> Iterator[str]:
        """The view as plain text, as evidence and logs keep it."""
        yield f"{self.before} to {self.after}"
        yield f"why: {self.why or 'not recorded'}"
        for change in self.settings:
            yield f"  {change}"
        if self.prompt:
            yield "system prompt:"
            yield from (f"  {line}" for line in self.prompt)
        elif not self.settings:
            yield "  nothing differs"

    def as_dict(self) -> dict[str, Any]:
        """Stable JSON: fields are added, never renamed."""
        return {
            **asdict(self),
            "settings": [change._asdict() for change in self.settings],
            "prompt": [line._asdict() for line in self.prompt],
        }


def side_by_side(before: Variant, after: Variant, why: str = "") -> SideBySide:
    """What changed from one variant to the other. `why` is what the configuration records for the later one."""
    return SideBySide(
        before=before.name,
        after=after.name,
        why=why,
        settings=tuple(_changes(_settings(before), _settings(after))),
        prompt=tuple(_prompt(before.system_prompt.splitlines(), after.system_prompt.splitlines())),
    )


def _settings(variant: Variant) -> dict[str, Any]:
    """Everything but the prompt, flat, in the words of the configuration file."""
    dial = variant.reasoning.as_dict() if variant.reasoning else {}
    return {
        "provider": variant.provider,
        "model": variant.model,
        **{f"params.{key}": value for key, value in sorted(variant.params.items())},
        **{f"reasoning.{key}": value for key, value in dial.items()},
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for setting in dict.fromkeys((*before, *after)):
        if before.get(setting) != after.get(setting):
            yield Change(setting, before.get(setting), after.get(setting))


def _prompt(before: list[str], after: list[str]) -> Iterator[Line]:
    groups = difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_grouped_opcodes(CONTEXT)
    end = 0
    for group in groups:
        yield from _gap(group[0][1] - end)
        for tag, old, old_end, new, new_end in group:
            if tag == "equal":
                yield from (Line("same", text) for text in before[old:old_end])
                continue
            yield from (Line("removed", text) for text in before[old:old_end])
            yield from (Line("added", text) for text in after[new:new_end])
        end = group[-1][2]
    if end:
        yield from _gap(len(before) - end)


def _gap(lines: int) -> Iterator[Line]:
    if lines > 0:
        yield Line("gap", f"({lines} unchanged line{'s' if lines > 1 else ''})")


def _written(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value if isinstance(value, str) else canonical_json(value).decode()
