"""The split: every question in one part, for good, and every slice in the proportions that were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.errors import Position
from understudy.evals.cases import Case
from understudy.evals.suite import Suite
from understudy.tuning.split import TENTHS, Part, Split, question, split
from understudy.tuning.unseen import without_seen
from understudy.wires.base import Message

Splitter = Callable[[Sequence[Suite], Mapping[str, Part], str], Split]


def case(number: int, slice_: str, critical: bool = False, asked: str = "") -> Case:
    message = Message("user", asked or f"question {number}")
    return Case(f"c{number}", (message,), (slice_,) if slice_ else (), None, critical, Position("s.yaml", 1, 1))


def suite(cases: Sequence[Case], name: str = "s") -> Suite:
    return Suite(name, f"{name}.yaml", tuple(cases), (), "")


cases = st.lists(st.tuples(st.sampled_from(["a", "b", "c", ""]), st.booleans()), min_size=1, max_size=60).map(
    lambda made: [case(number, slice_, critical) for number, (slice_, critical) in enumerate(made)]
)


def wrong(made: Splitter, given: Sequence[Case], more: Sequence[Case]) -> list[str]:
    """What a splitter does that it must not do, on these cases and on these with more."""
    found = made([suite(given)], {}, "w")
    said = []
    parts = {part: {c.id for s in found.cut([suite(given)], part) for c in s.cases} for part in Part}
    if sum(map(len, parts.values())) != len(given) or len(set().union(*parts.values())) != len(given):
        said.append("not every case is in exactly one part")
    if made([suite(list(reversed(given)))], {}, "w").parts != found.parts:
        said.append("the order matters")
    later = made([suite([*more, *given])], found.parts, "w").parts
    if any(later[name] != part for name, part in found.parts.items()):
        said.append("a case changed its part when others came")
    for name in {c.slices for c in given}:
        inside = [c for c in given if c.slices == name]
        counts = Counter(found.part_of(c) for c in inside)
        if any(abs(counts[part] - TENTHS[part] * len(inside) / 10) > 2 for part in Part):
            said.append(f"slice {name} is split {dict(counts)}")
    return said


@settings(max_examples=60, deadline=None)
@given(cases, cases)
def test_every_case_has_one_part_and_keeps_it(given_cases: list[Case], more: list[Case]) -> None:
    """Disjoint, whole, stable under reordering and adding, and each slice within two cases of its proportions."""
    renamed = [replace(c, id=f"m{c.id}", messages=(Message("user", f"more {c.id}"),)) for c in more]
    assert wrong(split, given_cases, renamed) == []


def _by_place(suites: Sequence[Suite], known: Mapping[str, Part], salt: str) -> Split:
    """Planted: the first half is the proof."""
    every = [question(c) for each in suites for c in each.cases]
    return Split({name: Part.PROOF if at < len(every) / 2 else Part.TRAIN for at, name in enumerate(every)})


def _forgetful(suites: Sequence[Suite], known: Mapping[str, Part], salt: str) -> Split:
    """Planted: what was decided before is decided anew."""
    return split(suites, {}, salt)


@pytest.mark.parametrize("planted", [_by_place, _forgetful])
def test_the_checker_sees_a_split_that_moves_cases(planted: Splitter) -> None:
    """Both planted splitters are found out."""
    given_cases = [case(number, "ab"[number % 2]) for number in range(40)]
    more = [case(number, "ab"[number % 2]) for number in range(100, 133)]
    assert wrong(split, given_cases, more) == []
    assert wrong(planted, given_cases, more)


def test_the_same_question_is_in_one_part_whatever_it_is_called() -> None:
    """Two cases that ask the same, in two suites, are not split between the search and its proof."""
    one = suite([case(n, "a", asked=f"ask {n}") for n in range(30)])
    other = suite([case(n + 100, "b", asked=f"ask {n}") for n in range(30)], "t")
    found = split([one, other], {}, "w")
    assert all(found.part_of(x) is found.part_of(y) for x, y in zip(one.cases, other.cases, strict=True))


def test_must_pass_cases_are_in_the_search_and_in_the_proof() -> None:
    """Ten of them among a hundred others: each part has some."""
    found = split([suite([case(n, "a", critical=n % 11 == 0) for n in range(110)])], {}, "w")
    critical = Counter(found.part_of(case(n, "a", critical=True)) for n in range(0, 110, 11))
    assert critical == {Part.PROOF: 5, Part.TRAIN: 3, Part.SELECTION: 2}


def test_what_a_search_saw_judges_its_prompt_nowhere() -> None:
    """Training and selection are left out, what was held out and what came later stays."""
    given_cases = [case(number, "ab"[number % 2]) for number in range(40)]
    parts = split([suite(given_cases)], {}, "w")
    later = [case(number, "a") for number in range(40, 45)]
    [left] = without_seen([suite([*given_cases, *later])], parts.parts)
    held_out = [c for each in parts.cut([suite(given_cases)], Part.PROOF) for c in each.cases]
    assert list(left.cases) == [*held_out, *later]
    assert without_seen([suite(given_cases)], {}) == [suite(given_cases)]
