"""Opens understudy.yaml: finds it, reads it with its prompts, and hands out what other parts ask for.

The one place of the package that looks at the environment and at other files. What may stand in the file is in
`schema`, what must agree within it in `crosscheck`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from understudy.assign.pseudonym import keys_of, pseudonym
from understudy.config import crosscheck
from understudy.config.durations import Wrong
from understudy.config.environment import expand, reference
from understudy.config.explain import explain, suggest
from understudy.config.lakes import STORAGE_SECRETS, LedgerSection
from understudy.config.load import Document, KeyPath, load_yaml, read_text
from understudy.config.schema import Config, ModelSection, WorkloadSection
from understudy.config.stores import without_password
from understudy.core.errors import ConfigError, NotThere, Problem, UsageError
from understudy.core.playbook import PROFILES, Profile
from understudy.core.routing import TABLE_FILE, GatewayKey, Privacy, Provider
from understudy.core.variant import Variant

FILE = "understudy.yaml"
VARIABLE = "UNDERSTUDY_CONFIG"
INLINE = "text:"


class Paths(NamedTuple):
    """Where this project keeps its state; all below the state folder, none created by reading."""

    state: Path
    routing: Path
    table: Path
    segments: Path
    lake: Path
    """The folder of the lake; meaningless where `ledger.lake` names an object store."""
    store: Path
    """The file of the control store; meaningless where `store` names a database: ask `Project.store`."""
    evals: Path
    prices: Path


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the control store is: a file of this machine, or the address of a PostgreSQL database."""

    shown: str
    """What messages may say of it, without any password."""
    file: Path | None = None
    url: str = field(default="", repr=False)


def database_address(url: str) -> StoreAddress:
    """Raises Wrong, as `without_password` does."""
    return StoreAddress(without_password(url), url=url)


class DashboardUser(NamedTuple):
    """Somebody who may open the dashboard, with the SHA-256 of their key."""

    name: str
    key_hash: str
    may_act: bool


