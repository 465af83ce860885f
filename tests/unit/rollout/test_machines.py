"""What a word, and a silence, of a machine counts for."""

from __future__ import annotations

from understudy.rollout import machines
from understudy.rollout.controller import _restored
from understudy.rollout.machines import GONE_S, SPEAKS_S, Mark, refuses
from understudy.rollout.publish import Heartbeat, Kill, Tripped, acknowledged
from understudy.rollout.store.base import Said, Snapshot

from .test_publish import table

NOW = 1_000.0


def beat(worker: str, epoch: int, *, at: float = NOW, gone: bool = False) -> Heartbeat:
    tripped = (Tripped("reply", "u1", "5 in a row"),) if worker == "w1" else ()
    return Heartbeat(worker, 7, "g", epoch, at, tripped, ("reply",), gone)


def said(name: str, *beats: Heartbeat, silent_s: float = 0.0, kills: tuple[Kill, ...] = (), problem: str = "") -> Said:
    return Said(name, machines.report(beats, kills, problem, NOW), silent_s)


def waiting(*words: Said, now: float = NOW) -> tuple[str, ...]:
    """Whom the table of epoch 4 waits for."""
    heard = [machines.machine(each, now) for each in words]
    return acknowledged(machines.heartbeats(heard, now), table(4), now).waiting


def test_a_flip_waits_for_every_worker_on_every_machine() -> None:
    """One worker that lags on one machine is enough, and it is named with its machine."""
    assert waiting(said("a", beat("w0", 4)), said("b", beat("w0", 4), beat("w1", 4))) == ()
    assert waiting(said("a", beat("w0", 4)), said("b", beat("w0", 3), beat("w1", 4))) == ("b/w0",)


def test_what_a_worker_says_reaches_the_controller_whole() -> None:
    """Open breakers and obeyed kill files come along; a dead worker's last words do not."""
    (one,) = machines.machine(said("a", beat("w1", 4), beat("w2", 4, gone=True)), NOW).workers
    assert (one.worker, one.generation, one.epoch, one.killed) == ("a/w1", "g", 4, ("reply",))
    assert one.open_breakers == (Tripped("reply", "u1", "5 in a row"),)
    assert one.live(NOW + 100.0)


def test_a_silent_machine_has_acknowledged_nothing_until_it_is_gone() -> None:
    """It speaks for its workers for 5 s, blocks for 15 minutes whatever it had said, and is then taken for gone."""
    for silent_s, expected in (
        (SPEAKS_S, ()),
        (SPEAKS_S + 1, ("b (not heard for 6 s)",)),
        (GONE_S, ("b (not heard for 900 s)",)),
        (GONE_S + 1, ()),
    ):
        assert waiting(said("a", beat("w0", 4)), said("b", beat("w0", 4), silent_s=silent_s)) == expected
    assert waiting(said("a", beat("w0", 4)), said("b", silent_s=60.0)) == ()


def test_status_names_machines_that_do_not_follow() -> None:
    """Silence and a reason given are both told, with the remedy; a machine that follows is not mentioned."""
    words = [
        said("a", beat("w0", 4)),
        said("b", beat("w0", 4), silent_s=42.0),
        said("c", problem="the disk is full"),
        said("d", beat("w0", 4), silent_s=GONE_S + 1),
    ]
    silent, problem = machines.notes([machines.machine(each, NOW) for each in words])
    assert silent.startswith("b was not heard for 42 s and counts as not acknowledged, for 900 s")
    assert "rollback WORKLOAD --local" in silent
    assert problem == "c does not follow: the disk is full"


def test_a_kill_file_of_any_machine_counts() -> None:
    """The earliest of a workload, with where it is; none of a machine that is gone."""
    late, early = Kill("reply", "bob", "fire", 20.0), Kill("reply", "eve", "smoke", 10.0)
    words = [said("a", kills=(late,)), said("b", kills=(early,)), said("c", kills=(early,), silent_s=GONE_S + 1)]
    heard = [machines.machine(each, NOW) for each in words]
    assert machines.kills(heard) == {"reply": Kill("reply", "eve on b", "smoke", 10.0)}
    assert machines.kills(heard[2:]) == {}


def test_a_word_that_cannot_be_read_acknowledges_nothing() -> None:
    """A report of another version is no reason to call a flip effective."""
    assert waiting(Said("a", {"workers": [{"name": "?"}]}, 0.0)) == ("a",)


def test_a_machine_never_goes_to_a_lower_epoch_of_one_generation() -> None:
    """Another generation is taken at any epoch, the same one only upwards."""
    assert (
        refuses(None, Mark("g", 1)) == refuses(Mark("g", 3), Mark("g", 3)) == refuses(Mark("g", 3), Mark("g", 4)) == ""
    )
    assert refuses(Mark("old", 9), Mark("g", 1)) == ""
    assert "epoch 2, this machine is at 3" in refuses(Mark("g", 3), Mark("g", 2))


def test_attempts_grow_rarer_and_do_not_come_together() -> None:
    """The pause doubles up to five seconds, and machines are spread over its upper half."""
    assert [machines.pause_s(n, 1.0) for n in (1, 2, 3, 6, 1000)] == [0.2, 0.4, 0.8, 5.0, 5.0]
    assert machines.pause_s(6, 0.0) == 2.5


def test_a_store_behind_what_workers_serve_was_restored() -> None:
    """Where table and store lie in one database both are older: what live workers say gives it away."""
    behind = Snapshot("g", 4)
    assert "at epoch 4, gateways are at 9" in _restored(None, [beat("w0", 9)], behind, NOW)
    for silent in (beat("w0", 9, at=NOW - 60.0), beat("w0", 9)._replace(generation="old"), beat("w0", 4)):
        assert _restored(None, [silent], behind, NOW) == ""
