"""The parts of the documentation that come from the code, and the check that the committed pages still match it.

A page marks a generated part with `<!-- generated: NAME -->` and `<!-- end: NAME -->`; everything between the two is
written by the generator of that name below. `--write` writes the pages, without it they are only compared.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))
import field_tables

if TYPE_CHECKING:
    import typer

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "understudy"

PATH_OF_A_REQUEST = ("gateway", "assign", "wires", "upstream", "ledger", "gates", "rollout")
PLAYBOOK = ("stages",)
DOORS = ("config", "cli", "dashboard", "demo", "testing")
ORDER = ("core", *PATH_OF_A_REQUEST, *PLAYBOOK, "evals", "drift", "registry", *DOORS)


def module_map() -> str:
    """Every module with the first sentence of its docstring, in the order a request and an upgrade meet them."""
    packages = [name for name in ORDER if (SOURCE / name).is_dir()]
    packages += sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists() and p.name not in packages)
    lines: list[str] = []
    for package in packages:
        lines.append(f"\n**`{package}/`** {_sentence(SOURCE / package / '__init__.py')}\n")
        lines.append("| module | what it decides or does |\n|---|---|")
        for path in sorted((SOURCE / package).rglob("*.py")):
            if path.name == "__init__.py" and path.parent == SOURCE / package:
                continue
            name = path.relative_to(SOURCE / package).with_suffix("").as_posix().removesuffix("/__init__")
            if "/versions/" in path.as_posix():
                continue
            lines.append(f"| `{name}` | {_sentence(path)} |")
    lines.append("\n**Top level**\n\n| module | what it decides or does |\n|---|---|")
    lines += [f"| `{path.stem}` | {_sentence(path)} |" for path in sorted(SOURCE.glob("*.py"))]
    return "\n".join(lines).strip()


def _sentence(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = doc.split("\n\n")[0].replace("\n", " ").strip()
    found = re.match(r"(.+?[.:;])(?:\s|$)", first)
    return (found.group(1) if found else first).rstrip(":;").replace("|", "\\|")


def state_diagram() -> str:
    """The plan machine, drawn from its transition tables."""
    from understudy.rollout.machine import mermaid

    return f"```mermaid\n{mermaid().strip()}\n```"


def profiles() -> str:
    """The named profiles, from `core.playbook`."""
    from understudy.core.playbook import PROFILES

    rows = [
        "| profile | shadow | ladder: share held for at least | soak | incumbent kept | gives up |",
        "|---|---|---|---|---|---|",
    ]
    for p in PROFILES.values():
        ladder = ", ".join(f"{s.share / 10_000:g} % {_duration(s.hold_s)}" for s in p.ladder if s.share < 1_000_000)
        rows.append(
            f"| `{p.name}` | {_duration(p.shadow_min_s)} to {_duration(p.shadow_max_s)} | {ladder}, then 100 % "
            f"| {_duration(p.soak_s)} | {_duration(p.retain_s)} | {'; '.join(p.gives_up) or '-'} |"
        )
    return "\n".join(rows)


def _duration(seconds: float) -> str:
    return f"{seconds / 86400:g} d" if seconds >= 86400 else f"{seconds:g} s"


def exit_codes() -> str:
    """The error tree with its exit codes, from `core.errors`."""
    doc = ast.get_docstring(ast.parse((SOURCE / "core" / "errors.py").read_text())) or ""
    tree = "\n".join(line for line in doc.splitlines() if line.startswith("    "))
    return f"```text\n{tree}\n```"


def command_help() -> str:
    """`--help` of every verb and sub-verb, as a user sees it at 100 columns."""
    from typer.main import get_command

    from understudy.cli.main import VERBS, app

    parts: list[str] = []
    for verb, (module, _, _) in VERBS.items():
        parts.append(f"## {verb}\n\n```text\n{_help(app, verb)}\n```\n")
        command = get_command(importlib.import_module(module).app)
        for sub in getattr(command, "commands", {}):
            parts.append(f"### {verb} {sub}\n\n```text\n{_help(app, verb, sub)}\n```\n")
    return "\n".join(parts).strip()


def _help(app: typer.Typer, *words: str) -> str:
    from typer.testing import CliRunner

    wide = {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    shown = CliRunner().invoke(app, [*words, "--help"], env=wide, prog_name="understudy")
    if shown.exit_code:
        raise RuntimeError(f"{' '.join(words)} --help ended with {shown.exit_code}: {shown.output}")
    return "\n".join(line.rstrip() for line in shown.output.strip().splitlines())


def gateway_figures() -> str:
    """What the gateway costs beside other proxies, from the results that `make bench-gateway` wrote."""
    page = (ROOT / "benchmarks" / "gateway" / "RESULTS.md").read_text()
    found = re.search(r"<!-- front page -->\n(.+?)\n<!-- end of front page -->", page, re.S)
    if found is None:
        raise RuntimeError("benchmarks/gateway/RESULTS.md has no part for the front page")
    return found.group(1)


def configuration() -> str:
    """Every key of understudy.yaml, from the models that read it."""
    from understudy.config.reference import configuration_reference

    return configuration_reference()


def graders() -> str:
    """Every grader with its settings, and the examples of its specification."""
    from understudy.evals import reference

    return reference.graders(runpy.run_path(str(ROOT / "tests/spec/evals/test_graders.py"))["EXAMPLES"])


def suites() -> str:
    """The keys of a suite file, of a case and of a message."""
    from understudy.evals import reference

    return reference.suites()


def lint_rules() -> str:
    """The rules of the linter, with a line that each of them finds."""
    from understudy.registry.lint.rules import RULES

    rows = ["| rule | finds | because | for example |", "|---|---|---|---|"]
    rows += [f"| `{r.code}` {r.name} | {r.finds} | {r.why} | `{r.example}` |" for r in RULES.values()]
    return "\n".join(rows)


def lifetimes() -> str:
    """What is known of models' lives, at their makers' and on each cloud, with the source of every date."""
    from understudy.registry.clouds import CLOUDS
    from understudy.registry.lifetimes import Retirement, public

    def said(each: Retirement) -> str:
        seen = f"as of {each.as_of}" if each.as_of else f"read {each.read}"
        return f"[{each.source.split('/')[2]}]({each.source}), {seen}"

    parts: list[str] = []
    for on in dict.fromkeys(life.on for life in public().values()):
        lives = [life for life in public().values() if life.on == on]
        rows = [f"### {CLOUDS[on].title if on else 'The makers themselves'}: {len(lives)} models", ""]
        rows += ["| model | released | deprecated | gone | said by | instead |", "|---|---|---|---|---|---|"]
        for life in lives:
            gone = "<br>".join(f"{'from ' * (r.kind == 'not_before')}{r.day}" for r in life.retirements) or "unknown"
            sources = "<br>".join(map(said, life.retirements)) or "-"
            days = " | ".join(str(day or "-") for day in (life.released, life.deprecated))
            rows.append(f"| `{life.model}` | {days} | {gone} | {sources} | {life.replacement or '-'} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


GENERATORS: dict[str, Callable[[], str]] = {
    "configuration": configuration,
    "module-map": module_map,
    "state-diagram": state_diagram,
    "profiles": profiles,
    "gateway-figures": gateway_figures,
    "exit-codes": exit_codes,
    "command-help": command_help,
    "graders": graders,
    "lint-rules": lint_rules,
    "lifetimes": lifetimes,
    "suites": suites,
    "records": field_tables.records,
    "lake-tables": field_tables.lake_tables,
    "routing-table": field_tables.routing_table,
    "translation": field_tables.translation,
}


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def regenerated(text: str) -> str:
    """The page with each generated part made anew. Raises KeyError for a part nobody generates."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- generated: {name} -->\n{GENERATORS[name]()}\n<!-- end: {name} -->"

    return re.sub(r"<!-- generated: ([\w-]+) -->.*?<!-- end: \1 -->", fill, text, flags=re.S)


def main(write: bool) -> int:
    stale = 0
    for page in pages():
        text = page.read_text()
        wanted = regenerated(text)
        if wanted == text:
            continue
        if write:
            page.write_text(wanted)
            print(f"wrote {page.relative_to(ROOT)}")
            continue
        stale += 1
        print(f"{page.relative_to(ROOT)} no longer matches the code; run `make docs`")
        print("\n".join(list(difflib.unified_diff(text.splitlines(), wanted.splitlines(), lineterm="", n=0))[:20]))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv))
