"""What searches file: written whole, read back, and refused where somebody changed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.core.errors import DataCorrupt
from understudy.tuning import filing
from understudy.tuning.split import Part


def test_a_split_that_was_edited_is_no_split(tmp_path: Path) -> None:
    """Moving a case from the search into the proof by hand is noticed, and the remedy says what is at stake."""
    filing.save_split(tmp_path, {"q1": Part.TRAIN, "q2": Part.PROOF})
    assert filing.load_split(tmp_path) == {"q1": Part.TRAIN, "q2": Part.PROOF}
    file = tmp_path / filing.SPLIT
    file.write_text(file.read_text().replace("train", "proof"))
    with pytest.raises(DataCorrupt, match=r"split\.json does not match its checksum") as error:
        filing.load_split(tmp_path)
    assert "which cases a search has seen" in error.value.remedy


def test_searches_are_listed_by_when_they_began(tmp_path: Path) -> None:
    """One under way has no end; one whose file was cut is an error that says how to get it back."""
    filing.begin(tmp_path, "b", 2.0, {"seed": 1})
    filing.begin(tmp_path, "a", 1.0, {"seed": 0})
    assert [(each["id"], each["finished_at"]) for each in filing.searches(tmp_path)] == [("a", None), ("b", None)]
    assert filing.tuned(tmp_path) == frozenset()
    (tmp_path / filing.RESULTS / "a.json").write_text("{")
    with pytest.raises(DataCorrupt) as error:
        filing.searches(tmp_path)
    assert "writes it anew" in error.value.remedy


def tuned_by(tmp_path: Path, fingerprint: str) -> None:
    """File a search that ended with a prompt."""
    document = {
        "id": "a",
        "started_at": 1.0,
        "finished_at": 2.0,
        "ended": "cleared",
        "gap": {"before": 0.1, "after": 0},
    }
    document |= {"candidate": {"name": "new"}, "proposals": 1, "asked": 9, "tuned": {"fingerprint": fingerprint}}
    filing.save(tmp_path, filing.Report(document, None))


def test_a_search_that_is_begun_again_takes_back_nothing_it_found(tmp_path: Path) -> None:
    """A prompt of a search is never judged on what that search saw: not while it is played again, and not when a larger
    budget led it on to another prompt."""
    tuned_by(tmp_path, "first")
    filing.begin(tmp_path, "a", 3.0, {"seed": 0})
    (begun,) = filing.searches(tmp_path)
    assert filing.tuned(tmp_path) == {"first"} and begun["finished_at"] is None and begun["outcome"] == "stop"
    tuned_by(tmp_path, "second")
    tuned_by(tmp_path, "third")
    assert filing.tuned(tmp_path) == {"first", "second", "third"}
