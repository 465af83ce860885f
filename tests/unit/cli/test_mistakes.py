"""A command line that cannot be read is answered like every other mistake: what, which limit, what to do."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer._click.exceptions import ClickException

from understudy.cli.main import _disk, app
from understudy.cli.mistakes import mistake
from understudy.core.errors import UsageError


def full(*words: str) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output goes to a disk without room."""
    with Path("/dev/full").open("w") as disk:
        done = subprocess.run(
            [sys.executable, "-m", "understudy", *words], stdout=disk, stderr=subprocess.PIPE, text=True, check=False
        )
    return done.returncode, done.stderr


def test_a_document_that_cannot_be_written_is_no_finding() -> None:
    """Exit code 1 would tell a pipeline that the linter found something."""
    refused = "error: No space left on device\nremedy: make room, then run this again\n"
    assert full("lint", __file__, "--json") == (3, refused)
    code, shown = full("lint", "--nope", "--json")
    assert (code, shown.partition("\n")[0]) == (2, "error: understudy lint has no option --nope")


def test_an_error_that_nobody_reads_is_no_defect() -> None:
    """`| head` may be gone before the document is there."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "understudy", "lint", "--nope", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr.count("\n")) == (2, 2)
    assert done.stderr.startswith("error: understudy lint has no option --nope\n")


def test_a_closed_output_is_no_defect() -> None:
    """Exit codes are the same, and standard error has nothing to say."""
    command = f"{shlex.quote(sys.executable)} -m understudy lint {shlex.quote(__file__)}"
    for option, code in (("--json", 0), ("--nope", 2)):
        assert subprocess.run(["sh", "-c", f"{command} {option} >&- 2>&-"], check=False).returncode == code
    kept = subprocess.run(["sh", "-c", f"{command} --nope >&-"], capture_output=True, text=True, check=False)
    assert kept.stderr.startswith("error: understudy lint has no option --nope\n")


def said(line: str) -> UsageError:
    """What is said of a line; it is wrong before anything runs."""
    try:
        app(line.split(), prog_name="understudy", standalone_mode=False)
    except ClickException as error:
        return mistake(error)
    except UsageError as error:
        return error
    pytest.fail(f"{line} was taken")


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ("evel", "no command 'evel'", "did you mean `understudy eval`?"),
        ("status", "no command 'status'", "did you mean `understudy upgrade status`?"),
        ("erase --unit u", "no command 'erase'", "did you mean `understudy ledger erase`?"),
        ("xyzzy", "no command 'xyzzy'", "`understudy --help` lists them"),
        ("upgrade strat w", "understudy upgrade has no command 'strat'", "did you mean 'start' or 'status'?"),
        ("upgrade xyzzy", "understudy upgrade has no command 'xyzzy'", "`understudy upgrade --help` lists them"),
        ("eval w --candidat v", "understudy eval has no option --candidat", "did you mean --candidate"),
        ("check --xyzzy", "understudy check has no option --xyzzy", "`understudy check --help` lists them"),
        ("--json check", "--json stands before the command", "write it behind the command"),
        ("-c other.yaml check", "-c stands before the command", "write it behind the command"),
        ("eval w", "understudy eval needs --candidate VARIANT: The variant to try", "`understudy eval --help`"),
        ("eval --candidate v", "understudy eval needs WORKLOAD", "has examples"),
        ("eval w --candidate", "--candidate needs a value", "--help"),
        ("lint --format xml", "--format 'xml' is not one of 'text', 'json'", "`understudy lint --help`"),
        ("eval w --candidate v --repeats 0", "--repeats 0: the least is 1", "`understudy eval --help`"),
        ("eval w --candidate v --repeats 101", "--repeats 101: the most is 100", "`understudy eval --help`"),
        ("plan w --simulate x", "--simulate 'x': a whole number is expected", "`understudy plan --help`"),
        ("up --every x", "--every 'x': a number is expected", "`understudy up --help`"),
        ("up --every 0", "--every 0: the least is 0.05", "`understudy up --help`"),
        ("check foo bar", "understudy check has no place for 'foo bar'", "see `understudy check --help`"),
    ],
)
def test_a_mistake_says_what_and_what_to_do(line: str, message: str, remedy: str) -> None:
    told = said(line)
    assert message in told.message
    assert remedy in (told.remedy or "")
    assert told.exit_code == 2


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOSPC, errno.EISDIR, errno.ELOOP])
def test_what_the_system_refuses_of_a_path_names_it_and_a_remedy(code: int) -> None:
    """A wrong path is the caller's to mend, and no defect to report."""
    said = _disk(OSError(code, "refused", "/proc/x"))
    assert said.message == "/proc/x: refused" and "report it" not in str(said.remedy)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report --audit --out x --upgrade u", "--audit writes nothing, and excludes --out, --upgrade"),
        ("report --verify x --audit", "--verify writes nothing, and excludes --audit"),
        ("report --verify x --examples 1", "--verify writes nothing, and excludes --examples"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for a file that is never written."""
    with pytest.raises(SystemExit) as ended:
        app(line.split(), prog_name="understudy", standalone_mode=False)
    assert ended.value.code == 2 and message in capsys.readouterr().err
