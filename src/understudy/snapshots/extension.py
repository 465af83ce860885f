"""Keeps snapshots of answers by test and model, as an extension of syrupy, and says in words what a difference is.

`__snapshots__/test_replies/test_refund[MODEL].model-answer` is what MODEL was accepted with: the truth, one file a
model, so that a run with one model never touches, and never satisfies itself with, what another one said. Beside it
`test_refund.answer` is the answer as it was last accepted, whichever model gave it: `git diff` shows it old against
new when a model changes. It is written with a run of one model, and read only where a model has no snapshot yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple, cast

from syrupy.data import SnapshotCollection, SnapshotCollections
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import PropertyFilter, PropertyMatcher, SerializableData

from understudy.snapshots import stored
from understudy.snapshots.asking import Cast
from understudy.snapshots.compare import Difference, Worth, compare
from understudy.snapshots.stored import Broken, Said, Snapshot

SUFFIX = "model-answer"
HEAD = "answer"
EXTENSIONS = (SUFFIX, HEAD)
"""No other extension of syrupy may take these for files that nobody uses, and remove them."""


@dataclass(frozen=True, eq=False)
class ModelAnswer:
    """What a model answered to a test. `text` is the answer; `str(answer)` gives it too."""

    text: str
    tool_calls: str = ""
    """Canonical JSON of [{"name", "arguments"}], "" where it called none."""
    finish_reason: str = ""
    model: str = ""
    """The model that the provider says has answered."""
    latency_s: float | None = None
    asked: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text


class Seen(NamedTuple):
    """One difference of a run, for the failure's text and the report."""

    test: str
    label: str
    difference: Difference
    old: Said
    new: Said
    notes: tuple[str, ...]


class Played(NamedTuple):
    """A test that is running: its variant, and its name without the model."""

    cast: Cast
    full: str
    """Its name in the words of syrupy, the model's label in it."""
    bare: str
    """The same without the label."""


@dataclass
class Run:
    """What the plugin knows of the run that the extension must know: syrupy makes extensions without arguments."""

    labels: set[str] = field(default_factory=set)
    """Of the models of this run: those of others are not unused, they were not asked."""
    write_head: bool = False
    tolerate: bool = False
    warn: bool = False
    updating: bool = False
    today: date = date.min
    playing: Played | None = None
    seen: list[Seen] = field(default_factory=list)


run = Run()


def begin(new: Run) -> None:
    """Take over what a new run is."""
    global run
    run = new


