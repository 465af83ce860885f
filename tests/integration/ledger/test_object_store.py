"""The ledger in an S3-compatible store: every command and engine, and two committers that race for one version."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from boto3.session import Session

from understudy.core.errors import CannotMeasure
from understudy.core.records import Exchange, Feedback, Record
from understudy.ledger.choice import Choice
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake, Score, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.queries import Ledger
from understudy.ledger.segments import SegmentWriter
from understudy.ledger.verify import verify

pytestmark = pytest.mark.slow

UNDERSTUDY = str(Path(sys.executable).parent / "understudy")
BUCKET = "acme-ledger"
KEYS = {"STORE_KEY": "an-access-key", "STORE_SECRET": "not-to-be-shown"}
BEGAN = 1_700_000_000.0


class Store(NamedTuple):
    """A running store: its address, a client of it, and what it was asked."""

    endpoint: str
    client: Any
    asked: Path

    def requests(self, **wanted: Any) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.asked.read_text().splitlines()]
        return [each for each in found if all(each[key] == value for key, value in wanted.items())]

    def keys(self, part: str) -> set[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix="prod")
        return {each["Key"] for each in found.get("Contents", []) if part in each["Key"]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with running(tmp_path) as found:
        yield found


@contextmanager
def running(tmp_path: Path, *how: str) -> Iterator[Store]:
    asked = tmp_path / "requests.jsonl"
    server = Path(__file__).with_name("object_store.py")
    with subprocess.Popen(
        [sys.executable, str(server), str(asked), *how], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
            client = Session(KEYS["STORE_KEY"], KEYS["STORE_SECRET"], region_name="us-east-1").client(
                "s3", endpoint_url=endpoint
            )
            client.create_bucket(Bucket=BUCKET)
            yield Store(endpoint, client, asked)
            client.close()
        finally:
            process.kill()


def lake(store: Store, choice: Choice | None = None) -> Lake:
    options = {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEYS["STORE_KEY"],
        "AWS_SECRET_ACCESS_KEY": KEYS["STORE_SECRET"],
        "AWS_ALLOW_HTTP": "true",
        "AWS_CONDITIONAL_PUT": "etag",
    }
    return Lake(f"s3://{BUCKET}/prod", options=options, choice=choice or Choice())


def make(number: int, **fields: Any) -> Exchange:
    given: dict[str, Any] = {"variant": "old", "served_variant": "old", "unit": f"u{number % 2}", "upgrade": "up-1"}
    given["started_at"] = BEGAN + number
    return Exchange(
        exchange=f"x-{number:06d}",
        workload="reply",
        epoch=1,
        generation="g",
        **(given | fields),
    )


def append(segments: Path, records: list[Record], worker: str = "w0") -> None:
    writer = SegmentWriter(segments, worker)
    for record in records:
        writer.append(record)
    writer.close()


def run(folder: Path, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [UNDERSTUDY, *arguments, "--json"], cwd=folder, env={**_environment(), **KEYS}, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert KEYS["STORE_SECRET"] not in done.stdout + done.stderr
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_every_command_works_on_a_store(tmp_path: Path, store: Store) -> None:
    """Commit, verify, who-served, export, erase and expire, with the keys from the environment."""
    (tmp_path / "understudy.yaml").write_text(
        f"""
providers: {{local: {{wire: openai, base_url: "http://127.0.0.1:9"}}}}
workloads: {{reply: {{incumbent: old, variants: {{old: {{provider: local, model: old-1}}}}}}}}
ledger:
  lake: s3://{BUCKET}/prod
  storage: {{endpoint: "{store.endpoint}", access_key: "${{STORE_KEY}}", secret_key: "${{STORE_SECRET}}"}}
