"""One lake with all that a query can meet, and each engine that reads it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests import records
from tests.records import fill

from understudy.core.records import Exchange, Feedback, Record
from understudy.ledger.choice import Choice
from understudy.ledger.lake import EvalScore, Lake, Score, Table, in_condition
from understudy.ledger.queries import Ledger

DAY = 86_400.0
BEGAN = 19_675 * DAY
CHOICES = {
    "duckdb": Choice(),
    "clickhouse": Choice("clickhouse", {"url": "chdb://memory"}),
    "spark": Choice(
        "spark",
        {
            "master": "local[2]",
            "spark.driver.memory": "1g",
            "spark.sql.shuffle.partitions": "1",
            # Every query runs once: compiling it well takes longer than running it badly.
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.sql.codegen.wholeStage": "false",
        },
    ),
}


def exchange(number: int, **fields: Any) -> Exchange:
    return records.exchange(number, **({"started_at": BEGAN + number} | fields))


def traffic(rng: random.Random, count: int, first: int = 0, day: int | None = None) -> Iterator[Record]:
    """Three days of both arms, with copies, bursts, missing figures, awkward text and feedback that comes late."""
    for number in range(first, first + count):
        arm = rng.choice(["incumbent", "candidate"])
        upgrade = rng.choice(["up-1", "up-1", "up-1", ""])
        yield exchange(
            number,
            workload=rng.choice(["reply", "reply", "reply", "007"]),
            started_at=BEGAN + (rng.randrange(3) if day is None else day) * DAY + rng.random() * DAY / 2,
            epoch=rng.randrange(1, 3),
            upgrade=upgrade,
            stage=rng.choice(["shadow", "canary", "soak"]) if upgrade else "",
            step=rng.randrange(2) if upgrade else -1,
            arm=arm,
            reason=rng.choice(["below_share", "above_share", "breaker_open"]),
            variant="new" if arm == "candidate" else "old",
            served_variant="new" if arm == "candidate" and rng.random() < 0.9 else "old",
            masked=rng.random() < 0.1,
            unit=rng.choice(["", "a", "b'; --", "Ünï \\ 'c'", "d"]),
            slices=rng.choice([{}, {"k": "v"}, {"k": "it's", "l": "x=y,{z}"}]),
            error=rng.choice(["", "", "", "timeout", "client_gone"]),
            latency_s=rng.choice([None, 0.0, rng.expovariate(1.0), rng.expovariate(1.0)]),
            ttft_s=rng.choice([None, rng.random()]),
            input_tokens=rng.choice([None, rng.randrange(2_000)]),
            output_tokens=rng.choice([None, rng.randrange(400)]),
            cost_usd=rng.choice([None, rng.random() / 100]),
            model_requested="reply",
            request=rng.choice([b"", b"\x00\xff not text", "{'größe': 1}".encode()]),
            answer=rng.choice(["", "plain", "naïve 'quoted' \\ text\n"]),
        )
        if rng.random() < 0.2:
            yield exchange(
                number + 500_000,
                workload="reply",
                started_at=BEGAN + (0 if day is None else day) * DAY + rng.random() * DAY,
                role="shadow",
                pair=f"x-{number:06d}",
                arm="candidate",
                fingerprint=rng.choice(["f-1", "f-2"]),
                error=rng.choice(["", "", "shadow_busy"]),
            )
        if rng.random() < 0.5:
            about = f"x-{rng.randrange(number + 1):06d}"
            thumb = rng.choice([0.0, 1.0, 0.25])
            yield Feedback(exchange=about, name="thumb", value=thumb, at=BEGAN + number, workload="reply")


def eval_scores(rng: random.Random) -> Iterator[EvalScore]:
    """Two evals of two workloads; some answers could not be scored, and one eval has a grader of its own."""
    for number in range(40):
        for arm, variant in (("incumbent", "old"), ("candidate", "new")):
            for grader in ("", "alike") if number % 2 else ("",):
                yield EvalScore(
                    eval=f"e-{number % 2}",
                    workload=rng.choice(["reply", "reply", "007"]),
                    arm=arm,
                    variant=variant,
                    fingerprint=f"f-{variant}",
                    suite=rng.choice(["first", "second's"]),
                    case_id=f"c-{number // 4}",
                    slices=rng.choice([(), ("k=v", "l=it's")]),
                    repeat=number % 4,
                    grader=grader,
                    score=rng.choice([None, rng.random()]),
                    at=BEGAN + number,
                )


def as_an_older_version_wrote_it(lake: Lake) -> None:
    """Begin the table of exchanges with a file that lacks columns of today."""
    from deltalake import write_deltalake

    from understudy.ledger import rows
    from understudy.ledger.frames import Boot
    from understudy.ledger.prices import Prices
    from understudy.ledger.rows import Numbered

    old = [exchange(900_000 + n, unit="old", latency_s=0.5) for n in range(3)]
    table = rows.exchanges(Numbered(Boot("w9", "00"), range(3), old), Prices(None)).drop_columns(
        ["not_carried", "cost_as_of", "schema_version"]
    )
    write_deltalake(lake.uri(Table.EXCHANGES), pa.table(table), partition_by=["day", "workload"])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segments and lake; some rows came from an older version, some were removed, some files were compacted."""
    where = tmp_path_factory.mktemp("ledger with space")
    lake = Lake(where / "lake")
    as_an_older_version_wrote_it(lake)
    rng = random.Random(7)
    fill(where, traffic(rng, 300))
    lake.compact(Table.EXCHANGES)
    fill(where, traffic(rng, 100, first=300))
    graded = [Score(f"x-{n:06d}", "reply", "quality", rng.random(), BEGAN) for n in range(0, 400, 3)]
    Ledger(lake).add_scores(graded)
    Ledger(lake).add_eval_scores(eval_scores(rng))
    lake.delete_where(Table.EXCHANGES, in_condition("exchange", ["x-000005", "x-000006"]))
    return where


@pytest.fixture(scope="session")
def reference(folder: Path) -> Ledger:
    """The engine whose answers are counted by hand elsewhere."""
    return Ledger(Lake(folder / "lake"))


NO_JAVA = not (shutil.which("java") or os.environ.get("JAVA_HOME"))
NEEDS_JAVA = pytest.mark.skipif(NO_JAVA, reason="Spark needs Java: install openjdk-17-jre-headless")


@pytest.fixture(scope="session", params=["clickhouse", "duckdb", pytest.param("spark", marks=NEEDS_JAVA)])
def choice(request: pytest.FixtureRequest) -> Choice:
    found: Choice = CHOICES[request.param]
    return found


@pytest.fixture(scope="session")
def ledger(folder: Path, choice: Choice) -> Iterator[Ledger]:
    opened = Ledger(Lake(folder / "lake", choice=choice))
    yield opened
    opened.close()
