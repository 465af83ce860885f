"""Two variants side by side: every change is shown once, nothing that stayed the same is called a change."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.variant import Reasoning, Variant
from understudy.evals.prompts import side_by_side

PROMPT = """\
You write replies.
Be kind.
Never promise refunds.
Use at most five sentences.
Sign as the team.
End."""

OLD = Variant(
    name="v12",
    provider="p",
    model="m-1",
    system_prompt=PROMPT,
    params={"temperature": 0.6, "max_tokens": 800},
)
NEW = Variant(
    name="v13",
    provider="p",
    model="m-2",
    system_prompt=PROMPT.replace("Sign as ", "Sign as\n"),
    params={"max_tokens": 800, "top_p": 0.9},
    reasoning=Reasoning(effort="low"),
)


def test_the_view_reads_like_this() -> None:
    """Settings by their names in the file, the prompt as changed lines with a little around them, and the reason."""
    assert list(side_by_side(OLD, NEW, "negative instructions are taken literally").lines()) == [
        "v12 to v13",
        "why: negative instructions are taken literally",
        "  model: m-1 -> m-2",
        "  params.temperature: 0.6 -> (not set)",
        "  params.top_p: (not set) -> 0.9",
        "  reasoning.effort: (not set) -> low",
        "system prompt:",
        "    (2 unchanged lines)",
        "    Never promise refunds.",
        "    Use at most five sentences.",
        "  - Sign as the team.",
        "  + Sign as",
        "  + the team.",
        "    End.",
    ]


def test_a_variant_beside_itself_shows_nothing() -> None:
    """No change, and it says so."""
    view = side_by_side(OLD, OLD)
    assert view.same
    assert list(view.lines())[1:] == ["why: not recorded", "  nothing differs"]


def test_the_view_is_json() -> None:
    """The same as data, for evidence and --json."""
    found = side_by_side(OLD, NEW, "because").as_dict()
    assert found["settings"][0] == {"setting": "model", "before": "m-1", "after": "m-2"}
    assert {"kind": "removed", "text": "Sign as the team."} in found["prompt"]
    assert found["why"] == "because"


LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=12)


@given(before=LINES, after=LINES)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_removed_and_added_lines_lead_from_one_prompt_to_the_other(before: list[str], after: list[str]) -> None:
    """Counting lines: what was there, less what is removed, plus what is added, is what is there now."""
    old, new = "\n".join(before), "\n".join(after)
    view = side_by_side(Variant("o", "p", "m", old), Variant("n", "p", "m", new))
    kinds = [line.kind for line in view.prompt]
    was, now = len(old.splitlines()), len(new.splitlines())
    assert was - kinds.count("removed") + kinds.count("added") == now
    assert (view.prompt == ()) is (old.splitlines() == new.splitlines())
    assert sorted(line.text for line in view.prompt if line.kind == "added") != [] or now <= was
