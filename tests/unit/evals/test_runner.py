"""A regression eval against real servers: what is asked, what is not asked twice, and what ends a run."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import CannotMeasure, DataCorrupt, UsageError
from understudy.core.playbook import Outcome, Verdict
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals import asking
from understudy.evals.asking import Asker, retry_after, wait_before
from understudy.evals.result import Bound, EvalResult, Thresholds, find, load, save
from understudy.evals.runner import Job, run
from understudy.evals.suite import Suite, load_suite
from understudy.ledger.lake import EvalScore
from understudy.ledger.queries import Ledger
from understudy.testing.dialects import Asked, Said
from understudy.testing.provider import Answered, Declined, ProviderServer
from understudy.testing.provider import Outcome as Reply
from understudy.upstream.client import Client

OLD = Variant(name="old", provider="p", model="m-old")
NEW = Variant(name="new", provider="p", model="m-new")
CASES = 40


def said(text: str, asked: Asked) -> Answered:
    return Answered(Said(text, asked.model, 10, 5))


def right(asked: Asked) -> Reply:
    """Repeats the question's number: the reference."""
    return said(asked.last_user.split()[-1], asked)


def suite(folder: Path, count: int = CASES, name: str = "echo") -> Suite:
    lines = [f"  - {{id: c{n}, prompt: 'say {n}', reference: '{n}', slice: s{n % 2}}}\n" for n in range(count)]
    path = folder / f"{name}.yaml"
    path.write_text(f"suite: {name}\ncases:\n{''.join(lines)}graders: [{{type: exact}}]\n")
    return load_suite(path)


