"""The routing table: the one file a gateway reads. Building, checking and comparing it; reading files is elsewhere.

Format 1 is relied on from outside: fields are added, never renamed. The checksum is the SHA-256 of the canonical
JSON without the checksum field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from understudy.core.canonical import canonical_json, digest
from understudy.core.errors import DataCorrupt
from understudy.core.playbook import PARTS_PER_MILLION
from understudy.core.variant import Variant

FORMAT = 1
TABLE_FILE = "table.json"
KILL_FILE_PREFIX = "rollback."
"""A file `rollback.<workload>` beside the table forces the incumbent with everything else dead."""
HEARTBEAT_FOLDER = "workers"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Copies of served requests to the candidate. `sample` in parts per million; `usd_per_day` None: no budget set."""

    sample: int
    """Share of the requests that is copied, in parts per million."""
    max_in_flight: int = 64
    """Copies under way at once in one worker."""
    usd_per_day: float | None = None
    """Copies stop for the day when this is spent; None: no limit."""


@dataclass(frozen=True, slots=True)
class Route:
    """The upgrade under way on a workload, as the gateway needs it.

    `share` is the candidate's part of the traffic. A canary route carries `lease_until` (seconds since the epoch);
    None means no lease: the soak at 100 %, where losing the controller must not flip every user.
    """

    upgrade: str
    """Id of the upgrade."""
    candidate: str
    """Name of the candidate among the workload's variants."""
    stage: str
    """Stage of the upgrade."""
    step: int
    """Index into the canary ladder; -1 outside canary."""
    share: int
    """The candidate's part of the traffic, in parts per million."""
    salt: str
    """What units are hashed with, of this upgrade alone."""
    lease_until: float | None
    """Seconds since the epoch until which a canary may be served without news of a controller; None: no lease."""
    shadow: Shadow | None
    """Copies to the candidate; None: none are made."""


@dataclass(frozen=True, slots=True)
class WorkloadRoute:
    """How the requests of one workload are read, assigned and kept."""

    name: str
    incumbent: str
    """Name of the variant that serves all others."""
    variants: Mapping[str, Variant]
    """The variants by name, prompt text included."""
    unit: tuple[str, ...]
    """Where the unit is read; the first source found wins."""
    conversation: tuple[str, ...] = ()
    """Where the conversation is read."""
    slice_by: Mapping[str, str] = field(default_factory=dict)
    """Live slices: key and source."""
    no_unit: str = "incumbent"
    """"incumbent", or "random": draw an arm for each request that names nobody."""
    content: str = "redacted"
    """What the ledger keeps: "full", "redacted" or "off"."""
    units: str = "given"
    """How units and conversations are kept: "given" (as they are, where no identifier is found in them) or "hashed"."""
    on_rollback: str = "switch"
    """What a conversation on the candidate does behind an open breaker or a lapsed lease: "switch" or "finish"."""
    route: Route | None = None
    """The upgrade under way, or None."""
    passthrough: tuple[str, ...] = ()
    """Further paths of the incumbent's provider that may be called, by their beginning; "*" is all of its API. Not
    there where there are none."""


