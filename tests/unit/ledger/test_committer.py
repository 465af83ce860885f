"""Each record reaches the lake exactly once, however often anybody stops or starts again."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from understudy.core.errors import CannotMeasure, Refused
from understudy.core.records import Exchange, Feedback, Loss
from understudy.ledger import frames
from understudy.ledger.committer import QUARANTINE_FOLDER, Committed, Committer
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.locks import COMMITTER_LOCK, LAKE_LOCK
from understudy.ledger.prices import Price, Prices
from understudy.ledger.queries import Ledger
from understudy.ledger.reading import BATCH_BYTES, BootReader
from understudy.ledger.segments import SegmentWriter
from understudy.ledger.tally import Tally
from understudy.ledger.verify import verify


def stored(lake: Path, table: Table, column: str) -> list[Any]:
    opened = Lake(lake).table(table)
    return [] if opened is None else sorted(opened.to_pyarrow_table().column(column).to_pylist())


def test_open_and_closed_segments_are_drained_once(tmp_path: Path, make: Any) -> None:
    """What a living worker wrote is committed while it goes on writing, and never twice."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    writer = SegmentWriter(segments, "w0", mode="sync", segment_bytes=3_000)
    with Committer(segments, lake) as committer:
        for round_ in range(4):
            for n in range(10):
                writer.append(make(round_ * 10 + n, answer="a" * 100))
            assert committer.run_once().exchanges == 10
        assert len(list(segments.glob("*.seg"))) == 1  # drained ones are gone, the open one stays
        writer.append(Feedback(exchange="x-000001", name="thumb", value=1.0, at=5.0))
        writer.close()
        assert committer.run_once() == Committed(exchanges=0, feedback=1, boots_over=1)
        assert committer.run_once() == Committed()
    assert stored(lake, Table.EXCHANGES, "seq") == list(range(40))
    assert sorted(path.name for path in segments.iterdir()) == [COMMITTER_LOCK, LAKE_LOCK]


def test_a_new_committer_goes_on_where_the_last_one_stopped(tmp_path: Path, make: Any) -> None:
    """The lake itself remembers what is in: a restart neither repeats nor skips."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    writers = [SegmentWriter(segments, f"w{n}", mode="sync") for n in range(2)]
    for round_ in range(3):
        for n, writer in enumerate(writers):
            writer.append(make(round_ * 2 + n))
            writer.append(Feedback(exchange=f"x-{round_}", name="thumb", value=1.0, at=5.0))
        with Committer(segments, lake) as committer:
            assert committer.run_once()[:2] == (2, 2)
    for writer in writers:
        writer.close()
    assert stored(lake, Table.EXCHANGES, "exchange") == [f"x-{n:06d}" for n in range(6)]
    assert verify(segments, lake).in_order


def test_tables_committed_apart_are_completed_apart(tmp_path: Path, make: Any) -> None:
    """Killed between two tables: the next committer repeats only the table that lacks the records."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    writer = SegmentWriter(segments, "w0", mode="sync")
    writer.append(make(0))
    writer.append(Feedback(exchange="x-000000", name="thumb", value=1.0, at=5.0))
    writer.append(make(1))
    kept = {path: path.read_bytes() for path in segments.glob("*.seg")}
    with Committer(segments, lake) as committer:
        committer.run_once()
    before = sorted((lake / "feedback" / "_delta_log").iterdir())
    assert len(before) == 1
    for path in (lake / "feedback").rglob("*"):  # as if the commit of this table had never happened
        if path.is_file():
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
    with Committer(segments, lake) as committer:
        assert committer.run_once()[:2] == (0, 1)
    writer.close()
    assert stored(lake, Table.EXCHANGES, "seq") == [0, 2]
    assert stored(lake, Table.FEEDBACK, "seq") == [1]


