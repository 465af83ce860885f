"""The demonstration, as `make demo` plays it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .world import World


@pytest.mark.alone
@pytest.mark.slow
def test_three_upgrades_end_as_told_and_no_user_sees_a_failure(tmp_path: Path) -> None:
    """One takes over, one is stopped in shadow, one is rolled back; the evidence says the same as --json."""
    here = World(tmp_path)
    played = here.run("demo", "--json", "--out", "evening", timeout=480)
    assert played.code == 0, played.out + played.err
    report = played.json
    assert report["as_meant"]
    upgrades = {upgrade["workload"]: upgrade for upgrade in report["upgrades"]}
    ended = {name: upgrade["ended"] for name, upgrade in upgrades.items()}
    assert ended == {"reply-drafting": "done", "order-status": "stopped in shadow", "account-help": "rolled back"}
    assert all(upgrade["users"]["failed"] == 0 for upgrade in upgrades.values())
    assert upgrades["reply-drafting"]["canary"] == ["1 %", "5 %", "25 %", "100 %"]
    assert [line.partition(":")[0] for line in upgrades["reply-drafting"]["regress"]] == ["retune", "proceed"]
    assert upgrades["order-status"]["findings"]
    assert upgrades["account-help"]["rollback"]["fault_to_last_candidate_answer_s"] < 30
    folder = tmp_path / "evening"
    assert json.loads((folder / "evidence" / "report.json").read_text()) == report
    assert "# Three upgrades" in (folder / "evidence" / "report.md").read_text()
    left = World(folder)
    assert left.run("ledger", "verify", "--json").code == 0
    history = left.run("history", "reply-drafting", "--json")
    assert history.code == 0
    assert "nova-tuned" in history.out
    pack = left.run("report", "account-help", "--json")
    assert pack.code == 0
    assert (pack.json["upgrade"]["stage"], pack.json["integrity"]["in_order"]) == ("rolled_back", True)
    kept = pack.json["journal"]["evidence"]
    named = [event["data"]["evidence"] for event in pack.json["journal"]["events"] if "evidence" in event["data"]]
    assert named and all(name in kept for name in named)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written where something lies."""
    (tmp_path / "mine.txt").write_text("mine")
    refused = World(tmp_path).run("demo", "--out", ".", "--json")
    assert refused.code == 2
    assert "is not empty" in refused.json["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
