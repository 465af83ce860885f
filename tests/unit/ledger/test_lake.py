"""Which data files of a table are read."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import CannotMeasure
from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake, Table
from understudy.ledger.queries import Ledger
from understudy.ledger.segments import SegmentWriter

B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def first_row_removed() -> dict[str, Any]:
    """A deletion vector that marks row 0, within the log, as the Delta protocol lays it out."""
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, 0)
    vector = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = vector + b"\0" * (-len(vector) % 4)
    inline = base64.b85encode(padded).translate(bytes.maketrans(B85, Z85)).decode()
    return {"storageType": "i", "pathOrInlineDv": inline, "sizeInBytes": len(vector), "cardinality": 1}


def test_rows_that_another_program_marked_as_removed_are_not_read(fill: Any, make: Any) -> None:
    """Our engines read whole files, so a table with deletion vectors is refused; the feature alone is no harm."""
    lake = fill([make(n) for n in range(3)])
    log = lake / "exchanges" / "_delta_log"
    add = next(
        json.loads(line)["add"]
        for line in (log / f"{0:020d}.json").read_text().splitlines()
        if "add" in json.loads(line)
    )
    features = ["deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    (log / f"{1:020d}.json").write_text(json.dumps({"protocol": protocol}) + "\n")
    assert sum(row.exchanges for row in Ledger(lake).counts("reply")) == 3
    remove = {"path": add["path"], "deletionTimestamp": 0, "dataChange": True}
    marked = {**add, "deletionVector": first_row_removed()}
    (log / f"{2:020d}.json").write_text(json.dumps({"remove": remove}) + "\n" + json.dumps({"add": marked}) + "\n")
    with pytest.raises(CannotMeasure, match=r"1 files of table .* have deletion vectors"):
        Ledger(lake).counts("reply")


def test_a_folder_may_have_spaces_and_percent_signs(tmp_path: Path, make: Any) -> None:
    """The log names files as addresses; engines open them as files."""
    folder = tmp_path / "my ledger 100%"
    folder.mkdir()
    exchange: Exchange = make(0)
    writer = SegmentWriter(folder / "segments", "w0")
    writer.append(exchange)
    writer.close()
    with Committer(folder / "segments", folder / "lake") as committer:
        committer.run_once()
    assert all(Path(file).is_file() for file in Lake(folder / "lake").files(Table.EXCHANGES))
    assert [row.exchanges for row in Ledger(folder / "lake").counts("reply")] == [1]
