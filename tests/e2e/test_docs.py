"""The commands of the first-upgrade page and the examples, run as a reader would run them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from understudy.config.project import open_project

from .world import World, world

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- run(?:: (background|exit \d))? -->\n```sh\n(.*?)```", re.S)


class Block(NamedTuple):
    """A shell block of a page: `exit_code` is None for one that goes on in the background."""

    exit_code: int | None
    script: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page that are marked to be run, in order."""
    found = []
    for how, script in BLOCK.findall(page):
        found.append(Block(None if how == "background" else int(how[5:] or 0), script))
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Terminal:
    """Runs blocks one after the other in one folder, and ends what they left running."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder, self.ports = folder, ports
        self.running: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "SOURCE": str(ROOT),
            "COLUMNS": "100",
        }

    def run(self, block: Block) -> None:
        """Run it with this terminal's ports in place of the page's. Fails on another exit code than the page's."""
        script = self._ported(block.script)
        if block.exit_code is None:
            self._begin(script)
            return
        here = self.folder / ".pwd"
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{script}\npwd > '{here}'"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == block.exit_code, f"{script}\n{done.stdout}\n{done.stderr}"
        if here.exists():
            self.folder = Path(here.read_text().strip())
            here.unlink()
        for file in self.folder.glob("understudy.yaml"):
            file.write_text(self._ported(file.read_text()))

    def _ported(self, text: str) -> str:
        for shown, real in self.ports.items():
            text = re.sub(rf"\b{shown}\b", str(real), text)
        return text

    def _begin(self, script: str) -> None:
        """Start it, and wait until it listens on the port it names, where it is a server."""
        port = re.search(r"--port (\d+)", script)
        if port:
            self._end_listener(int(port.group(1)))
        process = subprocess.Popen(
            ["bash", "-c", f"exec {script}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process.args = script
        self.running.append(process)
        deadline = time.monotonic() + 90
        while port and not listens(int(port.group(1))):
            assert process.poll() is None, f"{script} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{script} does not listen"
            time.sleep(0.1)

    def _end_listener(self, port: int) -> None:
        """What the page says in words: stop the first provider."""
        for process in self.running:
            if f"--port {port}" in str(process.args):
                end(process)

    def close(self) -> None:
        for process in reversed(self.running):
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path, {"9100": free_port(), "8080": free_port()})
    try:
        yield made
    finally:
        made.close()


def test_a_wrong_exit_code_is_noticed(terminal: Terminal) -> None:
    """The runner itself: a block that ends otherwise than its page says fails."""
    (right, wrong) = blocks("<!-- run: exit 3 -->\n```sh\nexit 3\n```\n<!-- run -->\n```sh\nexit 1\n```\n")
    terminal.run(right)
    with pytest.raises(AssertionError, match="exit 1"):
        terminal.run(wrong)


@pytest.mark.slow(40)
def test_the_first_upgrade_page(terminal: Terminal) -> None:
    """From an empty folder to a candidate that has taken over, by the commands of the page alone."""
    page = blocks((ROOT / "docs" / "first-upgrade.md").read_text())
    assert len(page) >= 12
    for block in page:
        terminal.run(block)
    assert open_project(terminal.folder / "understudy.yaml").workload("reply-drafting").incumbent == "small-2-tuned"


def test_the_snapshots_page(terminal: Terminal) -> None:
    """From an empty folder to two models with snapshots of their own, by the commands of the page alone."""
    page = blocks((ROOT / "docs" / "snapshots.md").read_text())
    assert len(page) == 5
    terminal.environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p syrupy -p understudy.pytest_plugin",
    }
    for block in page:
        terminal.run(block)


@pytest.mark.slow(30)
def test_the_first_example(tmp_path: Path) -> None:
    """run.sh goes from the first eval to done."""
    folder = tmp_path / "desk"
    shutil.copytree(ROOT / "examples" / "01-first-upgrade", folder)
    ports = {"PROVIDER_PORT": str(free_port()), "GATEWAY_PORT": str(free_port())}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["./run.sh"],
        cwd=folder,
        env={**os.environ, **ports, "PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small-2-tuned has taken over" in done.stdout


@pytest.mark.slow
def test_the_example_of_a_search(tmp_path: Path) -> None:
    """run.sh goes from an eval that fails to a prompt that is proven, and to a variant in the configuration."""
    folder = tmp_path / "search"
    shutil.copytree(ROOT / "examples" / "03-prompt-search", folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["./run.sh"],
        cwd=folder,
        env={**os.environ, "PROVIDER_PORT": str(free_port()), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small-2-tuned is in understudy.yaml" in done.stdout
    tuned = open_project(folder / "understudy.yaml", {}).variant("reply-drafting", "small-2-tuned")
    assert "say when the refund arrives" in tuned.system_prompt
    assert "name the card it goes back to" in tuned.system_prompt


@pytest.mark.slow
def test_the_sdk_example(tmp_path: Path) -> None:
    """The official SDK gets an answer through the gateway, with the id of the exchange; the page on ours works too."""
    example = ROOT / "examples" / "02-openai-sdk"
    with world(tmp_path) as here:
        base_url = serving(here)
        done = subprocess.run(
            [sys.executable, str(example / "app.py"), base_url, "When does order G-2001 arrive?"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        (page,) = re.findall(r"<!-- run -->\n```python\n(.*?)```", (ROOT / "docs" / "sdk.md").read_text(), re.S)
        documented = subprocess.run(
            [sys.executable, "-c", page + "\nassert sdk.flush() and sdk.counts() == {'sent': 1, 'lost': 0}\n"],
            cwd=tmp_path,
            env={**os.environ, "UNDERSTUDY_GATEWAY": base_url},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "G-2001" in done.stdout
    assert "answered by small-1, exchange " in done.stdout
    assert (documented.returncode, documented.stderr) == (0, "")
    assert "G-2001" in documented.stdout


def serving(here: World) -> str:
    """The init example with its recorded provider and a gateway; the gateway's base_url."""
    assert here.run("init").code == 0
    _, replay = here.start("replay", "serve", "-r", "recordings/replies.jsonl", "--json")
    file = here.folder / "understudy.yaml"
    file.write_text(file.read_text().replace(":9100/", f":{replay['port']}/"))
    _, up = here.start("up", "--port", "0", "--workers", "1", "--no-dashboard", "--json")
    return f"{up['url']}/v1"
