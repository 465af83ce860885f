"""A careless user: each mistake has its exit code, its value and a remedy, and the last good state is kept."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from .world import Customer, Ran, World, eventually, world

W = "reply-drafting"
EVAL = ("eval", W, "--candidate", "small-2")
START = ("upgrade", "start", W, "--candidate", "small-2")
ASKED = "The hose of order G-1002 leaks. I want my money back."


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as `init` writes it."""
    folder = tmp_path_factory.mktemp("written")
    assert World(folder).run("init").code == 0
    return folder


@pytest.fixture
def here(written: Path, tmp_path: Path) -> Iterator[World]:
    """A copy of the example, without its provider."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    with world(tmp_path) as made:
        yield made


def refused(ran: Ran, code: int, *words: str) -> None:
    """One error with all of these words, in plain text, and nothing on standard output."""
    assert ran.code == code, ran.out + ran.err
    assert ran.err.startswith("error: ")
    assert "remedy: " in ran.err
    for word in words:
        assert word in ran.err, ran.err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("provider: local", "provider: loca", ("33:19", "'loca'", "did you mean local?")),
        ("incumbent: small-1", "incumbnt: small-1", ("30:5", "incumbnt", "did you mean incumbent?")),
        ("incumbent: small-1", "incumbent: small-3", ("small-3", "did you mean")),
        ("{margin: 2pt}", "&m {margin: 2pt}", ("anchor &m", "readable in place")),
        ("policy: interactive", "policy: !!python/object:os.system x", ("tag", "only plain data")),
        ("quality: {", "error_rate: {", ("'error_rate'", "did you mean errors?", "source: feedback:error_rate")),
        ("quality: {", "handoffs: {", ("'handoffs'", "latency", "source: feedback:handoffs")),
        ("prompts/reply.md", "prompts/v2.md", ("'prompts/v2.md' does not exist", "`text:`")),
        ("suites/reply.yaml]", "suites/none.yaml]", ("'suites/none.yaml' does not exist", "check the path")),
        ("sample: 100%", "sample: 120%", ("120%", "100%")),
    ],
)
def test_a_wrong_configuration(here: World, old: str, new: str, words: tuple[str, ...]) -> None:
    """`check` names file, line, value and remedy; with --json the same is one document."""
    here.edit("understudy.yaml", old, new)
    refused(here.run("check"), 2, "understudy.yaml:", *words)
    told = here.run("check", "--json")
    assert (told.code, told.err) == (2, "")
    assert told.json["error"] == "ConfigError"
    assert all(problem["remedy"] for problem in told.json["problems"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: " + "[" * 5000, ("nested deeper than 32 levels", "flatten")),
        ("a: x\n" * 300_000, ("larger than 1,048,576 bytes", "split it")),
    ],
)
def test_a_bomb_of_a_configuration(here: World, text: str, words: tuple[str, ...]) -> None:
    """Depth and size are refused with their limits."""
    (here.folder / "understudy.yaml").write_text(text)
    refused(here.run("check"), 2, *words)


def test_an_alias_bomb(here: World) -> None:
    """Aliases are refused unread."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (here.folder / "understudy.yaml").write_text("\n".join(lines))
    refused(here.run("check"), 2, "anchor &a0")


def test_a_gate_on_an_unknown_metric_starts_no_upgrade(here: World) -> None:
    """Such an upgrade would wait for data for ever, so it is refused before it begins."""
    here.edit("understudy.yaml", "quality: {", "error_rate: {")
    refused(here.run(*START), 2, "error_rate", "errors")
    assert not (here.folder / ".understudy" / "control.db").exists()


def test_a_missing_environment_variable(here: World) -> None:
    """`check` warns, and what needs the key says which variable is not set."""
    here.edit("understudy.yaml", "wire: openai\n", "wire: openai\n    api_key: ${UNDERSTUDY_NO_SUCH_KEY}\n")
    checked = here.run("check", "--json")
    assert checked.code == 0
    assert "UNDERSTUDY_NO_SUCH_KEY is not set" in checked.json["warnings"][0]["message"]
    refused(here.run(*EVAL), 2, "UNDERSTUDY_NO_SUCH_KEY is not set", "export UNDERSTUDY_NO_SUCH_KEY=")


@pytest.mark.slow(30)
def test_a_provider_that_is_not_there(here: World) -> None:
    """An eval cannot measure; an upgrade waits in its eval, says why, and goes on when the provider is back."""
    here.edit("understudy.yaml", ":9100/", ":1/")
    refused(here.run(*EVAL), 3, "127.0.0.1:1", "check provider local")
    here.start("up", "--port", "0", "--workers", "1", "--no-dashboard", "--json")
    assert here.run(*START).code == 0

    eventually(lambda: "127.0.0.1:1" in str(here.status(W)["upgrade"]["assessment"]), within=120)
    said = here.run("upgrade", "status", "--json").json
    assert "127.0.0.1:1" in str(said["upgrade"]["assessment"])
    assert said["upgrade"]["stage"] == "regress"
    assert said["serves"] == {"small-1": 1.0}
    _, replay = here.start("replay", "serve", "--recordings", "recordings/replies.jsonl", "--port", "0", "--json")
    here.edit("understudy.yaml", ":1/v1", f":{replay['port']}/v1")
    eventually(lambda: here.status(W)["upgrade"]["stage"] == "retune", within=120)
    assert here.run("upgrade", "status", "--json").json["upgrade"]["stage"] == "retune"


