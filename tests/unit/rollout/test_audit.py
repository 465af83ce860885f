"""Whatever is done to a decision afterwards - edited, written anew, cut off - the audit names the first event."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from understudy.core.canonical import digest
from understudy.core.errors import UsageError
from understudy.ledger.decisions import Decisions
from understudy.ledger.lake import Decision, Lake, Table
from understudy.ledger.retention import expire
from understudy.rollout.audit import Audit, audit
from understudy.rollout.store.sqlite import open_store

from .test_stores import ABORTED, OPENED, started

COLUMNS = "upgrade, seq, at, kind, by, why, data, epoch, previous, hash"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two upgrades, one of which has three decisions."""

    async def run() -> None:
        opened = await open_store(tmp_path / "control.db")
        await opened.begin(0, "u1", started(), 1.0)
        await opened.append(1, "u1", [OPENED], 2.0)
        await opened.append(2, "u1", [ABORTED], 3.0)
        await opened.begin(3, "u2", started("other"), 4.0)
        await opened.close()

    asyncio.run(run())
    return tmp_path / "control.db"


def stands(store: Path) -> tuple[list[str], list[Decision]]:
    async def run() -> tuple[list[str], list[Decision]]:
        opened = await open_store(store)
        try:
            return await opened.entries()
        finally:
            await opened.close()

    return asyncio.run(run())


def looked(store: Path) -> Audit:
    return audit(*stands(store), Decisions(Lake(store.parent / "lake")).filed())


def edit(store: Path, *statements: str) -> None:
    with sqlite3.connect(store) as raw:
        for statement in statements:
            raw.execute(statement)
    raw.close()


def written_anew(store: Path, seq: int) -> None:
    """Change an event of u1 and seal it and all that follow, as somebody with the source at hand would."""
    _, entries = stands(store)
    mine = [each for each in entries if each.upgrade == "u1"]
    previous = mine[seq - 2].hash if seq > 1 else "0" * 64
    for each in mine[seq - 1 :]:
        why = "nobody knows" if each.seq == seq else each.why
        body = ["u1", each.seq, each.at, each.kind, each.by, why, json.loads(each.data), each.epoch, previous]
        changed = f"why = '{why}', previous = '{previous}', hash = '{digest(body)}'"
        edit(store, f"UPDATE events SET {changed} WHERE upgrade = 'u1' AND seq = {each.seq}")
        previous = digest(body)


def test_what_was_not_touched_is_in_order(store: Path) -> None:
    """Each decision is copied once, however often it is filed and by however many."""
    lake = Lake(store.parent / "lake")
    _, entries = stands(store)
    filing = Decisions(lake)
    assert [filing.file(entries[:2]), filing.file(entries), filing.file(entries)] == [2, 2, 0]
    assert Decisions(Lake(lake.where)).file(entries) == 0
    assert looked(store) == Audit(upgrades=2, decisions=4, copied=4, broken=())
    assert [each.workload for each in filing.filed()] == ["reply", "reply", "reply", "other"]
    assert audit([], [], []).broken == ()


LOST = "u1 has lost all of its events, of which the ledger has 3"
EDITS: dict[str, tuple[list[str], str]] = {
    "a reason": (["UPDATE events SET why = 'x' WHERE upgrade = 'u1' AND seq = 2"], "event 2 of upgrade u1"),
    "a name": (["UPDATE events SET by = 'x' WHERE upgrade = 'u1' AND seq = 3"], "event 3 of upgrade u1"),
    "a kind": (["UPDATE events SET kind = 'x' WHERE upgrade = 'u1' AND seq = 1"], "event 1 of upgrade u1"),
    "no JSON": (["UPDATE events SET data = '{' WHERE upgrade = 'u2' AND seq = 1"], "event 1 of upgrade u2"),
    "a hash": (["UPDATE events SET hash = 'x' WHERE upgrade = 'u1' AND seq = 3"], "event 3 of upgrade u1"),
    "the last one": (["DELETE FROM events WHERE seq = 3"], "cut off behind event 2"),
    "one in between": (["DELETE FROM events WHERE seq = 2"], "event 2 of upgrade u1 is missing"),
    "all of them": (["DELETE FROM events WHERE upgrade = 'u1'"], LOST),
    "the upgrade": (["DELETE FROM events WHERE upgrade = 'u1'", "DELETE FROM upgrades WHERE id = 'u1'"], LOST),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_named(store: Path, name: str) -> None:
    """The first sentence names the upgrade and the event, and no other upgrade is blamed."""
    Decisions(Lake(store.parent / "lake")).file(stands(store)[1])
    statements, said = EDITS[name]
    edit(store, *statements)
    found = looked(store).broken
    assert said in found[0], found
    assert all("u2" not in each for each in found) or "u2" in said


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_chain_that_was_written_anew_differs_from_its_copy(store: Path, seq: int) -> None:
    """Sealed again to the end the chain holds; the event at which it was begun is named by the copy."""
    Decisions(Lake(store.parent / "lake")).file(stands(store)[1])
    written_anew(store, seq)
    (said,) = looked(store).broken
    assert f"event {seq} of upgrade u1 was written anew" in said


def test_without_copies_the_chain_alone_still_shows_an_edit(store: Path) -> None:
    """A change within is found; a tail that is gone without a copy is not, and the page says so."""
    edit(store, "UPDATE events SET why = 'x' WHERE upgrade = 'u1' AND seq = 2")
    (said,) = looked(store).broken
    assert said == "event 2 of upgrade u1 (opened, by controller) was changed after it was decided"
    edit(store, "DELETE FROM events WHERE upgrade = 'u1' AND seq > 1")
    assert looked(store).broken == ()


def test_a_changed_copy_is_found_too(store: Path) -> None:
    """The ledger's own copy is held against its hashes."""
    _, entries = stands(store)
    Decisions(Lake(store.parent / "lake")).file([each._replace(why="x") if each.seq == 2 else each for each in entries])
    assert looked(store).broken == ("the ledger's copy of event 2 of upgrade u1 (opened) was changed",)


def test_decisions_do_not_expire(store: Path) -> None:
    """Retention does not reach them."""
    lake = Lake(store.parent / "lake")
    Decisions(lake).file(stands(store)[1])
    with pytest.raises(UsageError, match="decisions cannot be kept for"):
        expire({Table.DECISIONS: 90 * 86_400.0}, segments=store.parent / "s", lake=lake, now=9e9)
    assert len(Decisions(lake).filed()) == 4
