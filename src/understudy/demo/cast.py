"""The processes of the demonstration: started as a user would start them, watched, and stopped in order.

Standard error of each goes to a file in the demonstration's folder; a process that dies is reported with its last
lines, never waited for in vain.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.errors import CannotMeasure

STOP_S = 10.0
"""How long a process may take to end by itself."""


@dataclass
class Cast:
    """All processes; `async with` stops whatever was started."""

    folder: Path
    _running: list[tuple[str, Process]] = field(default_factory=list)
    _pumps: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Cast:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, _process in reversed(self._running):
            await self.stop(name)
        await asyncio.gather(*self._pumps)

    async def start(self, name: str, module: str, *arguments: str, cwd: Path, say: bytes = b"") -> Process:
        """`python -m module arguments`; `say` is written to its standard input, which stays open."""
        with self._log(name).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                cwd=cwd,
                stdin=PIPE if say else DEVNULL,
                stdout=PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._running.append((name, process))
        if say and process.stdin:
            process.stdin.write(say)
            await process.stdin.drain()
        return process

    async def ready(self, name: str, *, within_s: float) -> dict[str, Any]:
        """The JSON line with a port that a process prints when it is ready; what it prints later goes to its log.

        Raises CannotMeasure where none comes in time.
        """
        process = self.process(name)
        try:
            document = await asyncio.wait_for(self._announced(process), within_s)
        except (TimeoutError, ValueError) as error:
            raise CannotMeasure(
                f"{name} was not ready within {within_s:g} s; it said: {self._last_words(name)}",
                remedy=f"the whole log is {self._log(name)}",
            ) from error
        self._pumps.append(asyncio.create_task(self._pump(name, process)))
        return document

    async def _announced(self, process: Process) -> dict[str, Any]:
        """Raises ValueError where the process ends, or prints something else, before it is ready."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            document: dict[str, Any] = json.loads(line)
            if "port" in document:
                return document
        raise ValueError("it ended before it was ready")

    async def _pump(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        with self._log(name).open("ab") as log:
            while line := await process.stdout.readline():
                log.write(line)

    def check(self) -> None:
        """Raises CannotMeasure where a process has ended that should run."""
        for name, process in self._running:
            if process.returncode is not None:
                raise CannotMeasure(
                    f"{name} ended with code {process.returncode}; it said: {self._last_words(name)}",
                    remedy=f"the whole log is {self._log(name)}",
                )

    async def stop(self, name: str) -> None:
        """End a process: by closing its standard input where it has one, else by SIGTERM, else by SIGKILL."""
        process = self.process(name)
        self._running = [(other, p) for other, p in self._running if p is not process]
        if process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        else:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def process(self, name: str) -> Process:
        return next(process for other, process in self._running if other == name)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "nothing"
