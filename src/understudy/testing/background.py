"""Runs a provider on a loop of its own in a thread, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Thread
from typing import TypeVar

Made = TypeVar("Made")


@contextmanager
def running(make: Callable[[], AbstractAsyncContextManager[Made]]) -> Iterator[Made]:
    """`with running(lambda: SimulatedProvider({"m": Behaviour()})) as provider:`.

    Raises what starting it raised, and on leaving what stopping it raised. From another thread only read the
    provider's attributes and call methods that say they may be called so.
    """
    started: Future[tuple[Made, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def life() -> None:
        stop = asyncio.Event()
        async with make() as made:
            started.set_result((made, asyncio.get_running_loop(), stop))
            await stop.wait()

    ended: Future[None] = Future()

    def run() -> None:
        try:
            asyncio.run(life())
        except BaseException as error:
            (ended if started.done() else started).set_exception(error)
        else:
            ended.set_result(None)

    thread = Thread(target=run, name="provider", daemon=True)
    thread.start()
    made, loop, stop = started.result(timeout=30)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        ended.result(timeout=30)
        thread.join(timeout=30)
