"""Says which cases may judge a variant: where its prompt comes from a search, those that no search has seen.

Otherwise a prompt would be judged on the cases it was chosen by, and pass for having been lucky there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from understudy.core.variant import Variant
from understudy.evals.suite import Suite
from understudy.tuning import filing
from understudy.tuning.split import Part, question


def judging(evals: Path, workload: str, candidate: Variant, suites: Sequence[Suite]) -> list[Suite]:
    """The suites without the cases that the search for the candidate's prompt saw; as they are where none made it.

    `evals` is the project's folder of evals. Raises DataCorrupt where what searches filed was edited or cut.
    """
    folder = filing.folder_of(evals, workload)
    if candidate.fingerprint not in filing.tuned(folder):
        return list(suites)
    return without_seen(suites, filing.load_split(folder))


def without_seen(suites: Sequence[Suite], parts: Mapping[str, Part]) -> list[Suite]:
    """The suites without training and selection; a case that came later was seen by no search. Pure."""
    seen = {name for name, part in parts.items() if part is not Part.PROOF}
    cut = [replace(suite, cases=tuple(case for case in suite.cases if question(case) not in seen)) for suite in suites]
    return [suite for suite in cut if suite.cases]
