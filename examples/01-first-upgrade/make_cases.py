"""Stands in for two things you have: an export of real questions, and a provider that answers them.

Writes cases.csv (id, slice, prompt, reference) and recordings/desk.jsonl with the answers of three models to each case.
"""

import csv
import json
from pathlib import Path

QUESTIONS = {
    "refund": [
        "I returned order {n} and still wait for my money.",
        "You charged me twice for order {n}.",
        "Please refund order {n}, it broke on its first day.",
    ],
    "delivery": [
        "When does order {n} arrive?",
        "Order {n} says delivered, but there is nothing here.",
        "Please send order {n} to my neighbour instead.",
    ],
}
FACT = {
    "refund": "the money is back on your card within three working days.",
    "delivery": "the parcel reaches you on Thursday, the carrier writes you the hour.",
}
END = "\nKind regards, the garden desk"

OLD, NEW, TUNED = "small-1-2025-03-01", "small-2-2026-02-10", "small-2-2026-02-10-prompt-v2"


def answer(model: str, kind: str, number: str) -> str:
    """The new model leaves the order number out of refunds; with prompt v2 it no longer does."""
    if model == OLD:
        return f"Dear customer, thank you for writing about order {number}: {FACT[kind]}{END}"
    if model == NEW and kind == "refund":
        return f"Dear customer, thank you for writing to us today: {FACT[kind]}{END}"
    return f"Dear customer, many thanks for your mail on order {number}: {FACT[kind]}{END}"


cases = [
    {
        "id": f"{kind}-{i}",
        "slice": kind,
        "prompt": questions[i % 3].format(n=f"G-{first + i}"),
        "reference": f"G-{first + i}",
    }
    for (kind, questions), first in zip(QUESTIONS.items(), (1000, 2000), strict=True)
    for i in range(150)
]
with open("cases.csv", "w", newline="") as out:
    writer = csv.DictWriter(out, ["id", "slice", "prompt", "reference"])
    writer.writeheader()
    writer.writerows(cases)

Path("recordings").mkdir(exist_ok=True)
with open("recordings/desk.jsonl", "w") as out:
    for case in cases:
        for model in (OLD, NEW, TUNED):
            said = answer(model, case["slice"], case["reference"])
            row = {"case_id": case["id"], **case, "model": model, "output": said, "latency_s": 0.8}
            out.write(json.dumps(row) + "\n")
    # Once a minute the controller asks the incumbent this, to know that a rollback would work.
    probe = {"case_id": "probe", "slice": "probe", "prompt": "Reply with the word ready.", "output": "ready"}
    out.write(json.dumps({**probe, "model": OLD}) + "\n")
print(f"{len(cases)} cases")
