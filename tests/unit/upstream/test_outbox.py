from __future__ import annotations

import asyncio

from understudy.upstream.outbox import Outbox


def test_what_is_put_in_one_turn_leaves_after_it_in_order() -> None:
    """Nothing leaves while the turn goes on; then all of it, each to its own transport."""

    async def main() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        left: list[bytes] = []
        other: list[bytes] = []
        for number in range(3):
            outbox.put(left.append, b"%d" % number)
            outbox.put(other.append, b"o%d" % number)
        assert left == other == []
        await asyncio.sleep(0)
        assert left == [b"0", b"1", b"2"]
        assert other == [b"o0", b"o1", b"o2"]

    asyncio.run(main())


def test_before_a_transport_is_closed_everything_leaves_at_once() -> None:
    """What was flushed does not leave a second time when the turn is over."""

    async def main() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        left: list[bytes] = []
        outbox.put(left.append, b"last words")
        outbox.flush()
        assert left == [b"last words"]
        await asyncio.sleep(0)
        assert left == [b"last words"]

    asyncio.run(main())


def test_one_that_fails_does_not_take_the_others_along() -> None:
    """The error is seen by whoever looks after the loop, the rest leaves a turn later."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[object] = []
        loop.set_exception_handler(lambda _, context: seen.append(context.get("exception")))
        outbox = Outbox(loop)
        left: list[bytes] = []

        def broken(data: bytes) -> None:
            raise OSError("no such transport")

        outbox.put(broken, b"x")
        outbox.put(left.append, b"y")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert left == [b"y"]
        assert [str(error) for error in seen] == ["no such transport"]

    asyncio.run(main())
