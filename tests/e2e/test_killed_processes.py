"""Controller, committer and a gateway worker killed with SIGKILL in mid-upgrade, under live traffic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from .world import Customer, World, eventually, world

CONFIG = """
providers:
  simulated: {{wire: openai, base_url: "{base_url}"}}
prices:
  m1: {{input: 1, output: 2}}
  m2: {{input: 1, output: 2}}
workloads:
  reply:
    unit: [header:x-user-id]
    incumbent: old
    policy: demo
    canary:
      ladder: [{{share: 30%, hold: 8s}}, {{share: 100%, hold: 0s}}]
    gates:
      errors: {{margin: 10pt}}
      latency: {{margin: 30pt}}
    variants:
      old: {{provider: simulated, model: m1}}
      new: {{provider: simulated, model: m2}}
    suites: [suite.yaml]
"""

SUITE = """
suite: reply
graders: [{name: closing, type: contains, text: Kind regards}]
score: closing
cases:
"""


@contextmanager
def simulated(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "understudy.testing.simulated", "--model", "m1", "--model", "m2", "--with-parent"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield json.loads(process.stdout.readline())["base_url"]
        process.stdin.close()
        process.wait(10)


class Crowd:
    """Four customers who ask as fast as they are answered; `seen` counts their answers by status."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[int] = Counter()
        self.broken = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def __enter__(self) -> Crowd:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(120)

    def _ask(self, part: int) -> None:
        with closing(Customer("127.0.0.1", self.port)) as customer:
            number = 0
            while not self.stop.is_set():
                number += 1
                user = f"user-{part}-{number % 200}"
                status, _, _ = customer.ask("reply", f"Where is order {part}{number:05d}?", user=user)
                self.seen[status] += 1
                time.sleep(0.01)
            self.broken += customer.broken


def workers(here: World) -> dict[str, int]:
    """Living gateway workers, name to process id."""
    found: dict[str, int] = {}
    for beat in (here.folder / ".understudy" / "routing" / "workers").glob("*.json"):
        try:
            document = json.loads(beat.read_text())
        except FileNotFoundError:  # its worker has just left
            continue
        if Path(f"/proc/{document['pid']}").exists():
            found[beat.stem] = document["pid"]
    return found


CHILDREN = ("controller", "ledger", "gateway", "dashboard")


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """The processes `understudy up` looks after, by their verb."""
    found: dict[str, int] = {}
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            command = child.cmdline()
            found |= {verb: child.pid for verb in CHILDREN if verb in command}
    return found


def stage(here: World) -> dict[str, Any]:
    upgrade: dict[str, Any] = here.run("upgrade", "status", "reply", "--json").json["upgrade"]
    return upgrade


@pytest.mark.alone
@pytest.mark.slow
def test_the_upgrade_goes_on_and_no_customer_notices(tmp_path: Path) -> None:
    """Each is killed and comes back; every answer is a 200, the plan ends in done, and no record is lost uncounted."""
    cases = [json.dumps({"id": f"c{i}", "prompt": f"Where is order {i:04d}?"}) for i in range(160)]
    (tmp_path / "suite.yaml").write_text(SUITE + "".join(f"  - {case}\n" for case in cases))
    with simulated(tmp_path) as base_url, world(tmp_path) as here:
        (tmp_path / "understudy.yaml").write_text(CONFIG.format(base_url=base_url))
        up, ready = here.start("up", "--port", "0", "--workers", "2", "--json")
        with Crowd(ready["port"]) as crowd:
            assert here.run("upgrade", "start", "reply", "--candidate", "new").code == 0
            eventually(lambda: stage(here)["stage"] == "canary", within=180)
            before = children(up)
            dead = {verb: before[verb] for verb in ("controller", "ledger", "dashboard")}
            for killed in dead.values():
                os.kill(killed, signal.SIGKILL)
            victim, pid = sorted(workers(here).items())[0]
            os.kill(pid, signal.SIGKILL)
            eventually(
                lambda: all(children(up).get(verb, killed) != killed for verb, killed in dead.items()),
                within=180,
            )
            assert children(up)["gateway"] == before["gateway"]
            eventually(lambda: len(workers(here)) == 2 and workers(here).get(victim) != pid, within=180)
            eventually(lambda: stage(here)["stage"] == "done", within=240, every=0.5)
        assert set(crowd.seen) == {200}, crowd.seen
        assert crowd.seen[200] > 500
        assert crowd.broken <= 8, "only connections of the killed worker may break"
        up.terminate()
        up.wait(90)
        assert here.run("ledger", "commit").code == 0
        verified = here.run("ledger", "verify", "--json")
    assert verified.code == 0, verified.out
