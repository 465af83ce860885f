"""Knows when models are shut down, as far as public pages say it: each date with its source and the day it was read.

Sources disagree, and many give an earliest day rather than a date. Both are kept; an announced date outranks an
earliest day, and of two announced ones the earlier is planned on. A model without a row is unknown, never fine. A cloud
that hosts others' models has rows of its own: neither its dates nor its maker's hold at the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, NamedTuple

from understudy.registry.clouds import CLOUDS, by_name, spellings
from understudy.registry.naming import Naming, Promise, classify

if TYPE_CHECKING:
    from understudy.config.schema import ModelSection

Kind = Literal["announced", "not_before"]

FRESH_DAYS = 60
"""A notice of so many days is usual: whoever looked longer ago may have missed one."""


class Retirement(NamedTuple):
    """A day on which a model stops answering (`announced`), or before which it will not (`not_before`)."""

    day: date
    kind: Kind
    source: str
    read: date | None
    """When the source was read; None for what a user declared."""
    as_of: date | None = None
    """The latest day that a copy of the source shows, where the source itself was not read."""

    def days_left(self, today: date) -> int:
        """Days until it; below 0 once it has passed."""
        return (self.day - today).days

    def age_days(self, today: date) -> int | None:
        """Days since the source said so; None for what a user declared."""
        said = self.as_of or self.read
        return None if said is None else (today - said).days

    def passed(self, today: date) -> bool:
        """Whether the model is gone: an earliest day that has passed says nothing of the kind."""
        return self.kind == "announced" and self.day <= today


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What is known of a model's life; None and "" are unknown."""

    model: str
    on: str = ""
    """The cloud whose dates these are, as `clouds.CLOUDS` names it; "" for the maker's own."""
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
    on: str = ""
    """The cloud that serves it, as `clouds.CLOUDS` names it; "" for the maker, or one that nobody named."""
    behind: str = ""
    """The model that the project declares behind the name; "" where it declares none."""

    @property
    def where(self) -> str:
        """The cloud in words, to stand behind a verb; "" for the maker."""
        return f" on {CLOUDS[self.on].title}" if self.on else ""


class Registry:
    """The public facts, and over them what a project declares under `models:`."""

    def __init__(self, declared: Mapping[str, ModelSection] | None = None) -> None:
        self._declared = dict(declared or {})

    def look_up(self, model: str, platform: str = "") -> Known:
        """What is known of a name as `platform`, a cloud, serves it; without one, the name itself may tell the cloud.

        The name of a deployment on Azure is nobody's but its owner's, who declares the model behind it.
        """
        own = self._declared.get(model)
        behind = own.model if own is not None and own.model else model
        on = platform or by_name(model) or by_name(behind)
        naming = classify(model, on)
        lifetime = None if on.startswith("azure") and behind == model else _row(behind, on)
        if own is None:
            return Known(naming, lifetime, on=on)
        if own.exact is not None:
            reason = f"declared under `models:`{f' ({own.source})' if own.source else ''}"
            promise = Promise.EXACT if own.exact else Promise.ALIAS
            naming = naming._replace(promise=promise, reason=reason, malformed=False, preview=False)
        return Known(naming, _overridden(lifetime or Lifetime(behind, on), own), True, on, own.model)


def _row(model: str, on: str) -> Lifetime | None:
    rows = (public().get((on, name)) for name in spellings(model, on))
    return next((row for row in rows if row is not None), None)


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
def public() -> Mapping[tuple[str, str], Lifetime]:
    """The rows of lifetimes.json by cloud ("" for the maker) and name."""
    text = (files("understudy.registry") / "lifetimes.json").read_text(encoding="utf-8")
    return {(row.on, row.model): row for row in map(_lifetime, json.loads(text)["models"])}


@cache
def looked_up() -> date:
    """The last day on which somebody looked anything up for the public facts."""
    return max(each.read for row in public().values() for each in row.retirements if each.read is not None)


def _lifetime(row: dict[str, str | list[dict[str, str]]]) -> Lifetime:
    dates = row["retires"]
    assert isinstance(dates, list)
    return Lifetime(
        model=str(row["model"]),
        on=str(row.get("on", "")),
        released=_day(str(row["released"])),
        deprecated=_day(str(row["deprecated"])),
        retirements=tuple(
            Retirement(
                date.fromisoformat(each["date"]),
                "announced" if each["kind"] == "announced" else "not_before",
                each["source"],
                date.fromisoformat(each["read"]),
                _day(each.get("as_of", "")),
            )
            for each in dates
        ),
        replacement=str(row["replacement"]),
    )


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
