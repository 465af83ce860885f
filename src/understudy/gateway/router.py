"""From a framed request to a decision: who asks, which workload, which arm, or the error to answer with.

Deny by default: an endpoint, key or workload that is not known is refused in the caller's dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from math import ceil
from typing import Any, NamedTuple

from understudy.assign.choose import Choice, Reason, choose
from understudy.assign.source import Source, first
from understudy.core.playbook import PARTS_PER_MILLION, Arm
from understudy.core.routing import GatewayKey, Route
from understudy.gateway.ask import Ask, Spot, handle
from understudy.gateway.core import Gateway
from understudy.gateway.http import HeaderView, forwarded, text
from understudy.gateway.snapshot import Lane, Snapshot, answers
from understudy.wires.base import Endpoint, Peek, Wire, WireError
from understudy.wires.registry import NAMES, recognise, wire

WIRES = tuple(wire(name) for name in NAMES)
DEFAULT_WIRE = WIRES[0]
_CANDIDATE = Arm.CANDIDATE  # asked of the enumeration each time, a member costs as much as ten attributes
_BEFORE = Choice(Arm.INCUMBENT, Reason.CONVERSATION)
EVERY = ("*",)
"""The workloads of a key that may use them all, as most may."""
_CACHED = 1024
_RECOGNISED = 4096
UNKNOWN_KEY = "the gateway does not know the API key of this request"


class Refusal(NamedTuple):
    """An answer of the gateway's own."""

    status: int
    body: bytes
    extra: bytes = b""
    """More header lines."""
    kind: bytes = b"application/json"


def refuse(spoken: Wire, status: int, code: str, message: str) -> Refusal:
    return Refusal(status, spoken.error_body(status, code, message))


