from __future__ import annotations

import asyncio

from understudy.upstream.wheel import NEVER, Timed, Wheel


class Bell(Timed):
    __slots__ = ("loop", "rang")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.rang: list[float] = []

    def expired(self) -> None:
        self.rang.append(self.loop.time())


def test_a_bell_rings_once_and_not_before_its_time() -> None:
    """An armed object expires once, between its deadline and two ticks later."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, 0.01)
        bell = Bell(loop)
        start = loop.time()
        wheel.arm(bell, 0.05)
        await asyncio.sleep(0.15)
        assert len(bell.rang) == 1
        assert 0.04 <= bell.rang[0] - start <= 0.12
        assert bell.due == NEVER
        wheel.close()

    asyncio.run(main())


def test_moving_a_deadline_later_delays_and_disarming_silences() -> None:
    """Arming again later moves the deadline; disarming takes it away."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, 0.01)
        moved, silenced = Bell(loop), Bell(loop)
        wheel.arm(moved, 0.03)
        wheel.arm(silenced, 0.03)
        wheel.arm(moved, 0.12)
        wheel.disarm(silenced)
        await asyncio.sleep(0.08)
        assert moved.rang == []
        await asyncio.sleep(0.12)
        assert len(moved.rang) == 1
        assert silenced.rang == []
        wheel.close()

    asyncio.run(main())


def test_an_earlier_deadline_is_kept_and_rings_once() -> None:
    """Arming again earlier files anew; the older place in the wheel is ignored."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, 0.01)
        bell = Bell(loop)
        wheel.arm(bell, 0.15)
        wheel.arm(bell, 0.03)
        await asyncio.sleep(0.08)
        assert len(bell.rang) == 1
        await asyncio.sleep(0.15)
        assert len(bell.rang) == 1
        wheel.close()

    asyncio.run(main())
