"""Knows when models are shut down, as far as public pages say it: each date with its source and the day it was read.

Sources disagree, and many give an earliest day rather than a date. Both are kept; an announced date outranks an
earliest day, and of two announced ones the earlier is planned on. A model without a row is unknown, never fine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, NamedTuple

from understudy.registry.naming import Naming, Promise, classify, unrouted

if TYPE_CHECKING:
    from understudy.config.schema import ModelSection

Kind = Literal["announced", "not_before"]


class Retirement(NamedTuple):
    """A day on which a model stops answering (`announced`), or before which it will not (`not_before`)."""

    day: date
    kind: Kind
    source: str
    read: date | None
    """When the source was read; None for what a user declared."""

    def days_left(self, today: date) -> int:
        """Days until it; below 0 once it has passed."""
        return (self.day - today).days

    def passed(self, today: date) -> bool:
        """Whether the model is gone: an earliest day that has passed says nothing of the kind."""
        return self.kind == "announced" and self.day <= today


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What is known of a model's life; None and "" are unknown."""

    model: str
    released: date | None = None
    deprecated: date | None = None
    retirements: tuple[Retirement, ...] = ()
    replacement: str = ""

    @property
    def retirement(self) -> Retirement | None:
        """The one to plan on."""
        return min(self.retirements, key=lambda each: (each.kind != "announced", each.day), default=None)


class Known(NamedTuple):
    """All that the registry says of a name."""

    naming: Naming
    lifetime: Lifetime | None
    declared: bool = False
    """Whether the project says so itself."""


class Registry:
    """The public facts, and over them what a project declares under `models:`."""

    def __init__(self, declared: Mapping[str, ModelSection] | None = None) -> None:
        self._declared = dict(declared or {})

    def look_up(self, model: str, platform: str = "") -> Known:
        """What is known of a name as `platform` serves it: the dates of a maker do not hold where others host it."""
        own = self._declared.get(model)
        naming = classify(model, platform)
        lifetime = None if platform == "azure" else public().get(unrouted(model))
        if own is None:
            return Known(naming, lifetime)
        if own.exact is not None:
            reason = f"declared under `models:`{f' ({own.source})' if own.source else ''}"
            promise = Promise.EXACT if own.exact else Promise.ALIAS
            naming = naming._replace(promise=promise, reason=reason, malformed=False, preview=False)
        return Known(naming, _overridden(lifetime or Lifetime(model), own), declared=True)


def _overridden(lifetime: Lifetime, own: ModelSection) -> Lifetime:
    retirements = lifetime.retirements
    if own.retires:
        kind: Kind = "not_before" if own.earliest else "announced"
        retirements = (Retirement(date.fromisoformat(own.retires), kind, own.source or "understudy.yaml", None),)
    return replace(
        lifetime,
        released=_day(own.released) or lifetime.released,
        deprecated=_day(own.deprecated) or lifetime.deprecated,
        retirements=retirements,
        replacement=own.replacement or lifetime.replacement,
    )


@cache
def public() -> Mapping[str, Lifetime]:
    """The rows of lifetimes.json by name."""
    text = (files("understudy.registry") / "lifetimes.json").read_text(encoding="utf-8")
    return {row["model"]: _lifetime(row) for row in json.loads(text)["models"]}


def _lifetime(row: dict[str, str | list[dict[str, str]]]) -> Lifetime:
    dates = row["retires"]
    assert isinstance(dates, list)
    return Lifetime(
        model=str(row["model"]),
        released=_day(str(row["released"])),
        deprecated=_day(str(row["deprecated"])),
        retirements=tuple(
            Retirement(
                date.fromisoformat(each["date"]),
                "announced" if each["kind"] == "announced" else "not_before",
                each["source"],
                date.fromisoformat(each["read"]),
            )
            for each in dates
        ),
        replacement=str(row["replacement"]),
    )


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
