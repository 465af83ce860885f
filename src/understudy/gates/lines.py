"""What a panel of gates lacks, and what watches over a soak say, in a few lines for terminals and pages alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.playbook import Verdict

NAMED = 3
"""Gates that one line of what is missing names; the others it counts."""
Gates = Sequence[Mapping[str, Any]]


def tail_lines(tails: Gates) -> list[str]:
    """What the watch over the cycles of a soak says: every alarm, else the metric that is nearest to one."""
    alarms = [tail["sentence"] for tail in tails if tail["verdict"] == Verdict.FAIL]
    if alarms or not tails:
        return alarms
    nearest = max(tails, key=lambda tail: tail["log_value"] - tail["log_threshold"])
    return [f"{len(tails)} metrics watched cycle by cycle; the nearest to an alarm: {nearest['sentence']}"]


def missing_lines(missing: Sequence[str], gates: Gates) -> list[str]:
    """What is missing, a line for each kind of thing: gates that lack the same are named together."""
    of_gates: dict[str, str] = {}
    for gate in gates:
        name = f"{gate['metric']} in {gate['slice']}" if gate["slice"] else gate["metric"]
        of_gates |= {f"{name}: {text}": name for text in gate["missing"]}
    lines = [text for text in missing if text not in of_gates]
    alike: dict[str, list[str]] = {}
    for text in missing:
        if text in of_gates:
            lack = text.removeprefix(f"{of_gates[text]}: ")
            alike.setdefault(re.sub(r"\d[\d.,e+-]*", "#", lack), []).append(text)
    for texts in alike.values():
        names = [of_gates[text] for text in texts]
        lack = texts[0].removeprefix(f"{names[0]}: ")
        if len(texts) == 1:
            lines.append(texts[0])
            continue
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"{', '.join(names[:NAMED])}{more}: {lack} for {names[0]}")
    return lines