def spot_of(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> Spot | None:
    """The operation behind a request line, None where no dialect knows it."""
    verb, path = method.decode("latin-1"), url.decode("latin-1")
    found = recognise(verb, path, HeaderView(headers))
    return None if found is None else Spot(found.wire, found.endpoint, verb, path)


def remember(gateway: Gateway, line: bytes, spot: Spot) -> None:
    """Know the operation of a request line at once the next time, if nothing but the line decides about it."""
    # Lines come from callers: what is remembered must not grow with them. Only for GET do headers decide.
    if spot.method != "GET" and len(gateway.spots) < _CACHED:
        gateway.spots[line] = spot


def unknown(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> Refusal:
    line = f"{method.decode('latin-1')} {url.decode('latin-1')}"
    return refuse(dialect(url, headers), 404, "unknown_endpoint", f"there is no endpoint {_shown(line)}")


def route(gateway: Gateway, spot: Spot, headers: dict[bytes, bytes], body: bytes) -> Ask | Refusal:
    """Decide everything about a request that can be decided before anybody is asked."""
    spoken = spot.wire
    snapshot = gateway.snapshot
    if snapshot is None:
        return refuse(spoken, 503, "not_ready", "the gateway has no valid routing table yet")
    key = None
    if snapshot.keys:
        found = admitted(gateway, snapshot, spot, headers)
        if isinstance(found, Refusal):
            return found
        key = found
    if spot.method == "GET":
        return Refusal(200, spoken.models_body(sorted(n for n in snapshot.lanes if allowed(key, n))))
    try:
        peek = spoken.operations[spot.endpoint.name].peek(spot.path, body)
        named = headers.get(b"x-understudy-workload")
        name = peek.model if named is None else text(named)
        lane = snapshot.lanes.get(name)
        if lane is None or not (key is None or key.workloads == EVERY or allowed(key, name)):
            return _no_lane(spot, lane, name, key)
        if lane.incumbent.wire is not spoken and not answers(lane.incumbent, spot.endpoint):
            return _no_lane(spot, lane, name, key)
        ask = _ask(gateway, snapshot, lane, spot, peek, headers, body)
    except WireError as error:
        packed = text(headers.get(b"content-encoding", b"identity"))
        if error.status == 400 and packed != "identity":
            told = f"the body is said to be packed as {_shown(packed)}, and is read here: send it unpacked"
            return refuse(spoken, 415, "packed_body", told)
        return refuse(spoken, error.status, "invalid_request", str(error))
    if key is not None:
        ask.key = key.name
        gateway.in_use[key.name] = gateway.in_use.get(key.name, 0) + 1
    return ask


def admitted(gateway: Gateway, snapshot: Snapshot, spot: Spot, headers: dict[bytes, bytes]) -> GatewayKey | Refusal:
    """The key of a request, where there must be one; the error where it has none or asks too much."""
    key = snapshot.recognised.get(headers.get(b"authorization", b""))
    if key is None or b"x-understudy-key" in headers:
        key = presents_key(snapshot, spot, headers)
    if key is None:
        return refuse(spot.wire, 401, "invalid_api_key", UNKNOWN_KEY)
    if gateway.in_use.get(key.name, 0) >= (key.concurrent or gateway.limits.key_requests):
        return _too_many_at_once(gateway, spot.wire, key)
    if snapshot.meters and key.name in snapshot.meters:
        wait = snapshot.meters[key.name].take(gateway.now())
        if wait:
            return _too_often(gateway, spot.wire, key, wait)
    return key


def _ask(
    gateway: Gateway,
    snapshot: Snapshot,
    lane: Lane,
    spot: Spot,
    peek: Peek,
    headers: dict[bytes, bytes],
    body: bytes,
) -> Ask:
    now = gateway.now()
    fields = peek.fields
    unit = unit_of(lane, headers, fields)
    conversation = _value(lane.conversation, headers, fields) if lane.conversation else ""
    place = lane.place
    if place is None:
        bucket = -1
    elif unit:
        bucket = place(unit)
    else:
        bucket = gateway.random.randrange(PARTS_PER_MILLION) if lane.workload.no_unit == "random" else -1
    bound = False
    if spot.endpoint.name == "responses" and lane.route is not None and _refers(fields):
        choice = _bound(gateway, lane, lane.route, bucket, conversation, spot.endpoint, now, fields)
        bound = not same_account(lane)
    else:
        choice = _choose(gateway, lane, bucket, conversation, spot.endpoint, now, peek.effects)
    return Ask(
        gateway.next_id(),
        snapshot,
        lane,
        spot.wire,
        spot.endpoint,
        spot.method,
        spot.path,
        body,
        peek,
        headers,
        forwarded(headers),
        choice,
        lane.candidate if choice.arm is _CANDIDATE and lane.candidate is not None else lane.incumbent,
        unit,
        bucket,
        conversation,
        bound,
        {label: _value((source,), headers, fields) for label, source in lane.slices} if lane.slices else {},
        now,
    )


def _choose(
    gateway: Gateway,
    lane: Lane,
    bucket: int,
    conversation: str,
    endpoint: Endpoint,
    now: float,
    effects: tuple[str, ...] = (),
) -> Choice:
    """The exposure function, given what this worker knows, and the pin it leaves behind."""
    route, candidate, killed = lane.route, lane.candidate, lane.name in gateway.killed
    if route is None or candidate is None:
        return choose(None, now=now, bucket=bucket, killed=killed)
    pinned = gateway.pins.get(route.upgrade, conversation, now) if conversation else None
    choice = choose(
        route if candidate.wire is lane.incumbent.wire or answers(candidate, endpoint, effects) else None,
        now=now,
        bucket=bucket,
        killed=killed,
        pinned=pinned,
        finish_pinned=lane.workload.on_rollback == "finish",
        breaker_open=lane.breaker.why != "",
    )
    if conversation and pinned is not choice.arm:
        gateway.pins.put(route.upgrade, conversation, choice.arm, now)
    return choice


def _bound(
    gateway: Gateway,
    lane: Lane,
    route: Route,
    bucket: int,
    conversation: str,
    endpoint: Endpoint,
    now: float,
    fields: Mapping[str, Any],
) -> Choice:
    """A request that refers to an earlier answer goes to the arm that gave it: nobody else has it.

    Raises WireError 409 where that arm is no longer served and the other one has another account.
    """
    former = fields.get("previous_response_id")
    owner = gateway.pins.get(route.upgrade, handle(former), now) if isinstance(former, str) and former else None
    if owner is None:
        # Unknown answers were given before this upgrade, by the incumbent, or by another gateway; conversations are
        # made at the incumbent's (see `passing`).
        return _choose(gateway, lane, bucket, conversation, endpoint, now) if same_account(lane) else _BEFORE
    choice = choose(route, now=now, bucket=bucket, killed=lane.name in gateway.killed, pinned=owner, finish_pinned=True)
    if choice.arm is not owner and not same_account(lane):
        raise WireError(gone(former), 409)
    return choice


def _refers(fields: Mapping[str, Any]) -> bool:
    """Whether a request builds on what a provider has stored: an earlier response, or a conversation of its own."""
    return any(name in fields and fields[name] is not None for name in ("previous_response_id", "conversation"))


def gone(response: object) -> str:
    return f"the response {response!r} was given by a variant that is no longer served; begin without it"


def same_account(lane: Lane) -> bool:
    """Whether both arms are served by one provider, which then knows the answers of both."""
    return lane.candidate is None or lane.candidate.variant.provider == lane.incumbent.variant.provider


def unit_of(lane: Lane, headers: dict[bytes, bytes], fields: Mapping[str, Any]) -> str:
    """Who asks: the first source is nearly always a header that is there."""
    value = headers.get(lane.unit_header)
    if value is not None and 0 < len(value) < 128 and value.isascii():
        return value.decode()
    return _value(lane.unit, headers, fields)


def _value(sources: tuple[Source, ...], headers: dict[bytes, bytes], fields: Mapping[str, Any]) -> str:
    """`assign.source.first` over raw headers."""
    return first(sources, HeaderView(headers), fields)


def presents_key(snapshot: Snapshot, spot: Spot, headers: dict[bytes, bytes]) -> GatewayKey | None:
    """The gateway key of a request; one that was seen under this very table is not hashed again."""
    if b"x-understudy-key" not in headers:
        known = snapshot.recognised.get(headers.get(b"authorization", b""))
        if known is not None:
            return known
    return _recognise(snapshot, spot, headers)


def _recognise(snapshot: Snapshot, spot: Spot, headers: dict[bytes, bytes]) -> GatewayKey | None:
    """The key a caller presents: the way of its dialect, or in a header of ours beside a key of its own."""
    view = HeaderView(headers)
    own = view.get("x-understudy-key")
    given = own or spot.wire.key_in(view, spot.path.partition("?")[2])
    key = snapshot.keys.get(sha256(given.encode("utf-8", "surrogateescape")).hexdigest())
    authorization = headers.get(b"authorization")
    shown = authorization is not None and not own and text(authorization).endswith(given)
    if key is not None and authorization is not None and shown and len(snapshot.recognised) < _RECOGNISED:
        snapshot.recognised[authorization] = key
    return key


def _no_lane(spot: Spot, lane: Lane | None, name: str, key: GatewayKey | None) -> Refusal:
    """Why this workload does not answer this request."""
    if lane is None:
        message = f"there is no workload {_shown(name)}; name one as the model or in the header x-understudy-workload"
        return refuse(spot.wire, 404, "unknown_workload", message)
    if not allowed(key, name):
        return refuse(spot.wire, 403, "forbidden_workload", f"this API key may not use the workload {_shown(name)}")
    message = (
        f"workload {name} is served by a provider that speaks {lane.incumbent.wire.name}, not {spot.endpoint.wire}"
    )
    return refuse(spot.wire, 400, "other_wire", message)


def _too_many_at_once(gateway: Gateway, spoken: Wire, key: GatewayKey) -> Refusal:
    gateway.refuse_key(key.name, "concurrent")
    limit = key.concurrent or gateway.limits.key_requests
    told = f"this API key has {limit} requests under way here, which is its limit"
    return Refusal(429, spoken.error_body(429, "too_many_requests", told), b"retry-after: 1\r\n")


def _too_often(gateway: Gateway, spoken: Wire, key: GatewayKey, wait: float) -> Refusal:
    gateway.refuse_key(key.name, "requests_per_minute")
    seconds = ceil(wait)
    told = f"this API key may make {key.requests_per_minute} requests a minute; there is room again in {seconds} s"
    return Refusal(429, spoken.error_body(429, "rate_limit_exceeded", told), b"retry-after: %d\r\n" % seconds)


def allowed(key: GatewayKey | None, workload: str) -> bool:
    return key is None or "*" in key.workloads or workload in key.workloads


def dialect(url: bytes, headers: dict[bytes, bytes]) -> Wire:
    """The dialect a caller probably speaks, for an endpoint nobody knows."""
    if url.startswith(b"/v1/messages") or b"anthropic-version" in headers:
        return wire("anthropic")
    if url.startswith(b"/v1beta") or b"x-goog-api-key" in headers:
        return wire("gemini")
    return DEFAULT_WIRE


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")
