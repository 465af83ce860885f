"""Stands in for your export of real questions: writes cases.csv (id, slice, prompt, reference)."""

import csv

SLICES = {
    "refund": (
        ["I was charged twice for order {n}.", "Where is my money back for order {n}?", "Refund order {n}."],
        "Your refund is on its way and reaches your account within 5 business days.",
    ),
    "delivery": (
        ["My parcel for order {n} is late.", "When does order {n} arrive?", "Order {n} has not come."],
        "Your parcel is with the carrier and arrives within 2 working days.",
    ),
    "account": (
        ["I cannot log in, my case is {n}.", "My password fails, ticket {n}.", "I am locked out, case {n}."],
        "We have sent you a link to set a new password; it is valid for 30 minutes.",
    ),
}

with open("cases.csv", "w", newline="") as out:
    rows = csv.writer(out)
    rows.writerow(["id", "slice", "prompt", "reference"])
    for name, (questions, right) in SLICES.items():
        for i in range(80):
            rows.writerow([f"{name}-{i}", name, f"[{name}] {questions[i % 3].format(n=1000 + i)}", right])
