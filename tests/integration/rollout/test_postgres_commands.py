"""The commands on a control store in PostgreSQL, called as a person types them, and what they say when it is away."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.postgres import PASSWORD, USER, Cluster

from understudy.cli.main import app

from .conftest import CONFIG, suite

NAME = "CONTROL_STORE"


@dataclass
class Desk:
    """A project whose store is a database, and somebody who types."""

    folder: Path
    database: str
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, Any]:
        """The exit code and the document that a command prints."""
        try:
            code = app([*arguments, "--json", "--config", str(self.folder)], standalone_mode=False)
        except SystemExit as left:
            code = left.code
        said = self.capture.readouterr()
        for secret in (PASSWORD, "p%40ss"):
            assert secret not in said.out + said.err
        return int(code or 0), json.loads(said.out)


@pytest.fixture
def desk(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    database = postgres.database()
    written = CONFIG.format(base_url="http://127.0.0.1:9")
    (tmp_path / "understudy.yaml").write_text(f"{written}store: ${{{NAME}}}\n")
    (tmp_path / "suite.yaml").write_text(suite(3))
    monkeypatch.setenv(NAME, postgres.url(database))
    return Desk(tmp_path, database, capsys)


def test_every_command_works_on_it(desk: Desk, postgres: Cluster) -> None:
    """From before the first upgrade to its rollback, and no file of a store appears beside it."""
    assert desk.run("alerts", "list") == (0, {"alerts": []})
    assert desk.run("models")[0] == 1  # m1 is no exact name of a model
    assert desk.run("report")[1]["message"] == "there was no upgrade yet"
    assert desk.run("shadow", "report", "reply")[1]["message"] == "workload reply has had no upgrade yet"
    assert desk.run("ledger", "verify")[0] == 0
    assert postgres.sql(desk.database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    code, started = desk.run("upgrade", "start", "reply", "--candidate", "new", "--why", "cheaper", "--by", "ada")
    assert (code, started["candidate"]) == (0, "new")
    code, turn = desk.run("controller", "--once")
    assert (code, turn["written"]) == (0, [f"{started['upgrade']} opened"])
    assert desk.run("upgrade", "pause", "reply", "--why", "lunch")[0] == 0
    code, status = desk.run("upgrade", "status", "reply")
    assert (status["upgrade"]["stage"], status["upgrade"]["paused"]) == ("regress", True)
    assert desk.run("rollback", "reply", "--drill")[0] == 0
    code, rolled = desk.run("rollback", "reply", "--why", "enough", "--by", "ada")
    assert (code, rolled["answer"]) == (0, "rolled_back: enough")
    assert desk.run("ledger", "commit")[1]["decisions"] == 5
    code, history = desk.run("history", "reply", "--all")
    assert [each["event"] for each in history["changes"]][-1] == "rolled_back"
    code, pack = desk.run("report", "reply", "--out", str(desk.folder / "pack"))
    assert (code, pack["in_order"]) == (0, True)
    code, erased = desk.run("ledger", "erase", "--unit", "u-17")
    assert (code, erased["mentioned"]) == (0, [])
    assert desk.run("controller", "--reseal")[0] == 0
    assert not (desk.folder / ".understudy" / "control.db").exists()


def test_an_erasure_names_what_the_database_says_of_somebody(desk: Desk, postgres: Cluster) -> None:
    """The journal is never changed, so a person is told which of its entries mention the unit."""
    desk.run("upgrade", "start", "reply", "--candidate", "new", "--why", 'complaint of "u-17"')
    code, erased = desk.run("ledger", "erase", "--unit", "u-17")
    (mentioned,) = erased["mentioned"]
    assert code == 1 and mentioned.startswith(
        f"postgresql://{USER}@127.0.0.1:{postgres.port}/{desk.database}: event 1 of"
    )


def test_check_shows_the_address_without_the_password(
    desk: Desk, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `check` shows is the address; a variable that is not set is a warning there and an error elsewhere."""
    code, found = desk.run("check")
    assert (code, found["store"]) == (0, f"postgresql://{USER}@127.0.0.1:{postgres.port}/{desk.database}")
    monkeypatch.delenv(NAME)
    code, found = desk.run("check")
    assert (code, found["store"]) == (0, f"${NAME}")
    assert any(f"{NAME} is not set here" in warning["message"] for warning in found["warnings"])
    code, refused = desk.run("upgrade", "status", "reply")
    assert (code, refused["problems"][0]["line"], refused["problems"][0]["column"]) == (2, 18, 8)


def test_without_its_database_a_command_says_so_and_a_rollback_goes_on(desk: Desk, postgres: Cluster) -> None:
    """Exit code 3 with the way out; `rollback` takes the kill file by itself, and `--local` asks for no store."""
    desk.run("upgrade", "start", "reply", "--candidate", "new")
    postgres.stop()
    try:
        code, refused = desk.run("upgrade", "status", "reply")
        assert (code, refused["error"]) == (3, "StoreUnavailable")
        assert desk.database in refused["message"] and "rollback WORKLOAD --local" in refused["remedy"]
        kill = desk.folder / ".understudy" / "routing" / "rollback.reply"
        here = "the kill file forces the incumbent"
        elsewhere = " on this machine alone: roll back on each of the others too"
        for arguments, answer in ((("reply",), here + elsewhere), (("reply", "--local"), here)):
            code, done = desk.run("rollback", *arguments)
            assert (code, done["answer"]) == (0, answer)
            kill.unlink()
    finally:
        postgres.start()
