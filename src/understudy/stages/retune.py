"""Stage 2: can prompt work close the gap? It waits for a person's new variant, and shows old and new side by side."""

from __future__ import annotations

import difflib
from typing import Any

from understudy.core.variant import Variant
from understudy.stages.assessment import Assessment, hold


def assess(workload: str, summary: str) -> Assessment:
    """Nothing moves here by itself: a new variant makes the eval run again, giving up ends the upgrade."""
    return hold(
        summary or "The candidate fell short; a better prompt may close the gap.",
        f"a re-tuned candidate: `understudy tune {workload} --candidate NEW --why ...`, "
        f"or `understudy tune {workload} --give-up --why ...`",
    )


def changes(old: Variant, new: Variant) -> dict[str, Any]:
    """What differs between two variants, field by field, and the prompts as a unified diff (R36)."""
    fields = ("provider", "model", "params", "reasoning")
    before, after = old.as_dict(), new.as_dict()
    return {
        "old": old.name,
        "new": new.name,
        "fields": {f: {"old": before[f], "new": after[f]} for f in fields if before[f] != after[f]},
        "prompt": list(
            difflib.unified_diff(
                old.system_prompt.splitlines(), new.system_prompt.splitlines(), old.name, new.name, lineterm=""
            )
        ),
    }
