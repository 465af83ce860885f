"""A metric as the gates ask the ledger for it: where its numbers come from, and how they are added up."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["mean", "log_mean", "count", "exceedance"]
CELL = ("stage", "step", "period", "arm", "slice", "bucket")
"""What sums are grouped by; in this order the fields of a Stratum, then arm, slice and bucket of a Sums."""


class MetricSpec(NamedTuple):
    """One metric as the gates ask for it.

    source: `field:NAME` (a numeric column of the exchange), `feedback:NAME`, `grader:NAME`, `error` (any failure but a
        client that went away) or `error:KIND`. "" means the name says it: `error`, else a field of that name.
    kind: `mean` adds up values, `log_mean` natural logarithms of those above 0 (others count as missing),
        `exceedance` 1 for each value above `threshold` and 0 for each other; `count` looks at units: in each cell `n`
        is how many were seen, `total` and `squares` how many had an event, which is a value above `threshold` (or 0).
    """

    name: str
    kind: Kind
    source: str = ""
    threshold: float | None = None

    @property
    def parts(self) -> tuple[str, str]:
        """The source as (what, name)."""
        if not self.source:
            return ("error", "") if self.name == "error" else ("field", self.name)
        what, _colon, name = self.source.partition(":")
        return what, name
