"""The shape of understudy.yaml. Field names are fixed: they are added, never renamed.

Values here are as written (durations as "24h", margins as "2pt"); the `*_s` and `*_ppm` properties give them in the
units the rest of the code uses. Reading files, positions and environment variables is in `load`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from understudy.core.playbook import PARTS_PER_MILLION
from understudy.core.variant import EFFORTS

WIRES = ("openai", "anthropic", "gemini")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(value: object) -> float:
    """ "90s", "24h", "1d12h" or a number of seconds. Raises ValueError naming the value and the accepted forms."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text.replace(" ", ""):
        raise ValueError(f"{text!r} is no duration; write a number with ms, s, m, h, d or w, like 24h or 1d12h")
    return float(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))


def parts_per_million(value: object) -> int:
    """ "1%", "0.5%" or 5 (percent). Raises ValueError outside 0 to 100 %."""
    text = str(value).strip()
    try:
        percent = float(text[:-1] if text.endswith("%") else text)
    except ValueError:
        raise ValueError(f"{text!r} is no share; write a percentage like 5%") from None
    if not 0 <= percent <= 100:
        raise ValueError(f"{text!r} is outside 0% to 100%")
    return round(percent * PARTS_PER_MILLION / 100)


def margin(value: object) -> str:
    """ "2pt" (absolute, hundredths of the metric's scale), "10%" (relative) or a plain number (absolute)."""
    text = str(value).strip()
    if not re.fullmatch(r"\d+(\.\d+)?(pt|%)?", text):
        raise ValueError(f"{text!r} is no margin; write 2pt (absolute points), 10% (relative) or 0.02")
    return text


Seconds = Annotated[float, BeforeValidator(seconds)]
Share = Annotated[int, BeforeValidator(parts_per_million)]
Margin = Annotated[str, BeforeValidator(margin)]


def _source(value: str) -> str:
    if not re.fullmatch(r"(header:[A-Za-z0-9-]+|body:[A-Za-z0-9_.-]+)", value):
        raise ValueError(f"{value!r} is no source; write header:NAME or body:FIELD")
    return value.lower() if value.startswith("header:") else value


Source = Annotated[str, AfterValidator(_source)]


class Model(BaseModel):
    """Base of every section: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)


class ProviderSection(Model):
    wire: Literal["openai", "anthropic", "gemini"]
    base_url: str
    api_key: str = ""
    """Write ${NAME}: the routing table then carries the name and each gateway reads its own environment."""
    ca_file: str = ""
    pass_through_key: bool = False


class ReasoningSection(Model):
    effort: Literal[EFFORTS] | None = None  # type: ignore[valid-type]
    budget_tokens: int | None = Field(default=None, gt=0)


class PinSection(Model):
    since: str = ""
    why: str = ""


class VariantSection(Model):
    provider: str
    model: str
    system_prompt: str = ""
    """A path relative to the file, or the text itself after `text:`."""
    params: dict[str, Any] = {}
    reasoning: ReasoningSection | None = None
    pin: PinSection | None = None
    why: str = ""
    """What changed against the variant it was made from, for the side-by-side view and the evidence."""


class BudgetSection(Model):
    usd_per_day: float | None = Field(default=None, gt=0)


class ShadowSection(Model):
    sample: Share = PARTS_PER_MILLION
    budget: BudgetSection = BudgetSection()
    max_in_flight: int = Field(default=64, gt=0)
    min: Seconds | None = None
    max: Seconds | None = None


class StepSection(Model):
    share: Share
    hold: Seconds


class CanarySection(Model):
    ladder: list[StepSection] | None = None
    lease: Seconds | None = None
    cycle: Seconds | None = None


class SoakSection(Model):
    duration: Seconds | None = None
    retain: Seconds | None = None


class GateSection(Model):
    margin: Margin | None = None
    direction: Literal["higher", "lower"] | None = None
    critical: bool = False
    must_have_data: bool | None = None
    min_units: int | None = Field(default=None, gt=0)
    max_wait: Seconds | None = None
    weight: float | None = Field(default=None, gt=0)
    source: str = ""
    """Where the numbers come from, where the name does not say it: `feedback:NAME`, `grader:NAME`, `field:NAME`."""
    limit: float | None = None
    """An absolute limit on the candidate's own mean, beside the comparison: a budget."""


class GatesSection(BaseModel):
    """`critical` names slices; every other key is a metric."""

    model_config = ConfigDict(extra="allow", frozen=True)
    critical: list[str] = []
    __pydantic_extra__: dict[str, GateSection] = {}

    @property
    def metrics(self) -> dict[str, GateSection]:
        return dict(self.__pydantic_extra__ or {})


class WorkloadSection(Model):
    owner: str = ""
    unit: list[Source] = ["header:x-user-id", "body:user"]
    conversation: list[Source] = []
    slice_by: dict[str, Source] = {}
    no_unit: Literal["incumbent", "random"] = "incumbent"
    on_rollback: Literal["switch", "finish"] = "switch"
    content: Literal["full", "redacted", "off"] = "redacted"
    incumbent: str
    variants: dict[str, VariantSection]
    suites: list[str] = []
    policy: str = "interactive"
    shadow: ShadowSection = ShadowSection()
    canary: CanarySection = CanarySection()
    soak: SoakSection = SoakSection()
    gates: GatesSection = GatesSection()


class KeySection(Model):
    name: str
    key: str = ""
    """Write ${NAME}; only its SHA-256 reaches the routing table."""
    sha256: str = ""
    workloads: list[str] = ["*"]


class GatewaySection(Model):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int | None = Field(default=None, ge=1, le=256)
    keys: list[KeySection] = []


class Config(Model):
    """The whole file."""

    providers: dict[str, ProviderSection]
    workloads: dict[str, WorkloadSection]
    gateway: GatewaySection = GatewaySection()
    state: str = ".understudy"
    """Folder for the routing table, ledger and control store, relative to the file."""
