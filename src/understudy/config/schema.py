"""The shape of understudy.yaml. Field names are fixed: they are added, never renamed.

Values here are as written (durations as "24h", margins as "2pt"); the `*_s` and `*_ppm` properties give them in the
units the rest of the code uses. Reading files, positions and environment variables is in `load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from understudy.config.durations import Seconds, seconds
from understudy.config.durations import Wrong as Wrong
from understudy.config.lakes import SECTION, STORAGE_SECRETS, LedgerSection
from understudy.config.stores import StoreUrl
from understudy.config.webhooks import AlertsSection
from understudy.core.errors import UsageError
from understudy.core.pattern import compiled
from understudy.core.playbook import DAY, PARTS_PER_MILLION
from understudy.core.variant import EFFORTS

WIRES = ("openai", "anthropic", "gemini")


def is_secret(path: tuple[str | int, ...]) -> bool:
    """True where the value is never printed, and its ${NAME} is kept as a reference instead of being filled in."""
    match path:
        case ("providers", _, "api_key") | ("gateway", "keys", _, "key") | ("privacy", "unit_key"):
            return True
        case ("alerts", "targets", _, "url" | "secret") | ("store",):
            return True
        case ("dashboard", "users", _, "key"):
            return True
        case ("ledger", "storage", name):
            return name in STORAGE_SECRETS
        case ("ledger", "clickhouse", "password") | ("ledger", "spark", "settings", _):
            return True
        case _:
            return False


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)")
_UNIT_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def size(value: object) -> int:
    """ "64KiB", "32MiB" or a number of bytes. Raises Wrong for anything else and outside 1 KiB to 1 GiB."""
    remedy = "write a number with B, KiB, MiB or GiB, like 32MiB"
    found = _SIZE.fullmatch(str(value).strip())
    if isinstance(value, int) and not isinstance(value, bool):
        made = value
    elif found is None:
        raise Wrong(f"{str(value)!r} is no size", remedy)
    else:
        made = round(float(found[1]) * _UNIT_BYTES[found[2]])
    if not 1024 <= made <= 1024**3:
        raise Wrong(f"{str(value)!r} is outside 1KiB to 1GiB", remedy)
    return made


def parts_per_million(value: object) -> int:
    """ "1%", "0.5%" or 5 (percent). Raises Wrong outside 0 to 100 %."""
    text = str(value).strip()
    try:
        percent = float(text[:-1] if text.endswith("%") else text)
    except ValueError:
        raise Wrong(f"{text!r} is no share", "write a percentage like 5%") from None
    if not 0 <= percent <= 100:
        raise Wrong(f"{text!r} is outside 0% to 100%", "write a percentage like 5%")
    return round(percent * PARTS_PER_MILLION / 100)


def margin(value: object) -> str:
    """ "2pt" (absolute, hundredths of the metric's scale), "10%" (relative) or a plain number (absolute)."""
    text = str(value).strip()
    if not re.fullmatch(r"\d+(\.\d+)?(pt|%)?", text):
        raise Wrong(f"{text!r} is no margin", "write 2pt (absolute points), 10% (relative) or 0.02")
    return text


def day(value: str) -> str:
    """A day like 2025-09-02, or nothing. Raises Wrong for anything else, for days that no calendar has, and for years
    in which no model is served: a plan cannot be counted back from the first day there is.
    """
    if not value:
        return value
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise Wrong(f"{value!r} is no day", "write it like 2025-09-02") from None
    if not 2000 <= found.year <= 2999:
        raise Wrong(f"{value!r} lies outside the years 2000 to 2999", "write it like 2025-09-02")
    return found.isoformat()


def _source(value: str) -> str:
    if not re.fullmatch(r"(header:[A-Za-z0-9-]+|body:[A-Za-z0-9_.-]+)", value):
        bare = re.fullmatch("[A-Za-z0-9-]+", value)
        raise Wrong(
            f"{value!r} is no source",
            f"write header:{value} or body:{value}" if bare else "write header:NAME or body:FIELD",
        )
    if value.lower() in {"header:authorization", "header:cookie", "header:x-api-key", "header:x-goog-api-key"}:
        raise Wrong(f"{value} carries a secret, and sources are written to the ledger", "name a header with an id")
    return value.lower() if value.startswith("header:") else value


def _base_url(value: str) -> str:
    """Messages name no part of the address that could hold a password."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Wrong("this is no address", "write https://HOST or https://HOST/PATH") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise Wrong("this is no http address", "write https://HOST or https://HOST/PATH")
    if "@" in parts.netloc:
        raise Wrong(f"the address of {host} carries credentials", "remove them and use api_key: ${NAME}")
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in value):
        raise Wrong(f"the address of {host} has a query, a fragment or a space", "end it after the path")
    if port == 0:
        raise Wrong(f"the address of {host} has port 0", "write the port the provider listens on")
    return value.rstrip("/")


def _pattern(value: object) -> str:
    """A pattern that can be searched for in every text. Raises Wrong where RE2 does not take it."""
    if not isinstance(value, str) or not value:
        raise Wrong(f"{value!r} is no pattern", "write a regular expression for RE2, like CUST-[0-9]{6}")
    try:
        compiled(value)
    except UsageError as error:
        raise Wrong(error.message, error.remedy) from None
    return value


def _retained(value: object) -> float:
    """A duration of at least a day. Raises Wrong for less."""
    found = seconds(value)
    if found < DAY:
        raise Wrong(f"{value} is less than a day, and whole days are removed", "write a day or more, like 90d")
    return found


def _named(what: str, pattern: str, form: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise Wrong(f"{value!r} is no name for {what}", f"write {form}")
        return value

    return check


_WORKLOAD = "^[a-z0-9][a-z0-9-]{0,62}$"
_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_SLICE_KEY = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_LOWER = "lower-case letters, digits and -, at most 63: it becomes a model name and a file name"
_ANY = "letters, digits, -, _ and ., at most 63"

Share = Annotated[
    int,
    BeforeValidator(parts_per_million),
    WithJsonSchema({"type": ["string", "number"], "examples": ["5%", "0.5%"]}),
]


def _path(value: str) -> str:
    if value != "*" and not re.fullmatch(r"/v1[a-z0-9]*(/[A-Za-z0-9_.:-]*[A-Za-z0-9_:-])+/?", value):
        raise Wrong(f"{value!r} is no path of an API", "write its beginning, like /v1/files, or '*' for all of them")
    return value


ApiPath = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "examples": ["/v1/files", "*"]})]
Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["32MiB", "64KiB", 65536]}),
]
Margin = Annotated[
    str,
    BeforeValidator(margin),
    WithJsonSchema({"type": ["string", "number"], "examples": ["2pt", "10%", 0.02]}),
]
Day = Annotated[str, AfterValidator(day), WithJsonSchema({"type": "string", "examples": ["2025-09-02"]})]
Source = Annotated[
    str,
    AfterValidator(_source),
    WithJsonSchema({"type": "string", "pattern": "^(header:[A-Za-z0-9-]+|body:[A-Za-z0-9_.-]+)$"}),
]
BaseUrl = Annotated[str, AfterValidator(_base_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
WorkloadName = Annotated[
    str, StringConstraints(pattern=_WORKLOAD), BeforeValidator(_named("a workload", _WORKLOAD, _LOWER))
]
VariantName = Annotated[str, StringConstraints(pattern=_NAME), BeforeValidator(_named("a variant", _NAME, _ANY))]
ProviderName = Annotated[str, StringConstraints(pattern=_NAME), BeforeValidator(_named("a provider", _NAME, _ANY))]
PatternName = Annotated[str, StringConstraints(pattern=_NAME), BeforeValidator(_named("a pattern", _NAME, _ANY))]
Pattern = Annotated[str, BeforeValidator(_pattern), WithJsonSchema({"type": "string", "examples": ["CUST-[0-9]{6}"]})]
Retained = Annotated[
    float, BeforeValidator(_retained), WithJsonSchema({"type": ["string", "number"], "examples": ["90d", "52w"]})
]
SliceKey = Annotated[
    str, StringConstraints(pattern=_SLICE_KEY), BeforeValidator(_named("a slice key", _SLICE_KEY, _ANY))
]


class Model(BaseModel):
    """Base of every section: unknown keys are refused, values are frozen."""

    model_config = SECTION


class ProviderSection(Model):
    """Where models are called, and in which dialect."""

    wire: Literal["openai", "anthropic", "gemini"]
    """The dialect spoken there."""
    base_url: BaseUrl
    """Address up to, and without, the operation: https://api.openai.com/v1, https://api.anthropic.com."""
    api_key: str = ""
    """Write ${NAME}: the routing table then carries the name and each gateway reads its own environment."""
    ca_file: str = ""
    """Certificates to trust instead of the system's, relative to this file."""
    pass_through_key: bool = False
    """Send the caller's own key on, instead of `api_key`."""
    trace_headers: bool = False
    """Send the caller's W3C trace headers (traceparent, tracestate) on to this provider."""


class ReasoningSection(Model):
    """The reasoning dial; two values of it make two variants."""

    effort: Literal[EFFORTS] | None = None  # type: ignore[valid-type]
    """The effort word, where the provider takes one."""
    budget_tokens: int | None = Field(default=None, gt=0)
    """Tokens the model may think with, where the provider takes a number."""


class PinSection(Model):
    """Why this exact model is pinned, for whoever wants to move it."""

    since: Day = ""
    """The day, as 2025-09-02."""
    why: str = ""
    """Which tests it passed, and what has to happen before it may move."""


class VariantSection(Model):
    """One thing that can be evaluated and served; its fingerprint covers everything but name, `pin` and `why`."""

    provider: str
    """A name under `providers`."""
    model: str = Field(min_length=1)
    """The pinned model, as the provider spells it."""
    system_prompt: str = ""
    """A path relative to this file, or the text itself after `text:`."""
    params: dict[str, Any] = {}
    """Parameters set on every request over what the app sends, in the provider's words."""
    reasoning: ReasoningSection | None = None
    """The reasoning dial."""
    pin: PinSection | None = None
    """Why exactly this model."""
    why: str = ""
    """What changed against the variant it was made from, for the side-by-side view and the evidence."""


class BudgetSection(Model):
    """What a shadow may cost."""

    usd_per_day: float | None = Field(default=None, gt=0)
    """Copies stop for the rest of the day (UTC) when this is spent, within a minute; none means no limit."""


class ShadowSection(Model):
    """Copies of live requests to the candidate, never served."""

    sample: Share = PARTS_PER_MILLION
    """Share of the requests that are copied; the clock of the stage runs at 100%."""
    budget: BudgetSection = BudgetSection()
    """What the copies may cost."""
    max_in_flight: int = Field(default=64, gt=0)
    """Copies under way at once in one worker; more are counted as lost, never queued."""
    min: Seconds | None = None
    """Least time at full coverage, instead of the profile's."""
    max: Seconds | None = None
    """Most time before the stage is decided, instead of the profile's."""


class StepSection(Model):
    """One rung of the canary ladder."""

    share: Share
    """Part of the users that get the candidate."""
    hold: Seconds
    """Least time on this rung: a full cycle of your users' behaviour."""


class CanarySection(Model):
    """How the candidate's share grows."""

    ladder: list[StepSection] | None = None
    """Rungs from the smallest share to 100%, instead of the profile's."""
    lease: Seconds | None = None
    """How long gateways go on with the candidate without hearing from a controller."""
    cycle: Seconds | None = None
    """One full cycle of your users' behaviour; evidence is compared within one cycle."""
    feedback_window: Seconds | None = None
    """How long feedback takes to arrive: no step is judged on it before so much time has passed."""
    promote: Literal["auto", "manual"] = "auto"
    """`manual`: a step that passed waits for `understudy upgrade promote`."""
    sign_off: list[str] = []
    """Slices that a person must approve with `understudy upgrade approve` before the share grows."""


class SoakSection(Model):
    """Watching after 100%, with the way back open."""

    duration: Seconds | None = None
    """Time of the watch, instead of the profile's."""
    retain: Seconds | None = None
    """How long the incumbent stays callable after 100%."""


class GateSection(Model):
    """One metric that may hold, stop or roll back an upgrade."""

    margin: Margin | None = None
    """The loss we would tolerate: 2pt (absolute), 10% (relative) or 0.02."""
    direction: Literal["higher", "lower"] | None = None
    """Which way is better."""
    critical: bool = False
    """No waiver, and no promotion while it is undecided."""
    must_have_data: bool | None = None
    """Without data: hold. False makes the metric optional."""
    min_units: int | None = Field(default=None, gt=0)
    """No verdict below this many units of the candidate."""
    max_wait: Seconds | None = None
    """After this long undecided, a person is asked."""
    weight: float | None = Field(default=None, gt=0)
    """Part of the rollback error budget this metric gets, relative to the others."""
    source: str = Field(default="", pattern=r"^((feedback|grader|field|error):.+|error)?$")
    """Where the numbers come from, where the name does not say it: `feedback:NAME`, `grader:NAME`, `field:NAME`, or
    `error:KIND` for failures of one kind, counted by unit.
    """
    limit: float | None = None
    """An absolute limit on the candidate's own mean, beside the comparison: a budget. That of `cost` is US dollars an
    answer.
    """

    @property
    def absolute_margin(self) -> float | None:
        """2pt and 0.02 are both 0.02 of the metric's scale; None where the margin is relative or not given."""
        if self.margin is None or self.margin.endswith("%"):
            return None
        return float(self.margin[:-2]) / 100 if self.margin.endswith("pt") else float(self.margin)

    @property
    def relative_margin(self) -> float | None:
        """10% is 0.1; None where the margin is absolute or not given."""
        return float(self.margin[:-1]) / 100 if self.margin and self.margin.endswith("%") else None


class GatesSection(BaseModel):
    """`critical` names slices; every other key is a metric."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
    critical: list[str] = []
    """Slices that may not lose at all: a failure here cannot be waived."""
    __pydantic_extra__: dict[str, GateSection] = {}

    @property
    def metrics(self) -> dict[str, GateSection]:
        return dict(self.__pydantic_extra__ or {})


class WorkloadSection(Model):
    """One feature that uses an LLM; its name is the model name the app asks for."""

    owner: str = ""
    """Who signs off and who is called."""
    unit: list[Source] = ["header:x-user-id", "body:user"]
    """Who is assigned to an arm; the first source found in a request wins."""
    conversation: list[Source] = []
    """What keeps a conversation on the arm it began with."""
    slice_by: dict[SliceKey, Source] = {}
    """Live slices: ticket: header:x-ticket-type makes slices ticket=refund, ticket=order, ..."""
    no_unit: Literal["incumbent", "random"] = "incumbent"
    """The arm of a request that names nobody."""
    on_rollback: Literal["switch", "finish"] = "switch"
    """What a conversation on the candidate does when an open breaker or a lapsed lease sends everybody else back: go
    back with them, or finish where it is. A rollback takes the candidate away from all of them.
    """
    passthrough: list[ApiPath] = []
    """Further paths of the incumbent's provider that the app may call, by their beginning: /v1/files; "*" is all of its
    API. They act on the provider's account under its key: see docs/reference/endpoints.md.
    """
    content: Literal["full", "redacted", "off"] = "redacted"
    """What the ledger keeps of prompts and answers."""
    units: Literal["given", "hashed"] = "given"
    """How the ledger keeps who asked: as given, or as a hash by `privacy.unit_key`. Unless `content` is `full`, a name
    with an identifier in it (an address as user id) is hashed in either case.
    """
    incumbent: str
    """The variant that serves now."""
    variants: dict[VariantName, VariantSection] = Field(min_length=1)
    """Everything that can be evaluated and served here, the incumbent among it."""
    suites: list[str] = []
    """Suite files for `understudy eval`, relative to this file."""
    policy: str = "interactive"
    """A named profile of durations; every field can be overridden under shadow, canary and soak."""
    shadow: ShadowSection = ShadowSection()
    """Stage 3: would users notice the swap?"""
    canary: CanarySection = CanarySection()
    """Stage 4: do live metrics agree?"""
    soak: SoakSection = SoakSection()
    """Stage 5: does it hold, and can we still go back?"""
    gates: GatesSection = GatesSection()
    """What decides on the way."""


class KeySection(Model):
    """A key that an app presents to the gateway; give either `key` or `sha256`."""

    name: str = Field(min_length=1)
    """Who uses it."""
    key: str = ""
    """Write ${NAME}; only its SHA-256 reaches the routing table."""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of the key, 64 hexadecimal characters."""
    workloads: list[str] = ["*"]
    """Workloads it may call; "*" is all."""
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    """Requests a minute with this key on one gateway machine: that many at once, then evenly. None means no limit."""
    concurrent: int | None = Field(default=None, ge=1, le=100_000)
    """Requests under way at once with this key in one worker; none means `limits.concurrent`."""


class LimitsSection(Model):
    """What one client may ask of a gateway. A request beyond a limit is refused, never cut."""

    body: Size = 32 * 1024**2
    """Longest body of a request."""
    headers: Size = 64 * 1024
    """Longest request line and headers together."""
    connections: int = Field(default=10_000, ge=1, le=1_000_000)
    """Open connections of one worker."""
    concurrent: int = Field(default=256, ge=1, le=100_000)
    """Requests under way at once in one worker with a key that has no `concurrent` of its own."""
    receive: Seconds = 30.0
    """From the first byte of a request to its last one, however slowly it trickles."""
    idle: Seconds = 75.0
    """How long a connection may wait for its next request."""


class GatewaySection(Model):
    """Where gateways listen. Without keys they listen on this machine only."""

    host: str = "127.0.0.1"
    """The address to listen on; without keys, of this machine only."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes a free one."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """Processes; by default one a core."""
    keys: list[KeySection] = []
    """What apps have to present."""
    limits: LimitsSection = LimitsSection()
    """What one client may ask."""
    opentelemetry: bool = False
    """A span for each exchange, with GenAI attributes: needs `understudy[otel]` and an SDK, see docs/operations.md."""


class UserSection(Model):
    """Somebody who may open the dashboard; give either `key` or `sha256`."""

    name: str = Field(min_length=1)
    """Who it is: the journal says that this person promoted, approved or rolled back."""
    key: str = ""
    """Write ${NAME}: any long random text; it signs in, and is the bearer token of the control API."""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of the key, 64 hexadecimal characters."""
    may_act: bool = True
    """False for somebody who reads only."""


class DashboardSection(Model):
    """Where the dashboard and its control API listen. Without users they listen on this machine only."""

    host: str = "127.0.0.1"
    """The address to listen on; without users, of this machine only."""
    port: int = Field(default=8090, ge=0, le=65535)
    """0 takes a free one."""
    hosts: list[str] = []
    """Names under which browsers reach it, as dashboard.example.org. IP addresses and localhost need not be named."""
    users: list[UserSection] = []
    """Who may open it. Without any, it prints a link that signs in whoever started it."""


class PriceSection(Model):
    """US dollars per million tokens, for a model whose price is not publicly listed."""

    input: float = Field(gt=0, le=10_000)
    """What the model reads."""
    output: float = Field(gt=0, le=10_000)
    """What it writes; reasoning tokens are billed as output."""
    cached_input: float | None = Field(default=None, gt=0, le=10_000)
    """Input read from the provider's cache; none means the price of input."""
    as_of: str = Field(default="", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """The day these figures are from, as 2026-01-31; each cost carries it."""


class ModelSection(Model):
    """What is known here of a model and not on the public pages that `understudy models` goes by."""

    model: str = ""
    """The model and version behind the name, as gpt-4o-2024-11-20: its public dates then hold for the name."""
    exact: bool | None = None
    """Whether the name stays one snapshot (true) or may move (false), instead of what the form of the name says."""
    released: Day = ""
    """The day it came out, as 2026-01-31."""
    deprecated: Day = ""
    """The day its retirement was announced."""
    retires: Day = ""
    """The first day without it; outranks the public dates."""
    earliest: bool = False
    """`retires` is the earliest such day and no announcement."""
    replacement: str = ""
    """What the provider recommends instead."""
    source: str = ""
    """Where this is said: an address, a contract, a ticket."""


class PrivacySection(Model):
    """What the ledger leaves out of what people and models wrote, beside the identifiers that it knows by itself."""

    patterns: dict[PatternName, Pattern] = {}
    """Forms of your own to take out, as RE2, by name: customer: CUST-[0-9]{6} leaves [redacted customer]."""
    fields: list[str] = []
    """Fields of request bodies to keep under `content: redacted`, beside those that describe the work; others like
    `metadata` and `user` are left out."""
    unit_key: str = ""
    """Write ${NAME}: the key that units are hashed with, any long random text without commas; `NEW,OLD` while it is
    changed. The routing table carries the name."""
    encrypted: bool = False
    """Content is written encrypted or not at all: gateways refuse to serve without a key in UNDERSTUDY_LEDGER_KEY."""


class RetentionSection(Model):
    """How long the tables of the ledger are kept, in whole days; the committer removes older days once an hour."""

    exchanges: Retained | None = None
    """Exchanges with their content and shadow copies; none means for ever."""
    feedback: Retained | None = None
    """What was said of exchanges; none means for ever."""
    scores: Retained | None = None
    """What graders said of live answers; none means for ever."""
    eval_scores: Retained | None = None
    """What graders said in regression evals; none means for ever."""


class Config(Model):
    """understudy.yaml: where models are called, what uses them, and how each may be replaced."""

    providers: dict[ProviderName, ProviderSection] = Field(min_length=1)
    """Where models are called."""
    workloads: dict[WorkloadName, WorkloadSection] = Field(min_length=1)
    """The features that use a model, each with its own timeline."""
    gateway: GatewaySection = GatewaySection()
    """Where apps call in."""
    dashboard: DashboardSection = DashboardSection()
    """Where people look, and where scripts ask."""
    prices: dict[str, PriceSection] = {}
    """Prices by model; an unknown price is never taken for 0."""
    models: dict[str, ModelSection] = {}
    """What you know of models by name, over what is public: deployments, dates from a contract."""
    privacy: PrivacySection = PrivacySection()
    """What is taken out before anything is written down."""
    retention: RetentionSection = RetentionSection()
    """How long the ledger keeps it."""
    alerts: AlertsSection = AlertsSection()
    """Who is told what cannot wait."""
    ledger: LedgerSection = LedgerSection()
    """Where exchanges are kept, and who answers questions about them."""
    command_graders: bool = False
    """Whether the graders of suites may run programs (type `command`). Off: a suite is data, wherever it came from."""
    state: str = Field(default=".understudy", min_length=1)
    """Folder for the routing table, ledger and control store, relative to this file."""
    store: StoreUrl = ""
    """Control store of several machines: postgresql://USER@HOST/DATABASE or ${NAME}; if left out, a file in `state`."""
