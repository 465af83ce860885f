"""A variant is put into understudy.yaml without touching another byte."""

from __future__ import annotations

import pytest

from understudy.config.insert import with_variant
from understudy.config.load import parse_yaml
from understudy.core.errors import Refused

BLOCK = "      new:\n        provider: p\n        model: m\n"
FILE = """\
providers: {p: {wire: openai, base_url: "http://127.0.0.1:1/v1"}}
workloads:
  one:
    variants:
      old: {provider: p, model: a}   # why not
      # the other one
      other:
        provider: p
        system_prompt: |
          text
            # no comment, a prompt

    # of the workload, not of a variant
    suites: [s.yaml]

  two:
      variants:
          old: {provider: p, model: a}
"""


@pytest.mark.parametrize("ending", ["", "\n", "\n\n# end\n"])
@pytest.mark.parametrize("workload", ["one", "two"])
def test_lines_are_added_and_nothing_else_changes(workload: str, ending: str) -> None:
    """Without the added lines the text is what it was; read again, the workload has one variant more."""
    text = FILE.rstrip("\n") + ending
    changed = with_variant(text, "u.yaml", workload, BLOCK)
    data = parse_yaml(changed, "u.yaml").data["workloads"][workload]["variants"]
    assert data.pop("new") == {"provider": "p", "model": "m"}
    assert data == parse_yaml(text, "u.yaml").data["workloads"][workload]["variants"]
    left = [line for line in changed.split("\n") if line.strip() not in ("new:", "provider: p", "model: m")]
    assert left == [line for line in text.split("\n") if line.strip() != "provider: p"]


@pytest.mark.parametrize(
    "variants", ["{old: {provider: p}}", "\n      {old: {provider: p},\n       more: {provider: p}}"]
)
def test_variants_in_braces_are_left_alone(variants: str) -> None:
    """Nothing can be added there line by line: the user is told so, with the place."""
    with pytest.raises(Refused, match=r"u\.yaml:\d+: the variants are not written as a block"):
        with_variant(f"workloads:\n  one:\n    variants: {variants}\n", "u.yaml", "one", BLOCK)


def test_a_name_that_is_there_already_is_not_written_twice() -> None:
    """The text with the block would not be read again, so it is not made."""
    with pytest.raises(Refused):
        with_variant(FILE, "u.yaml", "one", BLOCK.replace("new:", "other:"))