def test_a_wrong_key(here: World) -> None:
    """The provider's refusal is told with its status; the key is not."""
    command = [sys.executable, "-m", "understudy.testing.simulated", "--model", "small-1-2025-03-01"]
    command += ["--model", "small-2-2026-02-10", "--key", "right-key", "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as provider:
        assert provider.stdin
        assert provider.stdout
        port = json.loads(provider.stdout.readline())["port"]
        here.edit("understudy.yaml", ":9100/v1\n", f":{port}/v1\n    api_key: hunter2-wrong\n")
        ran = here.run(*EVAL)
        provider.stdin.close()
        provider.wait(10)
    refused(ran, 2, "401", "local", "api_key")
    assert "hunter2-wrong" not in ran.err + ran.out


def test_cases_and_slices_that_are_not_there(here: World) -> None:
    """A suite without cases, and a slice that nothing matches, are usage errors with what there is."""
    refused(here.run(*EVAL, "--slice", "nope"), 2, "'nope'", "delivery, refund")
    (here.folder / "suites" / "empty.yaml").write_text(
        "suite: empty\ncases: []\ngraders: [{name: a, type: exact, equals: reference}]\nscore: a\n"
    )
    refused(here.run(*EVAL, "--suite", "suites/empty.yaml"), 2, "suites/empty.yaml", "case")


def test_broken_recordings(here: World) -> None:
    """Every broken line is named with its number and what is wrong with it; nothing is served."""
    lines = (here.folder / "recordings" / "replies.jsonl").read_text().splitlines()
    broken = [*lines[:3], '{"case_id": "x", ', "[1]", '{"case_id": "q"}']
    (here.folder / "broken.jsonl").write_text("\n".join(broken) + "\n")
    ran = here.run("replay", "serve", "--recordings", "broken.jsonl", "--port", "0")
    refused(ran, 2, "broken.jsonl:4:", "broken.jsonl:5:1", "a list", "broken.jsonl:6:", "'model'")
    refused(here.run("replay", "serve", "--recordings", "none.jsonl", "--port", "0"), 2, "none.jsonl")


def test_a_candidate_that_is_the_incumbent(here: World) -> None:
    """By name it is refused; under another name its fingerprint gives it away."""
    refused(here.run("eval", W, "--candidate", "small-1"), 2, "small-1 is the incumbent")
    refused(here.run("upgrade", "start", W, "--candidate", "small-1"), 2, "small-1")
    here.edit("understudy.yaml", "model: small-2-2026-02-10", "model: small-1-2025-03-01")
    here.edit("understudy.yaml", "params: {max_tokens: 400}", "params: {temperature: 0.6, max_tokens: 400}")
    here.edit("understudy.yaml", "        reasoning: {effort: low}\n", "")
    refused(here.run(*START), 2, "small-2")


def test_two_upgrades_at_once(here: World) -> None:
    """The second is refused and the first goes on untouched."""
    assert here.run(*START).code == 0
    before = here.run("upgrade", "status", "--json").json["upgrade"]
    refused(here.run(*START), 2, "already has an upgrade under way", "upgrade status")
    after = here.run("upgrade", "status", "--json").json["upgrade"]
    assert after["id"] == before["id"]


@pytest.mark.slow
def test_a_routing_table_cut_in_half(tmp_path: Path) -> None:
    """A running gateway keeps serving by the last good table; a new one refuses to start."""
    with world(tmp_path) as here:
        here.example()
        assert here.run("controller", "--once").code == 0
        _, ready = here.start("gateway", "--port", "0", "--workers", "1", "--json")
        table = tmp_path / ".understudy" / "routing" / "table.json"
        whole = table.read_bytes()
        with closing(Customer("127.0.0.1", ready["port"])) as customer:
            assert customer.ask(W, ASKED, user="u1")[0] == 200
            table.write_bytes(whole[: len(whole) // 2])
            time.sleep(0.6)
            status, headers, _ = customer.ask(W, ASKED, user="u1")
            assert (status, headers["x-understudy-variant"]) == (200, "small-1")
        refused(here.run("gateway", "--port", "0"), 3, str(table), "publish")
        table.write_bytes(whole.replace(b'"epoch":1', b'"epoch":2', 1))
        refused(here.run("gateway", "--port", "0"), 3, "checksum", "publish")


def test_a_gateway_without_a_table_or_a_port(tmp_path: Path) -> None:
    """No table, and a port that is taken: each says what to do."""
    with world(tmp_path) as here:
        port = here.example()
        refused(here.run("gateway", "--port", "0"), 2, "no routing table", "understudy up")
        assert here.run("controller", "--once").code == 0
        refused(here.run("gateway", "--port", str(port)), 2, str(port), "--port")


@pytest.mark.slow
def test_a_configuration_broken_while_everything_runs(tmp_path: Path) -> None:
    """The last good one stays in force, `up` and `upgrade status` say so, and a rollback still works."""
    with world(tmp_path) as here:
        here.example()
        up, ready = here.start("up", "--port", "0", "--workers", "1", "--no-dashboard", "--json")
        good = (tmp_path / "understudy.yaml").read_text()
        (tmp_path / "understudy.yaml").write_text(good + "x: [\n")
        said = here.run("upgrade", "status")
        assert said.code == 2
        assert "last good configuration (epoch " in said.err
        assert "understudy.yaml:" in said.err
        with closing(Customer("127.0.0.1", ready["port"])) as customer:
            assert customer.ask(W, ASKED, user="u1")[0] == 200
        rolled = here.run("rollback", W, "--local", "--json")
        assert (rolled.code, rolled.json["effective"]) == (0, True)
        assert up.poll() is None


def test_a_state_folder_that_cannot_be_written(here: World) -> None:
    """A file where the folder has to be is named with what to do about it."""
    (here.folder / ".understudy").write_text("not a folder")
    for command in (("controller", "--once"), ("upgrade", "status"), START):
        refused(here.run(*command), 3, ".understudy", "move it away")
    assert (here.folder / ".understudy").read_text() == "not a folder"


def test_a_corrupt_control_store(here: World) -> None:
    """Commands say that traffic goes on and how to roll back; the rollback falls back to the kill file by itself."""
    assert here.run("controller", "--once").code == 0
    store = here.folder / ".understudy" / "control.db"
    for left in here.folder.glob(".understudy/control.db-*"):
        left.unlink()
    store.write_bytes(b"no database at all" * 100)
    for command in (("upgrade", "status"), ("history",), ("controller", "--once")):
        refused(here.run(*command), 3, "control.db", "--local")
    rolled = here.run("rollback", W)
    assert rolled.code == 0
    assert "using the kill file" in rolled.err
    assert (here.folder / ".understudy" / "routing" / f"rollback.{W}").exists()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Two megabytes of memory as a disk; skips where that may not be mounted."""
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "fill"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 4096)
        except OSError:
            return filler


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path) -> None:
    """Commands say so and lose nothing; users are answered all the while, and every record is accounted for."""
    with small_disk(tmp_path / "disk") as disk, world(disk) as here:
        here.example()
        assert here.run("controller", "--once").code == 0
        filler = fill(disk)
        refused(here.run(*START), 3, "control.db", "disk is full")
        refused(here.run(*EVAL), 3, "No space left on device", "make room")
        assert here.run("upgrade", "status", "--json").json["upgrade"] is None
        filler.unlink()
        _, ready = here.start("gateway", "--port", "0", "--workers", "1", "--json")
        with closing(Customer("127.0.0.1", ready["port"])) as customer:
            assert customer.ask(W, ASKED, user="u1")[0] == 200
            filler = fill(disk)
            seen = {customer.ask(W, ASKED, user=f"u{n}")[0] for n in range(100)}
            assert seen == {200}
            filler.unlink()
            time.sleep(0.5)
            assert customer.ask(W, ASKED, user="u1")[0] == 200
        here.stop()
        here.run("ledger", "commit")
        assert here.run(*START).code == 0
        books = here.run("ledger", "verify", "--json")
    assert books.json["given"] >= 102
    assert books.json["uncounted"] == 0, books.out
    assert books.code == (0 if books.json["in_order"] else 1)


@pytest.mark.slow
def test_a_second_one_beside_the_first(here: World) -> None:
    """A second `up` of a project is refused, names the first one and what to do; the first one serves on."""
    first, ready = here.start("up", "--port", "0", "--workers", "1", "--no-dashboard", "--json")
    second = here.run("up", "--port", str(ready["port"]), "--workers", "2")
    assert (second.code, second.out) == (2, "")
    assert f"runs already (process {first.pid})" in second.err
    assert "stop that one first" in second.err
    assert here.run("rollback", W, "--drill").code == 0


def test_a_port_that_another_program_has(here: World) -> None:
    """`up` names the part that cannot run, what is in its place, and what to do, and tries it again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        here.launch("up", "--port", str(port), "--workers", "1", "--no-dashboard")
        said = here.folder / "up.out"
        eventually(lambda: "starting it again" in said.read_text(), within=60)
        assert f":{port}: Address already in use; stop what uses that port" in said.read_text()
