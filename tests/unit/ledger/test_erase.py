"""Nothing is left of an erased unit, the books still balance, and everybody else is untouched."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from understudy.assign.pseudonym import pseudonym
from understudy.core.errors import UsageError
from understudy.core.records import Feedback, Loss
from understudy.ledger import frames
from understudy.ledger.committer import Committer
from understudy.ledger.erase import erase
from understudy.ledger.export import export
from understudy.ledger.lake import EvalScore, Score, Table
from understudy.ledger.queries import Ledger
from understudy.ledger.removal import tombstone
from understudy.ledger.retention import expire
from understudy.ledger.segments import SegmentWriter
from understudy.ledger.verify import verify

UNIT = 'o\'brien "the" user'
SECRET = "canary-secret-7f3a"


def traces(folder: Path, *needles: str) -> list[str]:
    """Files below a folder in whose bytes, unpacked where they are Parquet, one of the needles occurs."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += str(pyarrow.parquet.read_table(path, partitioning=None).to_pylist()).encode()
        if any(needle.encode() in data for needle in needles):
            found.append(path.name)
    return found


@pytest.fixture
def filled(tmp_path: Path, make: Any) -> Path:
    """Exchanges of the unit and of others: in the lake, and in the open segment of a living worker."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    writer = SegmentWriter(segments, "w0", mode="sync")
    mine = {"unit": UNIT, "answer": SECRET, "request": SECRET.encode()}
    writer.append(make(0, **mine))
    writer.append(make(1, unit="other"))
    writer.append(make(2, role="shadow", pair="x-000000", arm="candidate", **mine))
    writer.append(Feedback(exchange="x-000000", name="thumb", value=1.0, at=1_700_000_000.0))
    with Committer(segments, lake) as committer:
        committer.run_once()
    Ledger(lake).add_scores([Score("x-000000", "reply", "quality", 1.0, 1.0, detail=SECRET)])
    of_eval = EvalScore("e", "reply", "candidate", "new", "f-new", SECRET, "x-000000", (), 0, "", 1.0, 1.0)
    Ledger(lake).add_eval_scores([of_eval, of_eval._replace(suite="s", case_id="c-1")])
    writer.append(make(3, **mine))
    writer.append(Feedback(exchange="x-000003", name="thumb", value=0.0, at=1_700_000_000.0))
    writer.append(make(4, unit="other"))
    yield tmp_path  # type: ignore[misc]
    writer.close()


def test_nothing_is_left_of_an_erased_unit(filled: Path) -> None:
    """In no file is the name of the unit or what it wrote: lake, log of the lake, open segments."""
    segments, lake = filled / "s", filled / "l"
    assert len(traces(filled, UNIT, SECRET)) >= 2
    done = erase(UNIT, segments=segments, lake=lake)
    assert (done.exchanges, done.shadow_copies, done.feedback, done.scores, done.eval_scores) == (1, 1, 1, 1, 1)
    assert done.in_segments == 5
    assert done.data_files > 0
    assert traces(filled, UNIT, UNIT.replace("'", "''"), SECRET) == []
    with Committer(segments, lake) as committer:
        committer.run_once()
    assert traces(filled, UNIT, SECRET) == []
    found = verify(segments, lake)
    assert found.in_order
    assert found.lost() == {"erased": 5}
    assert [a.exchange for a in Ledger(lake).exchanges(workload="reply")] == ["x-000001", "x-000004"]
    assert [found.cases for found in Ledger(lake).evals("reply")] == [1]
    again = erase(UNIT, segments=segments, lake=lake)
    assert (again.exchanges, again.shadow_copies, again.feedback, again.in_segments) == (0, 0, 0, 0)


def test_the_last_record_of_a_boot_can_be_erased(tmp_path: Path, fill: Any, make: Any) -> None:
    """How many numbers were given out does not depend on the rows that are left."""
    lake = fill([make(0, unit="other"), make(1, unit=UNIT)])
    erase(UNIT, segments=tmp_path / "segments", lake=lake)
    found = verify(tmp_path / "segments", lake)
    assert found.in_order
    assert found.boots[0].given == 2


def test_one_workload_can_be_erased_alone(tmp_path: Path, fill: Any, make: Any) -> None:
    """The unit's exchanges with other workloads stay."""
    lake = fill([make(0, unit=UNIT), make(1, unit=UNIT, workload="other")])
    assert erase(UNIT, segments=tmp_path / "segments", lake=lake, workload="reply").exchanges == 1
    assert Ledger(lake).counts("reply") == []
    assert Ledger(lake).counts("other")[0].exchanges == 1
    assert verify(tmp_path / "segments", lake).in_order


def test_what_was_made_from_the_exchanges_is_reached(tmp_path: Path, fill: Any, make: Any) -> None:
    """Lines that name an exchange of the unit go; other files that do are listed for a person."""
    lake = fill([make(0, unit=UNIT), make(1, unit="other")])
    suites = tmp_path / "suites"
    suites.mkdir()
    lines = [json.dumps({"id": f"c{n}", "exchange": f"x-{n:06d}"}) + "\n" for n in range(2)]
    (suites / "from-ledger.jsonl").write_text("".join(lines))
    (suites / "notes.yaml").write_text('case: "x-000000"\n')
    (suites / "picture.png").write_bytes(b"\xff\xfe\x00")
    (suites / "r.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (suites / "cut.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode())[:-9])
    (tmp_path / "control.db").write_bytes(b'SQLite\x00\xff{"unit":"x-000000"}')
    derived = [suites, tmp_path / "control.db", tmp_path / "nowhere"]
    done = erase(UNIT, segments=tmp_path / "segments", lake=lake, derived=derived)
    assert done.lines == {str(suites / "from-ledger.jsonl"): 1, str(suites / "r.jsonl.gz"): 1}
    assert (suites / "from-ledger.jsonl").read_text() == lines[1]
    assert gzip.decompress((suites / "r.jsonl.gz").read_bytes()).decode() == lines[1]
    left = [tmp_path / "control.db", suites / "cut.jsonl.gz", suites / "notes.yaml"]
    assert done.mentioned == [str(path) for path in left]


