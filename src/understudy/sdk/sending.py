"""Sends what users thought of an answer, in the background: a product never waits for it and never fails by it.

One thread a gateway sends one after the other over one connection. What does not fit its queue, waits too long, or is
not taken is counted and logged. Feedback is sent again only where no connection was made: sent twice it would count
twice.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import queue
import threading
import time
from collections import Counter
from typing import Any

from understudy.core.errors import CannotMeasure, UnderstudyError, UsageError
from understudy.sdk.address import Gateway, gateway

TIMEOUT_S = 2.0
WAITING = 1_000
"""Feedback that waits at most; more is dropped and counted."""
KEPT_S = 60.0
"""How long feedback waits for a gateway that cannot be reached; long enough for one that is started anew."""
PAUSES_S = (0.2, 1.0)
"""Before the second attempt to connect, and before each further one."""
AT_EXIT_S = 2.0
"""How long the end of a process waits for what is not sent yet."""

_log = logging.getLogger("understudy.sdk")
_lock = threading.Lock()
_senders: dict[tuple[str, str, str] | None, _Sender] = {}
_default: Gateway | UnderstudyError | None = None
_counted: Counter[str] = Counter()


def feedback(
    exchange: str, name: str, value: float, *, through: Gateway | None = None, raise_errors: bool = False
) -> bool:
    """Say how an answer was, by the id in its header x-understudy-exchange: `feedback(exchange, "thumb", 1)`.

    Returns at once; False, and a line in the log, where it will not be sent: no id, no number, a full queue. Without
    `through` it goes to the project's gateway, see `gateway()`.
    With `raise_errors` it sends now, waits up to TIMEOUT_S, and raises UsageError or CannotMeasure.
    """
    try:
        body = _body(exchange, name, value)
        if raise_errors:
            import httpx2

            with httpx2.Client(timeout=TIMEOUT_S) as client:
                _send(client, through or _gateway(), body)
            _count("sent")
            return True
        return _sender(through).put(body)
    except UnderstudyError as error:
        if raise_errors:
            raise
        _lost(str(error))
        return False


async def feedback_async(
    exchange: str, name: str, value: float, *, through: Gateway | None = None, raise_errors: bool = False
) -> bool:
    """The same, awaited: True once the gateway took it, within TIMEOUT_S. `feedback` may be called on a loop too."""
    import asyncio

    import httpx2

    try:
        body = _body(exchange, name, value)
        to = await asyncio.to_thread(_gateway) if through is None else through
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
                answer = await client.post(f"{to.url}/v1/feedback", json=_about(to, body), headers=_headers(to))
        except httpx2.HTTPError as error:
            raise _unreachable(to, error) from None
        _taken(answer)
    except UnderstudyError as error:
        if raise_errors:
            raise
        _lost(str(error))
        return False
    _count("sent")
    return True


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until everything is sent or given up; False where that took longer."""
    end = time.monotonic() + timeout_s
    with _lock:
        senders = list(_senders.values())
    return all(sender.wait(end) for sender in senders)


def counts() -> dict[str, int]:
    """How much feedback was `sent`, and how much was `lost` for whatever reason, in this process."""
    with _lock:
        return {"sent": _counted["sent"], "lost": _counted["lost"]}


class _Sender:
    """One thread that sends to one gateway; without one to the project's, which it looks for itself."""

    def __init__(self, to: Gateway | None) -> None:
        self._to = to
        self._waiting: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="understudy-feedback", daemon=True)
        self._thread.start()

    def put(self, body: dict[str, Any]) -> bool:
        try:
            self._waiting.put_nowait((time.monotonic(), body))
        except queue.Full:
            _lost(f"{WAITING} feedbacks wait already")
            return False
        return True

    def wait(self, end: float) -> bool:
        while self._waiting.unfinished_tasks:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def _run(self) -> None:
        import httpx2

        with httpx2.Client(timeout=TIMEOUT_S) as client:
            while True:
                since, body = self._waiting.get()
                try:
                    self._attempt(client, self._to or _gateway(), since + KEPT_S, body)
                except UnderstudyError as error:
                    _lost(str(error))
                except Exception as error:  # a thread that dies would lose all that follows in silence
                    _lost(f"{type(error).__name__}: {error}")
                else:
                    _count("sent")
                finally:
                    self._waiting.task_done()

    def _attempt(self, client: Any, to: Gateway, end: float, body: dict[str, Any]) -> None:
        pause, later = PAUSES_S
        while time.monotonic() < end:
            try:
                return _send(client, to, body)
            except _NotConnected:
                if time.monotonic() + pause > end:
                    raise
                time.sleep(pause)
                pause = later
        raise CannotMeasure(f"it waited {KEPT_S:g} s for the gateway at {to.url}")


class _NotConnected(CannotMeasure):
    """Nothing was sent, so that it may be sent again."""


def _send(client: Any, to: Gateway, body: dict[str, Any]) -> None:
    import httpx2

    try:
        answer = client.post(f"{to.url}/v1/feedback", json=_about(to, body), headers=_headers(to))
    except httpx2.HTTPError as error:
        raise _unreachable(to, error) from None
    _taken(answer)


def _unreachable(to: Gateway, error: Exception) -> CannotMeasure:
    import httpx2

    unsent = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
    kind = _NotConnected if unsent else CannotMeasure
    return kind(
        f"the gateway at {to.url} did not take the feedback: {type(error).__name__}", remedy="check that it runs"
    )


def _taken(answer: Any) -> None:
    if answer.status_code >= 300:
        said = " ".join(answer.text.split())[:200]
        raise UsageError(f"the gateway refused the feedback ({answer.status_code}): {said}")


def _about(to: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "workload": to.workload}


def _headers(to: Gateway) -> dict[str, str]:
    return {"authorization": f"Bearer {to.key}"} if to.key else {}


def _body(exchange: object, name: object, value: object) -> dict[str, Any]:
    """What the gateway wants. Raises UsageError for what it would refuse, or could not use."""
    if not isinstance(exchange, str) or not exchange:
        raise UsageError("the feedback names no exchange", remedy="take it from the answer's x-understudy-exchange")
    if not isinstance(name, str) or not name:
        raise UsageError("the feedback has no name", remedy='give it one, like "thumb"')
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"the value of the feedback {name!r} is {value!r}", remedy="send a number, or True and False")
    return {"exchange": exchange, "name": name, "value": float(value)}


def _gateway() -> Gateway:
    """The project's gateway, looked for once in a process. Raises UsageError and ConfigError."""
    global _default
    if _default is None:
        try:
            _default = gateway()
        except UnderstudyError as error:
            _default = error
    if isinstance(_default, UnderstudyError):
        raise _default
    return _default


def _sender(to: Gateway | None) -> _Sender:
    name = None if to is None else (to.url, to.key, to.workload)
    with _lock:
        found = _senders.get(name)
        if found is None:
            found = _senders[name] = _Sender(to)
        return found


def _count(what: str) -> None:
    with _lock:
        _counted[what] += 1


def _lost(why: str) -> None:
    _count("lost")
    _log.warning("feedback lost: %s", why)


def _forked() -> None:
    """A child has none of its parent's threads; what waited there is sent there."""
    global _lock
    _lock = threading.Lock()
    _senders.clear()


os.register_at_fork(after_in_child=_forked)
atexit.register(flush, AT_EXIT_S)
