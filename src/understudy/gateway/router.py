"""From a framed request to a decision: who asks, which workload, which arm, or the error to answer with.

Deny by default: an endpoint, key or workload that is not known is refused in the caller's dialect.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from understudy.assign.bucket import bucket
from understudy.assign.choose import Choice, choose
from understudy.assign.source import first
from understudy.core.playbook import PARTS_PER_MILLION
from understudy.core.routing import GatewayKey
from understudy.gateway.ask import Ask
from understudy.gateway.core import Gateway
from understudy.gateway.http import HeaderView, forwarded
from understudy.gateway.snapshot import Lane, Snapshot, speaks
from understudy.wires.base import Endpoint, Wire, WireError
from understudy.wires.registry import NAMES, wire

WIRES = tuple(wire(name) for name in NAMES)
_FALLBACK_WIRE = WIRES[0]
_ENDPOINTS = 1024

_endpoints: dict[tuple[str, str], tuple[Wire, Endpoint]] = {}


class Refusal(NamedTuple):
    """An answer of the gateway's own."""

    status: int
    body: bytes


def refuse(spoken: Wire, status: int, code: str, message: str) -> Refusal:
    return Refusal(status, spoken.error_body(status, code, message))


def endpoint_of(method: str, path: str) -> tuple[Wire, Endpoint] | None:
    """The dialect and operation behind a request line."""
    found = _endpoints.get((method, path))
    if found is None:
        for spoken in WIRES:
            endpoint = spoken.endpoint(method, path)
            if endpoint is not None:
                found = spoken, endpoint
                if len(_endpoints) < _ENDPOINTS:  # paths come from callers: the cache must not grow with them
                    _endpoints[method, path] = found
                break
    return found


def route(gateway: Gateway, method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> Ask | Refusal:
    """Decide everything about a request that can be decided before anybody is asked."""
    view = HeaderView(headers)
    found = endpoint_of(method, path)
    if found is None:
        return refuse(_dialect(path), 404, "unknown_endpoint", f"there is no endpoint {method} {_shown(path)}")
    spoken, endpoint = found
    snapshot = gateway.snapshot
    if snapshot is None:
        return refuse(spoken, 503, "not_ready", "the gateway has no valid routing table yet")
    key: GatewayKey | None = None
    if snapshot.keys:
        presented = view.get("x-understudy-key") or spoken.key_in(view, path.partition("?")[2])
        key = snapshot.keys.get(sha256(presented.encode("utf-8", "surrogateescape")).hexdigest())
        if key is None:
            return refuse(spoken, 401, "invalid_api_key", "the gateway does not know the API key of this request")
    if method == "GET":
        return Refusal(200, spoken.models_body(sorted(n for n in snapshot.lanes if _allowed(key, n))))
    try:
        return _ask(gateway, snapshot, key, spoken, endpoint, method, path, headers, view, body)
    except WireError as error:
        return refuse(spoken, error.status, "invalid_request", str(error))


def _ask(
    gateway: Gateway,
    snapshot: Snapshot,
    key: GatewayKey | None,
    spoken: Wire,
    endpoint: Endpoint,
    method: str,
    path: str,
    headers: dict[bytes, bytes],
    view: HeaderView,
    body: bytes,
) -> Ask | Refusal:
    peek = spoken.peek(endpoint, path, body)
    name = view.get("x-understudy-workload") or peek.model
    lane = snapshot.lanes.get(name)
    if lane is None:
        message = f"there is no workload {_shown(name)}; name one as the model or in the header x-understudy-workload"
        return refuse(spoken, 404, "unknown_workload", message)
    if not _allowed(key, name):
        return refuse(spoken, 403, "forbidden_workload", f"this API key may not use the workload {_shown(name)}")
    if not speaks(lane.incumbent, endpoint):
        told = f"workload {name} is served by a provider that speaks {lane.incumbent.wire.name}, not {endpoint.wire}"
        return refuse(spoken, 400, "other_wire", told)
    now = gateway.now()
    unit = first(lane.unit, view, peek.fields)
    conversation = first(lane.conversation, view, peek.fields) if lane.conversation else ""
    place = _place(gateway, lane, unit)
    lines = b""
    for header, value in headers.items():
        if forwarded(header):
            lines += header + b": " + value + b"\r\n"
    return Ask(
        exchange=gateway.next_id(),
        snapshot=snapshot,
        lane=lane,
        wire=spoken,
        endpoint=endpoint,
        method=method,
        path=path,
        body=body,
        peek=peek,
        headers=headers,
        forwarded=lines,
        choice=_choose(gateway, lane, place, conversation, endpoint, now),
        unit=unit,
        bucket=place,
        conversation=conversation,
        slices={label: first((source,), view, peek.fields) for label, source in lane.slices} if lane.slices else {},
        started_at=now,
    )


def _place(gateway: Gateway, lane: Lane, unit: str) -> int:
    route = lane.route
    if unit:
        return bucket(route.salt, unit) if route else -1
    if lane.workload.no_unit == "random" and route:
        return gateway.random.randrange(PARTS_PER_MILLION)
    return -1


def _choose(gateway: Gateway, lane: Lane, place: int, conversation: str, endpoint: Endpoint, now: float) -> Choice:
    """The exposure function, given what this worker knows, and the pin it leaves behind."""
    route = lane.route
    candidate = lane.candidate
    if route is None or candidate is None:
        return choose(None, now=now, bucket=place, killed=lane.name in gateway.killed)
    pinned = gateway.pins.get(route.upgrade, conversation, now) if conversation else None
    choice = choose(
        route if speaks(candidate, endpoint) else None,
        now=now,
        bucket=place,
        killed=lane.name in gateway.killed,
        pinned=pinned,
        finish_pinned=lane.workload.on_rollback == "finish",
        breaker_open=gateway.breaker(lane.name, route.upgrade).open,
    )
    if conversation and (pinned is None or pinned is not choice.arm):
        gateway.pins.put(route.upgrade, conversation, choice.arm, now)
    return choice


def _allowed(key: GatewayKey | None, workload: str) -> bool:
    return key is None or workload in key.workloads or "*" in key.workloads


def _dialect(path: str) -> Wire:
    """The dialect a caller probably speaks, for an endpoint nobody knows."""
    for spoken in WIRES:
        if (spoken.name == "anthropic" and path.startswith("/v1/messages")) or (
            spoken.name == "gemini" and path.startswith("/v1beta")
        ):
            return spoken
    return _FALLBACK_WIRE


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
