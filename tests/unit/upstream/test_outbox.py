from __future__ import annotations

import asyncio

from understudy.upstream.outbox import Outbox


class Way(list[bytes]):
    """Keeps what leaves by it."""

    closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.append(data)


def test_what_is_put_in_one_turn_leaves_after_it_in_order() -> None:
    """The first leaves at once, the others when the turn is over, each to its own transport; so in every turn."""

    async def main() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        left = Way()
        other = Way()
        for number in range(3):
            outbox.put(left, b"%d" % number)
            outbox.put(other, b"o%d" % number)
        assert left == [b"0"]
        assert other == []
        await asyncio.sleep(0)
        assert left == [b"0", b"1", b"2"]
        assert other == [b"o0", b"o1", b"o2"]
        outbox.put(other, b"next")
        assert other[-1] == b"next"

    asyncio.run(main())


def test_before_a_transport_is_closed_everything_leaves_at_once() -> None:
    """What was flushed does not leave a second time when the turn is over."""

    async def main() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        left = Way()
        outbox.put(left, b"first")
        outbox.put(left, b"last words")
        assert left == [b"first"]
        outbox.flush()
        assert left == [b"first", b"last words"]
        await asyncio.sleep(0)
        assert left == [b"first", b"last words"]

    asyncio.run(main())


def test_one_that_fails_does_not_take_the_others_along() -> None:
    """The error is seen by whoever looks after the loop, the rest leaves a turn later."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[object] = []
        loop.set_exception_handler(lambda _, context: seen.append(context.get("exception")))
        outbox = Outbox(loop)
        left = Way()

        class Broken(Way):
            def write(self, data: bytes) -> None:
                raise OSError("no such transport")

        outbox.put(left, b"x")
        outbox.put(Broken(), b"y")
        outbox.put(left, b"z")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert left == [b"x", b"z"]
        assert [str(error) for error in seen] == ["no such transport"]

    asyncio.run(main())


def test_what_waits_for_a_way_that_closes_is_dropped() -> None:
    """Closed before the turn is over, or from the start; the others are not kept from leaving."""

    async def main() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        closed, closes, stays = Way(), Way(), Way()
        closed.closing = True
        for way in (closed, closes, stays):
            outbox.put(way, b"x")
        closes.closing = True
        await asyncio.sleep(0)
        assert (closed, closes, stays) == ([], [], [b"x"])

    asyncio.run(main())
