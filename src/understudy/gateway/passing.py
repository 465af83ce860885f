"""Requests that no dialect has an operation for: denied, unless a rule says whose provider may be asked them untouched.

A request passes to the *incumbent's* provider, never to the candidate's, as it came: method, path, query and body. It
must name its workload in x-understudy-workload, lie below the API of the dialect that provider speaks, and be one of
these: a call that only asks a model; a path listed in the workload's `passthrough`; anything where the provider takes
the caller's own key. What is stored of OpenAI responses is asked of the arm that gave them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import msgspec

from understudy.assign.choose import Choice, Reason, choose
from understudy.core.playbook import Arm
from understudy.core.routing import GatewayKey
from understudy.gateway.ask import Ask, Spot, handle
from understudy.gateway.core import Gateway
from understudy.gateway.http import forwarded, text
from understudy.gateway.router import (
    WIRES,
    Refusal,
    admitted,
    allowed,
    dialect,
    gone,
    refuse,
    same_account,
    unit_of,
    unknown,
)
from understudy.gateway.snapshot import Lane, Snapshot
from understudy.wires import untouched
from understudy.wires.base import Peek, Wire, WireError

METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})
EVERYTHING = "*"
_MODEL = re.compile(r"/v1(?:beta)?/models/([^/:?]+)")
_STORED = re.compile(r"/v1/responses/([^/?]+)(?:/cancel|/input_items)?")
_INCUMBENT = Choice(Arm.INCUMBENT, Reason.NO_ROUTE)


class _Wanted(NamedTuple):
    """A request that may be passed, as far as its line and headers tell."""

    spoken: Wire
    method: str
    target: str
    """Path and query."""
    path: str
    named: str
    """The workload of its header, "" where it names none."""
    key: GatewayKey | None


def passing(gateway: Gateway, method: bytes, url: bytes, headers: dict[bytes, bytes], body: bytes) -> Ask | Refusal:
    """Where a request goes that no operation stands for, or the error it is answered with."""
    target, snapshot = url.decode("latin-1"), gateway.snapshot
    if method not in METHODS or all(each.api.path(target) is None for each in WIRES):
        return unknown(method, url, headers)
    spoken = dialect(url, headers)
    if snapshot is None:
        return refuse(spoken, 503, "not_ready", "the gateway has no valid routing table yet")
    key = None
    if snapshot.keys:
        spot = Spot(spoken, untouched.endpoint(spoken.name), method.decode("latin-1"), target)
        found = admitted(gateway, snapshot, spot, headers)
        if isinstance(found, Refusal):
            return found
        key = found
    named = text(headers.get(b"x-understudy-workload", b""))
    wanted = _Wanted(spoken, method.decode("latin-1"), target, target.partition("?")[0], named, key)
    answer = _model(snapshot, wanted) or _stored(gateway, snapshot, wanted, headers, body)
    answer = answer or _passed(gateway, snapshot, wanted, headers, body)
    if isinstance(answer, Ask) and key is not None:
        answer.key = key.name
        gateway.in_use[key.name] = gateway.in_use.get(key.name, 0) + 1
    return answer


def _model(snapshot: Snapshot, wanted: _Wanted) -> Refusal | None:
    """One model of the list that the gateway answers with: its workloads."""
    found = _MODEL.fullmatch(wanted.path)
    if found is None or wanted.method != "GET" or wanted.named:
        return None
    name = found.group(1)
    if name not in snapshot.lanes or not allowed(wanted.key, name):
        return refuse(wanted.spoken, 404, "unknown_workload", f"there is no workload {name[:80]!r}")
    listed = msgspec.json.decode(wanted.spoken.models_body([name]))
    (one,) = listed.get("data") or listed["models"]
    return Refusal(200, msgspec.json.encode(one))


def _stored(
    gateway: Gateway, snapshot: Snapshot, wanted: _Wanted, headers: dict[bytes, bytes], body: bytes
) -> Ask | Refusal | None:
    """A response that a provider keeps: asked of the arm that gave it, which alone has it."""
    found = _STORED.fullmatch(wanted.path)
    if found is None:
        return None
    now, name = gateway.now(), found.group(1)
    lanes = [
        lane
        for lane in snapshot.lanes.values()
        if lane.incumbent.wire.name == "openai" and allowed(wanted.key, lane.name) and wanted.named in ("", lane.name)
    ]
    for lane in lanes:
        owner = gateway.pins.get(lane.route.upgrade, handle(name), now) if lane.route is not None else None
        if owner is None or lane.route is None:
            continue
        killed = lane.name in gateway.killed
        choice = choose(lane.route, now=now, bucket=-1, killed=killed, pinned=owner, finish_pinned=True)
        if choice.arm is not owner and not same_account(lane):
            return refuse(wanted.spoken, 409, "response_gone", gone(name))
        return _ask(gateway, snapshot, lane, wanted, choice, headers, body)
    if len(lanes) == 1:  # given before this upgrade, by the incumbent
        return _ask(gateway, snapshot, lanes[0], wanted, _INCUMBENT, headers, body)
    return None


def _passed(
    gateway: Gateway, snapshot: Snapshot, wanted: _Wanted, headers: dict[bytes, bytes], body: bytes
) -> Ask | Refusal:
    line = f"{wanted.method} {wanted.path}"[:80]
    if not wanted.named:
        message = f"there is no endpoint {line!r}; to have it asked of a provider, name a workload in the header "
        return refuse(wanted.spoken, 404, "unknown_endpoint", message + "x-understudy-workload")
    lane = snapshot.lanes.get(wanted.named)
    if lane is None:
        return refuse(wanted.spoken, 404, "unknown_workload", f"there is no workload {wanted.named[:80]!r}")
    if not allowed(wanted.key, lane.name):
        message = f"this API key may not use the workload {lane.name!r}"
        return refuse(wanted.spoken, 403, "forbidden_workload", message)
    if not _open(lane, wanted):
        message = f"there is no endpoint {line!r} for the workload {lane.name}; its `passthrough` may list the path"
        return refuse(wanted.spoken, 404, "unknown_endpoint", message)
    return _ask(gateway, snapshot, lane, wanted, _INCUMBENT, headers, body)


def _open(lane: Lane, wanted: _Wanted) -> bool:
    """Whether this request may be asked of the incumbent's provider."""
    provider = lane.incumbent
    if provider.wire.api.path(wanted.target) is None:
        return False
    listed = any(
        wanted.path == prefix.rstrip("/") or wanted.path.startswith(prefix.rstrip("/") + "/")
        for prefix in lane.workload.passthrough
    )
    return (
        listed
        or EVERYTHING in lane.workload.passthrough
        or provider.pass_through_key
        or provider.wire.api.calls_a_model(wanted.method, wanted.target)
    )


