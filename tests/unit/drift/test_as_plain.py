"""What is counted fast is what is counted plainly, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.drift import cells as cells_module
from understudy.drift.cells import Cell
from understudy.drift.differ import AT_ONCE, Differ
from understudy.drift.features import distance, learn
from understudy.drift.form import form
from understudy.drift.text import sentences, words
from understudy.drift.tone import tone

from . import plain
from .pairs import Pair, pairs

PIECES = (
    "of course", "i think", "don't", "the", "of", "course", "sorry", "- a\n", "1. b\n", "|---|\n", "# h\n", "''", "'a",
    "b'", " ", ". ", "...", "!", '." ', "?)", "\n", "\r", "\x0b", "\u2028", "Äpfel", "’s", "— ", "K", "0", "it depends",
)  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.text(max_size=80))


@settings(derandomize=True, max_examples=400, deadline=None)
@given(TEXTS, TEXTS)
@example("Hello.\nWorld ", "i think i think of course")
def test_a_text_is_taken_apart_as_plainly(one: str, other: str) -> None:
    """Words, sentences, tone, forms and distance of any two texts."""
    assert words(one) == plain.words(one)
    assert sentences(one) == plain.sentences(one)
    assert tone(one) == plain.tone(one)
    assert {name: form(one)[name] for name in ("table", "list", "heading")} == plain.marks(one)
    assert distance(one, other) == plain.distance(one, other)


def drifting(count: int, seed: int) -> list[Pair]:
    """Pairs with everything in them: failures, missing figures, few and many users, slices that come late."""
    rng = random.Random(seed)
    found = []
    for number, pair in enumerate(pairs(count, seed=seed, units=90, changes={"length": 0.8, "error_share": 0.05})):
        slices = {**pair.served.slices, **({"late": str(number % 3)} if number > count // 2 else {})}
        lacking: dict[str, Any] = {"ttft_s": rng.choice([None, 0.0, rng.random()]), "cost_usd": rng.choice([None, 0.1])}
        found.append(Pair(pair.served._replace(slices=slices, **lacking), pair.shadow._replace(ttft_s=rng.random())))
    return found


def in_parts(found: list[Pair], sizes: random.Random | None) -> tuple[dict[tuple[str, str], Cell], Differ]:
    differ = Differ(learn(pair.served for pair in found))
    begin = 0
    while begin < len(found):
        end = begin + (len(found) if sizes is None else sizes.randrange(1, 90))
        differ.add(found[begin:end])
        begin = end
    return differ.cells, differ


def as_values(found: Mapping[tuple[str, str], Cell]) -> list[Any]:
    """All there is to compare, with the order of the cells; floats as they are."""
    return [
        (key, sorted(cell.differences.buckets.items()), *cell[1:4], list(cell.up), list(cell.down))
        for key, cell in found.items()
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_pairs_add_up_as_one_after_the_other(seed: int) -> None:
    """Every sum, every example and the order of the cells; in one part, and in many."""
    found = drifting(260, seed)
    together, differ = in_parts(found, None)
    expected = as_values(plain.cells(found, differ.habits))
    assert as_values(together) == expected
    assert as_values(in_parts(found, random.Random(seed))[0]) == expected


def test_many_pairs_at_once_are_added_up_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pairs are given, only so many are taken apart at once."""
    sizes: list[int] = []
    add = cells_module.Cells.add
    monkeypatch.setattr(cells_module.Cells, "add", lambda self, rows: (sizes.append(len(rows)), add(self, rows))[1])
    differ = Differ()
    differ.add(pair for _ in range(9) for pair in drifting(250, 1))
    assert sizes == [AT_ONCE, AT_ONCE, 250]
    assert differ.pairs == 2_250


@pytest.mark.parametrize(
    ("name", "planted"), [("_note_order", lambda self, cell, pair, column: None), ("_keep", lambda self, *_: None)]
)
def test_what_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: Any) -> None:
    """Two planted defects, each seen in the comparison."""
    found = drifting(60, 3)
    expected = as_values(plain.cells(found, in_parts(found, None)[1].habits))
    monkeypatch.setattr(cells_module.Cells, name, planted)
    assert as_values(in_parts(found, None)[0]) != expected
