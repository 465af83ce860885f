"""Stage 2: can prompt work close the gap? It waits for a person's new variant; showing the two is `evals.prompts`."""

from __future__ import annotations

from understudy.stages.assessment import Assessment, hold


def assess(workload: str, summary: str) -> Assessment:
    """Nothing moves here by itself: a new variant makes the eval run again, giving up ends the upgrade."""
    return hold(
        summary or "The candidate fell short; a better prompt may close the gap.",
        f"a re-tuned candidate: `understudy tune {workload} --search`, or one that you wrote, "
        f"`understudy tune {workload} --candidate NEW --why ...`, "
        f"or `understudy tune {workload} --give-up --why ...`",
        person=("a re-tuned candidate, or giving up",),
    )
