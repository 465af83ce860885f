"""The providers as processes of their own: ready line, live switching, journal, recorded latency, bad files."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from understudy.testing.writer import CLOSING

DATA = Path(__file__).parents[4] / "shared" / "data" / "llmdrift"
REPLAY = [sys.executable, "-m", "understudy", "replay", "serve", "--recordings"]
SIMULATED = [sys.executable, "-m", "understudy.testing.simulated"]


@contextmanager
def started(*command: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def call(port: int, method: str, path: str, body: object = None) -> tuple[int, Any, float]:
    """Status, decoded answer, seconds."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"content-type": "application/json"})
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, json.loads(raw), time.monotonic() - begun


def chat(port: int, model: str, prompt: str) -> tuple[int, Any, float]:
    return call(
        port, "POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": prompt}]}
    )


def recordings(folder: Path, latency_s: float = 0.8) -> Path:
    file = folder / "r.jsonl"
    row = {"case_id": "1", "model": "m", "prompt": "Hello?", "output": "Hello.", "output_tokens": 77}
    row["latency_s"] = latency_s
    file.write_text(json.dumps(row) + "\n")
    return file


def test_replay_serves_what_was_recorded_and_ends_on_sigterm(tmp_path: Path) -> None:
    """One JSON ready line with the port; recorded text and tokens without the recorded wait; a clean end."""
    with started(*REPLAY, str(recordings(tmp_path, 3600)), "--port", "0", "--json") as (ready, process):
        assert ready["models"] == ["m"]
        status, answer, _ = chat(ready["port"], "m", "Hello?")
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "Hello.")
        assert answer["usage"]["completion_tokens"] == 77
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_replay_takes_as_long_as_recorded_when_told(tmp_path: Path) -> None:
    """--latency-scale 1 takes the recorded 0.8 s."""
    with started(*REPLAY, str(recordings(tmp_path)), "--latency-scale", "1", "--json") as (ready, _):
        assert chat(ready["port"], "m", "Hello?")[2] > 0.75


def test_replay_names_the_nearest_known(tmp_path: Path) -> None:
    """An unknown prompt gets a 404 with the nearest recorded one; an unknown model the nearest model."""
    with started(*REPLAY, str(recordings(tmp_path)), "--json") as (ready, _):
        status, answer, _ = chat(ready["port"], "m", "Hello? Anybody?")
        assert status == 404
        assert "'Hello?'" in answer["error"]["message"]
        status, answer, _ = chat(ready["port"], "mm", "Hello?")
        assert status == 404
        assert "the nearest is 'm'" in answer["error"]["message"]


def test_replay_refuses_broken_and_missing_files_and_taken_ports(tmp_path: Path) -> None:
    """A configuration error names file and line, exit code 2, and no traceback."""
    good = recordings(tmp_path)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(good.read_text() + '{"case_id": "2", "model":\n')
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for file, words in ((broken, "broken.jsonl:2"), (tmp_path / "none.jsonl", "none.jsonl"), (empty, "no recordings")):
        done = subprocess.run([*REPLAY, str(file)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    with started(*REPLAY, str(good), "--json") as (ready, _):
        again = [*REPLAY, str(good), "--port", str(ready["port"]), "--json"]
        done = subprocess.run(again, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 2
        assert "cannot listen" in json.loads(done.stdout)["message"]


def test_faults_are_switched_while_it_runs_and_the_journal_tells() -> None:
    """A fault shows in the next answer after it is switched on; the journal has each call with its status."""
    with started(*SIMULATED, "--model", "m", "--model", 'n={"closing": false}') as (ready, _):
        port = ready["port"]
        prompt = "[refund] where is my money?"
        assert CLOSING in chat(port, "m", prompt)[1]["choices"][0]["message"]["content"]
        assert CLOSING not in chat(port, "n", prompt)[1]["choices"][0]["message"]["content"]
        status, shown, _ = call(port, "POST", "/_control", {"model": "m", "set": {"closing": False}})
        assert (status, shown["m"]["closing"]) == (200, False)
        assert CLOSING not in chat(port, "m", prompt)[1]["choices"][0]["message"]["content"]
        call(port, "POST", "/_control", {"model": "m", "set": {"error_share": 1.0, "error_status": 529}})
        assert chat(port, "m", prompt)[0] == 529
        status, refused, _ = call(port, "POST", "/_control", {"model": "m", "set": {"closin": True}})
        assert (status, "'closing'" in refused["error"]["message"]) == (400, True)
        journal = call(port, "GET", "/_journal?model=m&last=10")[1]
        assert [seen["status"] for seen in journal["calls"]] == [200, 200, 529]
        assert journal["count"] == {"m": 3, "n": 1}
        assert journal["last_answer_at"]["m"] == pytest.approx(journal["calls"][1]["finished_at"])


def test_a_simulated_provider_ends_with_its_parent() -> None:
    """With --with-parent, closing its standard input ends it: no orphan survives a killed demonstration."""
    with started(*SIMULATED, "--model", "m", "--with-parent") as (_, process):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the recordings are not at {DATA}")
def test_every_recorded_answer_comes_back_unchanged() -> None:
    """Real recordings: each of the 200 leetcode answers is served exactly as recorded."""
    file = DATA / "leetcode.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    with started(*REPLAY, str(file), "--json") as (ready, _):
        assert ready["answers"] == len(rows)
        for row in rows:
            status, answer, _ = chat(ready["port"], row["model"], row["prompt"])
            assert status == 200
            assert (answer["choices"][0]["message"]["content"] or "") == row["output"]
            assert answer["usage"]["completion_tokens"] == row["output_tokens"]
