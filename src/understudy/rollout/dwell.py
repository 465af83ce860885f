"""Decides how long a clock has run: only time counts in which a living controller watched. Pure.

A step that is "held 24 hours" while the controller is dead was not held: the lease expires and nobody sees the
candidate. So elapsed time is added up tick by tick, never more than a lease at once. Between two ticks of one
process the monotonic clock bounds it too, so a wall clock that jumps ahead promotes nothing early; one that jumps
back holds everything until it has caught up. Two controllers at once add no time twice, because each adds from
where the other left off.
"""

from __future__ import annotations

from understudy.rollout.store.base import Progress


def watched(
    before: Progress | None, *, upgrade: str, clock: int, now: float, elapsed_s: float | None, limit_s: float
) -> Progress:
    """The progress after this tick. `elapsed_s` is monotonic since this process's tick before, None for its first."""
    if before is None or before.clock != clock:
        return Progress(upgrade, clock, 0.0, now)
    if now <= before.watched_until:
        return before
    span = min(now - before.watched_until, limit_s)
    if elapsed_s is not None:
        span = min(span, elapsed_s)
    return Progress(upgrade, clock, before.held_s + span, now)


def skipped(before: Progress | None, *, upgrade: str, clock: int, now: float) -> Progress:
    """The progress after a tick in which nothing was held: a table that is not in effect, a blind controller."""
    if before is None or before.clock != clock:
        return Progress(upgrade, clock, 0.0, now)
    return before._replace(watched_until=max(now, before.watched_until))
