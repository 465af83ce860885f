"""Who waits at a terminal is told for what; who reads the output of a command is not."""

from __future__ import annotations

import sys
from io import StringIO

import pytest

from understudy.cli.output import waiting


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_told_and_the_line_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    with waiting("asking the ledger"):
        pass
    assert isinstance(sys.stderr, Terminal)
    said = sys.stderr.getvalue()
    assert "asking the ledger" in said and said.rstrip().endswith("\x1b[2K")


def test_what_is_no_terminal_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("asking the ledger"):
        pass
    assert capsys.readouterr() == ("", "")