def test_batches_of_any_size_bring_in_the_same(tmp_path: Path, make: Any) -> None:
    """The size of a batch decides nothing."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    for worker in ("w0", "w1"):
        writer = SegmentWriter(segments, worker, mode="sync", segment_bytes=2_000)
        for n in range(25):
            writer.append(make(n))
        writer.close()
    with Committer(segments, lake, batch=4) as committer:
        assert committer.run_once() == Committed(exchanges=50, boots_over=2)
    assert stored(lake, Table.EXCHANGES, "seq") == sorted(list(range(25)) * 2)


def test_long_conversations_make_small_batches(tmp_path: Path, make: Any) -> None:
    """A batch is bounded in bytes as well: the rest comes with the next one, and nothing is skipped."""
    writer = SegmentWriter(tmp_path, "w0", max_buffered=1 << 30, segment_bytes=30 * 1024 * 1024)
    for n in range(40):
        writer.append(make(n, answer="a" * 4 * 1024 * 1024))
    writer.close()
    reader = BootReader(tmp_path, writer.boot)
    sizes, numbers = [], []
    while True:
        batch = reader.read()
        sizes.append(batch.size)
        numbers += [row.seq for row in batch.rows]
        if not batch.more:
            break
    assert batch.over
    assert max(sizes) < BATCH_BYTES + 5 * 1024 * 1024
    assert numbers == list(range(40))


def test_two_committers_on_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one is told who the first one is."""
    first = Committer(tmp_path / "s", tmp_path / "l")
    with pytest.raises(Refused, match=str(os.getpid())):
        Committer(tmp_path / "s", tmp_path / "l")
    first.close()
    Committer(tmp_path / "s", tmp_path / "l").close()


def torn_boot(segments: Path, records: list[Any], *, appended: int) -> Path:
    """A boot as a killed worker leaves it: a tally that counted on, and a segment."""
    segments.mkdir(exist_ok=True)
    boot = Boot("w0", "00000000000000aa")
    tally = Tally()
    tally.set_appended(appended)
    path = segments / f"{boot}.tally"
    tally.open(path, nullcontext())
    counted = path.read_bytes()
    tally.close()
    path.write_bytes(counted)  # never said that it closed
    segment = segments / frames.segment_name(boot, 0)
    segment.write_bytes(frames.MAGIC + b"".join(frames.encode(n, record) for n, record in enumerate(records)))
    return segment


def test_what_a_killed_worker_had_in_memory_is_counted(tmp_path: Path, make: Any) -> None:
    """The tally says how many numbers were given out; the difference is a loss with its reason."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    torn_boot(segments, [make(n) for n in range(3)], appended=10)
    with Committer(segments, lake) as committer:
        assert committer.run_once() == Committed(exchanges=3, lost=7, boots_over=1)
    found = verify(segments, lake)
    assert found.in_order
    assert found.lost() == {"killed": 7}
    assert found.boots[0].given == 10


def test_a_segment_cut_at_every_byte_yields_its_whole_records(tmp_path: Path, make: Any) -> None:
    """Wherever the tail is torn: the whole records before it, nothing invented, the rest counted."""
    records = [make(n, answer="a" * n) for n in range(3)]
    whole = torn_boot(tmp_path / "whole", records, appended=3).read_bytes()
    ends = [len(frames.MAGIC)]
    for found in frames.scan(whole):
        ends.append(found.end)
    reader_folder = tmp_path / "cut"
    segment = torn_boot(reader_folder, records, appended=3)
    for size in range(len(whole) + 1):
        segment.write_bytes(whole[:size])
        batch = BootReader(reader_folder, Boot("w0", "00000000000000aa")).read()
        expected = sum(1 for end in ends[1:] if end <= size)
        got = [row.record for row in batch.rows if isinstance(row.record, Exchange)]
        assert got == records[:expected]
        lost = [row.record for row in batch.rows if isinstance(row.record, Loss)]
        assert sum(loss.count for loss in lost) == 3 - expected
        assert batch.next_seq == 3


def after_power_loss(data: bytes, synced: int, rng: random.Random) -> bytes:
    """A file as a power cut may leave it: each sector behind what was synced is there, old, or another one's."""
    sectors = [data[at : at + 512] for at in range(synced - synced % 512, len(data), 512)]
    kept = bytearray(data[: synced - synced % 512])
    for sector in sectors:
        came = rng.choice([sector, sector, bytes(len(sector)), rng.choice(sectors)[: len(sector)]])
        kept += came.ljust(len(sector), b"\0")
    kept[:synced] = data[:synced]
    return bytes(kept[: synced + rng.randrange(len(data) - synced + 1)])


def accepted(folder: Path, expected: Mapping[int, Exchange]) -> tuple[int, list[str]]:
    """How many records a reader takes, and those that nobody wrote."""
    batch = BootReader(folder, Boot("w0", "00000000000000aa")).read()
    found = [row for row in batch.rows if isinstance(row.record, Exchange)]
    return len(found), [f"number {row.seq}" for row in found if expected.get(row.seq) != row.record]


