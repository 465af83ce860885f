"""What must agree between the sections of a configuration, and what is allowed but worth a word. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from understudy.config.explain import dotted, suggest
from understudy.config.lakes import STORAGE_SECRETS
from understudy.config.load import Document, KeyPath
from understudy.config.schema import Config, KeySection, UserSection, VariantSection, WorkloadSection
from understudy.core.errors import Problem
from understudy.core.playbook import DAY, PARTS_PER_MILLION, PROFILES, Profile
from understudy.core.playbook import ladder as rising
from understudy.core.variant import Reasoning, Variant

_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_SLICE = re.compile(r"[^\s=](?:[^=]*[^\s=])?(=\S(?:.*\S)?)?")
OF_ONE = frozenset({"errors", "refusals", "invalid_format", "quality", "win_rate", "latency", "ttft"})
"""Metrics that are shares or scores, and so lie between 0 and 1."""
LOOPBACK = ("127.", "localhost", "::1")


def overridden(profile: Profile, section: WorkloadSection) -> Profile:
    """The profile with the workload's own durations; raises ValueError where its ladder does not rise to 100 %."""
    ladder = section.canary.ladder

    def own(value: float | None, default: float) -> float:
        return default if value is None else value

    return replace(
        profile,
        shadow_min_s=own(section.shadow.min, profile.shadow_min_s),
        shadow_max_s=own(section.shadow.max, profile.shadow_max_s),
        ladder=profile.ladder if ladder is None else rising((step.share, step.hold) for step in ladder),
        soak_s=own(section.soak.duration, profile.soak_s),
        retain_s=own(section.soak.retain, profile.retain_s),
        cycle_s=own(section.canary.cycle, profile.cycle_s),
        lease_s=own(section.canary.lease, profile.lease_s),
        feedback_window_s=own(section.canary.feedback_window, profile.feedback_window_s),
    )


def variant_of(name: str, section: VariantSection, prompt: str = "") -> Variant:
    """The variant that a section describes."""
    dial = section.reasoning
    return Variant(
        name=name,
        provider=section.provider,
        model=section.model,
        system_prompt=prompt,
        params=section.params,
        reasoning=Reasoning(dial.effort, dial.budget_tokens) if dial and (dial.effort or dial.budget_tokens) else None,
    )


def problems(config: Config, document: Document) -> list[Problem]:
    """Everything in which two sections of the file contradict each other."""
    found: list[tuple[KeyPath, str, str]] = []
    for name, section in config.workloads.items():
        path: KeyPath = ("workloads", name)
        found += _names(config, section, path)
        found += _expressible(config, section, path)
        found += _carried_over(config, section, path)
        found += _durations(section, path)
        found += _gates(section, path)
    found += _keys(config)
    found += _users(config)
    found += _ledger(config)
    found += _limits(config)
    found += _targets(config)
    return [document.problem(path, message, remedy) for path, message, remedy in found]


Found = Iterator[tuple[KeyPath, str, str]]


def _names(config: Config, section: WorkloadSection, path: KeyPath) -> Found:
    if section.incumbent not in section.variants:
        message = f"{dotted(path)} has no variant {section.incumbent!r} to be its incumbent"
        yield (*path, "incumbent"), message, suggest(section.incumbent, section.variants)
    for name, variant in section.variants.items():
        if variant.provider not in config.providers:
            message = f"variant {name} names the provider {variant.provider!r}, which is not under providers"
            yield (*path, "variants", name, "provider"), message, suggest(variant.provider, config.providers)
    if section.policy not in PROFILES:
        yield (*path, "policy"), f"there is no policy {section.policy!r}", suggest(section.policy, PROFILES)


def _expressible(config: Config, section: WorkloadSection, path: KeyPath) -> Found:
    """Params and efforts that the wire of a variant's provider has no words for."""
    from understudy.wires.compat import variant_problems

    for name, written in section.variants.items():
        provider = config.providers.get(written.provider)
        if provider is None:
            continue
        for problem in variant_problems(provider.wire, variant_of(name, written)):
            message, _, remedy = problem.rpartition(": ")
            param = re.match(r"param '(.*?)' ", message)
            inner: KeyPath = ("params", param.group(1)) if param else ("reasoning",)
            yield (*path, "variants", name, *inner), message, remedy


