"""The rules of the linter, and what each of them finds in a text that is used as a value. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

from understudy.registry.lifetimes import Known, Registry
from understudy.registry.lint.reading import LONGEST, MARK, Comment, Literal, Reading
from understudy.registry.naming import WEIGHTS_REMEDY, Promise


class Rule(NamedTuple):
    """One rule: what it finds, why that matters, and a line that it finds it in."""

    code: str
    name: str
    finds: str
    why: str
    example: str
    level: str
    """error or warning, for tools that tell them apart; the exit code does not."""


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule(
            "PIN001",
            "floating-name",
            "A name that the provider moves to another model.",
            "What was tested is not what is served after the move, and nobody is told.",
            'MODEL = "gpt-4o"',
            "error",
        ),
        Rule(
            "PIN002",
            "preview",
            "A preview or experimental model.",
            "It may be changed or withdrawn at short notice: two weeks have been enough.",
            'MODEL = "gemini-3-flash-preview"',
            "warning",
        ),
        Rule(
            "PIN003",
            "retired",
            "A model whose announced shutdown has passed.",
            "Calls fail, or are answered by another model.",
            'MODEL = "claude-3-opus-20240229"',
            "error",
        ),
        Rule(
            "PIN004",
            "retiring",
            "A model that is shut down within the days of --within, or may be any day.",
            "An upgrade with all its stages takes weeks: `understudy plan` counts them back.",
            'MODEL = "gpt-4o-2024-08-06"',
            "warning",
        ),
        Rule(
            "PIN005",
            "weights-without-revision",
            "Open weights that are loaded without a revision.",
            "A repository can change its weights under the same name.",
            'model = AutoModel.from_pretrained("meta-llama/Llama-3.1-8B-Instruct")',
            "error",
        ),
        Rule(
            "PIN006",
            "automatic-upgrade",
            "A deployment on Azure that is upgraded by itself.",
            "The version behind its name moves without a word in your repository.",
            'version_upgrade = "OnceNewDefaultVersionAvailable"',
            "error",
        ),
        Rule(
            "PIN007",
            "no-such-name",
            "A name of which the provider says that no model has it.",
            "Calls fail; on Bedrock a suffix that newer Claude ids no longer have is the usual cause.",
            'MODEL = "anthropic.claude-sonnet-4-6-v1:0"',
            "error",
        ),
        Rule(
            "PIN008",
            "ignored-without-reason",
            "An ignore comment without codes or without a reason.",
            "Whoever meets it later cannot tell whether it still holds.",
            'MODEL = "gpt-4o"  # understudy: ignore[PIN001]',
            "warning",
        ),
        Rule(
            "PIN009",
            "ignored-in-vain",
            "An ignore comment for something that is not found there.",
            "It would hide the next one.",
            'MODEL = "claude-opus-5"  # understudy: ignore[PIN001] tested daily',
            "warning",
        ),
    )
}


class Finding(NamedTuple):
    """One thing found, in one file; line and column count from 1."""

    line: int
    column: int
    code: str
    message: str
    remedy: str
    value: str
    """The text it is about."""
    source: str = ""
    """Where the rule or the date is written."""


SPOKEN_OF = re.compile(
    "prefix|marker|pattern|famil|series|deprecated|support|known|retired|placeholder|choices", re.IGNORECASE
)
"""In the name of what a text is given to: a list of what there is or was, not a choice."""
AUTOMATIC = {
    "OnceNewDefaultVersionAvailable": "as soon as another version becomes the default",
    "OnceCurrentVersionExpired": "when its version is retired",
}
SHORT = re.compile(r"o[1-9]")
"""Names that are also many other things: only where a model is named."""


def judge(literals: Sequence[Literal], registry: Registry, today: date, within: int) -> Iterator[Finding]:
    """What is found in the texts of one file. `within` is the days before a shutdown from which it is said."""
    for literal in literals:
        value = literal.value
        if len(value) > LONGEST or not value.isascii() or any(each.isspace() for each in value):
            continue
        if value in AUTOMATIC:
            message = f"the deployment is upgraded {AUTOMATIC[value]}"
            yield Finding(literal.line, literal.column, "PIN006", message, "write NoAutoUpgrade", value)
            continue
        if SPOKEN_OF.search(literal.key):
            continue
        known = registry.look_up(value)
        yield from _of_name(literal, known)
        yield from _of_date(literal, known, today, within)


def _names_a_model(literal: Literal) -> bool:
    return "model" in literal.key.lower() or "llm" in literal.key.lower()


def _of_name(literal: Literal, known: Known) -> Iterator[Finding]:
    naming = known.naming
    at = (literal.line, literal.column)
    if naming.malformed:
        yield Finding(*at, "PIN007", naming.reason, naming.remedy, literal.value, naming.source)
    elif literal.weights and naming.promise is Promise.UNKNOWN and re.fullmatch(r"[\w.-]+/[\w.-]+", literal.value):
        yield Finding(*at, "PIN005", "weights are loaded without a revision", WEIGHTS_REMEDY, literal.value)
    elif naming.promise is Promise.ALIAS:
        if (naming.scheme in ("", "weights", "openrouter") or SHORT.fullmatch(literal.value)) and not _names_a_model(
            literal
        ):
            return
        message = f"{literal.value} may change under you: {naming.reason}"
        yield Finding(*at, "PIN001", message, naming.remedy, literal.value, naming.source)
    elif naming.preview:
        message = f"{literal.value} is a preview, which may go at short notice"
        yield Finding(*at, "PIN002", message, naming.remedy, literal.value, naming.source)


def _of_date(literal: Literal, known: Known, today: date, within: int) -> Iterator[Finding]:
    retirement = known.lifetime.retirement if known.lifetime else None
    if known.lifetime is None or retirement is None or (SHORT.fullmatch(literal.value) and not _names_a_model(literal)):
        return
    replacement = known.lifetime.replacement
    remedy = f"the provider recommends {replacement}; compare it with `understudy eval`" if replacement else ""
    remedy = remedy or "choose another model, and compare it with `understudy eval`"
    left, where = retirement.days_left(today), known.where
    if retirement.passed(today):
        code, message = "PIN003", f"{literal.value} is gone since {retirement.day}{where}"
    elif left <= 0:
        earliest = f"{retirement.day} was the earliest one"
        code, message = "PIN004", f"{literal.value} may be shut down any day{where}: {earliest}"
    elif left <= within:
        said = "is shut down" if retirement.kind == "announced" else "may be shut down"
        code, message = "PIN004", f"{literal.value} {said} on {retirement.day}{where}, in {left} days"
    else:
        return
    yield Finding(literal.line, literal.column, code, message, remedy, literal.value, retirement.source)


_IGNORE = re.compile(MARK + r"\s*ignore(?:\[(?P<codes>[^\]]*)\])?(?P<reason>[^\n]*)")


def heeding(found: Sequence[Finding], comments: Sequence[Comment]) -> Iterator[Finding]:
    """What is left when the ignore comments of the file are heeded, and what is wrong with these themselves.

    A comment speaks of its own line, or of the next one where nothing stands before it; an ignored line of findings
    needs each of its codes named.
    """
    left = list(found)
    for comment in comments:
        mark = _IGNORE.search(comment.text)
        if mark is None:
            continue
        codes = [code for code in re.split(r"[\s,]+", mark["codes"] or "") if code]
        reason = re.sub(r"\*/\s*$", "", mark["reason"]).strip(" :-")
        line = comment.line + 1 if comment.alone else comment.line
        at = (comment.line, comment.column)
        if not codes or not reason or not set(codes) <= set(RULES):
            wrong = [code for code in codes if code not in RULES]
            message = f"there is no rule {', '.join(wrong)}" if wrong else "an ignore comment needs codes and a reason"
            yield Finding(*at, "PIN008", message, "write understudy: ignore[PIN001] why it may stay", mark[0].strip())
            continue
        hidden = [each for each in left if each.line == line and each.code in codes]
        left = [each for each in left if each not in hidden]
        vain = [code for code in codes if code not in {each.code for each in hidden}]
        if vain:
            message = f"nothing of {', '.join(vain)} is found here"
            yield Finding(*at, "PIN009", message, "remove it", mark[0].strip())
    yield from left


CATALOGUE = 50
"""Names in one file, from which on it is a list of what there is, and pins nothing."""


def is_catalogue(found: Sequence[Finding]) -> bool:
    """Whether the findings are of a price list or the like."""
    return len({each.value for each in found}) >= CATALOGUE


def lint(reading: Reading, registry: Registry, today: date, within: int) -> list[Finding]:
    """All findings of one file, in order."""
    return sorted(heeding(list(judge(reading.literals, registry, today, within)), reading.comments))
