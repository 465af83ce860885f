"""The check behind front proxies: it knows what a front forwarded, and finds what reached a provider without it."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.chaos.fronts import FRONTS, find, front, unseen
from benchmarks.chaos.world import world


def test_a_request_that_no_front_forwarded_is_named_as_often_as_it_came() -> None:
    """Ids that were never given, and ids used twice, are smuggled requests; forwarded and unanswered ones are not."""
    assert unseen(["a", "b", "c"], ["a", "c"]) == []
    assert unseen(["a", "b"], ["a", "b", "none", "b"]) == ["b", "none"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FRONTS)
def test_a_front_counts_what_it_forwards_and_a_forged_id_does_not_pass(name: str) -> None:
    """Requests through the front carry the ids it logged; one that goes around it is found."""
    if find(name) is None:
        pytest.skip(f"{name.upper()} IS NOT INSTALLED: nothing was tested behind it (apt-get install {name})")

    async def run() -> tuple[list[str], list[str]]:
        async with world() as made, front(name, made.folder / name, made.port) as proxy:
            forged = (("x-request-id", "forged"),)
            for stream in (True, False):
                assert (await made.ask(port=proxy.port, stream=stream, headers=forged)).outcome == "ok"
            ids = [call.headers["x-request-id"] for call in made.inc.ledger]
            assert "forged" not in ids
            assert len(set(ids)) == 2
            await made.ask(headers=forged)
            await asyncio.sleep(0.3)
            return proxy.forwarded(), [call.headers["x-request-id"] for call in made.inc.ledger]

    assert unseen(*asyncio.run(run())) == ["forged"]