def _carried_over(config: Config, section: WorkloadSection, path: KeyPath) -> Found:
    """Variants that must not serve an app which speaks the incumbent's dialect."""
    from understudy.wires.compat import pair_problems

    for name, written, app, provider in _translated(config, section):
        for problem in pair_problems(app, provider, variant_of(name, written)):
            message, _, remedy = problem.rpartition(": ")
            yield (*path, "variants", name, "reasoning"), message, remedy


def _translated(config: Config, section: WorkloadSection) -> Iterator[tuple[str, VariantSection, str, str]]:
    """Variants whose provider speaks another dialect than the incumbent's, which is what the app speaks: with both."""
    incumbent = section.variants.get(section.incumbent)
    app = config.providers.get(incumbent.provider) if incumbent else None
    for name, written in section.variants.items():
        provider = config.providers.get(written.provider)
        if app is not None and provider is not None and provider.wire != app.wire:
            yield name, written, app.wire, provider.wire


def _durations(section: WorkloadSection, path: KeyPath) -> Found:
    ladder = section.canary.ladder
    shares = [step.share for step in ladder or ()]
    if ladder is not None and (
        not shares or shares[0] <= 0 or shares != sorted(set(shares)) or shares[-1] != PARTS_PER_MILLION
    ):
        listed = ", ".join(f"{share / 10_000:g}%" for share in shares) or "nothing"
        remedy = "order the rungs from the smallest above 0% to 100%"
        yield (*path, "canary", "ladder"), f"the ladder goes {listed}: it has to rise and to end at 100%", remedy
        return
    profile = PROFILES.get(section.policy)
    if profile is None:
        return
    made = overridden(profile, section)
    if made.shadow_min_s > made.shadow_max_s:
        key = "min" if section.shadow.min is not None else "max"
        message = f"shadow would last at least {_span(made.shadow_min_s)} and at most {_span(made.shadow_max_s)}"
        yield (*path, "shadow", key), message, "set shadow.min and shadow.max so that min is the shorter one"
    for key, value in (("cycle", section.canary.cycle), ("lease", section.canary.lease)):
        if value == 0:
            yield (*path, "canary", key), f"canary.{key} is no time at all", "write a duration like 24h"


def _gates(section: WorkloadSection, path: KeyPath) -> Found:
    for name in section.gates.metrics:
        if not _METRIC.fullmatch(name):
            yield (
                (*path, "gates", name),
                f"{name!r} is no name for a metric",
                "begin with a letter, then letters, digits, _ . -",
            )
    for name, gate in section.gates.metrics.items():
        scored = gate.source.partition(":")[0] in ("grader", "error") if gate.source else name in OF_ONE
        margin = gate.margin or ""
        if scored and gate.absolute_margin is not None and gate.absolute_margin >= 1:
            points = f"{100 * gate.absolute_margin:g} points"
            message = f"a margin of {margin} is {points}: {name} lies between 0 and 1, so that no loss could reach it"
            yield (*path, "gates", name, "margin"), message, f"write {margin if margin.isdigit() else 2}pt"
    for index, name in enumerate(section.gates.critical):
        at = (*path, "gates", "critical", index)
        key, equals, _ = name.partition("=")
        if not _SLICE.fullmatch(name):
            yield at, f"{name!r} is no name of a slice", "write a suite's slice name, or key=value for a live one"
        elif equals and key not in section.slice_by:
            yield (
                at,
                f"the slice {name!r} needs {key!r} under slice_by",
                suggest(key, section.slice_by, none=f"add slice_by: {{{key}: header:NAME}}"),
            )


def _keys(config: Config) -> Found:
    yield from _holders(config.gateway.keys, ("gateway", "keys"), "the key of", "keys")
    for index, section in enumerate(config.gateway.keys):
        for at, name in enumerate(section.workloads):
            if name != "*" and name not in config.workloads:
                message = f"the key of {section.name} is for workload {name!r}, which is not there"
                yield ("gateway", "keys", index, "workloads", at), message, suggest(name, config.workloads)


