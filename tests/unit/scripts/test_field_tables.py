"""The pages about stored data name every field there is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from understudy.core.records import Exchange, Feedback, Loss
from understudy.ledger.lake import Table, record_fields, schema

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
try:
    import field_tables
finally:
    sys.path.pop(0)


@pytest.mark.parametrize("kind", [Exchange, Feedback, Loss])
def test_every_field_of_a_record_says_what_it_is(kind: type[msgspec.Struct]) -> None:
    """In the order of the record, none without a sentence."""
    rows = field_tables.fields("core/records.py", kind.__name__)
    assert [name for name, _, _ in rows] == [field.name for field in msgspec.structs.fields(kind)]
    assert [name for name, _, text in rows if not text] == []


def test_every_column_beside_a_record_is_explained() -> None:
    """A column that the committer adds has its line, and no line is left over."""
    added = {name for table in Table for name in schema(table).names if name not in record_fields(table)}
    assert added == set(field_tables.ADDED)


def test_the_routing_page_names_every_key_of_a_written_table() -> None:
    """The page is held against a table with one of everything, section by section."""
    sections = dict(part.split("\n", 1) for part in ("\n" + field_tables.routing_table()).split("\n### ")[1:])
    table = field_tables.routing_example()
    workload = table["workloads"]["w"]
    written: dict[str, dict[str, Any]] = {
        "The file": table,
        "`workloads.NAME`": workload,
        "`workloads.NAME.upgrade`": workload["upgrade"],
        "`workloads.NAME.upgrade.shadow`": workload["upgrade"]["shadow"],
        "`providers.NAME`": table["providers"]["p"],
        "`keys[]`": table["keys"][0],
        "`privacy`": table["privacy"],
    }
    assert sections.keys() == written.keys()
    for title, part in written.items():
        named = {line.split("`")[1] for line in sections[title].splitlines() if line.startswith("| `")}
        assert named == part.keys(), title


def test_a_field_without_a_docstring_shows(tmp_path: Path) -> None:
    """A planted one has an empty text, which is what the first test looks for."""
    (tmp_path / "planted.py").write_text('class Route:\n    share: int\n    """Part."""\n    bare: int\n')
    assert field_tables.fields(str(tmp_path / "planted.py"), "Route") == [
        ("share", "int", "Part."),
        ("bare", "int", ""),
    ]
