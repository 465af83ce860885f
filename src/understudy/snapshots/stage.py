"""What one pytest process holds while tests ask models: the project, the client, and the comparison under way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation

from understudy.config.project import Project, open_project
from understudy.core.errors import UsageError
from understudy.snapshots import asking, extension
from understudy.snapshots.asking import Cast, Desk, Question
from understudy.snapshots.extension import ModelAnswer
from understudy.snapshots.wording import line, page


class Stage:
    """The project of a test run, opened with the first test that asks. Raises UnderstudyError for what is wrong."""

    def __init__(self, config: pytest.Config, models: Sequence[str]) -> None:
        if not hasattr(config, "_syrupy"):
            raise UsageError(
                "model snapshots need the plugin syrupy, which is switched off", remedy="drop -p no:syrupy"
            )
        self.config, self.models = config, models
        self.project: Project = open_project()
        asking.check_models(self.project, models)
        self.desk = Desk(self.project, [Path(name) for name in config.option.understudy_recordings])
        extension.begin(
            extension.Run(
                write_head=len(models) <= 1,
                tolerate=config.option.understudy_tolerate,
                warn=config.option.understudy_warn,
                updating=config.option.update_snapshots,
                today=datetime.now(UTC).date(),
            )
        )

    def players(self, named: str) -> list[Cast]:
        """Who answers a test of this workload, the only one where none is named; none where another has the model."""
        remedy = 'say which one the test is about: @pytest.mark.understudy("NAME")'
        found = asking.cast(self.project, self.project.workload_of(named, remedy=remedy), self.models)
        extension.run.labels.update(one.label for one in found)
        return found

    def ask(self, cast: Cast, question: Question) -> ModelAnswer:
        """Raises UnderstudyError where there is no answer."""
        messages = asking.messages_of(question)
        kept = self.desk.ask(cast.variant, messages)
        return ModelAnswer(
            kept.text, kept.tool_calls, kept.finish_reason, kept.model, kept.latency_s, asking.asked(messages)
        )

    def compare(self, item: pytest.Item, cast: Cast) -> Comparison:
        """The comparison of one test, from its set-up to its end."""
        return Comparison(item, cast)


class Comparison:
    """What `model_snapshot` is in one test: syrupy's assertion, and what it saw."""

    def __init__(self, item: pytest.Item, cast: Cast) -> None:
        self._run = extension.run
        self._from = len(self._run.seen)
        location = PyTestLocation(item)
        self._run.playing = extension.Played(cast, location.snapshot_name, without(location.snapshot_name, cast.label))
        options: Any = item.config.option
        self.assertion = SnapshotAssertion(
            update_snapshots=options.update_snapshots,
            update_new_snapshots_only=options.update_new_snapshots_only,
            extension_class=extension.ModelSnapshots,
            test_location=location,
            session=item.config._syrupy,  # type: ignore[attr-defined]
        )

    def found(self, width: int) -> dict[str, Any]:
        """What goes with the test's report: plain values, which xdist can carry."""
        seen = self._run.seen[self._from :]
        return {
            "compared": self.assertion.num_executions,
            "seen": [{"worth": str(one.difference.worth), "line": line(one)} for one in seen],
            "pages": [page(one, width) for one in seen],
        }

    def end(self) -> None:
        self._run.playing = None


def without(name: str, label: str) -> str:
    """A test's name without the model's label among its parameters: `test_a[MODEL-x]` is `test_a[x]`."""
    before, bracket, inside = name.partition("[")
    ids = inside.removesuffix("]")
    if not bracket or ids == label:
        return before
    for kept in (ids.removeprefix(f"{label}-"), ids.removesuffix(f"-{label}"), ids.replace(f"-{label}-", "-", 1)):
        if kept != ids:
            return f"{before}[{kept}]"
    return name
