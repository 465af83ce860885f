"""In every language the use of a name is found where it stands, and a name that is only spoken of is not."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from understudy.registry.lifetimes import Registry
from understudy.registry.lint.files import HINT, reader_of
from understudy.registry.lint.reading import Reading
from understudy.registry.lint.rules import RULES, lint

ROOT = Path(__file__).parents[4]
USES = {
    "a.ts": [
        'const m = "gpt-4o";',
        "call({ model: 'gpt-4o' }); // why not",
        "const m = cond ? `gpt-4o` : other;",
        'const url = "http://x"; const m = "gpt-4o";',
        'm ||= "gpt-4o";',
        "const all = ['claude-opus-5', 'gpt-4o'];",
        "costs[x] = 'gpt-4o';",
        'const t = <p>don\'t</p>; f("gpt-4o");',
    ],
    "a.go": ['m := "gpt-4o"', 'Model: "gpt-4o", // the default'],
    "a.java": ['String m = "gpt-4o";'],
    "a.json": ['{"model": "gpt-4o"}', '{"models": ["gpt-4o"]}', '{"a": {"gpt-4": "gpt-4o"}}'],
    "a.yaml": [
        "model: gpt-4o",
        "model: 'gpt-4o'  # why not",
        "a: {model: gpt-4o, t: 1}",
        "models:\n  - x\n  - gpt-4o",
        'env: [{name: LLM_MODEL, value: "gpt-4o"}]',
        "image: ${LLM_MODEL:-gpt-4o}",
        "a: {{ .Values.x }}\nmodel: gpt-4o",
        "? {a: b}\n: c\nd: gpt-4o",
        "a: &a {b: 1}\nc:\n  <<: *a\n  d: gpt-4o",
        "a: &a 1\nb: *a\nc: gpt-4o",
        "a: &a 1\n*a : gpt-4o",
        "args: [--port=80, --model=gpt-4o]",
        'args: ["--llm-model=gpt-4o"]',
    ],
    "a.toml": ['model = "gpt-4o"', "[x]\nm = 'gpt-4o' # why not", 'm = ["gpt-4o"]'],
    ".env": ["LLM_MODEL=gpt-4o", 'export LLM_MODEL="gpt-4o"', "LLM_MODEL=gpt-4o # why not"],
    "Dockerfile": [
        'CMD ["serve", "--model=gpt-4o"]',
        "ENV LLM_MODEL gpt-4o",
        "ENV LLM_MODEL=gpt-4o",
        "ARG M=gpt-4o",
        'CMD ["serve", "gpt-4o"]',
    ],
    "a.sh": ["run --model gpt-4o", "run --llm-model=gpt-4o", 'M="${M:-gpt-4o}"', "M=${M:-gpt-4o} run"],
    "a.ini": ["model = gpt-4o", "model: gpt-4o"],
    "a.tf": ['  model_name = "gpt-4o"'],
}
KNOWLEDGE = {
    "a.ts": [
        '// const m = "gpt-4o";',
        "/* 'gpt-4o' */",
        "type M = 'gpt-4o' | 'gpt-4';",
        "type M =\n  | 'gpt-4o'",
        "const costs = { 'gpt-4o': 5 };",
        "if (m === 'gpt-4o') f();",
        "if ('gpt-4o' == m) f();",
        "switch (m) { case 'gpt-4o': f(); }",
        "m.startsWith('gpt-4')",
        "enum M { A = 'gpt-4o', B = 'gpt-4' }",
        "import x from 'gpt-4o';",
        "say('I like gpt-4o')",
        "if (['gpt-4o', 'gpt-4'].includes(m)) f();",
        "const s = new Set(['gpt-4o']);",
        "const s = new Set<string>([\n  'gpt-4o',\n]);",
        "costs['gpt-4o']",
    ],
    "a.json": ['{"gpt-4o": 5}', '{"about": "I like gpt-4o"}'],
    "a.yaml": [
        "# model: gpt-4o",
        "gpt-4o: 5",
        "text: |\n  model: gpt-4o",
        "text: I like gpt-4o",
        "model_list:\n- model_name: gpt-4o\n  litellm_params: {model: azure/ours}",
    ],
    "a.toml": ['# model = "gpt-4o"', '"gpt-4o" = 5', '[prices."gpt-4o"]'],
    ".env": ["# LLM_MODEL=gpt-4o"],
    "Dockerfile": ["# ENV LLM_MODEL gpt-4o", "RUN echo gpt-4o"],
    "a.ini": ["; model = gpt-4o"],
}


def read(name: str, text: str) -> Reading:
    reader = reader_of(name)
    assert reader is not None
    return reader(text)


def codes(name: str, text: str) -> list[str]:
    return [each.code for each in lint(read(name, text), Registry(), date(2026, 11, 21), 90)]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in USES.items() for text in texts])
def test_a_use_is_found_where_it_stands(name: str, text: str) -> None:
    (only,) = lint(read(name, text), Registry(), date(2026, 11, 21), 90)
    assert (only.code, only.value) == ("PIN001", "gpt-4o")
    assert text.split("\n")[only.line - 1][only.column - 1 :].startswith("gpt-4o")
    assert HINT.search(text.encode())


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in KNOWLEDGE.items() for text in texts])
def test_what_is_known_of_a_model_is_not_found(name: str, text: str) -> None:
    assert codes(name, text) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ts", "f('gpt-4o'); // understudy: ignore[PIN001] tested daily"),
        ("a.ts", "/* understudy: ignore[PIN001] tested daily */\nf('gpt-4o');"),
        ("a.yaml", "# understudy: ignore[PIN001] tested daily\nmodel: gpt-4o"),
        ("a.toml", 'm = "gpt-4o" # understudy: ignore[PIN001] tested daily'),
        ("Dockerfile", "# understudy: ignore[PIN001] tested daily\nENV M gpt-4o"),
    ],
)
def test_a_comment_of_the_language_lets_one_stay(name: str, text: str) -> None:
    assert codes(name, text) == []


def test_an_automatic_upgrade_of_a_deployment_is_found() -> None:
    assert codes("a.bicep", "versionUpgradeOption: 'OnceNewDefaultVersionAvailable'") == ["PIN006"]
    assert codes("a.tf", 'version_upgrade_option = "OnceCurrentVersionExpired"') == ["PIN006"]
    assert codes("a.tf", 'version_upgrade_option = "NoAutoUpgrade"') == []


@pytest.mark.parametrize("name", ["README.md", "a.pyi", "a.d.ts", "a.jsonl", "a.min.js", "a.png", "LICENSE"])
def test_prose_stubs_and_data_are_not_read(name: str) -> None:
    assert reader_of(name) is None


@pytest.mark.parametrize(
    "name", [".env", ".env.production", "Dockerfile", "Dockerfile.dev", "Makefile", "x.dockerfile"]
)
def test_files_without_a_suffix_are_known_by_name(name: str) -> None:
    assert reader_of(name) is not None


@pytest.mark.parametrize(
    "name",
    ["a.py", "a/b.yml", "c.d.ts", "x.min.js", ".env", "a/.env.test", "Dockerfile.dev", "a.lock", "a.md", "Makefile"],
)
def test_the_hook_hands_over_only_files_that_are_read(name: str) -> None:
    """A file that is named and of no known kind would stop the commit."""
    (hook,) = YAML(typ="safe", pure=True).load((ROOT / ".pre-commit-hooks.yaml").read_text())
    handed_over = re.search(hook["files"], name) and not re.search(hook["exclude"], name)
    assert bool(handed_over) == (reader_of(name.rpartition("/")[2]) is not None)


@pytest.mark.parametrize("example", [rule.example for rule in RULES.values()])
def test_no_file_is_passed_over_in_which_something_is_found(example: str) -> None:
    assert HINT.search(example.encode())


LINES = st.lists(st.sampled_from(["", "# gpt-4o", "x = 'a\\nb'", "%pip install x", 'y = "q\\"t"']), max_size=6)


@given(before=st.lists(LINES, max_size=3), last=LINES, indent=st.sampled_from([None, 1]), joined=st.booleans())
def test_a_use_in_a_notebook_is_found_in_the_lines_of_the_file(
    before: list[list[str]], last: list[str], indent: int | None, joined: bool
) -> None:
    """Cells are lists of lines or one text; quotes and backslashes are escaped; other cells are prose."""

    def cell(lines: list[str]) -> dict[str, object]:
        source = "\n".join(lines)
        return {"cell_type": "code", "source": source if joined else source.splitlines(keepends=True)}

    cells = [
        {"cell_type": "markdown", "source": ["m = 'gpt-4o'"]},
        *map(cell, before),
        cell([*last, "m = 'gpt-4o'", ""]),
    ]
    text = json.dumps({"cells": cells, "metadata": {"m": "gpt-4o"}}, indent=indent)
    (only,) = lint(read("a.ipynb", text), Registry(), date(2026, 11, 21), 90)
    assert text.split("\n")[only.line - 1][only.column - 1 :].startswith("gpt-4o'")


@given(name=st.sampled_from(sorted(USES)), text=st.text("gpt-4o\"'`/*#\\\n {}[]:=|$", max_size=60))
def test_no_text_is_too_odd_to_be_read(name: str, text: str) -> None:
    for literal in read(name, text).literals:
        if name not in ("a.yaml", "a.ts", "a.go", "a.java"):  # where a value can go over lines
            assert text.split("\n")[literal.line - 1][literal.column - 1 :].startswith(literal.value)
