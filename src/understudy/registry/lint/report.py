"""Writes findings for people, programs, code scanning (SARIF 2.1.0) and the lines of a pull request. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from understudy.registry.lint.rules import RULES, Finding


class Found(NamedTuple):
    """A finding and the file it is in, as shown."""

    file: str
    finding: Finding


def text_lines(found: Iterable[Found]) -> Iterable[str]:
    """file:line:column: CODE message, and below it what to do."""
    for file, each in found:
        yield f"{file}:{each.line}:{each.column}: {each.code} {each.message}"
        if each.remedy:
            yield f"  remedy: {each.remedy}"


def summary(found: Sequence[Found], files: int, passed_over: int) -> str:
    """The last line for people."""
    looked = f"{files} file{'' if files == 1 else 's'} read for names of models"
    over = f", {passed_over} passed over" if passed_over else ""
    if not found:
        return f"no findings; {looked}{over}"
    where = len({file for file, _ in found})
    counts = Counter(each.code for _, each in found)
    by = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
    return f"{len(found)} finding{'' if len(found) == 1 else 's'} in {where} of {looked}{over}: {by}"


def document(
    found: Iterable[Found], files: int, passed_over: Mapping[str, str], today: str, looked_up: str
) -> dict[str, Any]:
    """What `--format json` prints; `looked_up` is the last day on which the public dates were."""
    return {
        "today": today,
        "facts_looked_up": looked_up,
        "files": files,
        "passed_over": dict(passed_over),
        "findings": [
            {"file": file, "rule": RULES[each.code].name, "level": RULES[each.code].level, **each._asdict()}
            for file, each in found
        ],
    }


def github_lines(found: Iterable[Found]) -> Iterable[str]:
    """Workflow commands, which show on the line of a pull request."""
    for file, each in found:
        said = _escaped(f"{each.message}. {each.remedy}" if each.remedy else each.message)
        where = f"file={_escaped(file, property_=True)},line={each.line},col={each.column}"
        yield f"::{RULES[each.code].level} {where},title={each.code} {RULES[each.code].name}::{said}"


def _escaped(text: str, *, property_: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text


def sarif(found: Iterable[Found], version: str) -> dict[str, Any]:
    """One run of code scanning. A finding keeps its fingerprint when lines are put before it."""
    codes = list(RULES)
    seen: Counter[tuple[str, str, str]] = Counter()
    results: list[dict[str, Any]] = []
    for file, each in found:
        key = (each.code, file, each.value)
        seen[key] += 1
        mark = hashlib.sha256("\0".join((*key, str(seen[key]))).encode()).hexdigest()[:32]
        region = {
            "startLine": each.line,
            "startColumn": each.column,
            "endColumn": each.column + max(1, len(each.value)),
        }
        results.append(
            {
                "ruleId": each.code,
                "ruleIndex": codes.index(each.code),
                "level": RULES[each.code].level,
                "message": {"text": f"{each.message}. {each.remedy}" if each.remedy else each.message},
                "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(file)}, "region": region}}],
                "partialFingerprints": {"pin/v1": mark},
            }
        )
    rules = [
        {
            "id": rule.code,
            "name": rule.name,
            "shortDescription": {"text": rule.finds},
            "fullDescription": {"text": f"{rule.finds} {rule.why}"},
            "defaultConfiguration": {"level": rule.level},
        }
        for rule in RULES.values()
    ]
    driver = {"name": "understudy", "version": version, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
