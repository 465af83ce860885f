"""What a difference between two answers is worth, and why, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.snapshots.compare import UNLIKE, Worth, aligned, compare, facts, similarity
from understudy.snapshots.stored import said

OLD = """Dear customer, thank you for writing about order G-1002: a hose must not leak, and I am sorry that yours does.
We have started the refund of 19.90 EUR; it takes 3 working days.
Kind regards, the garden desk"""
CALL = '[{"name":"refund","arguments":{"order":"G-1002","eur":19.9}}]'

ACCEPTABLE = {
    "more concise": OLD.replace(", and I am sorry that yours does", ""),
    "only white space differs": OLD.replace("\n", "\n\n"),
    "it has a heading": "# Your refund\n\n" + OLD,
    "other words for the same": OLD.replace("thank you for writing", "thank you for mailing"),
}
WORRYING = {
    "it says nothing of G-1002 any more": OLD.replace("order G-1002", "your order"),
    "it says 5, which the old one did not": OLD.replace("3 working", "5 working"),
    "it refuses": "I'm sorry, but I can't help with that.",
    '"no", "not" and the like': OLD.replace("We have started", "We have not started, and never will start,"),
    "it does not end with": OLD.replace("Kind regards, the garden desk", "See you around"),
    "the greeting is gone": OLD.replace("Dear customer, thank you for writing about order", "About order"),
    "it is longer": OLD.replace(
        "it takes", "please note that, as is usual in such cases, and as our terms say, it takes"
    )
    + " and everybody who works here with you and for you each day",
    "it is less than half as long": "Dear customer, G-1002: 19.90 EUR in 3 days.\nKind regards, the garden desk",
    "a different answer": "G-1002, 19.90, 3: parses as none of our forms; try elsewhere, quickly, with an account!",
    "it is empty": " ",
    "it comes in a code fence": f"```\n{OLD}\n```",
}


@pytest.mark.parametrize("why", ACCEPTABLE)
def test_acceptable(why: str) -> None:
    """Clearer, more concise or better laid out is no reason to worry."""
    found = compare(said(OLD), said(ACCEPTABLE[why]))
    assert (found.worth, found.worries) == (Worth.ACCEPTABLE, ())
    assert why in found.headline


@pytest.mark.parametrize("why", WORRYING)
def test_worrying(why: str) -> None:
    """What is lost, claimed, refused or of another form is said by its name."""
    found = compare(said(OLD), said(WORRYING[why]))
    assert found.worth is Worth.WORRYING
    assert any(why in worry for worry in found.worries), found


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('{"order": "G-1", "days": 3}', "{'order': 'G-1', 'days': 3}", "single quotes"),
        ('{"order": "G-1", "days": 3}', '{"order": "G-1"}', "another shape"),
        ('{"order": "G-1", "days": 3}', '{"order": "G-1", "days": "3"}', "another shape"),
        ('{"order": "G-1", "days": 3}', 'Here: {"order": "G-1", "days": 3}', "no valid JSON"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a is 1, b is 2", "table is gone"),
    ],
)
def test_what_a_parser_depends_on(old: str, new: str, why: str) -> None:
    """A change of form that breaks a consumer is worrying, however alike the texts are."""
    found = compare(said(old), said(new))
    assert any(why in worry for worry in found.worries), found


def test_tools() -> None:
    """Another tool, another shape of arguments and other values are three different things."""
    other = CALL.replace("refund", "cancel")
    assert "the tool refund is called less often" in compare(said("", CALL), said("", other)).worries
    assert "another shape" in compare(said("", CALL), said("", CALL.replace("19.9", '"19.9"'))).headline
    assert "other arguments" in compare(said("", CALL), said("", CALL.replace("19.9", "20"))).headline
    assert compare(said("", CALL), said("", CALL.replace(":", ": "))).worth is Worth.SAME


def test_cut_off() -> None:
    """An answer that hit the token limit where the old one did not is worrying."""
    found = compare(said(OLD), said(OLD + " And"), old_finish="stop", new_finish="length")
    assert "cut off" in found.headline


def test_similarity_sees_wording_and_not_meaning() -> None:
    """The documented measure: order of sentences is forgiven, a paraphrase is not, and a "not" is not seen."""
    assert similarity("Hose leaks. Money back!", "money back, hose leaks") == 1.0
    assert similarity("The parcel arrives on Thursday", "Expect delivery by the end of this week") < UNLIKE
    assert similarity("you can return it", "you cannot return it") > UNLIKE


def test_facts() -> None:
    """Figures, codes and addresses, as written, without the numbers of a list."""
    assert facts("1. Order G-1002.\n2. Pay 19,90 EUR to desk@example.org (https://example.org/pay).") == {
        "g-1002": "G-1002",
        "19,90": "19,90",
        "desk@example.org": "desk@example.org",
        "https://example.org/pay": "https://example.org/pay",
    }


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_can_be_compared(one: str, other: str) -> None:
    """Same is exactly same, everything else has a verdict, and both texts stand in the rows."""
    found = compare(said(one), said(other))
    assert (found.worth is Worth.SAME) == (one == other)
    assert found.headline
    assert 0.0 <= found.similarity <= 1.0
    assert all(differs or old == new for old, new, differs in aligned(said(one), said(other)))
