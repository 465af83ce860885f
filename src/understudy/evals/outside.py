"""Asks judges and commands what graders cannot know by themselves, before the answers are graded.

What a judge said is kept like any answer that was paid for, so a killed run asks nobody twice. Answers of the same
text are a tie without asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.core.errors import UsageError
from understudy.core.variant import Variant
from understudy.evals.answers import AnswerFile, Kept, key_of
from understudy.evals.asking import Asker, Failed
from understudy.evals.cases import Case
from understudy.evals.graders import Command, Judge, Score
from understudy.evals.scoring import Answers, Outside
from understudy.wires.base import Message

INSTRUCTIONS = """You compare two answers to one request. What makes the better answer:

{criteria}

Judge nothing else, neither length nor order. End with one line that says [[A]], [[B]] or [[tie]] and nothing more."""
PAIR = """The request:

{request}

Answer A:

{first}

Answer B:

{second}"""
_Work = Coroutine[Any, Any, None]
_MARKS = {"[[a]]": 1.0, "[[b]]": 0.0, "[[tie]]": 0.5}
MOST_OUTPUT = 64 * 1024
"""Bytes of a command's output that are read; a number needs fewer."""


async def ask(
    answers: Sequence[Answers],
    variants: tuple[Variant, Variant],
    asker: Asker,
    folder: Path,
    *,
    concurrency: int,
    fresh: bool = False,
) -> Outside:
    """What the judges and commands of the suites say of these answers. `folder` keeps what judges said.

    Raises UsageError for a judge's unknown provider or refused key, UpstreamError where it cannot be reached.
    """
    found: Outside = {}
    limit = asyncio.Semaphore(concurrency)
    work = []
    with contextlib.ExitStack() as files:
        judges: dict[tuple[str, str], _Judging] = {}
        for each in answers:
            for grader in each.suite.graders:
                if isinstance(grader, Judge):
                    name = (each.suite.name, grader.label)
                    if name not in judges:
                        judge = judge_variant(grader, asker)
                        file = files.enter_context(contextlib.closing(AnswerFile(folder, judge, fresh)))
                        judges[name] = _Judging(grader, judge, file, asker, limit)
                    work += _judged(each, judges[name], found)
                elif isinstance(grader, Command):
                    work += _commanded(each, grader, variants, limit, found)
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    return found


def judge_variant(grader: Judge, asker: Asker) -> Variant:
    """The judge as what it is: a model with a prompt. Raises UsageError for an unknown provider."""
    if grader.provider not in asker.providers:
        known = ", ".join(sorted(asker.providers)) or "none"
        raise UsageError(
            f"the judge {grader.label} names provider {grader.provider!r}", remedy=f"known providers: {known}"
        )
    return Variant(
        name=f"judge-{grader.label}",
        provider=grader.provider,
        model=grader.model,
        system_prompt=INSTRUCTIONS.format(criteria=grader.criteria.strip()),
        params=dict(grader.params),
    )


def reading(text: str) -> float | None:
    """1 where the judge prefers A, 0 for B, one half for a tie; None where it does not say, or says two things."""
    lines = [line.strip().strip("*_ ").lower() for line in text.strip().splitlines() if line.strip()]
    return _MARKS.get(lines[-1]) if lines else None


class _Judging:
    """One judge at work."""

    def __init__(self, grader: Judge, judge: Variant, file: AnswerFile, asker: Asker, limit: asyncio.Semaphore) -> None:
        self.grader, self.judge, self.file, self.asker, self.limit = grader, judge, file, asker, limit

    async def candidate_wins(self, case: Case, incumbent: str, candidate: str) -> Score:
        """How often the candidate's answer is the better one, over both orders and all repeats."""
        if incumbent == candidate:
            return Score(0.5, "the answers are the same")
        wins: list[float] = []
        silent = ""
        for repeat in range(self.grader.repeats):
            for swapped in (False, True):
                pair = (candidate, incumbent) if swapped else (incumbent, candidate)
                said = await self._said(case, pair, repeat)
                first = reading(said.text) if isinstance(said, Kept) else None
                if first is None:
                    silent = said.message if isinstance(said, Failed) else f"it says {said.text.strip()[-60:]!r}"
                else:
                    wins.append(first if swapped else 1.0 - first)
        if silent:
            # One order alone would show the judge's taste for a place.
            return Score(None, f"the judge does not say which is better: {silent}")
        value = math.fsum(wins) / len(wins)
        return Score(value, f"better in {100 * value:.0f} % of {len(wins)} judgements")

    async def _said(self, case: Case, pair: tuple[str, str], repeat: int) -> Kept | Failed:
        request = "\n\n".join(f"{message.role}: {message.content}" for message in case.messages)
        text = PAIR.format(request=request, first=pair[0], second=pair[1])
        messages = (Message("user", text),)
        base_url = self.asker.providers[self.judge.provider].base_url
        key = key_of(self.judge.fingerprint, base_url, messages, repeat)
        known = self.file.get(key)
        if known is not None:
            return known
        question = Case(case.id, messages, (), None, False, case.where)
        async with self.limit:
            said = await self.asker.ask(self.judge, question, key)
        if isinstance(said, Kept):
            self.file.put(said)
        return said


