"""What the demonstration plays: three workloads of a support desk, the models behind them and their planted faults.

Everything is written into a folder as a user would write it: understudy.yaml, prompts, suites. Nothing in it is
special to the demonstration except that the provider is simulated and the profile counts seconds instead of days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from understudy.demo.traffic import NUMBER, Population
from understudy.testing.writer import CLOSING, KINDS

SLICE_HEADER = "x-ticket-type"
RULE = "If money was taken, say when the refund arrives."
"""The sentence the new model wants and the old one did not need."""


class Scene(NamedTuple):
    """One upgrade of the demonstration and how it is meant to end."""

    workload: str
    candidate: str
    story: str
    ends: str
    fixed_by: str = ""
    """The variant with the better prompt, where re-tuning is part of the story."""


SCENES = (
    Scene("reply-drafting", "nova", "fails one slice in the eval, is re-tuned, and takes over", "done", "nova-tuned"),
    Scene("order-status", "swift", "passes the eval; users would have noticed the swap", "stopped in shadow"),
    Scene("account-help", "orbit", "passes eval and shadow, then breaks in canary", "rolled back"),
)

VOICE = "desk"
"""What is not part of a story is equal by construction: two ways to write the same differ by chance now and then, and a
differ that looks at every slice would sometimes say so, which is its job and would be another story."""
MODELS: dict[str, dict[str, Any]] = {
    # The incumbent is no saint: a third of its billing answers are wrong, so the candidate gains there what it loses
    # on refunds and the average alone would let it pass.
    "classic-1": {
        "voice": VOICE,
        "wrong_slice": "billing",
        "wrong_share": 0.34,
        "latency_s": 0.012,
        "latency_spread": 0.3,
    },
    "nova-2": {
        "voice": VOICE,
        "wrong_slice": "refund",
        "wrong_share": 0.4,
        "wrong_unless": RULE,
        "latency_s": 0.010,
        "latency_spread": 0.3,
    },
    "swift-2": {
        "length": 0.5,
        "closing": False,
        "latency_s": 0.006,
        "latency_spread": 0.3,
        "tail_share": 0.03,
        "tail_s": 0.25,
    },
    "orbit-2": {"voice": VOICE, "latency_s": 0.011, "latency_spread": 0.3},
}
PRICES = {"classic-1": (2.5, 10.0), "nova-2": (2.0, 8.0), "swift-2": (0.4, 1.6), "orbit-2": (1.1, 4.4)}
"""US dollars per million tokens, in and out, of models that exist only here."""

STEEPER = """
    canary:
      ladder: [{share: 5%, hold: 3s}, {share: 25%, hold: 2s}, {share: 100%, hold: 0s}]"""
"""A workload with few users begins higher: 1 % of them would be nobody for too long."""

BREAKS: dict[str, Any] = {"error_share": 0.8}
"""What is switched on in the third scene's candidate while it serves a canary."""

OPENERS = {
    "refund": ("I was charged twice for order {n}.", "Where is my money back for order {n}?", "Refund order {n}."),
    "delivery": ("My parcel for order {n} is late.", "When does order {n} arrive?", "Order {n} has not come."),
    "account": ("I cannot log in, my case is {n}.", "My password fails, ticket {n}.", "I am locked out, case {n}."),
    "billing": (
        "The invoice for order {n} is wrong.",
        "Put my VAT number on the bill of order {n}.",
        "Tax of order {n}?",
    ),
    "cancellation": ("Cancel my subscription, case {n}.", "How do I end the contract of case {n}?", "Cancel case {n}."),
    "technical": ("The app shows an error, ticket {n}.", "It is slow now, ticket {n}.", "There is a bug, ticket {n}."),
}

WEIGHTS = {"delivery": 0.36, "account": 0.2, "refund": 0.16, "technical": 0.12, "billing": 0.1, "cancellation": 0.06}


