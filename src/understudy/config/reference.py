"""Writes the reference page of understudy.yaml from the models themselves: every key, its values and its meaning."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from understudy.config import durations, lakes, schema, webhooks

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", schema.Config),
    ("`providers.NAME`", schema.ProviderSection),
    ("`workloads.NAME`", schema.WorkloadSection),
    ("`workloads.NAME.variants.NAME`", schema.VariantSection),
    ("`reasoning` of a variant", schema.ReasoningSection),
    ("`pin` of a variant", schema.PinSection),
    ("`shadow` of a workload", schema.ShadowSection),
    ("`shadow.budget`", schema.BudgetSection),
    ("`canary` of a workload", schema.CanarySection),
    ("`canary.ladder[]`", schema.StepSection),
    ("`soak` of a workload", schema.SoakSection),
    ("`gates` of a workload", schema.GatesSection),
    ("`gates.METRIC`", schema.GateSection),
    ("`gateway`", schema.GatewaySection),
    ("`gateway.keys[]`", schema.KeySection),
    ("`gateway.limits`", schema.LimitsSection),
    ("`dashboard`", schema.DashboardSection),
    ("`dashboard.users[]`", schema.UserSection),
    ("`prices.MODEL`", schema.PriceSection),
    ("`models.MODEL`", schema.ModelSection),
    ("`privacy`", schema.PrivacySection),
    ("`retention`", schema.RetentionSection),
    ("`alerts`", webhooks.AlertsSection),
    ("`alerts.targets.NAME`", webhooks.TargetSection),
    ("`ledger`", lakes.LedgerSection),
    ("`ledger.storage`", lakes.StorageSection),
    ("`ledger.clickhouse`", lakes.ClickHouseSection),
    ("`ledger.spark`", lakes.SparkSection),
)
_ALIASES: tuple[tuple[Any, str], ...] = (
    (durations.Seconds, "duration"),
    (schema.Retained, "duration"),
    (schema.Pattern, "pattern"),
    (schema.Share, "percentage"),
    (schema.Size, "size"),
    (schema.ApiPath, "path"),
    (schema.Margin, "margin"),
    (schema.Source, "source"),
    (schema.BaseUrl, "address"),
    (schema.Day, "day"),
)


def configuration_reference() -> str:
    """One table a section, in Markdown, in the order of the file."""
    return "\n\n".join(_section(title, model) for title, model in SECTIONS)


def _section(title: str, model: type[BaseModel]) -> str:
    said = " ".join((model.__doc__ or "").split())
    rows = [f"### {title}", "", said, "", "| key | values | default | meaning |", "|---|---|---|---|"]
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{name}` | {_values(hints[name], field)} | {_default(field, hints[name])} | {_cell(meaning)} |")
    if model.model_config.get("extra") == "allow":
        rows.append("| any other name | section | - | A metric: see below. |")
    return "\n".join(rows)


def _values(annotation: Any, field: FieldInfo) -> str:
    limits = [
        f"{word} {getattr(each, key):g}"
        for each in field.metadata
        for key, word in (("gt", "above"), ("ge", "from"), ("le", "to"))
        if getattr(each, key, None) is not None
    ]
    return " ".join([_kind(annotation), *limits])


def _kind(annotation: Any) -> str:
    for alias, word in _ALIASES:
        if annotation == alias:
            return word
    if hasattr(annotation, "__metadata__"):
        return _kind(get_args(annotation)[0])
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in inner if each is not type(None))
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin is list:
        return f"list of {_plural(_kind(inner[0]))}"
    if origin is dict:
        return "any keys" if inner[1] is Any else f"{_plural(_kind(inner[1]))} by name"
    words: tuple[tuple[type, str], ...] = (
        (bool, "`true`, `false`"),
        (int, "whole number"),
        (float, "number"),
        (str, "text"),
        (BaseModel, "section"),
    )
    return next(word for kind, word in words if isinstance(annotation, type) and issubclass(annotation, kind))


def _plural(word: str) -> str:
    return "texts" if word == "text" else f"{word}s" if word.isalpha() else word


def _default(field: FieldInfo, annotation: Any) -> str:
    if field.is_required():
        return "**required**"
    match field.default:
        case int() if annotation == schema.Size:
            return f"`{field.default // 1024**2}MiB`" if field.default >= 1024**2 else f"`{field.default // 1024}KiB`"
        case float() if annotation == durations.Seconds:
            return f"`{field.default:g}s`"
        case None | "" | {} | []:
            return "-"
        case BaseModel():
            return "see there"
        case bool():
            return f"`{str(field.default).lower()}`"
        case list():
            return f"`[{', '.join(map(str, field.default))}]`"
        case 1_000_000:
            return "`100%`"
        case value:
            return f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