@dataclass(frozen=True, slots=True)
class Project:
    """A checked configuration with the prompts it names."""

    file: Path
    config: Config
    document: Document
    environment: Mapping[str, str]
    prompts: Mapping[tuple[str, str], str]
    """Prompt text by (workload, variant)."""

    @property
    def root(self) -> Path:
        """The folder of the file; paths in it are relative to this."""
        return self.file.parent

    @property
    def paths(self) -> Paths:
        state = self.root / self.config.state
        routing = state / "routing"
        return Paths(
            state=state,
            routing=routing,
            table=routing / TABLE_FILE,
            segments=state / "segments",
            lake=self.root / self.config.ledger.lake if self.config.ledger.lake else state / "lake",
            store=state / "control.db",
            evals=state / "evals",
            prices=state / "prices.json",
        )

    def store(self) -> StoreAddress:
        """Where the control store is. Raises ConfigError where the variable that holds its address is not set, or holds
        another one.
        """
        if not self.config.store:
            return StoreAddress(str(self.paths.store), file=self.paths.store)
        url = self._secret(("store",), self.config.store)
        try:
            return database_address(url)
        except Wrong as wrong:
            named = reference(self.config.store)
            message = f"{wrong} (in the variable {named})" if named else str(wrong)
            raise ConfigError([self.document.problem(("store",), message, wrong.remedy)]) from None

    def workload(self, name: str) -> WorkloadSection:
        """Raises NotThere with the nearest name where there is no such workload."""
        section = self.config.workloads.get(name)
        if section is None:
            raise NotThere(
                f"{self.document.file} has no workload {name!r}", remedy=suggest(name, self.config.workloads)
            )
        return section

    def workload_of(self, named: str, *, remedy: str = "") -> str:
        """The workload that is named, else the only one. Raises NotThere as `workload` does, UsageError where there are
        several, with `remedy` or their names."""
        known = list(self.config.workloads)
        if named:
            self.workload(named)
        elif len(known) > 1:
            names = ", ".join(known)
            raise UsageError(
                f"{self.document.file} has {len(known)} workloads: {names}", remedy=remedy or f"name one of {names}"
            )
        return named or known[0]

    def variants(self, workload: str) -> dict[str, Variant]:
        """All variants of a workload, with the text of their prompts. Raises NotThere for an unknown workload."""
        sections = self.workload(workload).variants
        return {
            name: crosscheck.variant_of(name, section, self.prompts[workload, name])
            for name, section in sections.items()
        }

    def variant(self, workload: str, name: str) -> Variant:
        """One variant. Raises UsageError with the nearest name where there is no such variant."""
        variants = self.variants(workload)
        if name not in variants:
            raise UsageError(f"workload {workload} has no variant {name!r}", remedy=suggest(name, variants))
        return variants[name]

    def profile(self, workload: str) -> Profile:
        """The workload's profile with its own durations put in."""
        section = self.workload(workload)
        return crosscheck.overridden(PROFILES[section.policy], section)

    def providers(self) -> dict[str, Provider]:
        """Providers as the routing table carries them: a key from the environment is there by name only."""
        return {
            name: Provider(
                name=name,
                wire=section.wire,
                base_url=section.base_url,
                api_key="" if reference(section.api_key) else section.api_key,
                api_key_env=reference(section.api_key),
                ca_file=str(self.root / section.ca_file) if section.ca_file else "",
                pass_through_key=section.pass_through_key,
                trace_headers=section.trace_headers,
            )
            for name, section in self.config.providers.items()
        }

    def provider_key(self, name: str) -> str:
        """The provider's key, "" where it needs none.

        Raises UsageError for an unknown provider and ConfigError where the variable that holds the key is not set.
        """
        section = self.config.providers.get(name)
        if section is None:
            raise UsageError(f"there is no provider {name!r}", remedy=suggest(name, self.config.providers))
        return self._secret(("providers", name, "api_key"), section.api_key)

    def gateway_keys(self) -> tuple[GatewayKey, ...]:
        """The keys apps present, as the routing table carries them. Raises ConfigError for an unset variable."""
        return tuple(
            GatewayKey(
                name=section.name,
                hash=section.sha256 or _sha256(self._secret(("gateway", "keys", index, "key"), section.key)),
                workloads=tuple(section.workloads),
                requests_per_minute=section.requests_per_minute,
                concurrent=section.concurrent,
            )
            for index, section in enumerate(self.config.gateway.keys)
        )

    def dashboard_users(self) -> tuple[DashboardUser, ...]:
        """Who may open the dashboard; of their keys only hashes. Raises ConfigError for an unset variable."""
        return tuple(
            DashboardUser(
                section.name,
                section.sha256 or _sha256(self._secret(("dashboard", "users", index, "key"), section.key)),
                section.may_act,
            )
            for index, section in enumerate(self.config.dashboard.users)
        )

    def gateway_limits(self) -> dict[str, float]:
        """The limits that the file sets, as the routing table carries them."""
        limits = self.config.gateway.limits
        named = {
            "body": ("body", limits.body),
            "headers": ("head", limits.headers),
            "connections": ("connections", limits.connections),
            "concurrent": ("key_requests", limits.concurrent),
            "receive": ("receipt_s", limits.receive),
            "idle": ("idle_s", limits.idle),
        }
        return dict(named[name] for name in named if name in limits.model_fields_set)

    def privacy(self) -> Privacy:
        """What may not be written down, as the routing table carries it: a key from the environment by name only."""
        section = self.config.privacy
        named = reference(section.unit_key)
        return Privacy(
            patterns=dict(section.patterns),
            fields=tuple(section.fields),
            unit_key="" if named else section.unit_key,
            unit_key_env=named,
            encrypted=section.encrypted,
        )

    def kept_as(self, unit: str) -> tuple[str, ...]:
        """The names under which the ledger may have somebody: as given, and hashed with the key of now and former ones.

        Raises ConfigError where the variable that holds the key is not set.
        """
        key = self._secret(("privacy", "unit_key"), self.config.privacy.unit_key)
        hashed = (pseudonym(unit, each) for each in keys_of(key))
        return tuple(dict.fromkeys(name for name in (unit, *hashed) if name))

    def alert_target(self, name: str) -> tuple[str, str]:
        """Address and secret of a webhook. Raises ConfigError where a variable is not set."""
        section, path = self.config.alerts.targets[name], ("alerts", "targets", name)
        return self._secret((*path, "url"), section.url), self._secret((*path, "secret"), section.secret)

    def ledger(self) -> LedgerSection:
        """Where the ledger lies and who reads it, secrets filled in. Raises ConfigError for an unset variable."""
        written = self.config.ledger
        storage = {
            name: self._secret(("ledger", "storage", name), getattr(written.storage, name)) for name in STORAGE_SECRETS
        }
        password = self._secret(("ledger", "clickhouse", "password"), written.clickhouse.password)
        settings = {
            name: self._secret(("ledger", "spark", "settings", name), value)
            for name, value in written.spark.settings.items()
        }
        return written.model_copy(
            update={
                "storage": written.storage.model_copy(update=storage),
                "clickhouse": written.clickhouse.model_copy(update={"password": password}),
                "spark": written.spark.model_copy(update={"settings": settings}),
            }
        )

    def suites(self, workload: str) -> list[Path]:
        """The suite files of a workload; they were there when the project was opened."""
        return [self.root / name for name in self.workload(workload).suites]

    def warnings(self) -> list[Problem]:
        """What is allowed and will surprise somebody later, in the order of the file."""
        return crosscheck.warnings(self.config, self.document, lambda name: bool(self.environment.get(name)))

    def _secret(self, path: KeyPath, written: str) -> str:
        name = reference(written)
        if not name:
            return written
        if not self.environment.get(name):
            unset = f"the environment variable {name} is not set"
            raise ConfigError([self.document.problem(path, unset, f"export {name}=...")])
        return self.environment[name]


