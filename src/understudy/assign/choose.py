"""The exposure function: which arm serves this request, and why. Pure; the first rule that matches wins.

kill file > no valid route > conversation pin > breaker open > lease expired > bucket below the share > incumbent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from understudy.core.playbook import Arm
from understudy.core.routing import Route


class Reason(StrEnum):
    """Why an arm was chosen; the ledger keeps it with every exchange."""

    KILL_FILE = "kill_file"
    NO_ROUTE = "no_route"
    """There is no upgrade on this workload that gives the candidate traffic."""
    CONVERSATION = "conversation"
    """The conversation keeps the arm it began with."""
    BREAKER_OPEN = "breaker_open"
    LEASE_EXPIRED = "lease_expired"
    NO_UNIT = "no_unit"
    """The request names nobody, and such requests get the incumbent."""
    BELOW_SHARE = "below_share"
    ABOVE_SHARE = "above_share"


class Choice(NamedTuple):
    """An arm, and which rule gave it."""

    arm: Arm
    reason: Reason


# Made once: there are eight, and one is given out for every request.
_KILLED = Choice(Arm.INCUMBENT, Reason.KILL_FILE)
_NO_ROUTE = Choice(Arm.INCUMBENT, Reason.NO_ROUTE)
_PINNED = {arm: Choice(arm, Reason.CONVERSATION) for arm in Arm}
_BREAKER_OPEN = Choice(Arm.INCUMBENT, Reason.BREAKER_OPEN)
_LEASE_EXPIRED = Choice(Arm.INCUMBENT, Reason.LEASE_EXPIRED)
_NO_UNIT = Choice(Arm.INCUMBENT, Reason.NO_UNIT)
_BELOW = Choice(Arm.CANDIDATE, Reason.BELOW_SHARE)
_ABOVE = Choice(Arm.INCUMBENT, Reason.ABOVE_SHARE)


def choose(
    route: Route | None,
    *,
    now: float,
    bucket: int,
    killed: bool = False,
    pinned: Arm | None = None,
    finish_pinned: bool = False,
    breaker_open: bool = False,
) -> Choice:
    """Decide for one request.

    `bucket` is the unit's place in parts per million; -1 where the request names nobody and the workload's policy is
    the incumbent (under the policy "random" the caller draws a bucket). `now` is in seconds since the epoch.
    `pinned` is the arm the conversation began with. A conversation that began with the candidate ends with it only
    where `finish_pinned`, the workload's `on_rollback: finish`, outlasts a route that no longer offers the candidate.
    """
    if killed:
        return _KILLED
    if route is None or route.share <= 0:
        return _NO_ROUTE
    if pinned is not None and (pinned is Arm.INCUMBENT or finish_pinned or not _withdrawn(route, now, breaker_open)):
        return _PINNED[pinned]
    if breaker_open:
        return _BREAKER_OPEN
    if _lapsed(route, now):
        return _LEASE_EXPIRED
    if bucket < 0:
        return _NO_UNIT
    if bucket < route.share:
        return _BELOW
    return _ABOVE


def _lapsed(route: Route, now: float) -> bool:
    return route.lease_until is not None and now >= route.lease_until


def _withdrawn(route: Route, now: float, breaker_open: bool) -> bool:
    return breaker_open or _lapsed(route, now)