def _users(config: Config) -> Found:
    yield from _holders(config.dashboard.users, ("dashboard", "users"), "the user", "users")


def _holders(sections: Sequence[KeySection | UserSection], where: KeyPath, one: str, many: str) -> Found:
    """Each has a name of its own, and a key as it is or as its hash."""
    seen: set[str] = set()
    for index, section in enumerate(sections):
        path: KeyPath = (*where, index)
        if bool(section.key) == bool(section.sha256):
            yield path, f"{one} {section.name} needs either key or sha256", "write key: ${NAME}, or its sha256"
        if section.name in seen:
            yield (*path, "name"), f"there are two {many} named {section.name!r}", "choose another name"
        seen.add(section.name)


def _limits(config: Config) -> Found:
    limits = config.gateway.limits
    for name, value in (("receive", limits.receive), ("idle", limits.idle)):
        if value == 0:
            yield ("gateway", "limits", name), f"gateway.limits.{name} is no time at all", "write a duration like 30s"


STORES: Mapping[str, tuple[str, ...]] = {
    "": (),
    "s3": ("endpoint", "region", "access_key", "secret_key", "session_token"),
    "gs": ("service_account",),
    "az": ("account", "account_key", "sas_token"),
}
"""By the scheme of a lake's address: the keys of `ledger.storage` that mean something to it."""


def _ledger(config: Config) -> Found:
    ledger = config.ledger
    scheme = ledger.lake.partition("://")[0] if "://" in ledger.lake else ""
    if scheme not in STORES or (scheme and not urlsplit(ledger.lake).hostname):
        message = f"the ledger cannot lie at {ledger.lake[:80]!r}"
        yield ("ledger", "lake"), message, "write a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER"
        return
    for name in sorted(ledger.storage.model_fields_set - {*STORES[scheme]}):
        what = f"a lake at {scheme}://" if scheme else "a lake in a folder"
        message = f"ledger.storage.{name} means nothing to {what}"
        allowed = ", ".join(STORES[scheme]) or "none: remove it, or name the store under ledger.lake"
        yield ("ledger", "storage", name), message, f"what it takes: {allowed}"
    if bool(ledger.storage.access_key) != bool(ledger.storage.secret_key):
        message = "ledger.storage has one of access_key and secret_key, and a store needs both"
        yield ("ledger", "storage"), message, "write both as ${NAME}, or neither to use the machine's own role"
    if ledger.engine == "clickhouse":
        if not ledger.clickhouse.url:
            message = "engine clickhouse needs the address of a ClickHouse"
            yield ("ledger", "engine"), message, "add clickhouse: {url: https://HOST:8443} under ledger"
        if scheme in ("gs", "az"):
            message = f"engine clickhouse reads folders and s3:// lakes, and this one is at {scheme}://"
            yield ("ledger", "engine"), message, "use engine: duckdb or spark"