def _judged(each: Answers, judging: _Judging, found: Outside) -> list[_Work]:
    async def one(repeat: int, incumbent: Kept, candidate: Kept) -> None:
        score = await judging.candidate_wins(each.case, incumbent.text, candidate.text)
        half = Score(0.5, "what the candidate is held against") if score.value is not None else score
        for side, said in (("incumbent", half), ("candidate", score)):
            found.setdefault((each.suite.name, each.case.id, side, repeat), {})[judging.grader.label] = said

    pairs = enumerate(zip(each.incumbent, each.candidate, strict=True))
    return [one(repeat, old, new) for repeat, (old, new) in pairs if old is not None and new is not None]


def _commanded(
    each: Answers, grader: Command, variants: tuple[Variant, Variant], limit: asyncio.Semaphore, found: Outside
) -> list[_Work]:
    async def one(side: str, variant: Variant, repeat: int, answer: Kept) -> None:
        document = {
            "suite": each.suite.name,
            "case": each.case.id,
            "variant": variant.name,
            "model": variant.model,
            "messages": [{"role": message.role, "content": message.content} for message in each.case.messages],
            "answer": answer.text,
            "reference": each.case.reference,
        }
        async with limit:
            score = await run(grader, document, Path(each.suite.file).parent)
        found.setdefault((each.suite.name, each.case.id, side, repeat), {})[grader.label] = score

    sides = (("incumbent", variants[0], each.incumbent), ("candidate", variants[1], each.candidate))
    return [
        one(side, variant, repeat, answer)
        for side, variant, given in sides
        for repeat, answer in enumerate(given)
        if answer is not None
    ]


async def run(grader: Command, document: Mapping[str, object], folder: Path) -> Score:
    """What the program prints; no score where it fails, hangs, or prints no number from 0 to 1."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *grader.run,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )
    except OSError as error:
        return Score(None, f"{grader.run[0]} cannot be run: {error.strerror or error}")
    try:
        said = await asyncio.wait_for(_talk(process, json.dumps(document).encode()), grader.timeout)
    except TimeoutError:
        return Score(None, f"{grader.run[0]} took longer than {grader.timeout:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        return Score(None, f"{grader.run[0]} ended with {process.returncode}")
    try:
        value = float(said.strip())
    except ValueError:
        return Score(None, f"{grader.run[0]} prints {said.strip()[:60].decode(errors='replace')!r}, no number")
    if not 0.0 <= value <= 1.0:
        return Score(None, f"{grader.run[0]} prints {value:g}, outside 0 to 1")
    return Score(value, f"{grader.run[0]} says {value:g}")


async def _talk(process: asyncio.subprocess.Process, given: bytes) -> bytes:
    """Give it the document and read what it says, up to MOST_OUTPUT bytes."""
    assert process.stdin is not None
    assert process.stdout is not None

    async def give(pipe: asyncio.StreamWriter) -> None:
        # A program that needs no input may close it before it has read all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pipe.write(given)
            await pipe.drain()
        pipe.close()

    giving = asyncio.create_task(give(process.stdin))
    try:
        said = bytearray()
        while len(said) <= MOST_OUTPUT and (piece := await process.stdout.read(MOST_OUTPUT)):
            said += piece
        if len(said) > MOST_OUTPUT:
            process.kill()
        await process.wait()
    finally:
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)
    return bytes(said)
