"""From live traffic to a suite to an eval, as a user does it in an empty folder, with a recorded provider."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .world import Customer, eventually, world


@pytest.mark.slow(20)
def test_a_suite_of_live_questions_is_evaluated(tmp_path: Path) -> None:
    """The incumbent's answers are the references, slices are even, single exchanges are added by a command, and the
    eval compares both variants on what users really asked; erasing a user takes its cases out again.
    """
    with world(tmp_path) as here:
        here.example()
        _, gateway = here.start("up", "--port", "0", "--workers", "1", "--no-dashboard", "--json", ready=120)
        rows = [json.loads(line) for line in (tmp_path / "recordings" / "replies.jsonl").read_text().splitlines()]
        asked = {row["prompt"]: row["slice"] for row in rows if row["model"].startswith("small-1") and row["slice"]}
        customer = Customer("127.0.0.1", gateway["port"])
        exchanges = {}
        for number, (prompt, ticket) in enumerate(asked.items()):
            status, headers, _ = customer.ask(
                "reply-drafting", prompt, user=f"user-{number}", **{"x-ticket-type": ticket}
            )
            assert status == 200
            exchanges[headers["x-understudy-exchange"]] = prompt
        customer.close()
        eventually(lambda: here.run("ledger", "verify", "--json").json["committed"] == len(asked), within=240)

        made = here.run("suite", "from-ledger", "reply-drafting", "--n", "6", "--by", "slice", "--json")
        assert made.code == 0, made.err
        assert made.json["cases"] == 6
        first, *_ = exchanges
        one = here.run("suite", "from-ledger", "reply-drafting", "--exchange", first, "--json")
        assert one.code == 0, one.err
        suite = "suites/reply-drafting-from-ledger.yaml"
        ran = here.run("eval", "reply-drafting", "--candidate", "small-2", "--suite", suite, "--json")
        assert ran.code in (0, 1, 3), ran.err
        slices = {row["slice"]: row for row in ran.json["slices"]}
        # The incumbent is asked again what it was asked then, and gives the recorded answer: its own reference.
        assert ran.json["aggregate"]["incumbent"] == 1.0
        assert ran.json["aggregate"]["candidate"] < 1.0
        assert set(slices) == {f"ticket={name}" for name in asked.values()}
        assert [name for name in slices if slices[name]["critical"]] == ["ticket=refund"]
        assert {slices["ticket=refund"]["n"], slices["ticket=delivery"]["n"]} <= {2, 3}

        told = here.run("who-served", "--user", "user-3", "--json").json
        assert (told["served_variant"], told["still_configured"]) == ("small-1", True)
        assert all(len(line) <= 80 for line in here.run("history").out.splitlines())

        cases = (tmp_path / suite).read_text()
        assert f'"{first}"' in cases
        user = f"user-{list(exchanges).index(first)}"
        erased = here.run("ledger", "erase", "--unit", user, "--json")
        assert f'"{first}"' not in (tmp_path / suite).read_text()
        assert erased.json["mentioned"] == []
        assert erased.json["lines"]
        # The log of a table names the rows that went by their exchange, and nothing of them.
        left = [p for p in (tmp_path / ".understudy").rglob("*") if p.is_file() and p.parent.name != "_delta_log"]
        assert not [path for path in left if first.encode() in path.read_bytes()]
        assert json.loads(here.run("ledger", "verify", "--json").out)["in_order"]
