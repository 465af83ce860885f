"""A newcomer's first hour with the example of `init`: every command as documented, and the kill file at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from .world import Customer, eventually, world

W = "reply-drafting"
ASKED = "The hose of order G-1002 leaks. I want my money back."

JSON_COMMANDS: list[tuple[tuple[str, ...], int]] = [
    (("check",), 0),
    (("plan", W), 0),
    (("eval", W, "--candidate", "small-2"), 1),
    (("upgrade", "status"), 0),
    (("upgrade", "start", W, "--candidate", "small-2"), 0),
    (("controller", "--once"), 0),
    (("upgrade", "status"), 0),
    (("history",), 0),
    (("rollback", W, "--drill"), 0),
    (("rollback", W), 0),
    (("upgrade", "status"), 1),
    (("who-served", "--user", "u1"), 3),
    (("ledger", "verify"), 0),
    (("shadow", "report"), 3),
    (("upgrade", "promote", W), 2),
    (("upgrade", "start"), 2),
    (("chekc",), 2),
]


@pytest.mark.alone
@pytest.mark.slow
def test_every_command_prints_one_document(tmp_path: Path) -> None:
    """With --json one document and nothing else on standard output, nothing on standard error, the documented code."""
    with world(tmp_path) as here:
        here.example()
        for command, code in JSON_COMMANDS:
            ran = here.run(*command, "--json")
            assert ran.code == code, (command, ran)
            assert isinstance(json.loads(ran.out), dict), command
            assert ran.err == "", (command, ran.err)


def test_what_init_prints_can_be_done(tmp_path: Path) -> None:
    """The commands that `init` prints work as it says; a second `init` overwrites nothing."""
    with world(tmp_path) as here:
        port = here.example()
        printed = here.run("init", "other").out
        assert "understudy check" in printed
        assert f"understudy eval {W} --candidate small-2" in printed
        checked = here.run("check")
        assert (checked.code, checked.err) == (0, "")
        assert "in order, no warnings" in checked.out
        ran = here.run("eval", W, "--candidate", "small-2")
        assert ran.code == 1
        assert "RETUNE" in ran.out
        assert max(map(len, ran.out.splitlines())) <= 120
        before = (tmp_path / "understudy.yaml").read_text()
        again = here.run("init")
        assert again.code == 2
        assert "nothing was written" in again.err
        assert (tmp_path / "understudy.yaml").read_text() == before
        assert f":{port}/" in before


def test_help_looks_the_same_everywhere(tmp_path: Path) -> None:
    """Every verb's help fits 80 columns, has no boxes, and shows its options."""
    with world(tmp_path) as here:
        listed = re.findall(r"^  ([a-z][a-z-]+) +[A-Z]", here.run("--help").out.partition("Begin:")[2], re.MULTILINE)
        assert len(listed) >= 17
        for verb in listed:
            shown = here.run(verb, "--help")
            assert shown.code == 0
            assert shown.out.startswith(f"Usage: understudy {verb} ")
            assert max(map(len, shown.out.splitlines())) <= 80, verb
            assert "╭" not in shown.out
            assert "completion" not in shown.out
            assert "..." not in shown.out.replace("[ARGS]...", "").replace("[FILE]...", "")


def test_what_is_empty_says_so(tmp_path: Path) -> None:
    """Before anything has happened, a watch ends at once with a whole line, and an erasure of nobody says that the name
    may be wrong."""
    with world(tmp_path) as here:
        here.example()
        watched = here.run("upgrade", "status", "--watch")
        assert (watched.code, watched.out) == (0, f"{W}: no upgrade yet; serves small-1 100 %\n")
        erased = here.run("ledger", "erase", "--unit", "nobody")
        assert erased.code == 0
        assert "nothing is kept of 'nobody': check the name" in erased.out


def test_a_wrong_word_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt verb, sub-verb and workload each get the name that was meant."""
    with world(tmp_path) as here:
        here.example()
        for command, said in (
            (("chekc",), "did you mean `understudy check`?"),
            (("upgrade", "strat", W), "start"),
            (("rollback", "reply-draftin"), "did you mean reply-drafting?"),
        ):
            ran = here.run(*command)
            assert ran.code == 2
            assert said in ran.err


@pytest.mark.alone
@pytest.mark.slow
def test_the_kill_file_with_everything_else_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rollback --local` works with a live gateway and a dead controller, then with nothing alive; the next gateway
    obeys."""
    with world(tmp_path) as here:
        here.example()
        assert here.run("controller", "--once").code == 0
        controller = here.launch("controller")
        eventually(lambda: "ready" in (tmp_path / "controller.out").read_text(), within=120)
        gateway, ready = here.start("gateway", "--port", "0", "--workers", "2", "--json")
        os.kill(controller.pid, signal.SIGKILL)
        controller.wait(60)
        (tmp_path / ".understudy" / "control.db").write_bytes(b"gone" * 100)
        with closing(Customer("127.0.0.1", ready["port"])) as customer:
            assert customer.ask(W, ASKED, user="u1")[0] == 200
            live = here.run("rollback", W, "--local", "--why", "a bad feeling", "--json")
            assert live.code == 0
            assert (live.json["effective"], live.json["workers"]) == (True, 2)
            status, headers, _ = customer.ask(W, ASKED, user="u1")
            assert (status, headers["x-understudy-variant"]) == (200, "small-1")
        gateway.terminate()
        gateway.wait(90)
        (tmp_path / ".understudy" / "routing" / f"rollback.{W}").unlink()
        (tmp_path / "understudy.yaml").write_text("broken: [")
        began = time.monotonic()
        dead = here.run("rollback", W, "--local")
        took = time.monotonic() - began
        assert dead.code == 0
        assert "the next one that starts obeys" in dead.out
        assert (tmp_path / ".understudy" / "routing" / f"rollback.{W}").exists()
        with capsys.disabled():
            print(
                f"\n  kill file: {1000 * live.json['seconds']:.0f} ms to both workers' word; {took:.1f} s with all dead"
            )
        table = str(tmp_path / ".understudy" / "routing" / "table.json")
        _, fresh = here.start("gateway", "--table", table, "--port", "0", "--workers", "1", "--json")
        with closing(Customer("127.0.0.1", fresh["port"])) as customer:
            status, headers, _ = customer.ask(W, ASKED, user="u1")
            assert (status, headers["x-understudy-variant"]) == (200, "small-1")
        eventually(lambda: here.run("rollback", W, "--local", "--json").json["effective"], within=90)
