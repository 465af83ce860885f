"""A price of the list that moved by more than half is used after a person agreed, and not before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import DataCorrupt, UsageError
from understudy.ledger import prices as pricing
from understudy.ledger.pricebook import HELD, Entry, Listed, PriceBook, Tier, moved
from understudy.ledger.prices import Prices


def listed(into: float, *, source: str = "list 1", day: str = "2026-01-01") -> Listed:
    return Listed((Tier(-1, into, 4.0, 0.1),), source, day)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([(-1, 2, 4, 1)], [(-1, 2, 4, 1)], 0.0),
        ([(-1, 2, 4, 1)], [(-1, 3, 4, 1)], 0.5),
        ([(-1, 2, 4, 1)], [(-1, 2, 1, 1)], 0.75),
        ([(-1, 2, 4, 0)], [(-1, 2, 4, 1)], 1.0),
        ([(-1, 2, 4, 0)], [(-1, 2, 4, 0)], 0.0),
        ([(-1, 2, 4, 1)], [(1000, 5, 4, 1), (-1, 2, 4, 1)], 1.5),
        ([(1000, 4, 8, 2), (-1, 2, 4, 1)], [(-1, 2, 4, 1)], 0.5),
    ],
)
def test_how_far_a_price_moved(old: list[Any], new: list[Any], expected: float) -> None:
    """By the rate that moved most, over every length of input for which either has a rate."""
    assert moved([Tier(*each) for each in old], [Tier(*each) for each in new]) == expected


def test_a_jump_waits_for_a_person_and_a_step_does_not(tmp_path: Path) -> None:
    """Half up is a step; more is held, in every process and after a restart, until somebody accepts it."""
    book = PriceBook(tmp_path / "p.json")
    assert book.agreed("m", listed(2.0)) == listed(2.0)
    assert book.agreed("m", listed(3.0, source="list 2")) == listed(3.0, source="list 2")
    new = listed(30.0, source="list 3", day="2026-02-01")
    assert book.agreed("m", new) == listed(3.0, source="list 2" + HELD)
    again = PriceBook(tmp_path / "p.json")
    assert again.entries() == [Entry("m", listed(3.0, source="list 2"), new)]
    assert again.agreed("m", new).source == "list 2 (held)"
    with pytest.raises(UsageError, match="no price of 'other' waits"):
        again.accept(["m", "other"])
    assert again.accept(["m"]) == [Entry("m", listed(3.0, source="list 2"), new)]
    assert book.changed()
    assert book.agreed("m", new) == new
    with pytest.raises(UsageError, match="no price of 'm' waits"):
        book.accept(["m"])


def test_a_jump_that_was_taken_back_waits_no_longer(tmp_path: Path) -> None:
    """The next list may have corrected itself."""
    book = PriceBook(tmp_path / "p.json")
    for into in (2.0, 200.0):
        book.agreed("m", listed(into))
    assert book.entries()[0].waiting is not None
    assert book.agreed("m", listed(2.1)) == listed(2.1)
    assert book.entries()[0].waiting is None


def test_a_reader_writes_nothing_and_a_broken_book_is_said(tmp_path: Path) -> None:
    """An eval goes by the book and leaves it alone."""
    PriceBook(tmp_path / "p.json", keep=False).agreed("m", listed(2.0))
    assert not (tmp_path / "p.json").exists()
    for text in ("{", '{"m": 4}', '{"m": {"tiers": [[1]]}}'):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(DataCorrupt, match=r"p\.json cannot be read"):
            PriceBook(tmp_path / "p.json")


def test_a_book_that_breaks_leaves_the_last_good_prices(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on being used, nobody writes over the broken file, and a mended one is taken."""
    monkeypatch.setattr(pricing, "_listed", lambda model, at: listed(9.0, source="list 9"))
    path = tmp_path / "p.json"
    PriceBook(path).agreed("m", listed(2.0, source="list 2"))
    good = path.read_text()
    book = PriceBook(path)
    prices = Prices(book=book)
    asked = make(0, model_served="m", input_tokens=1_000_000, output_tokens=0)
    assert prices.cost(asked).source == "list 2 (held)"
    path.write_text("{")
    assert prices.cost(asked).source == "list 2 (held)"
    assert prices.cost(make(1, model_served="new", input_tokens=1, output_tokens=0)).source == "list 9"
    assert (path.read_text(), "cannot be read" in str(book.problem)) == ("{", True)
    with pytest.raises(DataCorrupt):
        book.accept(["m"])
    path.write_text(good.replace("list 2", "list 3"))
    assert (prices.cost(asked).source, book.problem) == ("list 3 (held)", None)


def test_costs_go_on_at_the_held_price_and_take_the_accepted_one(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another list in its place: 2 dollars a million, then 9, which somebody accepts while the committer runs."""
    price = [2.0]
    monkeypatch.setattr(pricing, "_listed", lambda model, at: listed(price[0], source=f"list {price[0]:g}"))
    asked = make(0, model_served="m", input_tokens=1_000_000, output_tokens=0)
    path = tmp_path / "p.json"
    assert Prices(book=PriceBook(path)).cost(asked) == (2.0, "list 2", "2026-01-01")
    price[0] = 9.0
    prices = Prices(book=PriceBook(path))
    assert prices.cost(asked) == (2.0, "list 2 (held)", "2026-01-01")
    PriceBook(path).accept(["m"])
    assert prices.cost(asked) == (9.0, "list 9", "2026-01-01")
    assert json.loads(path.read_text())["m"]["waiting"] == {}
    assert Prices().cost(asked) == (9.0, "list 9", "2026-01-01")