class ModelSnapshots(SingleFileSnapshotExtension):
    """One file a test and model."""

    file_extension = SUFFIX
    _write_mode = WriteMode.TEXT

    def serialize(
        self,
        data: SerializableData,
        *,
        exclude: PropertyFilter | None = None,
        include: PropertyFilter | None = None,
        matcher: PropertyMatcher | None = None,
    ) -> str:
        """The whole file. Raises TypeError for what is no text and no answer."""
        answer = ModelAnswer(data) if isinstance(data, str) else data
        if not isinstance(answer, ModelAnswer):
            raise TypeError(
                f"a model snapshot holds a text or an answer of `understudy.ask`, not {type(data).__name__}"
            )
        if not answer.text.strip() and not answer.tool_calls:
            raise ValueError("the answer is empty: there is nothing to compare, and nothing is stored")
        playing = _playing()
        variant = playing.cast.variant
        return stored.encode(
            Snapshot(
                stored.said(answer.text, answer.tool_calls),
                label=playing.cast.label,
                test=_bare(self._name, playing),
                model=variant.model,
                variant=variant.name,
                fingerprint=variant.fingerprint,
                asked=answer.asked,
                finish=answer.finish_reason,
                made=run.today.isoformat(),
            )
        )

    def read_snapshot_data_from_location(
        self, *, snapshot_location: str, snapshot_name: str, session_id: str
    ) -> str | None:
        self._location, self._name = snapshot_location, snapshot_name
        try:
            return _read(Path(snapshot_location))
        except FileNotFoundError:
            return None

    def matches(self, *, serialized_data: SerializableData, snapshot_data: SerializableData) -> bool:
        """Whether the answer is the stored one, or differs in a way that this run lets pass. Raises Broken, save where
        an update is about to write anew what cannot be read.
        """
        try:
            old, new = self._decode(cast(str, snapshot_data)), stored.decode(cast(str, serialized_data))
        except Broken:
            if run.updating:
                return False
            raise
        if (old.label, old.test) != (new.label, new.test):
            raise Broken(
                f"{self._location} holds what {old.label} said in {old.test}, not {new.label} in {new.test}: "
                "move the file back, or remove it and run with --snapshot-update"
            )
        difference = compare(old.said, new.said, old_finish=old.finish, new_finish=new.finish)
        if difference.worth is Worth.SAME:
            return True
        seen = Seen(new.test, new.label, difference, old.said, new.said, tuple(_notes(old, new)))
        run.seen.append(seen)
        return run.warn or (run.tolerate and difference.worth is Worth.ACCEPTABLE)

    def diff_lines(self, serialized_data: SerializableData, snapshot_data: SerializableData) -> Iterator[str]:
        """A line or two; what changed stands in a section of the failure, where pytest does not cut it short."""
        new = stored.decode(cast(str, serialized_data))
        if snapshot_data:
            yield run.seen[-1].difference.headline
            return
        yield f"{new.label} has no snapshot here yet: look at the answer, then add --snapshot-update"
        head = _head(Path(self._location), new.test)
        if head.is_file():
            old = stored.read(_read(head))
            difference = compare(old, new.said, new_finish=new.finish)
            run.seen.append(Seen(new.test, new.label, difference, old, new.said, (_NEW,)))
            yield f"beside what was last accepted: {difference.headline}"
        else:
            yield from stored.shown(new.said).splitlines()

    @classmethod
    def write_snapshot_collection(
        cls, *, snapshot_collection: SnapshotCollection, name_order: dict[str, int] | None = None
    ) -> None:
        location = Path(snapshot_collection.location)
        text = cast(str, next(iter(snapshot_collection)).data)
        _write(location, text)
        if run.write_head:
            snapshot = stored.decode(text)
            _write(_head(location, snapshot.test), stored.shown(snapshot.said))

    def discover_snapshots(
        self, *, test_location: PyTestLocation, ignore_extensions: list[str] | None = None
    ) -> SnapshotCollections:
        """The snapshots of this run's models: those of others are not unused, they were not asked for."""
        others = [name for name in ignore_extensions or [] if name not in EXTENSIONS]
        discovered = SnapshotCollections()
        for collection in super().discover_snapshots(test_location=test_location, ignore_extensions=others):
            snapshot = _peek(Path(collection.location))
            if snapshot is not None and snapshot.label in run.labels:
                discovered.add(collection)
        return discovered

    def delete_snapshots(self, *, snapshot_location: str, snapshot_names: set[str]) -> None:
        """Remove a file, and with a test's last one its head."""
        location = Path(snapshot_location)
        snapshot = _peek(location)
        location.unlink()
        others = (_peek(other) for other in location.parent.glob(f"*.{SUFFIX}"))
        if snapshot is not None and snapshot.test not in {other.test for other in others if other is not None}:
            _head(location, snapshot.test).unlink(missing_ok=True)

    def _decode(self, text: str) -> Snapshot:
        try:
            return stored.decode(text)
        except Broken as error:
            raise Broken(f"{self._location}: {error}; restore it, or run with --snapshot-update") from None


_NEW = "this model has no snapshot of its own yet; the left side is what was last accepted, of whichever model"


def _playing() -> Played:
    if run.playing is None:
        raise RuntimeError("model_snapshot is compared outside of the test that asked for it")
    return run.playing


def _bare(name: str, playing: Played) -> str:
    """The name of a snapshot without the label: `test_refund[MODEL].1` is `test_refund.1`."""
    full = ModelSnapshots._sanitize_filename(playing.full)
    return playing.bare + name[len(full) :] if name.startswith(full) else playing.bare


def _head(location: Path, test: str) -> Path:
    name = ModelSnapshots._sanitize_filename(test)
    return location.with_name(f"{name[: 250 - len(HEAD)]}.{HEAD}")


def _peek(path: Path) -> Snapshot | None:
    """A stored snapshot; None for a file that is none, which is left alone."""
    try:
        return stored.decode(_read(path))
    except (OSError, Broken):
        return None


def _notes(old: Snapshot, new: Snapshot) -> Iterator[str]:
    """What made the two differs too, and may be why."""
    if old.asked and new.asked and old.asked != new.asked:
        yield "the test asks something else than when the snapshot was made"
    if old.fingerprint != new.fingerprint:
        yield "the variant has changed since: its prompt, parameters, effort or provider"
    yield f"the snapshot was made on {old.made}" if old.made else "the snapshot has no date"


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
