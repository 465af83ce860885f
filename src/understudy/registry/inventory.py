"""Says of every model a project pins what is known of it, and what has to be done about it by when. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from understudy.registry.clouds import page, spellings
from understudy.registry.deadline import DeadlinePlan, Fit
from understudy.registry.lifetimes import FRESH_DAYS, Known, Retirement
from understudy.registry.naming import Promise


class Tier(StrEnum):
    """What a variant is to its workload now."""

    PRODUCTION = "production"
    CANARY = "canary"
    FALLBACK = "fallback"
    """What a rollback goes back to."""
    EXPERIMENTAL = "experimental"


SERVING = (Tier.PRODUCTION, Tier.CANARY, Tier.FALLBACK)
"""Tiers that answer users, or will on a rollback."""


class Standing(NamedTuple):
    """Where a variant stands, as the control store knows it; None and "" are unknown."""

    tier: Tier
    share: float | None = None
    """Its part of the traffic, 0 to 1."""
    canary_since: float | None = None
    """When users first saw it, in seconds since the epoch."""
    tested: str = ""
    """Outcome of the last regression eval."""
    tested_at: float | None = None
    """When that was, in seconds since the epoch."""


class Need(NamedTuple):
    """Something to be done about a pin; `urgent` ones make the exit code 1."""

    kind: str
    what: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class Pinned:
    """One variant's model with all that is known of it."""

    workload: str
    variant: str
    provider: str
    model: str
    standing: Standing
    known: Known
    since: str
    why: str
    served: str = ""
    """The model that the provider last said it answered with; "" where no answer is known."""
    needs: tuple[Need, ...] = field(default=())
    plan: DeadlinePlan | None = None
    """How to leave it in time; for what serves now and has a date."""

    @property
    def retirement(self) -> Retirement | None:
        return self.known.lifetime.retirement if self.known.lifetime else None

    def as_dict(self, today: date) -> dict[str, Any]:
        """The row as `--json` prints it."""
        naming, lifetime, retirement = self.known.naming, self.known.lifetime, self.retirement
        return {
            "workload": self.workload,
            "variant": self.variant,
            "provider": self.provider,
            "model": self.model,
            **self.standing._asdict(),
            "tier": str(self.standing.tier),
            "name": {**naming._asdict(), "promise": str(naming.promise), "declared": self.known.declared},
            "served": self.served or None,
            "pin": {"since": self.since, "why": self.why},
            "on": self.known.on or None,
            "released": _iso(lifetime.released if lifetime else None),
            "deprecated": _iso(lifetime.deprecated if lifetime else None),
            "retires": _iso(retirement.day if retirement else None),
            "retires_kind": retirement.kind if retirement else None,
            "days_left": retirement.days_left(today) if retirement else None,
            "dates": [
                {
                    "date": each.day.isoformat(),
                    "kind": each.kind,
                    "source": each.source,
                    "read": _iso(each.read),
                    "as_of": _iso(each.as_of),
                }
                for each in (lifetime.retirements if lifetime else ())
            ],
            "replacement": lifetime.replacement if lifetime else "",
            "begin_by": self.plan.begin_by.isoformat() if self.plan else None,
            "plan": self.plan.as_dict() if self.plan else None,
            "needs": [need._asdict() for need in self.needs],
        }


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


FIRST_HAND = ("openai", "anthropic", "google", "mistral", "")
"""Schemes whose providers answer with the name that was asked for, where it is exact."""