def test_all_names_of_a_unit_are_erased_and_exported(tmp_path: Path, fill: Any, make: Any) -> None:
    """Records from before units were hashed and from after it are one person's."""
    hashed = pseudonym(UNIT, b"k")
    lake = fill([make(0, unit=UNIT), make(1, unit=hashed), make(2, unit="other")])
    assert export(tmp_path / "o.jsonl", lake=lake, unit=(UNIT, hashed)) == 2
    assert erase((UNIT, hashed), segments=tmp_path / "segments", lake=lake).exchanges == 2
    assert Ledger(lake).counts("reply")[0].exchanges == 1
    with pytest.raises(UsageError):
        erase((), segments=tmp_path / "segments", lake=lake)


def test_erasing_nobody_is_refused_and_an_empty_lake_is_none(tmp_path: Path) -> None:
    """An empty name would be everybody without one."""
    with pytest.raises(UsageError):
        erase("", segments=tmp_path / "s", lake=tmp_path / "l")
    assert erase("u", segments=tmp_path / "s", lake=tmp_path / "l").exchanges == 0


def test_what_is_too_old_goes_table_by_table(tmp_path: Path, fill: Any, make: Any) -> None:
    """Whole days go, for good, and are accounted for; other tables and younger days stay."""
    day, now = 86_400.0, 1_700_000_000.0
    lake = fill(
        [
            make(0, started_at=now - 9 * day, answer=SECRET),
            make(1, started_at=now - 2 * day),
            Feedback(exchange="x-000000", name="thumb", value=1.0, at=now - 9 * day),
        ]
    )
    Ledger(lake).add_scores([Score("x-000000", "reply", "q", 1.0, now - 9 * day)])
    segments = tmp_path / "segments"
    removed = expire({Table.EXCHANGES: 7 * day, Table.SCORES: 7 * day}, segments=segments, lake=lake, now=now)
    assert removed == {Table.EXCHANGES: 1, Table.SCORES: 1}
    assert traces(lake, SECRET) == []
    assert [a.exchange for a in Ledger(lake).exchanges(workload="reply")] == ["x-000001"]
    found = verify(segments, lake)
    assert (found.in_order, found.lost()) == (True, {"expired": 1})
    assert expire({Table.FEEDBACK: 10 * day}, segments=segments, lake=lake, now=now) == {Table.FEEDBACK: 0}
    for table, seconds in ((Table.LOSSES, 9 * day), (Table.EXCHANGES, 3_600.0)):
        with pytest.raises(UsageError):
            expire({table: seconds}, segments=segments, lake=lake, now=now)


def test_a_tombstone_has_any_length() -> None:
    """Every frame can be overwritten without moving its neighbours."""
    for length in [*range(41, 330), *range(65_560, 65_590)]:
        payload = tombstone(length, 1.0)
        assert len(payload) == length
        loss = frames.decode(payload)
        assert isinstance(loss, Loss)
        assert (loss.count, loss.why.rstrip()) == (1, "erased")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_an_export_has_the_unit_and_what_was_said_of_it(tmp_path: Path, fill: Any, make: Any, suffix: str) -> None:
    """One row an exchange, with feedback and scores; nobody else's, and readable by its owner alone."""
    lake = fill(
        [
            make(0, unit=UNIT, request=b"what?", answer="that"),
            make(1, unit="other"),
            Feedback(exchange="x-000000", name="thumb", value=1.0, at=1.0),
        ]
    )
    Ledger(lake).add_scores([Score("x-000000", "reply", "quality", 0.5, 1.0)])
    to = tmp_path / f"out{suffix}"
    assert export(to, lake=lake, unit=UNIT) == 1
    assert to.stat().st_mode & 0o077 == 0
    if suffix == ".parquet":
        (row,) = pyarrow.parquet.read_table(to).to_pylist()
        assert row["request"] == b"what?"
    else:
        text = gzip.decompress(to.read_bytes()).decode() if suffix.endswith("gz") else to.read_text()
        row = json.loads(text)
        assert row["request"] == "what?"
    assert (row["unit"], row["answer"], row["feedback"], row["scores"]) == (
        UNIT,
        "that",
        ["thumb=1.0"],
        ["quality=0.5"],
    )


def test_an_export_of_nothing_is_an_empty_file_and_a_bad_name_is_refused(tmp_path: Path) -> None:
    """Asking for what is not there is no error; asking for a format we do not write is."""
    assert export(tmp_path / "o.jsonl", lake=tmp_path / "none", since=1.0, until=2.0, workload="w") == 0
    assert (tmp_path / "o.jsonl").read_bytes() == b""
    with pytest.raises(UsageError, match="suffix"):
        export(tmp_path / "o.xlsx", lake=tmp_path / "none")
    with pytest.raises(UsageError, match="no folder"):
        export(tmp_path / "no" / "o.jsonl", lake=tmp_path / "none")
