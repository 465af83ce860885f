"""Passes on what a person wishes, as the commands do: by the control store, and where that fails by the kill file.

Nothing here looks at the ledger: it may be slow or broken, and going back must not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from understudy.core.errors import Refused, UsageError
from understudy.dashboard.access import Person
from understudy.dashboard.facts import Facts
from understudy.rollout import operate
from understudy.rollout.intents import Wish, expiry
from understudy.rollout.operate import Asked, Effect
from understudy.rollout.store.base import Store, StoreUnavailable

DRILL = "drill"
WISHES = (Wish.PROMOTE, Wish.PAUSE, Wish.RESUME, Wish.APPROVE, Wish.WAIVE, Wish.ABORT, Wish.ROLLBACK)
ACTS = (*(str(wish) for wish in WISHES), DRILL)
"""What a person can ask for here."""
STORE_S = 5.0
"""How long going back waits for the control store before it takes the kill file."""
EFFECT_S = 10.0
"""How long it waits for every worker's word."""


async def act(facts: Facts, workload: str, what: str, person: Person, given: Mapping[str, Any]) -> dict[str, Any]:
    """Do it, in the person's name, and return what the command would print as JSON.

    given: `why` for all; `upgrade` where only the one of this id is meant (going back is never refused for it);
        `subject`, and for an approval `read` (the exchanges that were read); for a waiver `owner` and `until`.

    Raises Refused where the person only reads or the present state forbids it, UsageError for what is missing,
    CannotMeasure where nobody answered.
    """
    facts.project.workload(workload)
    if not person.may_act:
        raise Refused(f"{person.name} may look, and not act", remedy="`may_act: true` under dashboard.users")
    if what not in ACTS:
        raise UsageError(f"nobody can ask for {what!r}", remedy=f"there is {', '.join(ACTS)}")
    why = _text(given, "why", needed=False)
    if what in (Wish.ROLLBACK, DRILL):
        effect = await _flip(facts, workload, person.name, why, drill=what == DRILL)
        return {"workload": workload, **effect.as_dict()}
    data: dict[str, Any] = {}
    if what in (Wish.APPROVE, Wish.WAIVE):
        data["subject"] = _text(given, "subject")
    if what == Wish.APPROVE and given.get("read"):
        data["read"] = [str(each) for each in given["read"]]
    if what == Wish.WAIVE:
        data |= {"owner": _text(given, "owner"), "expires_at": expiry(_text(given, "until"), time.time())}
        why = _text(given, "why")
    opened = await facts.control()
    await _still(opened.store, workload, _text(given, "upgrade", needed=False))
    state, answer = await operate.carry_out(
        facts.project, opened.store, opened.board, workload, Asked(Wish(what), person.name, why, data)
    )
    return {"upgrade": state.id, "workload": workload, "stage": str(state.stage), "answer": answer}


async def _still(store: Store, workload: str, meant: str) -> None:
    """Raises Refused where another upgrade is under way than the page showed that was read."""
    if meant and (state := await operate.active(store, workload)).id != meant:
        raise Refused(f"{state.id} is under way now, and not {meant}", remedy="look at the page again, then ask again")


def _text(given: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    found = given.get(name) or ""
    if not isinstance(found, str):
        raise UsageError(f"{name} is no text", remedy="send text")
    if needed and not found.strip():
        raise UsageError(f"{name} is missing", remedy=f"say {name}")
    return found.strip()


async def _flip(facts: Facts, workload: str, by: str, why: str, *, drill: bool) -> Effect:
    """Go back, or rehearse it. A store that cannot be used in time is gone without: the kill file needs none."""
    try:
        opened = await asyncio.wait_for(facts.control(), STORE_S)
        if drill:
            return await operate.drill(facts.project, opened.store, opened.board, workload, by, why, timeout_s=EFFECT_S)
        return await asyncio.wait_for(
            operate.roll_back(facts.project, opened.store, opened.board, workload, by, why, timeout_s=EFFECT_S),
            STORE_S + EFFECT_S,
        )
    except (StoreUnavailable, TimeoutError):
        if drill:
            raise
        return await operate.kill(
            facts.project.paths.routing,
            workload,
            by,
            why or "the control store cannot be used",
            one_of_several=facts.project.store().file is None,
            timeout_s=EFFECT_S,
        )


def told(document: Mapping[str, Any]) -> tuple[str, str]:
    """What came of it as ("good" or "bad", sentence)."""
    event, colon, why = str(document["answer"]).partition(": ")
    answer = f"{event.replace('_', ' ')}{colon}{why}"
    if "effective" not in document:
        return "good", answer
    if not document["workers"]:
        return "bad", f"{answer}. No gateway worker is alive: the next one that starts obeys."
    if document["effective"]:
        everyone = "the one worker" if document["workers"] == 1 else f"all {document['workers']} workers"
        return "good", f"{answer}. In effect on {everyone} after {1000 * document['seconds']:.0f} ms."
    waiting = ", ".join(document["waiting"])
    return "bad", f"{answer}. Not acknowledged by {waiting} after {document['seconds']:.1f} s."