def needs(pinned: Pinned, today: date, retain_s: float) -> Iterator[Need]:
    """What has to be done about a pin. `retain_s` is how long a fallback has to stay callable."""
    tier, naming = pinned.standing.tier, pinned.known.naming
    serving = tier in SERVING
    behind, on = pinned.known.behind, pinned.known.on
    same = set(spellings(pinned.served, on)) & set(spellings(behind or pinned.model, on))
    other = "" if same else pinned.served
    answered = f"; it last answered as {other}" if other else ""
    if behind and other:
        said = f"{pinned.model} is declared to be {behind}, and {other} answered"
        yield Need("served_other", f"{said}: ask the provider, and put `models:` right", serving)
    elif naming.promise is Promise.EXACT and other and naming.scheme in FIRST_HAND:
        yield Need("served_other", f"{pinned.model} is pinned, and {other} answered: ask the provider", True)
    if naming.malformed:
        yield Need("malformed", f"{naming.reason}: {naming.remedy}", serving)
    elif naming.promise is Promise.ALIAS:
        yield Need("alias", f"{pinned.model} may change under you: {naming.reason}; {naming.remedy}{answered}", serving)
    elif naming.preview:
        yield Need("preview", f"{pinned.model} is a preview; {naming.remedy}", False)
    elif naming.promise is Promise.UNKNOWN and serving:
        said = f"whether {pinned.model} may change is unknown: {naming.reason}; {naming.remedy}{answered}"
        yield Need("unknown", said, False)
    yield from _retirement(pinned, today, retain_s)
    if tier in (Tier.PRODUCTION, Tier.CANARY) and not pinned.why:
        yield Need("no_why", f"nobody wrote why {pinned.variant} is pinned: add pin: {{since: DAY, why: ...}}", True)


def _retirement(pinned: Pinned, today: date, retain_s: float) -> Iterator[Need]:
    retirement, tier, where = pinned.retirement, pinned.standing.tier, pinned.known.where
    if retirement is None:
        if tier in SERVING:
            yield Need("no_date", f"{unknown_day(pinned.model, pinned.known)}; {_declaring(pinned)}", False)
        return
    replacement = pinned.known.lifetime.replacement if pinned.known.lifetime else ""
    instead = f"; its provider recommends {replacement}" if replacement else ""
    if retirement.passed(today):
        yield Need("retired", f"{pinned.model} is gone since {retirement.day}{where}{instead}", True)
        return
    if tier is Tier.FALLBACK and retirement.day < today + timedelta(seconds=retain_s):
        left = retirement.days_left(today)
        said = f"your way back ends in {left} days" if left > 0 else "your way back may end any day"
        yield Need("fallback_ends", f"{said}: {pinned.model} goes on {retirement.day}{where}", True)
    elif pinned.plan is not None and pinned.plan.fit is not Fit.FITS:
        yield _too_near(pinned, pinned.plan, retirement, instead)
    elif pinned.plan is not None:
        message = f"begin to leave {pinned.model} by {pinned.plan.begin_by}{instead}"
        yield Need("planned", message, False)
    age = retirement.age_days(today)
    if tier in SERVING and age is not None and age > FRESH_DAYS:
        said = f"that {pinned.model} goes on {retirement.day}{where} was said {age} days ago"
        written = page(pinned.known.on, pinned.known.naming.scheme) or retirement.source
        remedy = f"look again at {written}, and write what changed as retires: under `models:`"
        yield Need("old_date", f"{said}: {remedy}", False)


def unknown_day(model: str, known: Known) -> str:
    """That nobody knows when a model goes, whose dates do not hold, and where to look."""
    theirs = ", where its maker's dates do not hold" if known.on else ""
    written = page(known.on, known.naming.scheme)
    look = f"look at {written}" if written else "ask the provider"
    return f"nobody knows here when {model} goes{known.where}{theirs}: {look}"


def _declaring(pinned: Pinned) -> str:
    if not pinned.known.on.startswith("azure"):
        return "then write retires: under `models:`"
    model = pinned.served or "gpt-4o-2024-11-20 or the like"
    return f"then write retires:, or the model behind it (model: {model}), under `models:`"


def _too_near(pinned: Pinned, plan: DeadlinePlan, retirement: Retirement, instead: str) -> Need:
    goes = "goes on" if retirement.kind == "announced" else "may go from"
    if plan.fit is Fit.TOO_LATE:
        when = f"too late by {-plan.slack_days} days even for profile {plan.profile}"
    elif plan.slack_days == 0:
        when = f"begin today, with profile {plan.profile}"
    else:
        when = f"begin by {plan.windows[0].begin_by}, with profile {plan.profile}"
    how = f"`understudy plan {pinned.workload}`"
    where = pinned.known.where
    message = f"{pinned.model} {goes} {retirement.day}{where}: {when}; {how} says what is given up{instead}"
    # An earliest day is no deadline yet: it is said, and does not fail a build.
    return Need("too_near", message, retirement.kind == "announced")
