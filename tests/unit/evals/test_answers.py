"""Answers are kept by what they answer, and a crash loses at most the one that was being written."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from understudy.core.errors import CannotMeasure
from understudy.core.variant import Reasoning, Variant
from understudy.evals.answers import AnswerFile, Kept, key_of
from understudy.wires.base import Message

VARIANT = Variant(name="v", provider="p", model="m", system_prompt="Be brief.", params={"temperature": 0})
ASKED = (Message("user", "hello"),)


def kept(key: str, text: str = "hi") -> Kept:
    return Kept(key=key, text=text, at=1.0, latency_s=0.5, ttft_s=0.1, output_tokens=3)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    """Another opening of the file finds every answer, the later of two for one key."""
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        file.put(kept("a"))
        file.put(kept("b", "line\nbreak \u2028 é"))
        file.put(kept("a", "again"))
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        assert (len(file), file.broken) == (2, 0)
        assert file.get("a") == kept("a", "again")
        assert file.get("b") == kept("b", "line\nbreak \u2028 é")
        assert file.get("c") is None
        assert repr(file) == f"<{VARIANT.fingerprint}.jsonl: 2 answers, 0 broken lines>"


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_cut_by_a_crash_is_passed_over(tmp_path: Path, cut: int) -> None:
    """Wherever a write was cut, the answers before it are there and the next one is not joined to the torn line."""
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        file.put(kept("a"))
        file.put(kept("b"))
        path = file.path
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        file.put(kept("c"))
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        assert file.get("a") is not None
        assert file.get("c") is not None
        assert (file.get("b") is None) == (file.broken == 1) == (cut > 1)


def test_fresh_takes_no_notice_of_what_was_kept(tmp_path: Path) -> None:
    """Answers asked anew stand in for the earlier ones from then on; those not asked again are still there."""
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        file.put(kept("a", "old"))
        file.put(kept("b", "old"))
    with closing(AnswerFile(tmp_path, VARIANT, fresh=True)) as file:
        assert file.get("a") is None
        file.put(kept("a", "new"))
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        found = [file.get(key) for key in "ab"]
    assert [each.text for each in found if each] == ["new", "old"]


def test_the_key_says_who_was_asked_what_and_when() -> None:
    """Host, model, prompt, parameters, effort, conversation and repeat each make another key; the name does not."""
    base = key_of(VARIANT.fingerprint, "http://h/v1", ASKED, 0)
    assert key_of(replace(VARIANT, name="w").fingerprint, "http://h/v1/", ASKED, 0) == base
    others = [
        key_of(VARIANT.fingerprint, "http://i/v1", ASKED, 0),
        key_of(VARIANT.fingerprint, "http://h/v1", ASKED, 1),
        key_of(VARIANT.fingerprint, "http://h/v1", (*ASKED, Message("assistant", "hi"), *ASKED), 0),
        key_of(replace(VARIANT, model="n").fingerprint, "http://h/v1", ASKED, 0),
        key_of(replace(VARIANT, system_prompt="").fingerprint, "http://h/v1", ASKED, 0),
        key_of(replace(VARIANT, params={}).fingerprint, "http://h/v1", ASKED, 0),
        key_of(replace(VARIANT, reasoning=Reasoning("low")).fingerprint, "http://h/v1", ASKED, 0),
    ]
    assert len({base, *others}) == 1 + len(others)


WRITER = """
import sys
from pathlib import Path
from understudy.core.variant import Variant
from understudy.evals.answers import AnswerFile, Kept
file = AnswerFile(Path(sys.argv[1]), Variant(name="v", provider="p", model="m"))
for n in range(10**9):
    file.put(Kept(key=str(n), text="x" * 3000, at=0.0, latency_s=0.0, ttft_s=0.0))
    print(n, flush=True)
"""


def test_kill_9_loses_no_answer_that_was_put(tmp_path: Path) -> None:
    """Every answer whose put returned before the kill is found again."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    last = int(next(line for line in reversed(said) if line.endswith("\n")))
    with closing(AnswerFile(tmp_path, Variant(name="v", provider="p", model="m"))) as file:
        assert all(file.get(str(n)) is not None for n in range(last + 1))


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
""" + WRITER.replace("for n", "from understudy.core.errors import CannotMeasure\ntry:\n  for n").replace(
    "    file.put", "    file.put"
)


def test_a_full_disk_is_said_and_what_was_kept_stays(tmp_path: Path) -> None:
    """A write that the system refuses is an error with a remedy; earlier answers are still readable."""
    script = LIMITED + "except CannotMeasure as error:\n  print(error, file=sys.stderr)\n"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert "answers cannot be kept in" in done.stderr
    assert "remedy: make room" in done.stderr
    with closing(AnswerFile(tmp_path, Variant(name="v", provider="p", model="m"))) as file:
        assert len(file) == len(done.stdout.split()) == 3


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file where the folder should be is an error with the path."""
    (tmp_path / "evals").write_text("")
    with pytest.raises(CannotMeasure) as caught:
        AnswerFile(tmp_path / "evals" / "x", VARIANT)
    assert str(tmp_path) in caught.value.message


def test_the_work_of_opening_a_file_grows_with_its_answers_and_no_faster(
    tmp_path: Path, calls: Callable[[Callable[[], object]], int]
) -> None:
    """Each answer is one line decoded once: three calls at most."""
    with closing(AnswerFile(tmp_path, VARIANT)) as file:
        for n in range(2_000):
            file.put(kept(str(n), "x" * 500))

    def read() -> None:
        with closing(AnswerFile(tmp_path, VARIANT)) as file:
            assert len(file) == 2_000

    assert calls(read) <= 3 * 2_000 + 200
    assert file.path.stat().st_mode & 0o077 == 0
