"""Each rule finds what is planted for it and nothing else, and ignore comments hide what they name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.schema import ModelSection
from understudy.registry.lifetimes import Registry
from understudy.registry.lint.python import read_python
from understudy.registry.lint.rules import CATALOGUE, RULES, SPOKEN_OF, Finding, is_catalogue, lint

TODAY = date(2026, 11, 21)
CLEAN = [
    'MODEL = "claude-opus-5"',
    'MODEL = "mistral-large-2512"',
    'MODEL = "ours-2026-01-01"',
    'model = AutoModel.from_pretrained("meta-llama/Llama-3.1-8B-Instruct", revision="0e9e39f")',
    'model = AutoModel.from_pretrained("meta-llama/Llama-3.1-8B-Instruct", **settings)',
    'version_upgrade = "NoAutoUpgrade"',
    'MODEL = "anthropic.claude-sonnet-4-6"',
    'reagent = "o3"',
    'channel = "stable-latest"',
]


def found(source: str, *, within: int = 90, registry: Registry | None = None) -> list[Finding]:
    return lint(read_python(source), registry or Registry(), TODAY, within)


@pytest.mark.parametrize("code", list(RULES))
def test_a_rule_finds_the_defect_it_is_explained_by(code: str) -> None:
    others = {"PIN008": {"PIN001"}}  # what is also true of the example
    assert {each.code for each in found(RULES[code].example)} - others.get(code, set()) == {code}


@pytest.mark.parametrize("source", CLEAN)
def test_what_is_pinned_is_not_found(source: str) -> None:
    assert found(source) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""gpt-4o"""',
        '# MODEL = "gpt-4o"',
        'def f():\n    "gpt-4o"',
        'prompt = "use gpt-4o for this"',
        'COSTS = {"gpt-4o": 5}',
        'Model = Literal["gpt-4o", "gpt-4"]',
        'Model: TypeAlias = Literal["gpt-4o"]',
        'def f(model: Literal["gpt-4o"]): ...',
        'if model == "gpt-4o": ...',
        'if model in ("gpt-4o", "gpt-4"): ...',
        'model.startswith("gpt-4")',
        'match model:\n    case "gpt-4o": ...',
        'class Model(str, Enum):\n    FOUR = "gpt-4o"',
        'url = f"gpt-4o{x}"',
        'x = COSTS["gpt-4o"]',
        'NEW = {"gpt-4o", "gpt-4"}',
        'NEW = frozenset(["gpt-4o", "gpt-4"])',
        'PREFIXES = ("gpt-4o", "gpt-4")',
        'SUPPORTED_MODELS = ["gpt-4o"]',
        'add_argument("--model", choices=["gpt-4o", "gpt-4"])',
        'TABLE = {"gpt-4o": {"name": "gpt-4o"}}',
        'headers = {"chatgpt-account-id": x, "y": "chatgpt-account-id"}',
        'create(model_name="default")',
    ],
)
def test_what_is_known_of_a_model_is_not_the_use_of_one(source: str) -> None:
    assert found(source) == []


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ('MODEL = "gpt-4o"', 10),
        ('def f(model="gpt-4o"): ...', 14),
        ('create(model="gpt-4o")', 15),
        ('os.environ.get("LLM_MODEL", "gpt-4o")', 30),
        ('T = {"model": "gpt-4o"}', 16),
        ('FALLBACKS = ["claude-opus-5", "gpt-4o"]', 32),
        ('if create("gpt-4o") == x: ...', 12),
        ('class A:\n    model: str = "gpt-4o"', 19),
        ('class A(Enum):\n    def f(self): return "gpt-4o"', 26),
        ('é = "é"; model = "gpt-4o"', 19),
        ('x = lambda: "gpt-4o"', 14),
    ],
)
def test_the_use_of_a_name_is_found_where_it_stands(source: str, column: int) -> None:
    (only,) = found(source)
    assert (only.code, only.column, only.value) == ("PIN001", column, "gpt-4o")


def test_short_names_are_found_only_where_a_model_is_named() -> None:
    assert {each.code for each in found('model = "o3"')} == {"PIN001", "PIN004"}
    assert {each.code for each in found('get("LLM_MODEL", "our-thing-latest")')} == {"PIN001"}


