"""What the configuration says about privacy holds for real processes."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.assign.pseudonym import pseudonym
from understudy.core.errors import DataCorrupt, UsageError
from understudy.core.records import Exchange
from understudy.core.routing import Privacy
from understudy.ledger.committer import Committer
from understudy.ledger.queries import Ledger
from understudy.ledger.sealing import VARIABLE, Seal
from understudy.ledger.segments import SegmentWriter
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import WORKLOAD, GatewayProcess, call, chat, table

from .test_commands import CONFIG, UNDERSTUDY, make, run

ANSWER = json.dumps({"choices": [{"index": 0, "message": {"content": "an answer"}, "finish_reason": "stop"}]}).encode()
JO = "jo@example.org"


async def answers(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(ANSWER, 200, b"content-type: application/json\r\n"))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the keys of everything that is started, the first of which seals."""

    def given(*names: str) -> None:
        packed = (base64.b64encode(name.encode() * 32).decode() for name in names)
        monkeypatch.setenv(VARIABLE, ",".join(packed))

    return given  # type: ignore[return-value]


def test_people_are_found_by_the_names_that_requests_give(tmp_path: Path) -> None:
    """who-served, export and erase take the plain name and reach what was kept under it and under its hash."""
    hashed = pseudonym(JO, b"a key")
    (tmp_path / "understudy.yaml").write_text(CONFIG + "privacy: {unit_key: a key}\n")
    writer = SegmentWriter(tmp_path / ".understudy" / "segments", "w0")
    for number, unit in enumerate([JO, hashed, "another"]):
        writer.append(make(number, unit=unit))
    writer.close()
    run(tmp_path, "ledger", "commit")
    assert json.loads(run(tmp_path, "who-served", "-u", JO, "--json"))["exchange"] == "x-000001"
    assert json.loads(run(tmp_path, "ledger", "export", "o.jsonl", "--unit", JO, "--json"))["exchanges"] == 2
    (tmp_path / "o.jsonl").unlink()
    assert json.loads(run(tmp_path, "ledger", "erase", "--unit", JO, "--json"))["exchanges"] == 2
    run(tmp_path, "who-served", "-u", JO, code=3)
    assert "no exchange" not in run(tmp_path, "who-served", "-u", "another")


def test_people_are_found_under_a_former_key(tmp_path: Path) -> None:
    """While the key is changed, who-served finds the newer of both names, and erase reaches both."""
    (tmp_path / "understudy.yaml").write_text(CONFIG + 'privacy: {unit_key: "new key,a key"}\n')
    writer = SegmentWriter(tmp_path / ".understudy" / "segments", "w0")
    for number, unit in enumerate([pseudonym(JO, b"a key"), pseudonym(JO, b"new key"), "another"]):
        writer.append(make(number, unit=unit))
    writer.close()
    run(tmp_path, "ledger", "commit")
    assert json.loads(run(tmp_path, "who-served", "-u", JO, "--json"))["exchange"] == "x-000001"
    assert json.loads(run(tmp_path, "ledger", "erase", "--unit", JO, "--json"))["exchanges"] == 2


def test_retention_comes_from_the_configuration(tmp_path: Path) -> None:
    """The commit itself removes what is too old; without a retention `expire` asks for one."""
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    run(tmp_path, "ledger", "expire", code=2)
    (tmp_path / "understudy.yaml").write_text(CONFIG + "retention: {exchanges: 30d}\n")
    writer = SegmentWriter(tmp_path / ".understudy" / "segments", "w0")
    writer.append(make(0))  # of 2023
    writer.close()
    run(tmp_path, "ledger", "commit")
    found = json.loads(run(tmp_path, "ledger", "verify", "--json"))
    assert (found["in_order"], found["committed"], found["lost"]) == (True, 0, {"expired": 1})
    assert json.loads(run(tmp_path, "ledger", "expire", "--json")) == {"exchanges": 0}


@pytest.mark.slow
def test_a_gateway_that_must_encrypt_does_not_serve_without_a_key(tmp_path: Path, keys: Any) -> None:
    """Without the key it says which variable is missing; with it nothing readable reaches the segments; a key that was
    changed reads both, and with the new one alone the old text does not open and nothing is lost.
    """

    async def main() -> None:
        async with raw_server(answers) as provider:
            first = replace(table(provider.base_url), privacy=Privacy(encrypted=True))
            async with GatewayProcess(tmp_path, first, workers=1) as gateway:
                await gateway.until_epoch(1)
                assert (await call(gateway.port, chat("a question"))).status == 200

    keys("a")
    asyncio.run(main())
    keys("b", "a")
    asyncio.run(main())
    keys()
    arguments = ("gateway", "--table", "routing/table.json", "--port", "0", "--workers", "1")
    refused = subprocess.run([UNDERSTUDY, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode in (2, 3)
    assert f"wants content encrypted, and {VARIABLE} is not set here" in refused.stderr
    keys("b", "a")
    with Committer(tmp_path / "segments", tmp_path / "lake") as committer:
        committer.run_once()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"a question" not in path.read_bytes(), path
    assert [each.answer for each in Ledger(tmp_path / "lake").exchanges(workload=WORKLOAD)] == ["an answer"] * 2
    with pytest.raises(DataCorrupt, match=VARIABLE):
        list(Ledger(tmp_path / "lake", seal=Seal([b"b" * 32])).exchanges(workload=WORKLOAD))
    keys()
    with pytest.raises(UsageError, match="encrypted"):
        list(Ledger(tmp_path / "lake").exchanges(workload=WORKLOAD))
    assert Ledger(tmp_path / "lake").counts(WORKLOAD)[0].exchanges == 2
    keys("b", "a")
    read: list[Exchange] = list(Ledger(tmp_path / "lake").exchanges(workload=WORKLOAD))  # type: ignore[arg-type]
    assert len(read) == 2
