"""Remembers which price of the public list was in use, so that none that moved by more than half is used unasked.

A list that is wrong by a factor turns a shadow's budget and a cost gate into nonsense, and nobody reads a price list.
The first price seen of a model is used; one that moved by up to half replaces it; one that moved further waits in the
book, and costs go on at the former price, marked so, until a person accepts it. Prices of one's own need no book.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from understudy.core.errors import CannotMeasure, DataCorrupt, UsageError

MOST = 0.5
"""Part of the former rate by which one may move without anybody's word."""
HELD = " (held)"
"""Behind the source of a cost where a newer price waits for a person."""


class Tier(NamedTuple):
    """Rates of a call with more input tokens than `above`, in US dollars a million tokens; they hold for all of it."""

    above: int
    input: float
    output: float
    cached: float


class Listed(NamedTuple):
    """A price as a list had it: the tiers, the highest first and the last of them above -1."""

    tiers: tuple[Tier, ...]
    source: str
    as_of: str


class Entry(NamedTuple):
    """What the book has of one model: the price in use, and the one that waits for a person."""

    model: str
    used: Listed
    waiting: Listed | None


def moved(old: Sequence[Tier], new: Sequence[Tier]) -> float:
    """How far the rate moved that moved most, as a part of the old one: 0.25 is a quarter up or down."""
    starts = {tier.above for tier in (*old, *new)}
    rates = [pair for above in starts for pair in zip(_at(old, above)[1:], _at(new, above)[1:], strict=True)]
    return max((abs(b - a) / a if a else float(b > 0) for a, b in rates), default=0.0)


def _at(tiers: Sequence[Tier], above: int) -> Tier:
    return next(tier for tier in tiers if tier.above <= above)


class PriceBook:
    """The book in a file, which need not be there yet. keep: whether new prices are written into it.

    A file that becomes unreadable leaves what was read before in use; `problem` says so. Raises DataCorrupt where there
    is nothing from before.
    """

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        self._path = path
        self._keep = keep
        self._stamp = (0, 0)
        self._entries: dict[str, Entry] = {}
        self.problem: DataCorrupt | None = None
        """What is wrong with the file as it is now."""
        self.reads = 0
        """How often other prices came into use."""
        self.changed()
        if self.problem is not None:
            raise self.problem

    def changed(self) -> bool:
        """Read the file where it was written since; whether other prices may be in use now."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self.problem = None
            return False
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            read = json.loads(self._path.read_text())
            self._entries = {
                name: Entry(name, _in(row), _in(row["waiting"]) if row["waiting"] else None)
                for name, row in read.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.problem = DataCorrupt(
                f"the price book {self._path} cannot be read: {error}",
                remedy="move it away: the prices of the present list are then used as they are",
            )
            return False
        self.problem = None
        self.reads += 1
        return True

    def agreed(self, model: str, found: Listed) -> Listed:
        """The price to use of a model that the list has at `found`."""
        entry = self._entries.get(model)
        if entry is not None and moved(entry.used.tiers, found.tiers) > MOST:
            wanted = Entry(model, entry.used, found)
            found = entry.used._replace(source=entry.used.source + HELD)
        else:
            wanted = Entry(model, found, None)
        if self._keep and self.problem is None and (entry is None or _prices(entry) != _prices(wanted)):
            with self._writing():
                self._entries[model] = wanted
        return found

    def accept(self, models: Sequence[str]) -> list[Entry]:
        """Use the waiting prices of these models from now on; returns what the book had of them.

        Raises UsageError for a model that has no price waiting.
        """
        with self._writing():
            waiting = {name: entry for name, entry in self._entries.items() if entry.waiting is not None}
            for model in models:
                if model not in waiting:
                    raise UsageError(
                        f"no price of {model!r} waits",
                        remedy=f"there is {', '.join(sorted(waiting))}" if waiting else "none waits at all",
                    )
            for model in models:
                price = waiting[model].waiting
                assert price is not None
                self._entries[model] = Entry(model, price, None)
        return [waiting[model] for model in models]

    def entries(self) -> list[Entry]:
        """Everything in the book, by model."""
        return [self._entries[name] for name in sorted(self._entries)]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Change the newest state and write it whole; two processes one after another."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self.changed()
                if self.problem is not None:  # it would be overwritten
                    raise self.problem
                yield
                fresh = self._path.with_suffix(".part")
                rows = {e.model: {**_out(e.used), "waiting": _out(e.waiting)} for e in self.entries()}
                fresh.write_text(json.dumps(rows))
                fresh.replace(self._path)
                stat = self._path.stat()
                self._stamp = (stat.st_mtime_ns, stat.st_ino)
        except OSError as error:
            raise CannotMeasure(
                f"the price book {self._path} cannot be written: {error}", remedy="see to space and permissions"
            ) from error


def _prices(entry: Entry) -> tuple[Any, ...]:
    """What makes a difference: the day alone does not, or the book would be written every day."""
    return (entry.used.tiers, entry.used.source, entry.waiting and (entry.waiting.tiers, entry.waiting.source))


def _out(price: Listed | None) -> dict[str, Any]:
    return {} if price is None else {"tiers": price.tiers, "source": price.source, "as_of": price.as_of}


def _in(row: dict[str, Any]) -> Listed:
    return Listed(tuple(Tier(*tier) for tier in row["tiers"]), str(row["source"]), str(row["as_of"]))
