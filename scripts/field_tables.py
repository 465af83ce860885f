"""Tables of the documentation about stored data: the fields of records, of the lake and of the routing table, with
the docstrings they carry in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent / "src" / "understudy"

ADDED = {
    "day": "Day of the record in UTC, as YYYY-MM-DD; the tables are partitioned by it.",
    "bucket": "The unit's analysis group, 0 to 255; an exchange without a unit is a group of its own.",
    "cost_source": "Where the price came from: the configuration, the public list, or nowhere.",
    "cost_as_of": "As of when that price was listed.",
    "schema_version": "Version of the record's fields.",
    "worker": "The gateway worker that wrote it.",
    "boot": "Which start of that worker.",
    "seq": "Its number within the boot: a gap is a loss, and is counted.",
}
"""Columns that the committer adds to the fields of a record."""

JSON_NAMES = {("WorkloadRoute", "route"): "upgrade", ("Route", "upgrade"): "id"}
"""Where a field of the routing table has another name in the file."""
BY_NAME = {"WorkloadRoute", "Provider"}
"""What stands in the file under its name, as a key and not as a field."""


def fields(module: str, name: str) -> list[tuple[str, str, str]]:
    """(field, type, docstring) of a class, in order; "" where a field has no docstring."""
    tree = ast.parse((SOURCE / module).read_text())
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    rows: list[tuple[str, str, str]] = []
    said = {
        before.target.id: inspect_text(after)
        for before, after in zip(found.body, found.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and inspect_text(after)
    }
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rows.append((node.target.id, ast.unparse(node.annotation), said.get(node.target.id, "")))
    return rows


def inspect_text(node: ast.stmt) -> str:
    """The text of a docstring statement on one line, "" where it is none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def records() -> str:
    """The three kinds of record a gateway writes, and the three that others add in the lake."""
    parts: list[str] = []
    for name, module in (
        ("Exchange", _RECORDS),
        ("Feedback", _RECORDS),
        ("Loss", _RECORDS),
        ("Score", _LAKE),
        ("EvalScore", _LAKE),
        ("Decision", _LAKE),
    ):
        parts.append(f"### {name}\n")
        parts.append("| field | type | meaning |\n|---|---|---|")
        parts += [f"| `{field}` | {_kind(kind)} | {_cell(text)} |" for field, kind, text in fields(module, name)]
        parts.append("")
    return "\n".join(parts).strip()


def lake_tables() -> str:
    """The tables of the lake: partitions, and the columns beside the fields of their record."""
    from understudy.ledger.lake import PARTITIONS, Table, record_fields, schema

    parts = ["| table | partitions | columns beside the fields of its record |", "|---|---|---|"]
    for table in Table:
        own = set(record_fields(table))
        beside = [name for name in schema(table).names if name not in own]
        shown = ", ".join(f"`{name}`" for name in beside) or "none"
        parts.append(f"| `{table}` | {', '.join(f'`{p}`' for p in PARTITIONS[table])} | {shown} |")
    parts += ["", "| column | meaning |", "|---|---|"]
    parts += [f"| `{name}` | {text} |" for name, text in ADDED.items()]
    return "\n".join(parts)


def routing_table() -> str:
    """Format 1 of the routing table: every key of the file."""
    from understudy.core.routing import FORMAT

    titles = {
        "RoutingTable": "The file",
        "WorkloadRoute": "`workloads.NAME`",
        "Route": "`workloads.NAME.upgrade`",
        "Shadow": "`workloads.NAME.upgrade.shadow`",
        "Provider": "`providers.NAME`",
        "GatewayKey": "`keys[]`",
        "Privacy": "`privacy`",
    }
    parts: list[str] = []
    for name, title in titles.items():
        parts += [f"### {title}\n", "| key | values | meaning |\n|---|---|---|"]
        if name == "RoutingTable":
            parts.append(f"| `format` | whole number | Always {FORMAT}. |")
        for field, kind, text in fields("core/routing.py", name):
            if field == "name" and name in BY_NAME:
                continue
            if not text:
                raise ValueError(f"{name}.{field} has no docstring")
            parts.append(f"| `{JSON_NAMES.get((name, field), field)}` | {_kind(kind)} | {_cell(text)} |")
        if name == "RoutingTable":
            parts.append("| `checksum` | text | SHA-256 of the canonical JSON of everything else. |")
        parts.append("")
    return "\n".join(parts).strip()


def routing_example() -> dict[str, Any]:
    """A table with one of everything, as it is written: the keys that must stand in the page."""
    import json

    from understudy.core.routing import GatewayKey, Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
    from understudy.core.variant import Variant

    old = Variant(name="old", provider="p", model="m-1", system_prompt="Be kind.")
    new = Variant(name="new", provider="p", model="m-2", system_prompt="Be kind.")
    route = Route("w-1", "new", "canary", 0, 10_000, "w:1", 1.0, Shadow(1_000_000))
    workload = WorkloadRoute(
        "w", "old", {"old": old, "new": new}, unit=("header:x-user-id",), route=route, passthrough=("/v1/files",)
    )
    key = GatewayKey("k", "0" * 64, requests_per_minute=60, concurrent=4)
    provider = Provider("p", "openai", "http://p/v1", trace_headers=True)
    table = RoutingTable("g", 1, 1.0, {"w": workload}, {"p": provider}, (key,), {"body": 4096})
    made: dict[str, Any] = json.loads(encode(table))
    return made


def _kind(annotation: str) -> str:
    """A type as the reader of a file sees it."""
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true, false",
        "bytes": "bytes",
        "dict[str, str]": "texts by key",
        "Mapping[str, str]": "texts by key",
        "Mapping[str, float]": "numbers by name",
        "tuple[str, ...]": "list of texts",
    }
    base, _, none = annotation.partition(" | ")
    word = words.get(base, "object" if not base.startswith(("tuple", "Mapping")) else "")
    if base.startswith("Mapping") and not word:
        word = "objects by name"
    if base.startswith("tuple") and not word:
        word = "list of objects"
    return f"{word} or null" if none == "None" else word


def _cell(text: str) -> str:
    """Text of a docstring as a table cell of a page about files, where None is null."""
    return re.sub(r"\bNone\b", "null", text).replace("|", "\\|")


_RECORDS = "core/records.py"
_LAKE = "ledger/lake.py"


def translation() -> str:
    """What each dialect can say and another one cannot be told, as a request that uses everything shows it."""
    from understudy.wires.compat import APPS, never_carried
    from understudy.wires.registry import NAMES

    parts: list[str] = []
    for app in APPS:
        for provider in NAMES:
            if not never_carried(app, provider):
                continue
            parts += [f"### From {app} to {provider}\n", "| what the app says | what becomes of it |\n|---|---|"]
            parts += [f"| `{loss.what}` | {loss.why} |" for loss in never_carried(app, provider)]
            parts.append("")
    return "\n".join(parts).strip()
