"""Asks the ledger in a thread of its own, and never keeps a page waiting for it.

A ledger of months may take seconds, and one that is broken for ever; a page that rolls back must not wait for either.
Whoever asks gets the answer, the last good one with its age, or the reason why there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from understudy.config.project import Project
from understudy.core.errors import CannotMeasure, UnderstudyError
from understudy.ledger.queries import Ledger
from understudy.ledger.stores import lake_of

T = TypeVar("T")
PATIENCE_S = 1.5
"""How long a page waits for the ledger that shows other things too."""
PATIENT_S = 10.0
"""How long one waits that shows nothing else."""
FRESH_S = 2.0
"""An answer that is younger is given again."""
REST = 5.0
"""One that took long to find is given again for so many times as long: looking must not keep the machine busy."""
LONG_ONES = 3
"""Readings of very much that go on at once."""
MOST_KEPT = 200
"""Answers that are kept; the one asked for longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Looked(Generic[T]):
    """What the ledger said: `value` as of `at` (seconds since the epoch), None where it never answered.

    `problem` says why there is no fresher value, "" where this is fresh. `reading_s` is how long it has been
    read by now, None where nobody reads it; `error` is what the last reading ended with, None where it ended well.
    """

    value: T | None
    at: float | None
    problem: str
    reading_s: float | None = None
    error: UnderstudyError | None = None


@dataclass(slots=True)
class _Kept:
    value: object = None
    at: float | None = None
    error: UnderstudyError | None = None
    asked_at: float = 0.0
    rests_until: float = 0.0
    under_way: asyncio.Future[None] | None = None


class Looking:
    """One reader of one project's ledger for everybody who looks.

    patience_s: the least that anybody waits for an answer.
    """

    def __init__(self, project: Project, *, patience_s: float = PATIENCE_S) -> None:
        self._project = project
        self._patience_s = patience_s
        self._quick, self._long = threading.Semaphore(1), threading.Semaphore(LONG_ONES)
        self._opening = threading.Lock()
        self._ledger: Ledger | None = None
        self._kept: dict[Hashable, _Kept] = {}

    async def look(
        self, key: Hashable, ask: Callable[[Ledger], T], *, patience_s: float = 0.0, long: bool = False
    ) -> Looked[T]:
        """The answer of `ask`, which runs in a thread; whoever asks the same at the same time shares it.

        long: it reads very much, and what does not must not wait for it.
        """
        kept = self._kept.pop(key, None) or _Kept()
        self._kept[key] = kept
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        if kept.under_way is None and time.monotonic() >= kept.rests_until:
            kept.asked_at = time.monotonic()
            kept.under_way = asyncio.ensure_future(self._asked(kept, ask, self._long if long else self._quick))
        if kept.under_way is not None:
            await asyncio.wait({kept.under_way}, timeout=max(patience_s, self._patience_s))
        problem = "; ".join(filter(None, (kept.error.message, kept.error.remedy))) if kept.error else ""
        reading_s = None
        if kept.under_way is not None:
            reading_s = time.monotonic() - kept.asked_at
            problem = f"the ledger is being read, for {reading_s:.1f} s by now"
        return Looked(kept.value, kept.at, problem, reading_s, kept.error)  # type: ignore[arg-type]

    async def _asked(self, kept: _Kept, ask: Callable[[Ledger], object], turn: threading.Semaphore) -> None:
        try:
            kept.value = await self._in_thread(ask, turn)
            kept.at, kept.error = time.time(), None
        except UnderstudyError as error:
            kept.error = error
        except Exception as error:  # a mistake of ours: where is said to whoever runs this
            traceback.print_exception(error, file=sys.stderr)
            remedy = "the dashboard's standard error says where; report it"
            kept.error = CannotMeasure(f"a defect of understudy: {type(error).__name__}", remedy=remedy)
        finally:
            now = time.monotonic()
            kept.rests_until = now + max(FRESH_S, REST * (now - kept.asked_at))
            kept.under_way = None

    async def _in_thread(self, ask: Callable[[Ledger], object], turn: threading.Semaphore) -> object:
        """Run it in a thread that nobody waits for when the process ends: a long reading may be left half done."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        found: list[object] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                with turn:
                    found.append(ask(self._the_ledger()))
            except BaseException as error:  # handed to whoever asked
                failed.append(error)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=run, name="ledger", daemon=True).start()
        await done.wait()
        if failed:
            raise failed[0]
        return found[0]

    def close(self) -> bool:
        """Let go of the ledger, unless it is being read: then False, and the reading ends with the process."""
        if any(kept.under_way is not None for kept in self._kept.values()):
            return False
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
        return True

    def _the_ledger(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                self._ledger = Ledger(lake_of(self._project))
            return self._ledger
