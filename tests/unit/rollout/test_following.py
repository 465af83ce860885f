"""Looked at after each commit, the drift of a shadow is that of one reading of all of it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.records import exchange, fill

from understudy.core.records import Exchange
from understudy.drift.differ import accumulate
from understudy.drift.report import DriftReport, report
from understudy.ledger import pairing, queries
from understudy.ledger.erase import erase
from understudy.ledger.lake import Lake, Table
from understudy.ledger.pairing import Pairing
from understudy.ledger.queries import Ledger
from understudy.ledger.views import Views
from understudy.rollout.following import LEARNED_FROM, Following, learned_from

WORDS = ("the refund arrives on monday", "please wait", "sorry about that", "kind regards, your support team", "no")


def pair(number: int, rng: random.Random, copied_after_s: float = 0.5) -> tuple[Exchange, Exchange]:
    """A served exchange and its copy; the candidate ends otherwise, and some of its copies failed."""
    begun = 1_700_000_000.0 + 10.0 * number
    failed = rng.random() < 0.1
    common: dict[str, Any] = {
        "stage": "shadow",
        "unit": rng.choice(["ada", "bob", "cy"]),
        "slices": {"ticket": rng.choice(["refund", "login"])},
    }
    first = " ".join(rng.choices(WORDS, k=rng.randrange(2, 9))) + "\nyours truly"
    second = " ".join(rng.choices(WORDS[:3], k=rng.randrange(2, 9)))
    served = exchange(
        number, started_at=begun, answer=first, latency_s=rng.random(), output_tokens=len(first), **common
    )
    copy = exchange(
        number + 500_000,
        started_at=begun + copied_after_s,
        role="shadow",
        pair=served.exchange,
        arm="candidate",
        fingerprint="f-new",
        answer="" if failed else second,
        error="timeout" if failed else "",
        latency_s=rng.random(),
        output_tokens=len(second),
        **common,
    )
    return served, copy


def follow() -> Following:
    return Following("reply", "up-1", "f-new", 0.0)


def figures(found: DriftReport) -> Any:
    """All that a report says in numbers, examples left out: of equal ones another may be shown."""
    rows = {
        (row.slice, row.feature): [v for v in row.as_dict().values() if isinstance(v, int | float)]
        for row in found.rows
    }
    return found.pairs, found.noise_pairs, dict(found.thin), found.habits, rows


def same(left: Any, right: Any) -> bool:
    if left[:4] != right[:4] or left[4].keys() != right[4].keys():
        return False
    return all(
        len(left[4][key]) == len(right[4][key])
        and all(
            math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
            for a, b in zip(left[4][key], right[4][key], strict=True)
        )
        for key in left[4]
    )


def looks(folder: Path, seed: int, steps: int) -> Iterator[tuple[str, bool]]:
    """Random commits, with halves of pairs that come late, compactions, vacuums and erasures; after each whether the
    report of who followed is that of who reads all of it now.
    """
    rng = random.Random(seed)
    followed = follow()
    ledger = Ledger(folder / "lake")
    late: list[Exchange] = []
    number = 0
    for turn in range(steps):
        step = rng.choice(["pairs", "pairs", "late", "compact", "vacuum", "nothing", "erase"]) if turn else "pairs"
        match step:
            case "pairs":
                fresh = []
                for _ in range(rng.randrange(1, 60)):
                    served, copy = pair(number, rng)
                    number += 1
                    halves = [served, copy]
                    if rng.random() < 0.2:
                        late.append(halves.pop(rng.randrange(2)))
                    fresh += halves
                fill(folder, fresh)
                if rng.random() < 0.3:
                    Lake(folder / "lake").compact(Table.EXCHANGES)
            case "late":
                fill(folder, late)
                late = []
            case "compact":
                Lake(folder / "lake").compact(Table.EXCHANGES)
            case "vacuum":
                Lake(folder / "lake").vacuum(Table.EXCHANGES, keep_hours=0)
            case "erase":
                if rng.random() < 0.3:
                    erase("cy", segments=folder / "segments", lake=folder / "lake")
        found = followed.read(ledger)
        # Late halves may be of the first pairs, so whoever begins now may learn other habits; these are given.
        at_once = accumulate(Ledger(folder / "lake").pairs(workload="reply", upgrade="up-1"), found.habits)
        yield step, same(figures(found), figures(report(at_once)))
    ledger.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_followed_is_what_is_there(tmp_path: Path, seed: int) -> None:
    """The same figures whenever one looks, whatever happened between two looks."""
    assert [step for step, equal in looks(tmp_path, seed, 16) if not equal] == []


@pytest.mark.parametrize("defect", ["late halves are not looked for", "nothing new is seen", "pairs count again"])
def test_a_follower_that_counts_wrongly_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    """Three planted defects, each found within a few looks."""
    new_pairs = Ledger.new_pairs
    match defect:
        case "late halves are not looked for":
            monkeypatch.setattr(queries, "APART_S", 0.0)
        case "nothing new is seen":
            monkeypatch.setattr(
                Ledger,
                "new_pairs",
                lambda self, mark, **asked: (Pairing([], {}, asked), mark) if mark else new_pairs(self, mark, **asked),
            )
        case _:
            compared = Ledger.compared
            monkeypatch.setattr(Ledger, "compared", lambda self, pairs: (b + b[-1:] for b in compared(self, pairs)))
    assert not all(equal for _, equal in looks(tmp_path, 1, 16))


def test_habits_come_from_as_many_of_the_first_pairs_whoever_looks(tmp_path: Path) -> None:
    """Looked at after every commit or begun now: from pairs that came in order of time the same is learned."""
    rng = random.Random(4)
    followed = follow()
    ledger = Ledger(tmp_path / "lake")
    for turn in range(5):
        fill(tmp_path, [half for n in range(turn * 40, turn * 40 + 40) for half in pair(n, rng)])
        once = follow().read(Ledger(tmp_path / "lake"))
        assert same(figures(followed.read(ledger)), figures(once))
        assert once.habits.answers == learned_from(once.pairs)
    assert once.habits.closings == {"yours truly"}
    steps = {learned_from(count) for count in range(5_000)}
    assert len(steps) < 25
    assert max(steps) == LEARNED_FROM
    assert all(learned_from(count) <= count for count in range(5_000))


def test_a_reading_begins_anew_where_pairs_are_erased_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding the pairs and reading the second batch of them somebody is erased: nobody counts twice."""
    rng = random.Random(6)
    fill(tmp_path, [half for n in range(90) for half in pair(n, rng)])
    monkeypatch.setattr(Pairing.batches, "__defaults__", (40,))
    read, erased = Ledger._compared, list[int]()

    def meanwhile(self: Ledger, found: Pairing, batch: pairing.Batch) -> Any:
        erased.append(len(batch.pairs))
        if len(erased) == 2:
            erase("cy", segments=tmp_path / "segments", lake=tmp_path / "lake")
        return read(self, found, batch)

    monkeypatch.setattr(Ledger, "_compared", meanwhile)
    followed = follow()
    found = followed.read(Ledger(tmp_path / "lake"))
    assert len(erased) > 3
    assert found.pairs < 90
    assert same(figures(found), figures(follow().read(Ledger(tmp_path / "lake"))))


def test_a_look_reads_what_is_new_and_nothing_where_nothing_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of days that are over no file is opened, and between two commits none at all."""
    bound: list[tuple[str, int]] = []
    over = Views.over

    def noted(self: Views, table: Table, files: list[str], part: str = "part") -> Any:
        bound.append((part, len(files)))
        return over(self, table, files, part)

    monkeypatch.setattr(Views, "over", noted)
    rng = random.Random(5)
    followed = follow()
    ledger = Ledger(tmp_path / "lake")
    for day in range(3):
        fill(tmp_path, [half for n in range(day * 8_640, day * 8_640 + 400) for half in pair(n, rng)])
        followed.read(ledger)
    fill(tmp_path, [half for n in range(3 * 8_640, 3 * 8_640 + 5) for half in pair(n, rng)])
    bound.clear()
    assert followed.read(ledger).pairs > 1_000
    assert sorted(bound) == [("around", 1), ("batch", 1), ("new", 1)]
    bound.clear()
    followed.read(ledger)
    assert bound == []