"""
    )
    append(tmp_path / ".understudy" / "segments", [make(n, answer="private") for n in range(10)])
    assert run(tmp_path, "ledger", "commit")["exchanges"] == 10
    assert not (tmp_path / ".understudy" / "lake").exists()
    found = run(tmp_path, "ledger", "verify")
    assert (found["in_order"], found["committed"], found["waiting"]) == (True, 10, 0)
    assert run(tmp_path, "who-served", "-u", "u1")["exchange"] == "x-000009"
    assert run(tmp_path, "ledger", "export", "u1.jsonl", "--unit", "u1")["exchanges"] == 5
    old = store.keys("/exchanges/day=")
    assert run(tmp_path, "ledger", "erase", "--unit", "u1")["exchanges"] == 5
    assert old
    assert not old & store.keys("/exchanges/day="), "the files that held the unit are gone for good"
    assert run(tmp_path, "ledger", "verify")["lost"] == {"erased": 5}
    assert run(tmp_path, "ledger", "expire", "--keep", "exchanges=30d")["exchanges"] == 5
    assert run(tmp_path, "ledger", "verify")["in_order"]
    assert not store.keys("/exchanges/day=")


@pytest.mark.parametrize("choice", [Choice(), Choice("clickhouse", {"url": "chdb://memory"})], ids=lambda c: c.engine)
def test_questions_are_answered_from_a_store(tmp_path: Path, store: Store, choice: Choice) -> None:
    """The same answers as from a folder; a tick reads what is new; a lost file is an error and no smaller number."""
    records: list[Record] = [make(n, latency_s=n / 7, arm="candidate" if n % 3 else "incumbent") for n in range(40)]
    records += [
        Feedback(exchange=f"x-{n:06d}", name="thumb", value=1.0, at=BEGAN + n, workload="reply") for n in (1, 2)
    ]
    here = Lake(tmp_path / "here")
    for segments, where in ((tmp_path / "a", here), (tmp_path / "b", lake(store))):
        append(segments, records)
        with Committer(segments, where) as committer:
            committer.run_once()
        Ledger(where).add_scores([Score("x-000003", "reply", "quality", 0.5, BEGAN)])
    asked: dict[str, Any] = {"workload": "reply", "upgrade": "up-1", "cycle_s": 86_400.0}
    metrics = [MetricSpec("latency_s", "mean"), MetricSpec("thumb", "mean", "feedback:thumb")]
    near, far = Ledger(here), Ledger(lake(store, choice))
    assert sorted(far.sums(metrics, **asked)) == sorted(near.sums(metrics, **asked))
    assert list(far.exchanges(workload="reply", ungraded_by="quality")) == list(
        near.exchanges(workload="reply", ungraded_by="quality")
    )
    files = store.keys("/exchanges/day=")
    append(tmp_path / "b", [make(100, started_at=BEGAN + 3 * 86_400.0, latency_s=1.0)], "w1")
    with Committer(tmp_path / "b", lake(store)) as committer:
        committer.run_once()
    for key in files:
        store.client.delete_object(Bucket=BUCKET, Key=key)
    ticked = far.sums(metrics[:1], **asked)
    assert sum(row.n for row in ticked if row.slice == "") == 41
    with pytest.raises(CannotMeasure, match="cannot be read") as raised:
        Ledger(lake(store, choice)).counts("reply")
    assert KEYS["STORE_SECRET"] not in str(raised.value)


def test_tables_in_a_store_are_kept_small(tmp_path: Path, store: Store) -> None:
    """Many small files become one, and the small ones go once nobody can be reading them."""
    opened = lake(store)
    for number in range(4):
        append(tmp_path / "segments", [make(number)], f"w{number}")
        with Committer(tmp_path / "segments", opened) as committer:
            committer.run_once()
    before = store.keys("/exchanges/day=")
    assert len(before) == 4
    opened.compact(Table.EXCHANGES)
    assert len(opened.files(Table.EXCHANGES)) == 1
    assert before < store.keys("/exchanges/day=")
    assert opened.vacuum(Table.EXCHANGES, keep_hours=0) == 4
    assert len(store.keys("/exchanges/day=")) == 1
    assert verify(tmp_path / "segments", opened).in_order
    assert [row.exchanges for row in Ledger(opened).counts("reply")] == [4]


MACHINE = f"""
import sys
from pathlib import Path
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake

segments, batch, endpoint = sys.argv[1:]
options = {{
    "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_CONDITIONAL_PUT": "etag",
    "AWS_ACCESS_KEY_ID": {KEYS["STORE_KEY"]!r}, "AWS_SECRET_ACCESS_KEY": {KEYS["STORE_SECRET"]!r},
}}
with Committer(Path(segments), Lake("s3://{BUCKET}/prod", options=options), batch=int(batch)) as committer:
    committer.run_once()
"""


ROUNDS, EACH = 6, 3


def race(folder: Path, store: Store) -> tuple[list[int], list[str]]:
    """Two machines commit to one lake at once: their exit codes, and the commits that the store accepted."""
    append(folder / "first", [make(900_000)], "first")
    with Committer(folder / "first", lake(store)) as committer:
        committer.run_once()  # the table is there: what is raced for is a version of it
    machines = []
    for number, name in enumerate(("one", "two")):
        records: list[Record] = [make(number * 100_000 + n) for n in range(ROUNDS * EACH)]
        append(folder / name, records, name)
        arguments = [str(folder / name), str(EACH), store.endpoint]
        machines.append(subprocess.Popen([sys.executable, "-c", MACHINE, *arguments], stderr=subprocess.DEVNULL))
    codes = [machine.wait() for machine in machines]
    accepted = store.requests(method="PUT", status=200)
    return codes, [r["path"] for r in accepted if r["path"].endswith(".json") and "/exchanges/_delta_log/" in r["path"]]


def test_two_committers_that_race_lose_nothing(tmp_path: Path) -> None:
    """The store refuses the second of two equal versions, and its writer takes the next: every number of both machines
    is in the lake, once.
    """
    with running(tmp_path, "meeting") as store:
        nothing_is_lost(tmp_path, store)


def nothing_is_lost(tmp_path: Path, store: Store) -> None:
    codes, versions = race(tmp_path, store)
    assert codes == [0, 0]
    assert [r for r in store.requests(method="PUT", status=412) if "/_delta_log/" in r["path"]], "this was no race"
    assert len(set(versions)) == len(versions), "a version was written twice"
    for name in ("one", "two"):
        found = verify(tmp_path / name, lake(store))
        assert found.in_order, found
        assert sum(boot.committed for boot in found.boots) == 1 + 2 * ROUNDS * EACH
    assert sum(row.exchanges for row in Ledger(lake(store)).counts("reply")) == 1 + 2 * ROUNDS * EACH


def test_a_store_that_ignores_conditions_is_found_out(tmp_path: Path) -> None:
    """The defect that the race is there to find: with such a store versions are written over, and rows are gone."""
    with running(tmp_path, "meeting", "careless") as store:
        _, versions = race(tmp_path, store)
        assert len(set(versions)) < len(versions)
        assert sum(row.exchanges for row in Ledger(lake(store)).counts("reply")) < 1 + 2 * ROUNDS * EACH
