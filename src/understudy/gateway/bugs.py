"""Says where a worker failed without saying on what: the message of an exception may quote what somebody wrote."""

from __future__ import annotations

import sys
import threading
import traceback
from asyncio import AbstractEventLoop
from types import TracebackType
from typing import Any


def where(error: BaseException) -> str:
    """The kinds of an exception and of those behind it, each with the places it came through, innermost last."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(lines) < 200:
        lines.append(type(seen).__name__)
        lines += [f"  {f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(seen.__traceback__)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(lines)


def watch(loop: AbstractEventLoop, name: str) -> None:
    """Have what nobody caught told in this way on standard error: of the loop, of threads, of the process."""

    def tell(what: str, error: BaseException | None) -> None:
        sys.stderr.write(f"{name}: {what}\n{where(error)}\n" if error is not None else f"{name}: {what}\n")

    def of_loop(_: AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio's own messages repeat the names of callbacks with their arguments.
        ours = context["message"] if context["message"] == "a bug in the gateway" else "a bug behind the event loop"
        tell(ours, context.get("exception"))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        tell("a bug in a thread", args.exc_value)

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        tell("the worker ends", error)

    loop.set_exception_handler(of_loop)
    threading.excepthook = of_thread
    sys.excepthook = of_process