@dataclass(frozen=True, slots=True)
class Provider:
    """`api_key` is a literal key, `api_key_env` the name of the variable that holds it; at most one is set."""

    name: str
    wire: str
    """Its dialect."""
    base_url: str
    """Its address, without the operation."""
    api_key: str = field(default="", repr=False)
    """A literal key, where the configuration holds one."""
    api_key_env: str = ""
    """Name of the environment variable with the key."""
    ca_file: str = ""
    """Certificates to trust; "" is those of the system."""
    pass_through_key: bool = False
    """Send the caller's own key on, instead of one of ours."""
    trace_headers: bool = False
    """Send the caller's traceparent and tracestate on; not there where they stay here."""


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A key an app presents, kept as the SHA-256 of the key; `workloads` may be ("*",)."""

    name: str
    """Who uses it."""
    hash: str
    """SHA-256 of the key."""
    workloads: tuple[str, ...] = ("*",)
    """Workloads it may call."""
    requests_per_minute: int | None = None
    """Requests a minute on one machine; where it is not there, there is no limit."""
    concurrent: int | None = None
    """Requests under way at once in one worker; where it is not there, `key_requests` of `limits` holds."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """What may not be written down, beyond what every gateway recognises by itself."""

    patterns: Mapping[str, str] = field(default_factory=dict)
    """More forms to take out, as RE2, by the name that takes their place."""
    fields: tuple[str, ...] = ()
    """Fields of request bodies to keep beside those that are known to describe the work."""
    unit_key: str = field(default="", repr=False)
    """A literal key for pseudonyms, where the configuration holds one."""
    unit_key_env: str = ""
    """Name of the environment variable with that key."""
    encrypted: bool = False
    """A gateway without a key to encrypt content with refuses the table."""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All that gateways know: one file, replaced whole, of which only a later epoch is taken."""

    generation: str
    """Which control store issued it; epochs rise within one."""
    epoch: int
    """Version of the table."""
    issued_at: float
    """When it was published, in seconds since the epoch."""
    workloads: Mapping[str, WorkloadRoute]
    """Workloads by name."""
    providers: Mapping[str, Provider]
    """Providers by name."""
    keys: tuple[GatewayKey, ...] = ()
    """Keys that apps present; none: everybody may call."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """What one client may ask, where it differs from the gateway's own: body, head, connections, key_requests,
    receipt_s, idle_s, in bytes, counts and seconds; not there where nothing differs."""
    privacy: Privacy = field(default_factory=Privacy)
    """What may not be written down."""


def encode(table: RoutingTable) -> bytes:
    """The bytes of the file, checksum included."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "generation": table.generation,
        "epoch": table.epoch,
        "issued_at": table.issued_at,
        "workloads": {name: _workload_out(w) for name, w in table.workloads.items()},
        "providers": {name: _provider_out(p) for name, p in table.providers.items()},
        "keys": [_key_out(k) for k in table.keys],
        "privacy": {
            "patterns": dict(table.privacy.patterns),
            "fields": list(table.privacy.fields),
            "unit_key": table.privacy.unit_key,
            "unit_key_env": table.privacy.unit_key_env,
            "encrypted": table.privacy.encrypted,
        },
    }
    if table.limits:
        body["limits"] = dict(table.limits)
    body["checksum"] = digest(body)
    return canonical_json(body) + b"\n"


