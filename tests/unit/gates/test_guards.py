"""Hard guards and the check of the split."""

from __future__ import annotations

import math
import random

import pytest

from understudy.gates.guards import Assigned, HardGuard, blamed, check_split


def feed(guard, answers):
    recent: tuple[str, ...] = ()
    for i, answer in enumerate(answers):
        recent = guard.push(recent, answer)
        if reason := guard.tripped(recent):
            return i + 1, reason
    return None, ""


def test_five_of_a_kind_in_a_row():
    """Five failures of one kind in a row trip at the fifth; five of different kinds do not."""
    assert feed(HardGuard(), ["", *["timeout"] * 5]) == (6, "5 timeout failures in a row")
    assert feed(HardGuard(), ["timeout", "status_5xx"] * 4)[0] is None
    assert feed(HardGuard(), ["timeout"] * 4 + [""])[0] is None


def test_a_fifth_of_the_last_fifty():
    """Ten failures among fifty answers trip, nine do not."""
    assert feed(HardGuard(), ["a", "", "", "", ""] * 10)[0] == 50
    assert feed(HardGuard(), (["a", "", "", "", ""] * 9 + [""] * 5) * 2)[0] is None


def test_the_state_is_bounded():
    """Only the last answers of the window are kept."""
    recent: tuple[str, ...] = ()
    for _ in range(500):
        recent = HardGuard().push(recent, "")
    assert len(recent) == 50


def test_one_per_cent_errors_never_trip():
    """With one error in hundred, of one kind, 200,000 answers trip nothing; with half of them it takes a few."""
    draw = random.Random(1)
    assert feed(HardGuard(), ("e" if draw.random() < 0.01 else "" for _ in range(200_000)))[0] is None
    delays = [feed(HardGuard(), ("e" if draw.random() < 0.5 else "" for _ in range(1000)))[0] for _ in range(50)]
    assert all(delay is not None and delay <= 60 for delay in delays)


@pytest.mark.parametrize(("candidate", "fair"), [(500, True), (540, True), (640, False), (360, False)])
def test_split(candidate, fair):
    """A split far from what was meant is found, chance is not."""
    split = check_split([Assigned(1, 0.05, 10_000 - candidate, candidate)])
    assert split.fair is fair


def test_split_of_nothing_is_fair():
    """Rungs without users, or without two arms, say nothing."""
    assert check_split([]).fair
    assert check_split([Assigned(3, 1.0, 0, 1000), Assigned(0, 0.01, 0, 0)]).log_e == 0.0


def test_split_false_alarms():
    """Looking after every hundred users, at most one split in a thousand is falsely suspected (with room for error)."""
    draw = random.Random(2)
    alarms = 0
    for _ in range(300):
        k = n = 0
        for _ in range(30):
            k += sum(draw.random() < 0.05 for _ in range(100))
            n += 100
            if not check_split([Assigned(0, 0.05, n - k, k)]).fair:
                alarms += 1
                break
    assert alarms <= 0.001 * 300 + 3 * math.sqrt(0.001 * 300)


def test_blame_is_what_the_breaker_counts():
    """A failure counts unless the client went away, or the incumbent refused the same request."""
    assert blamed("status_5xx", 502, masked=False) == "status_5xx"
    assert blamed("status_5xx", 200, masked=True) == "status_5xx"
    assert blamed("status_4xx", 400, masked=False) == "status_4xx"
    assert blamed("status_4xx", 400, masked=True) == ""
    assert blamed("client_gone", 0, masked=False) == ""
    assert blamed("", 200, masked=False) == ""
