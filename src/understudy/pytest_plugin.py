"""The pytest plugin: asks the models of a project from tests, and compares what they say with what they said before.

Whoever does not use it pays for this module alone: everything else is imported by the first test that asks.
What is stored, compared and reported is in `understudy.snapshots`; updating and unused snapshots are syrupy's.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.outcomes import Failed

if TYPE_CHECKING:
    from understudy.snapshots.asking import Cast, Question
    from understudy.snapshots.extension import ModelAnswer
    from understudy.snapshots.stage import Comparison, Stage

CAST = "_understudy_cast"
MARK = "understudy"
FILES = ("model-answer", "answer")
"""How the files of model snapshots end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("understudy", "model snapshots (understudy)")
    group.addoption(
        "--understudy-model",
        action="append",
        dest="understudy_models",
        default=[],
        metavar="NAME",
        help="Ask this model or variant of understudy.yaml, not the incumbent; may be repeated. --model for short",
    )
    group.addoption(
        "--understudy-recordings",
        action="append",
        dest="understudy_recordings",
        default=[],
        metavar="FILE",
        help="Take the answers from recordings (.jsonl) instead of asking providers; may be repeated",
    )
    group.addoption(
        "--snapshot-tolerate",
        action="store_true",
        dest="understudy_tolerate",
        help="Let acceptable differences of model snapshots pass, and list them at the end",
    )
    group.addoption(
        "--snapshot-warn-on-failure",
        action="store_true",
        dest="understudy_warn",
        help="Let every difference of model snapshots pass, and list them at the end; without an answer a test fails",
    )
    group.addoption(
        "--report-to",
        dest="understudy_report_to",
        metavar="WHERE",
        help="Send a summary of the run: `slack` (address in $SLACK_WEBHOOK_URL), or `env:NAME` (address in $NAME)",
    )


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None]:
    """Many test suites have an option `--model` of their own. Theirs wins: ours comes when theirs are known."""
    yield
    try:
        free = "--model" in parser.parse_known_and_unknown_args(["--model"])[1]
    except (pytest.UsageError, SystemExit):  # somebody's, and it wants a value
        free = False
    if free:
        parser.getgroup("understudy").addoption(
            "--model",
            action="append",
            dest="understudy_model",
            default=[],
            metavar="NAME",
            help="See --understudy-model",
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}(workload): which workload of understudy.yaml a test asks")
    option: Any = config.option
    if hasattr(option, "ignore_file_extensions"):
        # Other extensions of syrupy take files that are not theirs for nobody's, and remove them.
        known = option.ignore_file_extensions or []
        option.ignore_file_extensions = [*known, *(name for name in FILES if name not in known)]
    webhook = ""
    if option.understudy_report_to is not None and not hasattr(config, "workerinput"):
        from understudy.core.errors import UsageError
        from understudy.snapshots.webhook import address

        try:
            webhook = address(option.understudy_report_to, os.environ)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(Tally(config, webhook), "understudy-tally")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if CAST not in metafunc.fixturenames:
        return
    from understudy.core.errors import UnderstudyError

    named = next((str(mark.args[0]) for mark in metafunc.definition.iter_markers(MARK) if mark.args), "")
    try:
        players = _stage(metafunc.config).players(named)
    except UnderstudyError as error:
        raise pytest.Collector.CollectError(f"understudy: {error}") from None
    played: list[Any] = [pytest.param(one, id=one.label) for one in players]
    if not played:
        why = f"the workload {named} has none of the models that --model names"
        played = [pytest.param(None, id="nobody", marks=pytest.mark.skip(reason=why))]
    metafunc.parametrize(CAST, played, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What a test found goes with its report, which xdist carries to whoever sums up."""
    report = yield
    if CAST in getattr(item, "fixturenames", ()):
        comparison = item.stash.get(_COMPARISON, None)
        found = {} if comparison is None or call.when != "call" else comparison.found(_width())
        pages = found.pop("pages", [])
        if report.failed:
            report.sections += [("what changed", page) for page in pages]
            found["unanswered"] = isinstance(getattr(call.excinfo, "value", None), NoAnswer)
        report.understudy = found
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    stage = config.stash.get(_STAGE, None)
    if stage is not None:
        stage.desk.close()


@pytest.fixture(name=CAST)
def _cast(request: pytest.FixtureRequest) -> Cast:
    cast: Cast = request.param
    return cast


@pytest.fixture
def understudy(request: pytest.FixtureRequest, _understudy_cast: Cast) -> Understudy:
    """The model that this run is about: `understudy.ask("...")` gives its answer."""
    return Understudy(_stage(request.config), _understudy_cast)


@pytest.fixture
def model_snapshot(request: pytest.FixtureRequest, _understudy_cast: Cast) -> Iterator[Any]:
    """What this model said when it was last accepted: `assert understudy.ask("...") == model_snapshot`."""
    comparison = _stage(request.config).compare(request.node, _understudy_cast)
    request.node.stash[_COMPARISON] = comparison
    yield comparison.assertion
    comparison.end()


class NoAnswer(Failed):
    """There was nothing to compare: no whole answer came, and no snapshot was read or written."""


class Understudy:
    """The variant that answers in a test. A product's own code may be given `model`, and its text be compared."""

    def __init__(self, stage: Stage, cast: Cast) -> None:
        self._stage, self._cast = stage, cast

    @property
    def model(self) -> str:
        """The model as its provider spells it."""
        return self._cast.variant.model

    @property
    def variant(self) -> str:
        """The variant's name in understudy.yaml."""
        return self._cast.variant.name

    @property
    def workload(self) -> str:
        return self._cast.workload

    def ask(self, question: Question) -> ModelAnswer:
        """The answer to what a user says, or to a conversation of {"role", "content"} that ends with the user's turn.

        Prompt, parameters and effort are the variant's. Where no whole answer comes the test fails as NoAnswer.
        """
        from understudy.core.errors import UnderstudyError

        try:
            answer: ModelAnswer = self._stage.ask(self._cast, question)
        except UnderstudyError as error:
            said = f"no answer to compare: {error}"
        else:
            return answer
        raise NoAnswer(said, pytrace=False)


class Tally:
    """Sums up what the tests of a run found, and keeps the snapshots of those that came to no comparison."""

    def __init__(self, config: pytest.Config, webhook: str) -> None:
        self.config, self._webhook = config, webhook
        self.compared = 0
        self.unanswered: list[str] = []
        self.let_pass: list[tuple[str, str]] = []
        """Worth and line of each difference, by what became of it."""
        self.failed: list[tuple[str, str]] = []
        self.updated: list[tuple[str, str]] = []
        self.unsent = ""
        self._touched = False

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = getattr(report, "understudy", None)
        if found is None:
            return
        self._touched = True
        self.compared += found.get("compared", 0)
        if found.get("unanswered"):
            self.unanswered.append(report.nodeid)
        if report.failed:
            # It may never have come to its comparison: what it has stored is not unused.
            self.config._syrupy.ran_item(report.nodeid, "skipped")  # type: ignore[attr-defined]
        option: Any = self.config.option
        where = self.failed if report.failed else self.updated if option.update_snapshots else self.let_pass
        where += [(one["worth"], one["line"]) for one in found.get("seen", ())]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Before syrupy's: what a run that was cut short did not come to is not unused either."""
        if self._touched and (session.shouldstop or session.shouldfail):
            self._spare()
        if self._webhook:
            self._send(session)
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = self.lines()
        if lines and (self._touched or self.unsent):
            terminalreporter.write_sep("-", "what models said otherwise")
            for line in lines:
                terminalreporter.write_line(line)

    def lines(self) -> list[str]:
        """What a person should know at the end; nothing where all is as it was."""
        lines = []
        for what, found in (("failed", self.failed), ("let pass", self.let_pass), ("updated", self.updated)):
            if found:
                counts = Counter(worth for worth, _ in found)
                lines.append(f"{what}: " + ", ".join(f"{count} {worth}" for worth, count in sorted(counts.items())))
                lines += [f"  {line}" for _, line in found]
        if self.unanswered:
            lines.append(f"no answer: {len(self.unanswered)}")
            lines += [f"  {nodeid}" for nodeid in self.unanswered]
        return [*lines, *([f"NOT REPORTED: {self.unsent}"] if self.unsent else [])]

    def _spare(self) -> None:
        syrupy: Any = self.config._syrupy  # type: ignore[attr-defined]
        for nodeid, status in list(syrupy._selected_items.items()):
            if not status.value:
                syrupy.ran_item(nodeid, "skipped")
        for worker in syrupy._worker_reports:
            worker["selected"] = {nodeid: status or "skipped" for nodeid, status in worker["selected"].items()}

    def _send(self, session: pytest.Session) -> None:
        from understudy.core.errors import CannotMeasure
        from understudy.snapshots.webhook import send

        lines = [
            f"model snapshots: {self.compared} answers compared, {session.testsfailed} tests failed",
            *self.lines(),
        ]
        if session.exitstatus > pytest.ExitCode.TESTS_FAILED:
            lines.insert(1, f"the run did not come to its end (exit status {int(session.exitstatus)})")
        try:
            send(self._webhook, "\n".join(lines))
        except CannotMeasure as error:
            # A scheduled run that nobody hears of is no success.
            self.unsent = str(error)
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _stage(config: pytest.Config) -> Stage:
    stage = config.stash.get(_STAGE, None)
    if stage is None:
        from understudy.core.errors import UsageError

        for name in ("syrupy", "rapidfuzz"):
            if find_spec(name) is None:
                raise UsageError(f"model snapshots need {name}", remedy="pip install 'understudy[pytest]'")
        from understudy.snapshots.stage import Stage

        option: Any = config.option
        stage = config.stash[_STAGE] = Stage(
            config, [*option.understudy_models, *getattr(option, "understudy_model", [])]
        )
    return stage


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 160)


_STAGE: pytest.StashKey[Stage] = pytest.StashKey()
_COMPARISON: pytest.StashKey[Comparison] = pytest.StashKey()