def prompts(kind: str, numbers: Iterable[object]) -> Iterator[str]:
    """One prompt a number, in turn from each opener of the kind."""
    openers = OPENERS[kind]
    for i, number in enumerate(numbers):
        yield f"[{kind}] {openers[i % len(openers)].format(n=number)}"


def write(folder: Path, base_url: str) -> None:
    """Write the project into an empty folder."""
    for name in ("prompts", "suites"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "prompts" / "reply-v1.md").write_text("You answer mail of our customers. Be kind and to the point.\n")
    (folder / "prompts" / "reply-v2.md").write_text(
        f"You answer mail of our customers. Be kind and to the point.\n{RULE}\n"
    )
    for scene in SCENES:
        (folder / "suites" / f"{scene.workload}.yaml").write_text(_suite(scene.workload))
    (folder / "understudy.yaml").write_text(_config(base_url))


def _suite(workload: str) -> str:
    lines = [
        f"suite: {workload}",
        "graders:",
        "  - {name: resolution, type: contains, text: reference}",
        f"  - {{name: closing, type: contains, text: '{CLOSING}', weight: 0}}",
        "score: resolution",
        "cases:",
    ]
    for kind in WEIGHTS:
        for i, prompt in enumerate(prompts(kind, range(1000, 1040))):
            case = {"id": f"{kind}-{i}", "slice": kind, "prompt": prompt, "reference": KINDS[kind].resolution}
            lines.append(f"  - {msgspec.json.encode(case).decode()}")
    return "\n".join(lines) + "\n"


def _config(base_url: str) -> str:
    return f"""\
providers:
  simulated: {{wire: openai, base_url: "{base_url}"}}

prices:  # US dollars per million tokens; these models exist only here
{_prices()}

workloads:
{_workload("reply-drafting", "nova", critical="[refund]")}\
      nova-tuned:
        provider: simulated
        model: nova-2
        system_prompt: prompts/reply-v2.md
        why: "the new model needs to be told to name the day a refund arrives; the old one did so unasked"
{_workload("order-status", "swift")}\
{_workload("account-help", "orbit", ladder=STEEPER)}\
"""


def _prices() -> str:
    return "\n".join(f"  {model}: {{input: {price[0]}, output: {price[1]}}}" for model, price in PRICES.items())


def _workload(name: str, candidate: str, critical: str = "[]", ladder: str = "") -> str:
    """One workload; its variants come last so that another can be added below them."""
    return f"""\
  {name}:
    owner: support
    unit: [header:x-user-id]
    slice_by: {{ticket: "header:{SLICE_HEADER}"}}
    content: full
    incumbent: classic
    suites: [suites/{name}.yaml]
    policy: demo{ladder}
    gates:
      quality: {{margin: 5pt, source: "grader:closing"}}
      satisfaction: {{margin: 10pt, source: "feedback:satisfaction"}}
      errors: {{margin: 3pt}}
      latency: {{margin: 10pt}}
      critical: {critical}
    variants:
      classic:
        provider: simulated
        model: classic-1
        system_prompt: prompts/reply-v1.md
        pin: {{since: 2026-01-12, why: "serves since January; moves only through an upgrade"}}
      {candidate}:
        provider: simulated
        model: {candidate}-2
        system_prompt: prompts/reply-v1.md
"""


def populations() -> list[Population]:
    """The live traffic: the upgrade that goes all the way has the most users, so that 1 % of them is somebody."""
    rates = {"reply-drafting": 900.0, "order-status": 80.0, "account-help": 200.0}
    return [
        Population(
            workload=scene.workload,
            rate=rates[scene.workload],
            users=40_000,
            slice_header=SLICE_HEADER,
            weights=WEIGHTS,
            cases=[(kind, prompt) for kind in WEIGHTS for prompt in prompts(kind, [NUMBER] * 3)],
            thumbs=0.3,
            pleases=CLOSING,
        )
        for scene in SCENES
    ]