def decode(data: Mapping[str, Any]) -> RoutingTable:
    """Check all of a parsed table and return it; raises DataCorrupt naming what is wrong with it."""
    if data.get("format") != FORMAT:
        raise DataCorrupt(
            f"the routing table has format {data.get('format')!r}, this version reads {FORMAT}",
            remedy="upgrade the gateways before the controller",
        )
    stated = data.get("checksum")
    actual = digest({key: value for key, value in data.items() if key != "checksum"})
    if stated != actual:
        raise DataCorrupt(
            f"the routing table says checksum {stated!r}, its content has {actual!r}",
            remedy="the file was cut or edited; publish again with the controller running",
        )
    try:
        table = RoutingTable(
            generation=str(data["generation"]),
            epoch=int(data["epoch"]),
            issued_at=float(data["issued_at"]),
            workloads={name: _workload_in(name, w) for name, w in data["workloads"].items()},
            providers={name: Provider(name=name, **_known(Provider, p)) for name, p in data["providers"].items()},
            keys=tuple(_key_in(k) for k in data["keys"]),
            limits={str(name): _positive(value) for name, value in data.get("limits", {}).items()},
            privacy=_privacy_in(data.get("privacy") or {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataCorrupt(
            f"the routing table cannot be read: {type(error).__name__} {error}",
            remedy="publish it again with this version's controller",
        ) from error
    check_meaning(table)
    return table


def _privacy_in(data: Mapping[str, Any]) -> Privacy:
    """Tables of before there was this section have none."""
    return Privacy(
        patterns=dict(data.get("patterns", {})),
        fields=tuple(data.get("fields", ())),
        unit_key=str(data.get("unit_key", "")),
        unit_key_env=str(data.get("unit_key_env", "")),
        encrypted=bool(data.get("encrypted", False)),
    )


def check_meaning(table: RoutingTable) -> None:
    """Refuse a table that is well formed and cannot serve: names that lead nowhere, a share above 100 %."""
    for name, workload in table.workloads.items():
        wanted = [workload.incumbent] + ([workload.route.candidate] if workload.route else [])
        for variant_name in wanted:
            variant = workload.variants.get(variant_name)
            if variant is None:
                raise DataCorrupt(
                    f"workload {name} routes to variant {variant_name!r}, which it does not have",
                    remedy=f"known variants: {', '.join(sorted(workload.variants)) or 'none'}",
                )
            if variant.provider not in table.providers:
                raise DataCorrupt(
                    f"variant {variant_name} of workload {name} names provider {variant.provider!r}, not there",
                    remedy=f"known providers: {', '.join(sorted(table.providers)) or 'none'}",
                )
        route = workload.route
        if route and not 0 <= route.share <= PARTS_PER_MILLION:
            raise DataCorrupt(
                f"workload {name} gives the candidate {route.share} parts per million",
                remedy=f"a share lies between 0 and {PARTS_PER_MILLION}",
            )


def _key_out(key: GatewayKey) -> dict[str, Any]:
    """A limit that is not set is not there: a table without limits is the same table as before there were any."""
    made: dict[str, Any] = {"name": key.name, "hash": key.hash, "workloads": list(key.workloads)}
    if key.requests_per_minute is not None:
        made["requests_per_minute"] = key.requests_per_minute
    if key.concurrent is not None:
        made["concurrent"] = key.concurrent
    return made


def _key_in(data: Mapping[str, Any]) -> GatewayKey:
    per_minute, concurrent = data.get("requests_per_minute"), data.get("concurrent")
    return GatewayKey(
        name=data["name"],
        hash=data["hash"],
        workloads=tuple(data["workloads"]),
        requests_per_minute=None if per_minute is None else int(_positive(per_minute)),
        concurrent=None if concurrent is None else int(_positive(concurrent)),
    )


def _known(kind: type[Provider] | type[Shadow], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version knows: a later one may have added some."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"{value!r} is no limit")
    return value


def _workload_out(w: WorkloadRoute) -> dict[str, Any]:
    route = w.route
    more = {"passthrough": list(w.passthrough)} if w.passthrough else {}
    return more | {
        "incumbent": w.incumbent,
        "variants": {name: v.as_dict() for name, v in w.variants.items()},
        "unit": list(w.unit),
        "conversation": list(w.conversation),
        "slice_by": dict(w.slice_by),
        "no_unit": w.no_unit,
        "content": w.content,
        "units": w.units,
        "on_rollback": w.on_rollback,
        "upgrade": None
        if route is None
        else {
            "id": route.upgrade,
            "candidate": route.candidate,
            "stage": route.stage,
            "step": route.step,
            "share": route.share,
            "salt": route.salt,
            "lease_until": route.lease_until,
            "shadow": None
            if route.shadow is None
            else {
                "sample": route.shadow.sample,
                "max_in_flight": route.shadow.max_in_flight,
                "usd_per_day": route.shadow.usd_per_day,
            },
        },
    }


def _workload_in(name: str, data: Mapping[str, Any]) -> WorkloadRoute:
    upgrade = data["upgrade"]
    route = None
    if upgrade is not None:
        shadow = upgrade["shadow"]
        route = Route(
            upgrade=upgrade["id"],
            candidate=upgrade["candidate"],
            stage=upgrade["stage"],
            step=int(upgrade["step"]),
            share=int(upgrade["share"]),
            salt=upgrade["salt"],
            lease_until=upgrade["lease_until"],
            shadow=None if shadow is None else Shadow(**_known(Shadow, shadow)),
        )
    return WorkloadRoute(
        name=name,
        incumbent=data["incumbent"],
        variants={key: Variant.from_dict(v) for key, v in data["variants"].items()},
        unit=tuple(data["unit"]),
        conversation=tuple(data["conversation"]),
        slice_by=dict(data["slice_by"]),
        no_unit=data["no_unit"],
        content=data["content"],
        units=data.get("units", "given"),
        on_rollback=data["on_rollback"],
        route=route,
        passthrough=tuple(data.get("passthrough", ())),
    )


def _provider_out(p: Provider) -> dict[str, Any]:
    return {
        "wire": p.wire,
        "base_url": p.base_url,
        "api_key": p.api_key,
        "api_key_env": p.api_key_env,
        "ca_file": p.ca_file,
        "pass_through_key": p.pass_through_key,
        **({"trace_headers": True} if p.trace_headers else {}),
    }