def _ask(
    gateway: Gateway,
    snapshot: Snapshot,
    lane: Lane,
    wanted: _Wanted,
    choice: Choice,
    headers: dict[bytes, bytes],
    body: bytes,
) -> Ask | Refusal:
    try:
        unit = unit_of(lane, headers, {})
    except WireError as error:
        return refuse(wanted.spoken, error.status, "invalid_request", str(error))
    # What is asked here says nothing about an upgrade: it is kept out of its records, its copies and its breaker.
    asked = lane.candidate if choice.arm == "candidate" and lane.candidate is not None else lane.incumbent
    alone = replace(lane, incumbent=asked, candidate=None, route=None, shadow_sample=0)
    endpoint = untouched.endpoint(asked.wire.name)
    # The body goes on as it came, and so does what it is packed as; what is read here may not be packed.
    packed = headers.get(b"content-encoding")
    also = b"" if packed is None else b"content-encoding: %b\r\n" % packed
    return Ask(
        gateway.next_id(),
        snapshot,
        alone,
        wanted.spoken,
        endpoint,
        wanted.method,
        wanted.target,
        body,
        Peek("", False, {}, ("other",)),
        headers,
        forwarded(headers) + also,
        Choice(Arm.INCUMBENT, choice.reason),
        asked,
        unit,
        -1,
        "",
        True,
        {},
        gateway.now(),
    )