def open_project(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Project:
    """Read and check the configuration at `path`, else where $UNDERSTUDY_CONFIG says, else the nearest understudy.yaml.

    Raises UsageError where there is none, ConfigError with everything wrong in it.
    """
    environment = dict(os.environ) if environment is None else environment
    file = find(path, environment)
    written = load_yaml(file, shown_as=shown_path(file))
    document, unfilled = expand(written, environment)
    problems = [problem for _, problem in unfilled]
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        known = {problem.where for problem in problems}
        problems += [p for p in explain(error, document, Config) if p.where not in known]
        raise ConfigError(_in_order(problems)) from None
    prompts, unread = _prompts(config, document, file.parent)
    problems += unread
    problems += _missing_files(config, document, file.parent)
    problems += crosscheck.problems(config, document)
    if problems:
        raise ConfigError(_in_order(problems))
    return Project(file, config, document, environment, prompts)


class _Declared(BaseModel):
    """A configuration of which only one section is looked at."""

    models: dict[str, ModelSection] = {}


def declared_models(path: Path | None, environment: Mapping[str, str] | None = None) -> dict[str, ModelSection]:
    """What the configuration declares under `models:`; nothing where there is none and none was named.

    Only that section is looked at: a linter runs where no secret is set. Raises ConfigError for what is wrong in it.
    """
    environment = dict(os.environ) if environment is None else environment
    try:
        file = find(path, environment)
    except UsageError:
        if path is not None or environment.get(VARIABLE):
            raise
        return {}
    document = load_yaml(file, shown_as=shown_path(file))
    try:
        return _Declared.model_validate(document.data).models
    except ValidationError as error:
        raise ConfigError(_in_order(explain(error, document, _Declared))) from None


def find(path: Path | None, environment: Mapping[str, str]) -> Path:
    """The configuration file to use, absolute. Raises UsageError where there is none."""
    named = path or (Path(environment[VARIABLE]) if environment.get(VARIABLE) else None)
    here = _here()
    if named is not None:
        file = here / named
        is_folder = file.is_dir()
        file = file / FILE if is_folder else file
        if not _is_there(file):
            by = "--config" if path else f"${VARIABLE}"
            said = f"has no {FILE} in it" if is_folder else "does not exist"
            raise UsageError(f"{named}, named by {by}, {said}", remedy="check the path, or `understudy init`")
        return file
    for folder in (here, *here.parents):
        if _is_there(folder / FILE):
            return folder / FILE
    raise UsageError(
        f"no {FILE} in {here} or a folder above it",
        remedy="write an example with `understudy init`, or name a file with --config",
    )


def shown_path(path: Path) -> str:
    """A path as messages show it: relative to the working folder where it lies below that."""
    here = _here()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise UsageError("the working folder does not exist any more", remedy="change into one that does") from None


def _is_there(path: Path) -> bool:
    """Whether a file can be opened by name; a pipe is there too, and refused when it is read."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _prompts(config: Config, document: Document, root: Path) -> tuple[dict[tuple[str, str], str], list[Problem]]:
    """The text of every prompt. Trailing white space is no part of a prompt: editors add and remove it."""
    prompts: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    for workload, section in config.workloads.items():
        for name, variant in section.variants.items():
            written = variant.system_prompt
            if not written or written.startswith(INLINE):
                prompts[workload, name] = written.removeprefix(INLINE).strip()
                continue
            where = document.position(("workloads", workload, "variants", name, "system_prompt"))
            if not _is_file(root / written):
                message = f"the prompt file {written[:80]!r} does not exist beside {document.file}"
                problems.append(Problem(where, message, f"write the file, or the prompt itself after `{INLINE}`"))
                continue
            try:
                prompts[workload, name] = read_text(root / written, shown_as=written, at=where).rstrip()
            except ConfigError as error:
                problems += error.problems
    return prompts, problems


def _missing_files(config: Config, document: Document, root: Path) -> list[Problem]:
    """Suites and certificates that are named and not there."""
    named: list[tuple[KeyPath, str, str]] = [
        (("workloads", workload, "suites", index), "suite", suite)
        for workload, section in config.workloads.items()
        for index, suite in enumerate(section.suites)
    ]
    named += [
        (("providers", name, "ca_file"), "certificate file", section.ca_file)
        for name, section in config.providers.items()
        if section.ca_file
    ]
    return [
        document.problem(path, f"the {what} {name[:80]!r} does not exist beside {document.file}", "check the path")
        for path, what, name in named
        if not _is_file(root / name)
    ]


def _is_file(path: Path) -> bool:
    """False too for a name that no file system takes: a prompt written where its path belongs."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda p: (p.where.file, p.where.line, p.where.column))


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