def test_sectors_lost_or_shuffled_by_a_power_cut_are_never_taken_for_records(tmp_path: Path, make: Any) -> None:
    """What was synced is there, and of what was not no record is accepted that nobody wrote."""
    rng = random.Random(65)
    expected = {n: make(n, answer=rng.randbytes(rng.randrange(200)).hex()) for n in range(60)}
    frames_ = [frames.encode(n, record) for n, record in expected.items()]
    data = frames.MAGIC + b"".join(frames_)
    path = tmp_path / frames.segment_name(Boot("w0", "00000000000000aa"), 0)
    for _ in range(300):
        whole = rng.randrange(60)
        synced = len(frames.MAGIC) + sum(map(len, frames_[:whole]))
        path.write_bytes(after_power_loss(data, synced, rng))
        count, invented = accepted(tmp_path, expected)
        assert invented == []
        assert count >= whole


def test_a_reader_that_trusts_lengths_alone_would_take_them(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted defect: checksums are not looked at."""
    monkeypatch.setattr(frames, "crc32", lambda *_: 0)
    frames_ = [frames.encode(n, make(n, answer="a" * 600)) for n in range(2)]
    data = bytearray(frames.MAGIC + b"".join(frames_))
    data[len(data) - 300 : len(data) - 200] = b"b" * 100
    (tmp_path / frames.segment_name(Boot("w0", "00000000000000aa"), 0)).write_bytes(data)
    assert accepted(tmp_path, {n: make(n, answer="a" * 600) for n in range(2)}) == (2, ["number 1"])


def test_a_flipped_bit_is_found_kept_and_reported(tmp_path: Path, make: Any) -> None:
    """A damaged record in the middle is quarantined, its neighbours are committed, and verify exits with a finding."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    segment = torn_boot(segments, [make(n) for n in range(3)], appended=3)
    data = bytearray(segment.read_bytes())
    middle = next(found.end for found in frames.scan(bytes(data))) + frames.HEADER.size + 5
    data[middle] ^= 1
    segment.write_bytes(data)
    assert not verify(segments, lake).in_order
    with Committer(segments, lake) as committer:
        done = committer.run_once()
    assert (done.exchanges, done.lost, done.quarantined) == (2, 1, 1)
    assert stored(lake, Table.EXCHANGES, "seq") == [0, 2]
    assert len(list((segments / QUARANTINE_FOLDER).iterdir())) == 1
    found = verify(segments, lake)
    assert not found.in_order
    assert found.boots[0].uncounted == 1


def test_a_record_of_another_version_does_not_stop_the_rest(tmp_path: Path, make: Any) -> None:
    """Whole bytes that are no known record go to quarantine and are counted; the committer goes on."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    segment = torn_boot(segments, [make(0)], appended=3)
    poison = frames.frame(1, b"\x81\xa4type\xa6future")
    segment.write_bytes(segment.read_bytes() + poison + frames.encode(2, make(2)))
    with Committer(segments, lake) as committer:
        assert committer.run_once() == Committed(exchanges=2, lost=1, quarantined=1, boots_over=1)
    (kept,) = (segments / QUARANTINE_FOLDER).iterdir()
    assert kept.read_bytes() == b"\x81\xa4type\xa6future"
    assert verify(segments, lake).lost() == {"quarantined": 1}
    assert verify(segments, lake).in_order


def test_a_batch_written_twice_counts_once(tmp_path: Path, make: Any) -> None:
    """After a failed sync the writer repeats the batch in the next segment: the reader drops what it has seen."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    segment = torn_boot(segments, [make(n) for n in range(4)], appended=7)
    again = [frames.encode(n, make(n)) for n in range(2, 6)]
    loss = frames.encode(5, Loss(count=2, why="disk_full", at=1.0))
    segment.with_name(frames.segment_name(Boot("w0", "00000000000000aa"), 1)).write_bytes(
        frames.MAGIC + b"".join(again) + loss
    )
    with Committer(segments, lake) as committer:
        assert committer.run_once() == Committed(exchanges=6, lost=1, boots_over=1)
    assert stored(lake, Table.EXCHANGES, "seq") == list(range(6))
    assert verify(segments, lake).in_order


def test_a_boot_without_a_tally_is_a_finding(tmp_path: Path, make: Any) -> None:
    """Where the tally is gone nobody can say what is missing, and verify does not pretend to."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    segment = torn_boot(segments, [make(0)], appended=1)
    next(segments.glob("*.tally")).unlink()
    assert segment.exists()
    with Committer(segments, lake) as committer:
        assert committer.run_once().exchanges == 1
    assert "no_tally" in Lake(lake).table(Table.LOSSES).to_pyarrow_table().column("why").to_pylist()  # type: ignore[union-attr]


def test_a_lake_that_cannot_be_written_loses_nothing(tmp_path: Path, make: Any) -> None:
    """The committer says what is wrong and the records wait in the segments."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    lake.write_text("a file where the folder should be")
    writer = SegmentWriter(segments, "w0", mode="sync")
    writer.append(make(0))
    with Committer(segments, lake) as committer:
        with pytest.raises(CannotMeasure):
            committer.run_once()
        lake.unlink()
        assert committer.run_once().exchanges == 1
    writer.close()


def test_small_commits_are_compacted(tmp_path: Path, make: Any) -> None:
    """Many small commits do not leave many small files for every query to open."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    writer = SegmentWriter(segments, "w0", mode="sync")
    with Committer(segments, lake) as committer:
        for n in range(60):
            writer.append(make(n))
            committer.run_once()
    writer.close()
    assert len(Lake(lake).files(Table.EXCHANGES)) < 20
    assert stored(lake, Table.EXCHANGES, "seq") == list(range(60))


def test_costs_are_own_price_then_listed_price_then_unknown(make: Any) -> None:
    """A recorded cost stays; an unknown price is null and never 0; each cost names its source."""
    prices = Prices({"house": Price(input=1.0, output=2.0, cached=0.5, as_of="2026-01-01")})
    tokens = {"input_tokens": 1_000_000, "output_tokens": 500_000, "cached_tokens": 400_000}
    assert prices.cost(make(0, model_served="house", **tokens)) == (0.6 + 0.2 + 1.0, "config", "2026-01-01")
    assert prices.cost(make(0, model_served="house", cost_usd=0.25, **tokens))[:2] == (0.25, "record")
    assert prices.cost(make(0, model_served="nobody-knows", **tokens)) == (None, "", "")
    assert prices.cost(make(0, model_served="house")) == (None, "", "")
    listed = prices.cost(make(0, model_served="gpt-4-0613", **tokens))
    assert listed.usd == pytest.approx(30.0 + 30.0)
    assert listed.source.startswith("genai-prices ")


@pytest.mark.parametrize("model", ["gpt-4-0613", "claude-sonnet-4-6", "gemini-2.5-pro", "gpt-3.5-turbo-0301"])
@pytest.mark.parametrize("tokens", [0, 1, 199_999, 200_000, 200_001, 900_000])
def test_listed_prices_agree_with_the_lists_own_arithmetic(make: Any, model: str, tokens: int) -> None:
    """Tiers included."""
    at = datetime(2026, 6, 1, tzinfo=UTC)
    cost = Prices().cost(
        make(0, model_served=model, started_at=at.timestamp(), input_tokens=tokens, output_tokens=70, cached_tokens=0)
    )
    usage = genai_prices.Usage(input_tokens=tokens, output_tokens=70)
    expected = genai_prices.calc_price(usage, model, genai_request_timestamp=at).total_price
    assert cost.usd == pytest.approx(float(expected), rel=1e-9)


def test_the_committer_keeps_to_the_retention(tmp_path: Path, make: Any) -> None:
    """At its first run and once an hour rows of days that are over go, and the numbers stay accounted for."""
    now = [1_700_000_000.0]
    writer = SegmentWriter(tmp_path / "s", "w0")
    for number in range(4):
        writer.append(make(number, started_at=now[0] - 40 * 86_400 * (number % 2)))
    writer.close()
    keep = {Table.EXCHANGES: 30 * 86_400.0}
    with Committer(tmp_path / "s", tmp_path / "l", keep_s=keep, clock=lambda: now[0]) as committer:
        committer.run_once()
        assert Ledger(tmp_path / "l").counts("reply")[0].exchanges == 2
        now[0] += 31 * 86_400
        committer.run_once()
        assert Ledger(tmp_path / "l").counts("reply") == []
    found = verify(tmp_path / "s", tmp_path / "l")
    assert found.in_order
    assert found.lost() == {"expired": 4}
