from __future__ import annotations

import os
import subprocess
import sys

from understudy.gateway import identity


def test_a_process_is_over_as_soon_as_it_has_ended_waited_for_or_not() -> None:
    """A killed child is gone while it still is a zombie, and afterwards."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = identity.started(child.pid)
    assert began > 0
    assert not identity.gone(identity.machine(), child.pid, began)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken note of it
    assert identity.gone(identity.machine(), child.pid, began)
    child.communicate()
    assert identity.gone(identity.machine(), child.pid, began)


def test_an_id_that_is_used_again_is_another_process() -> None:
    """Our own id with another start is somebody who is over."""
    mine = identity.started(os.getpid())
    assert not identity.gone(identity.machine(), os.getpid(), mine)
    assert identity.gone(identity.machine(), os.getpid(), mine - 1)


def test_of_another_machine_and_of_words_without_a_start_nothing_is_known() -> None:
    """Only silence tells there: nobody is taken for dead on a guess."""
    assert not identity.gone("another boot", 1 << 30, 5)
    assert not identity.gone("", 1 << 30, 5)
    assert not identity.gone(identity.machine(), 1 << 30, 0)
