"""A point in time as people type it."""

from __future__ import annotations

from datetime import UTC, datetime

from understudy.core.errors import UsageError


def moment(text: str) -> float:
    """Seconds since the epoch of "2026-03-01", "2026-03-01T09:30", with "Z" or an offset; in UTC where there is none.

    Raises UsageError for anything else.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", remedy="write it like 2026-03-01, 2026-03-01T09:30Z or 2026-03-01T10:30+01:00"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def said(at: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
