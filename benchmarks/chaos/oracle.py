"""Joins the three ledgers on the request's mark and says what does not fit together. Pure.

What the client saw, what the provider received and sent, what the gateway's ledger says: a request is in order when
all three tell the same story. Every sentence returned is a violation.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from benchmarks.chaos.client import Saw
from benchmarks.chaos.world import Evidence

from understudy.core.records import Exchange
from understudy.testing.faulty import Received


def violations(evidence: Evidence) -> list[str]:
    """What every row must hold, whatever it is about."""
    found = [f"the gateway's log has a traceback: {_last_line(evidence.log)}"] if "Traceback" in evidence.log else []
    if not evidence.reconcile:
        return found
    copies: Counter[str] = Counter()
    for record in evidence.records:
        if record.role == "shadow":
            copies[record.pair] += record.attempts
    by_unit: dict[str, list[Exchange]] = {}
    for record in evidence.served():
        by_unit.setdefault(record.unit, []).append(record)
    for saw in evidence.saw:
        calls = evidence.calls(saw.mark)
        records = by_unit.get(saw.mark, [])
        if saw.outcome not in evidence.tolerates:
            found += [f"{saw.mark} ({saw.dialect}): {text}" for text in _client(saw, calls)]
        unwritten = saw.outcome in evidence.tolerates and not records
        if not evidence.lost and not unwritten:
            found += [f"{saw.mark} ({saw.dialect}): {text}" for text in _ledger(saw, calls, records, copies)]
    marks = {saw.mark for saw in evidence.saw}
    strays = [call.mark for calls in evidence.received.values() for call in calls if call.mark not in marks]
    if strays:
        found.append(f"the provider received {len(strays)} requests nobody sent")
    gaps = {why: count for why, count in evidence.lost.items() if why in ("gap", "no_tally")}
    if gaps:
        found.append(f"records are missing that nobody counted: {gaps}")
    return found


def _client(saw: Saw, calls: list[Received]) -> list[str]:
    """The client against the provider: no invented ending, no changed byte, no silence."""
    found: list[str] = []
    match saw.outcome:
        case "hung":
            found.append(f"no answer and no error within {saw.seconds:.1f} s")
        case "odd":
            found.append(f"status {saw.status} with a body that is no error of its dialect: {saw.payload[:80]!r}")
        case "nothing":
            found.append(f"the connection ended ({saw.end}) without any answer")
        case "quiet":
            found.append("the answer ends as if it were whole, and is not")
        case "ok":
            whole = [call for call in calls if call.status == 200 and call.terminal]
            if not whole:
                found.append("the client saw a whole answer that no provider completed")
            elif not any(call.digest == sha256(saw.payload).hexdigest() for call in whole):
                found.append("the client's bytes are not the provider's")
        case "broken":
            if not any(_begins(saw, call) for call in calls):
                found.append("what came before the break is not what the provider sent")
    return found


def _begins(saw: Saw, call: Received) -> bool:
    """The client's bytes begin with the provider's: an error event may follow them."""
    common = min(len(saw.payload), len(call.payload))
    same = next((at for at in range(common) if saw.payload[at] != call.payload[at]), common)
    rest = saw.payload[same:]
    return not rest or b"error" in rest[:400]


def _ledger(saw: Saw, calls: list[Received], records: list[Exchange], copies: Counter[str]) -> list[str]:
    """The gateway's own account against both."""
    if not records:
        # A client that left before its request was whole, or was refused, is nobody's exchange.
        if calls or saw.outcome in ("ok", "broken"):
            return ["the exchange is not in the ledger"]
        return []
    if len(records) > 1:
        return [f"the ledger has {len(records)} records of one request"]
    record = records[0]
    found: list[str] = []
    unannounced = record.error == "unreadable" and saw.headers.get("content-type", "").startswith("text/html")
    if saw.outcome == "ok" and record.error and not record.masked and not unannounced:
        found.append(f"the client saw a whole answer, the ledger says {record.error}")
    if saw.outcome in ("broken", "error") and not record.error:
        found.append(f"the client saw {saw.outcome} ({saw.status}), the ledger says nothing went wrong")
    if saw.outcome == "left" and record.error != "client_gone" and not record.error:
        call = calls[-1] if calls else None
        if call is None or call.ended != "complete":
            found.append("the client left, the ledger says nothing went wrong")
    if saw.status and saw.outcome != "left" and record.status != saw.status:
        found.append(f"the client saw status {saw.status}, the ledger says {record.status}")
    counted = record.attempts + copies[record.exchange]
    if len(calls) > counted:
        found.append(f"the provider was called {len(calls)} times, the ledger counts {counted} attempts")
    if record.arm == "candidate" and record.variant != "new":
        found.append(f"the candidate's exchange is booked on variant {record.variant}")
    return found


def outcomes(evidence: Evidence) -> dict[str, int]:
    """How many requests ended how, for the table."""
    return dict(sorted(Counter(saw.outcome for saw in evidence.saw).items()))


def _last_line(log: str) -> str:
    lines = log[log.rindex("Traceback") :].strip().splitlines()
    return next((line for line in lines[1:] if not line.startswith(" ")), lines[-1])
