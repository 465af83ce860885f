"""Variants and their fingerprints."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.variant import Reasoning, Variant

BASE = Variant("a", "openai", "gpt-5-2025-08-07", "Be brief.", {"temperature": 0.2}, Reasoning(effort="low"))


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "azure"},
        {"model": "gpt-5-2025-12-01"},
        {"system_prompt": "Be brief. "},
        {"params": {"temperature": 0.3}},
        {"reasoning": Reasoning(effort="high")},
        {"reasoning": Reasoning(effort="low", budget_tokens=1024)},
        {"reasoning": None},
    ],
)
def test_each_part_of_a_variant_changes_its_fingerprint(change: dict[str, object]) -> None:
    """Model, provider, prompt, parameters and effort are all part of what is served."""
    assert dataclasses.replace(BASE, **change).fingerprint != BASE.fingerprint


def test_a_name_is_no_part_of_the_fingerprint() -> None:
    """Renaming a variant does not void its evidence."""
    assert dataclasses.replace(BASE, name="b").fingerprint == BASE.fingerprint


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    """A golden value: evidence written by an older version still finds its variant."""
    assert BASE.fingerprint == "e0314f7809a93318"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True)
@given(
    st.text(),
    st.dictionaries(st.text(), JSON, max_size=4),
    st.none() | st.builds(Reasoning, effort=st.sampled_from(["low", "high"])),
)
def test_a_variant_survives_its_written_form(
    prompt: str, params: dict[str, object], reasoning: Reasoning | None
) -> None:
    """from_dict(as_dict(v)) is v, whatever the parameters hold."""
    variant = Variant("v", "p", "m", prompt, params, reasoning)
    again = Variant.from_dict(variant.as_dict())
    assert again == variant
    assert again.fingerprint == variant.fingerprint