def test_a_shutdown_is_said_from_the_days_on_that_were_asked_for() -> None:
    source = 'm = "gpt-4o-2024-08-06"'
    assert found(source, within=53) == []
    (only,) = found(source, within=54)
    assert only.message == "gpt-4o-2024-08-06 is shut down on 2027-01-14, in 54 days"
    assert only.source.startswith("https://")
    assert "gpt-6-luna" in only.remedy


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ('m = "us.anthropic.claude-sonnet-4-20250514-v1:0"', "PIN003", "is gone since 2026-10-14 on Amazon Bedrock"),
        ('m = "claude-sonnet-4-20250514"', "PIN003", "is gone since 2026-06-15"),
        ('m = "vertex_ai/gemini-2.5-flash-lite"', "PIN004", "is shut down on 2027-01-28 on Google Cloud, in 68 days"),
        ('m = "gemini-2.5-pro"', "PIN004", "is shut down on 2026-12-01, in 10 days"),
    ],
)
def test_a_name_that_only_a_cloud_knows_goes_by_that_cloud_s_dates(source: str, code: str, said: str) -> None:
    (only,) = found(source)
    assert (only.code, only.message) == (code, f"{only.value} {said}")


def test_an_earliest_day_that_has_passed_is_no_shutdown_yet() -> None:
    (only,) = found('m = "claude-haiku-4-5-20251001"')
    assert only.code == "PIN004"
    assert "any day: 2026-10-15 was the earliest one" in only.message


def test_what_the_project_declares_is_believed() -> None:
    declared = {"gpt-4o": ModelSection(exact=True), "in-house": ModelSection(retires="2026-01-01")}
    registry = Registry(declared)
    assert found('m = "gpt-4o"', registry=registry) == []
    assert [each.code for each in found('m = "in-house"', registry=registry)] == ["PIN003"]


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ('m = "gpt-4o"  # understudy: ignore[PIN001] tested daily', []),
        ('# understudy: ignore[PIN001] tested daily\nm = "gpt-4o"', []),
        ('m = "gpt-4"  # understudy: ignore[PIN001] tested daily', ["PIN003"]),
        ('m = "gpt-4"  # understudy: ignore[PIN001, PIN003] tested daily', []),
        ('m = "gpt-4o"  # understudy: ignore[PIN001]', ["PIN001", "PIN008"]),
        ('m = "gpt-4o"  # understudy: ignore', ["PIN001", "PIN008"]),
        ('m = "gpt-4o"  # understudy: ignore[PIN01] because', ["PIN001", "PIN008"]),
        ('m = "gpt-4o"  # understudy: ignore[PIN002] because', ["PIN001", "PIN009"]),
        ("m = 1  # understudy: ignore[PIN001] because", ["PIN009"]),
        ('m = "gpt-4o"\nn = "gpt-4o"  # understudy: ignore[PIN001] because', ["PIN001"]),
        ('t = "# understudy: ignore[PIN001]"', []),
    ],
)
def test_an_ignore_comment_hides_what_it_names_on_its_line_and_has_to_say_why(source: str, codes: list[str]) -> None:
    assert sorted(each.code for each in found(source)) == sorted(codes)


def test_a_list_of_all_models_pins_none() -> None:
    names = [f"m{number} = 'gpt-{number + 10}'" for number in range(CATALOGUE)]
    assert is_catalogue(found("\n".join(names)))
    assert not is_catalogue(found("\n".join(names[1:])))


NAMES = st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "gemini-1.5-pro", "codestral-latest", "openai/gpt-4.1:nitro"])


@given(
    before=st.lists(st.sampled_from(["", "x = 1", "# gpt-4o", "é = 'ß'"]), max_size=5),
    name=NAMES,
    wide=st.text("é 𝄞", max_size=4),
)
def test_a_finding_stands_where_it_is_said_to(before: list[str], name: str, wide: str) -> None:
    source = "\n".join([*before, f"t, m = '{wide}', '{name}'"])
    (only,) = [each for each in found(source) if each.code == "PIN001"]
    assert source.split("\n")[only.line - 1][only.column - 1 :].startswith(name)


def test_the_page_names_the_words_that_tell_a_list_from_a_choice() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/lint.md").read_text()
    for word in SPOKEN_OF.pattern.split("|"):
        assert f"`{word}`" in page
