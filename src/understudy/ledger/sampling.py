"""Makes eval cases of live traffic: a stratified sample without repetitions, redacted, for people to review.

The incumbent's answers are the references. A case carries the id of its exchange, so `ledger erase` finds it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from understudy.core.errors import UsageError
from understudy.ledger.answers import Answer, Asked
from understudy.ledger.redact import Redactor

HEADER = (
    "# Cases from live traffic: made by `understudy suite from-ledger`, one a line. Review each before you rely on it."
)
_CASE = '  - {"id": '


class Sampled(NamedTuple):
    """One case, as a line of the suite file."""

    id: str
    messages: list[dict[str, str]]
    slices: dict[str, str]
    reference: str


def case_of(answer: Answer, redactor: Redactor) -> Sampled | None:
    """The case of an exchange; None where it has no plain conversation, no answer, or only a part of either."""
    if answer.error or answer.masked or answer.truncated_content or not answer.answer.strip() or answer.tool_calls:
        return None
    messages = conversation(answer.request)
    if not messages or messages[-1]["role"] != "user":
        return None
    clean = [{"role": each["role"], "content": redactor.text(each["content"])} for each in messages]
    return Sampled(answer.exchange, clean, answer.slices, redactor.text(answer.answer))


def conversation(request: bytes) -> list[dict[str, str]]:
    """The turns of user and assistant in a request body of any dialect; empty where one of them is more than text."""
    try:
        body = msgspec.json.decode(request)
    except msgspec.DecodeError:
        return []
    if not isinstance(body, dict):
        return []
    turns = body.get("messages") or body.get("contents") or body.get("input") or []
    if isinstance(turns, str):
        return [{"role": "user", "content": turns}]
    found = []
    for turn in turns if isinstance(turns, list) else []:
        role = turn.get("role") if isinstance(turn, dict) else None
        if role in ("system", "developer"):
            continue  # the prompt belongs to the variant
        text = _text(turn.get("content", turn.get("parts"))) if isinstance(turn, dict) else None
        if role not in ("user", "assistant", "model") or text is None:
            return []
        found.append({"role": "assistant" if role == "model" else str(role), "content": text})
    return found


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    return None if None in parts else "\n".join(str(part) for part in parts)


def in_turn(asked: Iterable[Asked], *, by: str | None, seed: str) -> list[str]:
    """All names in the order in which a sample looks at them: one of each value of slice key `by` in turn."""
    strata: dict[str, list[str]] = defaultdict(list)
    for each in sorted(asked, key=lambda each: _draw(seed, each.exchange)):
        strata[each.slices.get(by, "") if by else ""].append(each.exchange)
    rounds = zip_longest(*(names for _, names in sorted(strata.items())))
    return [name for names in rounds for name in names if name is not None]


def _draw(seed: str, exchange: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x00{exchange}".encode()).digest()


def sample(answers: Iterable[Answer], n: int, *, by: str | None, seed: str, redactor: Redactor) -> list[Sampled]:
    """At most `n` cases, as evenly from the values of slice key `by` as there are; no question twice.

    Two questions are the same if they differ in case, spaces and numbers only. The same seed chooses the same cases
    from the same exchanges.
    """
    strata: dict[str, list[Sampled]] = defaultdict(list)
    asked: set[str] = set()
    for answer in sorted(answers, key=lambda each: _draw(seed, each.exchange)):
        case = case_of(answer, redactor)
        if case is None:
            continue
        question = re.sub(r"\d+", "#", " ".join(case.messages[-1]["content"].casefold().split()))
        if question not in asked:
            asked.add(question)
            strata[case.slices.get(by, "") if by else ""].append(case)
    chosen: list[Sampled] = []
    depth = 0
    while len(chosen) < n and any(depth < len(cases) for cases in strata.values()):
        chosen += [cases[depth] for _, cases in sorted(strata.items()) if depth < len(cases)][: n - len(chosen)]
        depth += 1
    return chosen


def write(path: Path, name: str, cases: Sequence[Sampled]) -> int:
    """Write a suite, or add to one written here before; returns how many cases were not in it yet.

    Raises UsageError for a file that somebody else wrote.
    """
    lines: list[str] = []
    if path.exists():
        lines = path.read_text().splitlines()
        if not lines or lines[0] != HEADER:
            raise UsageError(
                f"{path} was not made from the ledger", remedy="name another file; this one stays as it is"
            )
    else:
        lines = [
            HEADER, f"suite: {json.dumps(name)}", "graders:",
            "  # How alike the answer is to the incumbent's; put graders of your own in its place.",
            "  - {name: alike, type: similarity, method: token_set}", "score: alike", "cases:",
        ]  # fmt: skip
    known = {line for line in lines if line.startswith(_CASE)}
    ids = {json.loads(line[4:])["id"] for line in known}
    fresh = [case for case in cases if case.id not in ids]
    lines += [f"  - {json.dumps(case._asdict(), ensure_ascii=False)}" for case in fresh]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text("\n".join(lines) + "\n")
    part.replace(path)
    return len(fresh)