class World:
    """A provider, a client that knows it, and a folder."""

    def __init__(self, folder: Path, answer: Callable[[Asked], Reply], *, key: str = "", sent: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.server = ProviderServer(answer, models=["m-old", "m-new"], key=key)
        self.sent = sent
        self.kept: list[Sequence[EvalScore]] = []

    def job(self, **changes: Any) -> Job:
        providers = {"p": Provider("p", "openai", self.server.base_url, api_key=self.sent)}
        given = {"suites": [suite(self.folder)], "repeats": 1, "concurrency": 8, **changes}
        return Job("w", changes.pop("incumbent", OLD), changes.pop("candidate", NEW), providers, **_without(given))

    async def run(self, **changes: Any) -> EvalResult:
        job = self.job(**changes)
        client = Client(job.providers, lambda name: self.sent)
        try:
            return await run(job, client, self.folder / "evals", keep=self.kept.append, now=lambda: 1000.0)
        finally:
            await client.close()

    @property
    def calls(self) -> int:
        return len(self.server.journal)


def _without(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in ("incumbent", "candidate")}


def evaluated(
    folder: Path, answer: Callable[[Asked], Reply], *, key: str = "", sent: str = "", **changes: Any
) -> tuple[EvalResult, int]:
    async def main() -> tuple[EvalResult, int]:
        world = World(folder, answer, key=key, sent=sent)
        async with world.server:
            return await world.run(**changes), world.calls

    return asyncio.run(main())


def test_both_variants_answer_every_case(tmp_path: Path) -> None:
    """A candidate that is always wrong in one slice fails there and passes in the other."""

    def answer(asked: Asked) -> Reply:
        number = int(asked.last_user.split()[-1])
        return said("wrong", asked) if asked.model == "m-new" and number % 2 else right(asked)

    result, calls = evaluated(tmp_path, answer, suites=[suite(tmp_path, 400)])
    rows = {row.slice: row for row in result.comparison.slices}
    assert calls == 800
    assert (result.comparison.aggregate.incumbent, result.comparison.aggregate.candidate) == (1.0, 0.5)
    assert (rows["s0"].verdict, rows["s1"].verdict) == (Verdict.PASS, Verdict.FAIL)
    assert (result.outcome, result.failed_slices) == (Outcome.RETUNE, ("s1",))
    assert result.examples[0].candidate == "wrong"
    assert result.examples[0].candidate_says == "says 'wrong', wanted '1'"
    assert result.usage.asked == 800


def test_variants_that_repeat_themselves_are_asked_twice(tmp_path: Path) -> None:
    """Repeats without any difference are one answer: the eval stops asking, and says so."""
    result, calls = evaluated(tmp_path, right, repeats=5)
    assert calls == 4 * CASES
    assert (result.repeats, result.repetitive) == (2, True)
    assert any("repeat themselves" in note for note in result.notes)


def test_variants_that_vary_are_asked_as_often_as_told(tmp_path: Path) -> None:
    """One answer that differs is enough to go on."""
    times: Counter[tuple[str, str]] = Counter()

    def answer(asked: Asked) -> Reply:
        times[asked.model, asked.last_user] += 1
        return (
            said("x", asked)
            if times[asked.model, asked.last_user] == 2 and asked.last_user == "say 7"
            else right(asked)
        )

    result, calls = evaluated(tmp_path, answer, repeats=4)
    assert calls == 8 * CASES
    assert (result.repeats, result.repetitive) == (4, False)
    assert result.comparison.aggregate.estimand == "suite"


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    """A second run asks nothing, more repeats only what is missing, a changed prompt everything of that variant."""

    async def main() -> list[int]:
        world = World(tmp_path, lambda asked: said(f"{asked.last_user} {world.calls}", asked))
        seen = []
        async with world.server:
            for changes in (
                {},
                {},
                {"repeats": 3},
                {"repeats": 3, "candidate": replace(NEW, system_prompt="Think.")},
                {"repeats": 3, "fresh": True},
                {"repeats": 3},
            ):
                before = world.calls
                result = await world.run(**changes)
                seen.append(world.calls - before)
                assert result.usage.asked == seen[-1]
        return seen

    assert asyncio.run(main()) == [80, 0, 160, 120, 240, 0]


def test_every_grader_of_every_answer_has_a_row_in_the_ledger_once(tmp_path: Path) -> None:
    """Run again, an eval adds nothing; more repeats add what is new; the mean is the one that the gate compared."""
    times: Counter[str] = Counter()

    def answer(asked: Asked) -> Reply:
        times[asked.model + asked.last_user] += 1
        odd = int(asked.last_user.split()[-1]) % 2
        return said(f"wrong {sum(times.values())}", asked) if asked.model == "m-new" and odd else right(asked)

    async def main() -> None:
        world = World(tmp_path, answer)
        ledger = Ledger(tmp_path / "lake")
        async with world.server:
            for repeats, new in ((1, 160), (1, 0), (3, 320)):
                result = await world.run(repeats=repeats)
                assert ledger.add_eval_scores(world.kept[-1]) == new
                seen = {side.arm: side for side in ledger.evals("w")}
                assert (seen["incumbent"].score, seen["candidate"].score) == (1.0, 0.5)
                assert {side.eval for side in seen.values()} == {result.bound.id}
                assert {(side.cases, side.answers) for side in seen.values()} == {(CASES, CASES * repeats)}
        assert {row.grader for row in world.kept[0]} == {"", "exact"}
        assert {row.slices for row in world.kept[0]} == {("s0",), ("s1",)}
        ledger.close()

    asyncio.run(main())


def test_a_variant_against_itself_is_asked_on_both_sides(tmp_path: Path) -> None:
    """The same answers twice would prove nothing; an identical pair never fails and says what it is."""
    result, calls = evaluated(tmp_path, right, incumbent=OLD, candidate=replace(OLD, name="twin"))
    assert calls == 2 * CASES
    assert result.outcome in {Outcome.PROCEED, Outcome.INCONCLUSIVE}
    assert "are the same variant" in result.notes[0]


def test_a_refusal_for_now_is_waited_for(tmp_path: Path) -> None:
    """429 and 5xx are asked again after the pause the provider wishes; the answer counts once."""
    times: Counter[str] = Counter()

    def answer(asked: Asked) -> Reply:
        times[asked.model + asked.last_user] += 1
        first = times[asked.model + asked.last_user] == 1
        if first and asked.last_user == "say 3":
            return Declined(429, "slow down", headers=(("retry-after", "0"),))
        return Declined(503, "overloaded") if first and asked.last_user == "say 4" else right(asked)

    result, calls = evaluated(tmp_path, answer)
    assert calls == 84
    assert (result.usage.asked, result.usage.retries, result.usage.failures) == (80, 4, {})


def test_a_few_failures_are_counted_and_many_end_the_run(tmp_path: Path) -> None:
    """Up to 2 % of the questions may stay open; beyond that nothing is measured, and the reason is named."""

    def failing(below: int) -> Callable[[Asked], Reply]:
        return lambda asked: (
            Declined(400, "prompt is too odd")
            if asked.model == "m-new" and int(asked.last_user.split()[-1]) < below
            else right(asked)
        )

    large = suite(tmp_path, 100, "large")
    result, _ = evaluated(tmp_path, failing(2), suites=[large])
    assert result.usage.failures == {"new": 2}
    assert result.comparison.unmeasured == ("c0", "c1")
    assert math.isclose(result.comparison.aggregate.n, 98)
    with pytest.raises(CannotMeasure) as caught:
        evaluated(tmp_path, failing(3), suites=[large], fresh=True)
    assert "new left 3 of 100 questions without an answer, above 2%" in caught.value.message
    assert "status_400: prompt is too odd" in caught.value.message
    assert "what was answered is kept" in caught.value.remedy


def test_an_endless_refusal_ends_the_run(tmp_path: Path) -> None:
    """A provider that asks for an hour's pause is not waited for."""
    with pytest.raises(CannotMeasure) as caught:
        evaluated(tmp_path, lambda asked: Declined(429, "quota spent", headers=(("retry-after", "3600"),)))
    assert "status_429: quota spent" in caught.value.message


def test_a_refused_key_ends_the_run_at_once(tmp_path: Path) -> None:
    """401 is a matter of configuration: one sentence, exit code 2, and no thousand calls."""
    with pytest.raises(UsageError) as caught:
        evaluated(tmp_path, right, key="right", sent="wrong")
    assert "provider p refuses the key (401)" in caught.value.message
    assert caught.value.exit_code == 2


def test_an_unreachable_provider_is_tried_and_named(tmp_path: Path) -> None:
    """A port where nobody listens: four pauses that double, then the address and exit code 3."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def main() -> None:
        world = World(tmp_path, right)
        async with world.server:
            job = world.job()
        client = Client(job.providers, lambda name: "")
        try:
            await Asker(client, dict(job.providers), lambda: 0.0, sleep).ask(OLD, job.suites[0].cases[0], "key")
        finally:
            await client.close()

    with pytest.raises(CannotMeasure) as caught:
        asyncio.run(main())
    assert waits == [0.25, 0.5, 1.0, 2.0]
    assert caught.value.exit_code == 3
    assert "127.0.0.1" in str(caught.value)


def test_answers_before_a_failure_are_kept(tmp_path: Path) -> None:
    """The run that follows a broken one asks only for what is missing."""

    async def main() -> tuple[int, int]:
        broken = True

        def answer(asked: Asked) -> Reply:
            late = int(asked.last_user.split()[-1]) >= 20
            return Declined(401, "expired") if broken and late else right(asked)

        world = World(tmp_path, answer)
        async with world.server:
            with pytest.raises(UsageError):
                await world.run(concurrency=1)
            before = world.calls
            broken = False
            result = await world.run()
            return before, result.usage.asked

    before, after = asyncio.run(main())
    assert (before, after) == (41, 40)


def test_answers_that_cannot_be_scored_end_the_run(tmp_path: Path) -> None:
    """Recorded scores say nothing of live answers that differ, and no number is made up."""
    (tmp_path / "r.jsonl").write_text(
        "\n".join(
            f'{{"case_id": "c{n}", "model": "m-old", "prompt": "say {n}", "output": "{n}", "ok": 1}}' for n in range(20)
        )
    )
    path = tmp_path / "s.yaml"
    path.write_text("suite: s\ncases: r.jsonl\ngraders: [{type: recorded, field: ok}]\n")
    with pytest.raises(CannotMeasure) as caught:
        evaluated(tmp_path, right, suites=[load_suite(path)])
    assert "20 of 40 answers could not be scored" in caught.value.message
    assert "this answer is in no recording" in caught.value.message


def test_several_suites_are_told_apart(tmp_path: Path) -> None:
    """Cases of the same name do not clash, slices of the same name are one, and each suite is a slice."""
    both = [suite(tmp_path), suite(tmp_path, 20, "other")]
    result, calls = evaluated(tmp_path, right, suites=both)
    rows = {row.slice: row.n for row in result.comparison.slices}
    assert rows == {"s0": 30, "s1": 30, "suite=echo": 40, "suite=other": 20}
    assert result.comparison.aggregate.n == 60
    assert calls == 80  # the twenty questions of the second suite are in the first as well
    with pytest.raises(UsageError, match="two suites are called 'echo'"):
        evaluated(tmp_path, right, suites=[both[0], both[0]])


def test_no_suite_and_no_provider_are_said(tmp_path: Path) -> None:
    """A job that cannot be done is refused before any call."""
    with pytest.raises(UsageError, match="has no suite"):
        evaluated(tmp_path, right, suites=[])
    with pytest.raises(UsageError, match="names provider 'q'"):
        evaluated(tmp_path, right, candidate=replace(NEW, provider="q"))


def test_a_result_is_read_back_and_knows_when_it_is_void(tmp_path: Path) -> None:
    """Saved and loaded it is the same; a change of suite, thresholds or variant makes it stale, and says which."""
    result, _ = evaluated(tmp_path, right)
    path = save(result, tmp_path / "evals")
    assert load(path) == result
    assert find(tmp_path / "evals", "w", OLD, NEW) == [result]
    assert find(tmp_path / "evals", "w", NEW, OLD) == []
    same, other = suite(tmp_path), suite(tmp_path, 41)
    assert result.stale(Bound.of([same], Thresholds(), OLD, NEW)) == ()
    assert result.stale(Bound.of([other], Thresholds(), OLD, NEW)) == ("suite echo",)
    assert result.stale(Bound.of([same], Thresholds(margin=0.05), OLD, replace(NEW, params={"top_p": 1}))) == (
        "the thresholds",
        "the candidate",
    )
    assert result.stale(Bound.of([same.only(["s0"])], Thresholds(), OLD, NEW)) == ("suite echo", "the choice of slices")


@pytest.mark.parametrize("damage", ["cut", "edited", "format", "empty"])
def test_a_damaged_result_is_never_believed(tmp_path: Path, damage: str) -> None:
    """Cut, edited or of another format: an error with a remedy, exit code 3."""
    result, _ = evaluated(tmp_path, right)
    path = save(result, tmp_path / "evals")
    text = path.read_text()
    path.write_text(
        {
            "cut": text[: len(text) // 2],
            "edited": text.replace('"n": 40', '"n": 41', 1),
            "format": text.replace('"format": 1', '"format": 2'),
            "empty": "",
        }[damage]
    )
    with pytest.raises(DataCorrupt) as caught:
        load(path)
    assert str(path) in caught.value.message


def test_waits_double_and_heed_the_provider() -> None:
    """From a quarter of a second, as long as the provider wishes, never above a minute, never more than four times."""
    assert [wait_before(attempt, None) for attempt in range(1, 6)] == [0.25, 0.5, 1.0, 2.0, None]
    assert wait_before(1, 7.0) == 7.0
    assert wait_before(1, asking.LONGEST_WAIT_S + 1) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str, seconds: float | None) -> None:
    """Both forms of the header; anything else counts as absent."""
    assert retry_after([("retry-after", value)], now=10.0) == seconds


def test_progress_hears_of_every_answer(tmp_path: Path) -> None:
    """One call back for each question, asked or kept."""

    async def main() -> list[int]:
        world = World(tmp_path, right)
        heard = []
        async with world.server:
            for _ in range(2):
                job = world.job()
                client = Client(job.providers, lambda name: "")
                steps: list[int] = []
                await run(job, client, tmp_path / "evals", progress=steps.append)
                heard.append(sum(steps))
                await client.close()
        return heard

    assert asyncio.run(main()) == [80, 80]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_every_dialect_is_asked_and_read(tmp_path: Path, dialect: str) -> None:
    """The same eval over each wire: prompt sent, answer, tokens and model read."""
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply:
        asked.append(one)
        return right(one)

    async def main() -> EvalResult:
        world = World(tmp_path, answer)
        async with world.server:
            base_url = world.server.base_url if dialect == "openai" else world.server.root_url
            job = world.job(candidate=replace(NEW, system_prompt="Say it.", params={"max_tokens": 50}))
            job = replace(job, providers={"p": Provider("p", dialect, base_url)})
            client = Client(job.providers, lambda name: "")
            try:
                return await run(job, client, tmp_path / "evals")
            finally:
                await client.close()

    result = asyncio.run(main())
    assert (result.comparison.aggregate.incumbent, result.comparison.aggregate.candidate) == (1.0, 1.0)
    tokens = next(measure for measure in result.measures if measure.name == "output_tokens")
    assert (tokens.incumbent, tokens.candidate, tokens.n) == (5.0, 5.0, CASES)
    assert {one.system for one in asked if one.model == "m-new"} == {"Say it."}


def _varying(lost: Callable[[str, int], bool]) -> Callable[[Asked], Reply]:
    """Both variants are right but for every `lost(variant, number)` question's share of times that it says so."""
    times: Counter[tuple[str, str]] = Counter()

    def answer(asked: Asked) -> Reply:
        number = int(asked.last_user.split()[-1])
        times[asked.model, asked.last_user] += 1
        often = times[asked.model, asked.last_user]
        noise = number % 4 == 1 and (often + number // 4 + (asked.model == "m-new")) % 2 == 0
        return said("wrong", asked) if noise or lost(asked.model, number) else right(asked)

    return answer


def test_undecided_slices_are_asked_again(tmp_path: Path) -> None:
    """What five answers do not tell is asked ten and twenty times, at looks that share one alpha; the rest is not."""
    few, limits = [suite(tmp_path, 40, name="few")], Thresholds(margin=0.04)
    fixed, calls = evaluated(
        tmp_path / "fixed", _varying(lambda model, n: False), suites=few, repeats=5, thresholds=limits
    )
    assert (fixed.outcome, len(fixed.looks), calls) == (Outcome.INCONCLUSIVE, 1, 400)
    assert fixed.comparison.alpha == 0.05
    found, calls = evaluated(
        tmp_path / "more", _varying(lambda model, n: False), suites=few, escalate=True, repeats=5, thresholds=limits
    )
    assert [look.repeats for look in found.looks][:2] == [5, 10]
    assert math.fsum(look.alpha for look in found.looks) <= 0.05
    assert found.looks[0].alpha == 0.025
    assert found.looks[0].undecided
    assert found.outcome is Outcome.PROCEED
    assert (
        calls
        == found.usage.asked
        == sum(
            2 * look.cases * (look.repeats - before)
            for look, before in zip(found.looks, (0, *(look.repeats for look in found.looks)), strict=False)
        )
    )
    rows = {row.slice: row.verdict for row in found.comparison.slices}
    assert set(rows.values()) == {Verdict.PASS}
    written = load(save(found, tmp_path / "kept"))
    assert written.looks == found.looks


def test_a_killed_escalation_comes_to_the_same_looks(tmp_path: Path) -> None:
    """Killed at any answer and begun again: the same looks, verdicts and scores as without, nothing asked twice."""
    suites = [suite(tmp_path, 40, name="few")]
    whole, calls = evaluated(
        tmp_path / "whole", _varying(lambda model, n: False), suites=suites, escalate=True, repeats=5
    )
    assert len(whole.looks) > 1

    async def killed(after: int) -> tuple[EvalResult, int]:
        world = World(tmp_path / f"killed-{after}", _varying(lambda model, n: False))
        async with world.server:
            task = asyncio.create_task(world.run(suites=suites, escalate=True, repeats=5, concurrency=1))
            while world.calls < after:
                await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return await world.run(suites=suites, escalate=True, repeats=5, concurrency=1), world.calls

    for after in (150, 450):
        again, asked = asyncio.run(killed(after))
        # A call that was under way when it was killed has to be made again, and then says the next thing in turn.
        assert asked <= calls + 2
        assert [(look.repeats, look.alpha, look.cases) for look in again.looks] == [
            (look.repeats, look.alpha, look.cases) for look in whole.looks
        ]
        assert again.usage.kept > 0


def test_a_look_spends_its_part_of_alpha(tmp_path: Path) -> None:
    """A loss that is plain after five answers ends the eval there."""
    answer = _varying(lambda model, n: model == "m-new" and n % 2 == 0)
    found, calls = evaluated(tmp_path, answer, suites=[suite(tmp_path, 200)], escalate=True, repeats=5)
    assert [look.verdict for look in found.looks] == ["fail"]
    assert found.failed_slices == ("s0",)
    assert calls == 2000


def test_variants_that_repeat_themselves_have_one_look(tmp_path: Path) -> None:
    """No second look is possible with answers that only repeat, so the one there is has all of alpha."""
    found, calls = evaluated(tmp_path, right, escalate=True, repeats=5)
    assert (len(found.looks), found.looks[0].alpha, found.repeats, found.repetitive) == (1, 0.05, 2, True)
    assert calls == 4 * CASES
    late, calls = evaluated(tmp_path / "late", right, escalate=True, repeats=1)
    assert calls <= 4 * CASES
    assert len(late.looks) == 1