def _span(seconds: float) -> str:
    """A duration as a person says it."""
    for size, unit in ((DAY, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= size:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def warnings(config: Config, document: Document, is_set: Callable[[str], bool]) -> list[Problem]:
    """What is allowed and will surprise somebody later; `is_set` says whether an environment variable has a value."""
    found = [
        *_provider_warnings(config, is_set),
        *_gateway_warnings(config),
        *_dashboard_warnings(config),
        *_ledger_warnings(config),
    ]
    found += _privacy_warnings(config, is_set)
    found += _store_warnings(config, is_set)
    found += _target_warnings(config, is_set)
    for name, section in config.workloads.items():
        found += _workload_warnings(section, ("workloads", name))
        found += _losses(config, section, ("workloads", name))
    made = [document.problem(path, message, remedy) for path, message, remedy in found]
    return sorted(made, key=lambda p: (p.where.line, p.where.column))


def _targets(config: Config) -> Found:
    """Webhooks that would be told nothing, or could not sign."""
    for name, section in config.alerts.targets.items():
        path: KeyPath = ("alerts", "targets", name)
        for index, workload in enumerate(section.workloads):
            if workload != "*" and workload not in config.workloads:
                message = f"the target {name} names the workload {workload!r}, which is not there"
                yield (*path, "workloads", index), message, suggest(workload, config.workloads)
        if section.secret and section.form == "slack":
            message = f"the target {name} cannot be signed: Slack checks no signature"
            yield (*path, "secret"), message, "take it out, or write form: json"


def _target_warnings(config: Config, is_set: Callable[[str], bool]) -> Found:
    for name, section in config.alerts.targets.items():
        for key in ("url", "secret"):
            written, at = str(getattr(section, key)), ("alerts", "targets", name, key)
            if written and not written.startswith("${"):
                if key == "secret" or not written.split("://", 1)[-1].startswith((*LOOPBACK, "[::1]")):
                    yield at, f"the {key} of the target {name} stands in the file in the clear", f"{key}: ${{NAME}}"
            elif written and not is_set(written[2:-1]):
                yield at, f"{written[2:-1]} is not set here, so {name} cannot be told", f"export {written[2:-1]}=..."


def _store_warnings(config: Config, is_set: Callable[[str], bool]) -> Found:
    """A store of several machines that cannot be reached from here, or reads a ledger of one machine alone."""
    written = config.store
    if written.startswith("${") and not is_set(written[2:-1]):
        name = written[2:-1]
        yield ("store",), f"{name} is not set here, so the control store cannot be opened", f"export {name}=..."
    if written and not config.ledger.lake:
        message = "machines that share a control store are judged by one ledger, and this one keeps its own"
        yield ("store",), message, "name one for all: ledger.lake: s3://BUCKET/PREFIX, or a folder they all mount"


def _provider_warnings(config: Config, is_set: Callable[[str], bool]) -> Found:
    for name, section in config.providers.items():
        at: KeyPath = ("providers", name, "api_key")
        local = section.base_url.split("://", 1)[1].startswith((*LOOPBACK, "[::1]"))
        if section.api_key and not section.api_key.startswith("${"):
            yield at, f"the key of {name} stands in the file in the clear", "put it in a variable: api_key: ${NAME}"
        elif section.api_key and not is_set(section.api_key[2:-1]):
            variable = section.api_key[2:-1]
            yield at, f"{variable} is not set here, so {name} cannot be called", f"export {variable}=..."
        if section.base_url.startswith("http://") and not local:
            message = f"{name} is called without encryption: keys and prompts can be read on the way"
            yield ("providers", name, "base_url"), message, "write https://"
        if not any(v.provider == name for w in config.workloads.values() for v in w.variants.values()):
            yield ("providers", name), f"no variant uses the provider {name}", "remove it if it is not coming"


def _gateway_warnings(config: Config) -> Found:
    if not config.gateway.keys and not config.gateway.host.startswith(LOOPBACK):
        message = f"gateways on {config.gateway.host} would serve anybody who can reach them"
        yield ("gateway", "host"), message, "add gateway.keys, or listen on 127.0.0.1"
    for index, section in enumerate(config.gateway.keys):
        if section.key and not section.key.startswith("${"):
            message = f"the key of {section.name} stands in the file in the clear"
            yield ("gateway", "keys", index, "key"), message, "write key: ${NAME}, or its sha256"


def _dashboard_warnings(config: Config) -> Found:
    if not config.dashboard.users and not config.dashboard.host.startswith(LOOPBACK):
        message = (
            f"a dashboard on {config.dashboard.host} would be open to anybody who can reach it, and does not start"
        )
        yield ("dashboard", "host"), message, "add dashboard.users, or listen on 127.0.0.1"
    for index, section in enumerate(config.dashboard.users):
        if section.key and not section.key.startswith("${"):
            message = f"the key of {section.name} stands in the file in the clear"
            yield ("dashboard", "users", index, "key"), message, "write key: ${NAME}, or its sha256"


def _privacy_warnings(config: Config, is_set: Callable[[str], bool]) -> Found:
    at: KeyPath = ("privacy", "unit_key")
    key = config.privacy.unit_key
    if key and not key.startswith("${"):
        yield at, "the key of units stands in the file in the clear", "put it in a variable: unit_key: ${NAME}"
    elif key and not is_set(key[2:-1]):
        yield at, f"{key[2:-1]} is not set here, so gateways cannot hash units", f"export {key[2:-1]}=..."
    if config.privacy.encrypted and not is_set("UNDERSTUDY_LEDGER_KEY"):
        message = "UNDERSTUDY_LEDGER_KEY is not set here, so gateways cannot encrypt and would not serve"
        yield ("privacy", "encrypted"), message, "export UNDERSTUDY_LEDGER_KEY=... (32 random bytes in base64)"
    for name, section in config.workloads.items():
        if section.units == "hashed" and not key:
            message = f"the units of {name} are hashed without a key: whoever guesses a name can try it"
            yield ("workloads", name, "units"), message, "add privacy: {unit_key: ${NAME}}"


def _ledger_warnings(config: Config) -> Found:
    ledger = config.ledger
    secrets: list[tuple[KeyPath, str]] = [
        (("ledger", "storage", name), getattr(ledger.storage, name)) for name in STORAGE_SECRETS
    ]
    secrets.append((("ledger", "clickhouse", "password"), ledger.clickhouse.password))
    for path, value in secrets:
        if value and not value.startswith("${"):
            yield (
                path,
                f"{dotted(path)} stands in the file in the clear",
                f"put it in a variable: {path[-1]}: ${{NAME}}",
            )
    addresses: tuple[tuple[KeyPath, str], ...] = (
        (("ledger", "storage", "endpoint"), ledger.storage.endpoint),
        (("ledger", "clickhouse", "url"), ledger.clickhouse.url),
    )
    for path, address in addresses:
        if address.startswith("http://") and not address.removeprefix("http://").startswith((*LOOPBACK, "[::1]")):
            yield (
                path,
                f"{dotted(path)} is reached without encryption: prompts can be read on the way",
                "write https://",
            )


def _workload_warnings(section: WorkloadSection, path: KeyPath) -> Found:
    name = path[-1]
    if not section.suites:
        message = f"{name} has no suite: an upgrade cannot begin without an eval of the incumbent's bar"
        yield path, message, "write one and name it under suites"
    if not section.slice_by and not section.gates.critical:
        message = f"{name} has no live slices: a loss on thin traffic hides in the average"
        yield path, message, "add slice_by: {KEY: header:NAME}"
    if not section.unit and section.no_unit == "incumbent":
        message = f"{name} has no unit, so nobody would ever be assigned to a candidate"
        yield (*path, "unit"), message, "name a header or body field with a user id"
    if section.shadow.sample < PARTS_PER_MILLION:
        message = f"{name} copies {section.shadow.sample / 10_000:g}% to shadow: its clock runs at full coverage only"
        yield (*path, "shadow", "sample"), message, "write 100%, and bound the cost with shadow.budget"
    yield from _twins(section, path)


def _losses(config: Config, section: WorkloadSection, path: KeyPath) -> Found:
    """What an app may say and a variant of another dialect cannot be told."""
    from understudy.wires.compat import never_carried

    for name, _, app, provider in _translated(config, section):
        lost = [loss.what for loss in never_carried(app, provider)]
        shown = ", ".join([what for what in lost if "[" not in what][:5])
        message = f"{len(lost)} things that can be said on the {app} wire are not carried over to {name}: {shown}, ..."
        remedy = "see docs/reference/translation.md; answers and ledger name what was lost of each request"
        yield (*path, "variants", name, "provider"), message, remedy


def _twins(section: WorkloadSection, path: KeyPath) -> Found:
    """Two variants written alike are one variant under two names."""
    seen: dict[str, str] = {}
    for name, variant in section.variants.items():
        same = variant.model_dump_json(exclude={"pin", "why"})
        if same in seen:
            message = f"variants {seen[same]} and {name} are the same: an upgrade between them would measure noise"
            yield (*path, "variants", name), message, "change one, or remove it"
        seen[same] = name
