"""What a controller does in each situation: the real one, on scripted evidence and a virtual clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from understudy.core.errors import CannotMeasure, Refused, UsageError
from understudy.core.evidence import Finding
from understudy.core.playbook import Outcome, Stage, Verdict
from understudy.rollout.begin import Request, begin
from understudy.rollout.budget import Spending, midnight
from understudy.rollout.observation import Probe
from understudy.rollout.publish import Kill, Tripped
from understudy.rollout.rehearsal import ScriptedEvidence, eval_record
from understudy.stages.assessment import Judgement
from understudy.stages.shadow import Coverage

if TYPE_CHECKING:
    from conftest import Play
    from understudy.rollout.store.base import Snapshot

LENGTH = Finding("length", "ticket=refund", "answers on refunds are 16 % shorter", {})
FAILS = Judgement(Verdict.FAIL, "errors doubled")
UNCLEAR = Judgement(Verdict.INCONCLUSIVE, "not decided", ("more users",))


# -- begin


def test_an_upgrade_to_the_same_variant_is_refused(play: Play) -> None:
    """A candidate that equals the incumbent by fingerprint is none, whatever it is called."""
    with pytest.raises(Refused, match="twin is the incumbent old"):
        play.start("twin")


def test_a_second_upgrade_on_a_workload_is_refused(play: Play) -> None:
    """S1, where the user meets it."""
    play.start()
    with pytest.raises(Refused, match="already has an upgrade under way"):
        play.start("newer", "t2")


@pytest.mark.parametrize(("workload", "variant", "near"), [("repl", "new", "reply"), ("reply", "nwe", "new")])
def test_unknown_names_are_answered_with_the_nearest(play: Play, workload: str, variant: str, near: str) -> None:
    """A typing error costs one look."""
    world = play.world
    with pytest.raises(UsageError) as error:
        asyncio.run(begin(world.project, world.store, world.board, Request(workload, variant, "a", "", "t"), 0.0))
    assert near in error.value.remedy


def test_no_upgrade_begins_under_a_kill_file(play: Play) -> None:
    """What somebody forced to the incumbent is not undone by starting anew."""
    play.world.board.killed["reply"] = Kill("reply", "bob", "fire", 0.0)
    with pytest.raises(Refused, match="kill file"):
        play.start()


# -- regress and retune


def test_stage_zero_waits_for_a_suite(play: Play) -> None:
    """Without a suite an upgrade stays a draft and says what is missing."""
    play.reconfigure(lambda text: text.replace("suites: [suite.yaml]", "suites: []"))
    play.start()
    assert play.turn(times=5).stage is Stage.DRAFT
    assert "an eval suite" in play.said()["missing"][0]
    play.reconfigure(lambda text: text.replace("suites: []", "suites: [suite.yaml]"))
    assert play.turn().stage is Stage.REGRESS


def test_a_failed_slice_needs_a_waiver_before_shadow(play: Play) -> None:
    """Caution: each failed slice is accepted by a person, with owner, reason and expiry, or the upgrade stays."""
    play.world.script.outcome = {"new": eval_record("", Outcome.CAUTION, failed=("a", "b"))}
    play.start()
    assert play.turn(times=9).stage is Stage.REGRESS
    assert [text.split()[4] for text in play.said()["missing"]] == ["a", "b"]
    until = play.world.clock.wall() + 1e6
    refused = play.wish("waive", "fine", subject="c", owner="eve", expires_at=until)
    assert not refused.granted
    assert "a, a/regression" in refused.remedy
    assert play.wish("waive", "fine", subject="a", owner="eve", expires_at=until).granted
    assert play.turn(times=3).stage is Stage.REGRESS
    assert play.wish("waive", "fine", subject="b", owner="eve", expires_at=until).granted
    state = play.turn(times=2)
    assert state.stage is Stage.SHADOW
    assert state.tracked == ("a", "b")


def test_a_waiver_that_expires_accepts_nothing(play: Play) -> None:
    """An expired waiver holds the upgrade again, in shadow too."""
    play.world.script.outcome = {"new": eval_record("", Outcome.CAUTION, failed=("a",))}
    play.world.script.coverage = None
    play.start()
    play.turn(times=3)
    late = play.wish("waive", "fine", subject="a", owner="eve", expires_at=play.world.clock.wall() - 1)
    assert not late.granted
    play.wish("waive", "fine", subject="a", owner="eve", expires_at=play.world.clock.wall() + 100)
    assert play.turn().stage is Stage.SHADOW
    play.turn(50.0, times=3)
    assert "no longer stands" in play.said()["sentence"]
    assert play.said()["decision"] == "hold"


def test_a_critical_slice_cannot_be_waived(play: Play) -> None:
    """A critical failure sends the candidate to re-tuning, and a waiver for it is refused."""
    play.world.script.outcome = {"new": eval_record("", Outcome.CAUTION, failed=("a",), critical=("vip",))}
    play.start()
    assert play.until(Stage.RETUNE).stage is Stage.RETUNE
    answer = play.wish("waive", "please", subject="vip", owner="eve", expires_at=9e9)
    assert not answer.granted
    assert "critical" in answer.answer


def test_a_retuned_candidate_begins_again_with_both_prompts_kept(play: Play) -> None:
    """Switching keeps old and new side by side, with why, and the eval runs for the new one."""
    play.world.script.outcome = {"new": eval_record("", Outcome.RETUNE)}
    play.start()
    play.until(Stage.RETUNE)
    same = play.wish("switch", "?", candidate=play.state().candidate.as_dict())
    assert not same.granted
    back = play.wish("switch", "?", candidate=play.state().incumbent.as_dict())
    assert not back.granted
    newer = play.world.project.variant("reply", "newer")
    assert play.wish("switch", "asks for brevity", candidate=newer.as_dict()).granted
    state = play.until(Stage.SHADOW)
    (switch,) = state.switches
    assert (switch.old.name, switch.new.name, switch.why) == ("new", "newer", "asks for brevity")
    assert (switch.old.system_prompt, switch.new.system_prompt) == ("Be kind.", "Be kind and short.")
    assert state.candidate.name == "newer"


def test_giving_up_files_a_finding(play: Play) -> None:
    """What could not be closed goes back to model selection as a finding."""
    play.world.script.outcome = {"new": eval_record("", Outcome.RETUNE)}
    play.start()
    play.until(Stage.RETUNE)
    finding = {"kind": "gave_up", "slice": "", "sentence": "three prompts did not help", "figures": {}}
    assert play.wish("give_up", "three prompts did not help", findings=[finding]).granted
    assert play.state().stage is Stage.BLOCKED
    assert play.state().findings[-1].sentence == "three prompts did not help"


def test_a_stop_blocks(play: Play) -> None:
    """The playbook's stop ends the upgrade."""
    play.world.script.outcome = {"new": eval_record("", Outcome.STOP, failed=("a",))}
    play.start()
    assert play.until(Stage.BLOCKED).findings[0].slice == "a"


def test_an_inconclusive_eval_holds(play: Play) -> None:
    """Not knowing is no reason to go on, and the upgrade says what would decide it."""
    record = eval_record("", Outcome.INCONCLUSIVE)._replace(needed=("120 more cases in slice a",))
    play.world.script.outcome = {"new": record}
    play.start()
    assert play.turn(times=30).stage is Stage.REGRESS
    assert play.said()["missing"] == ["120 more cases in slice a"]


# -- shadow


def test_the_shadow_clock_starts_at_full_coverage(play: Play) -> None:
    """Time before the asked share is copied does not count."""
    play.world.script.coverage = Coverage(1_000, 500, {"budget": 500})
    play.start()
    play.until(Stage.SHADOW)
    play.turn(times=40)
    assert play.state().clock == 0
    assert "500 budget" in play.said()["sentence"]
    play.world.script.coverage = Coverage(1_000, 990)
    assert play.turn(times=4).clock > 0
    started = play.world.clock.mono
    play.until(Stage.CANARY)
    assert play.world.clock.mono - started >= 75


def test_copies_rest_for_the_day_when_their_budget_is_spent(play: Play) -> None:
    """The table's sample is 0 until midnight, status and journal say why, and time without copies is not held."""
    world = play.world
    play.reconfigure(lambda text: text.replace("min: 100s, max: 1000s}", "min: 300s, budget: {usd_per_day: 5}}"))
    world.clock.now = midnight(world.clock.now) + 85_000.0
    play.start()
    play.until(Stage.SHADOW)
    play.turn(times=2)
    assert play.route().shadow.sample == 1_000_000
    world.script.spending = Spending(midnight(world.clock.wall()), 90, 60, 2.0)
    play.turn(times=3)
    assert play.said()["spending"].startswith("3.00 of 5 USD spent on 90 copies today (UTC), 30 of unknown price")
    world.script.spending = Spending(midnight(world.clock.wall()), 150, 100, 4.0)
    play.turn(times=4)
    assert play.route().shadow.sample == 0
    held = play.said()["held_s"]
    rest = play.state().resting(world.clock.wall())
    assert rest is not None
    assert "6.00 of 5 USD" in rest.why
    assert "00:00 UTC" in rest.why
    assert play.kinds().count("rested") == 1
    while world.clock.wall() < rest.until:
        assert play.route().shadow.sample == 0
        assert play.said()["held_s"] == held
        play.turn()
    play.turn()
    assert play.route().shadow.sample == 1_000_000
    assert play.kinds().count("rested") == 1
    play.until(Stage.CANARY)


def test_a_raised_budget_wakes_the_copies_at_once(play: Play) -> None:
    """Nobody waits for midnight who has said that there is more to spend."""
    play.reconfigure(lambda text: text.replace("min: 100s, max: 1000s}", "min: 300s, budget: {usd_per_day: 5}}"))
    play.world.clock.now = midnight(play.world.clock.now) + 3_600.0
    play.start()
    play.until(Stage.SHADOW)
    play.world.script.spending = Spending(midnight(play.world.clock.wall()), 100, 100, 6.0)
    play.turn(times=4)
    assert play.route().shadow.sample == 0
    play.reconfigure(lambda text: text.replace("usd_per_day: 5", "usd_per_day: 50"))
    play.turn(times=2)
    assert play.route().shadow.sample == 1_000_000
    assert len(play.state().rests) == 1
    assert play.state().rests[0].until <= play.world.clock.wall()


def test_drift_holds_for_a_person_and_stops_at_the_end(play: Play) -> None:
    """Findings beyond their floor wait for a waiver or a better prompt; after the longest shadow they block."""
    play.world.script.drift = (LENGTH,)
    play.start()
    play.until(Stage.SHADOW)
    assert play.turn(times=20).stage is Stage.SHADOW
    assert play.said()["verdict"] == "fail"
    assert any("ticket=refund/length" in text for text in play.said()["missing"])
    state = play.until(Stage.BLOCKED)
    assert "ticket=refund/length" in state.ended_why
    assert LENGTH in state.findings


def test_waived_drift_goes_on(play: Play) -> None:
    """A finding that somebody accepts no longer holds."""
    play.world.script.drift = (LENGTH,)
    play.start()
    play.until(Stage.SHADOW)
    play.turn(times=8)
    until = play.world.clock.wall() + 1e6
    assert play.wish(
        "waive", "shorter is better", subject="ticket=refund/length", owner="eve", expires_at=until
    ).granted
    assert play.until(Stage.CANARY).step == 0


def test_an_edited_candidate_begins_again(play: Play) -> None:
    """A prompt edited in place before users see it makes eval and shadow start anew."""
    play.start()
    play.until(Stage.SHADOW)
    play.turn(times=2)
    before = play.state()
    play.reconfigure(
        lambda text: text.replace('model-2, system_prompt: "text:Be kind."', 'model-2, system_prompt: "text:Be good."')
    )
    state = play.turn(times=1)
    assert state.stage is Stage.REGRESS
    assert (state.eval, state.waivers) == (None, ())
    assert state.candidate.fingerprint != before.candidate.fingerprint
    play.until(Stage.SHADOW)
    assert play.state().eval is not None


def test_changed_suites_void_the_eval_in_shadow(play: Play) -> None:
    """A verdict holds for the suites it was made with: another binding has the eval run again before the canary."""
    play.start()
    play.until(Stage.SHADOW)
    play.world.evals.salt = "other suites"
    play.turn()
    assert "no longer stands" in play.said()["sentence"]
    play.until(Stage.CANARY)
    assert play.kinds().count("evaluated") == 2


def test_a_worse_eval_in_shadow_goes_back_to_retuning(play: Play) -> None:
    """Where the new suites say that the candidate falls short, no user meets it."""
    play.start()
    play.until(Stage.SHADOW)
    play.world.evals.salt = "harder suites"
    play.world.script.outcome = {"new": eval_record("", Outcome.RETUNE)}
    assert play.until(Stage.RETUNE).exposed_at is None


# -- canary


def test_a_failing_gate_rolls_back(play: Play) -> None:
    """The candidate leaves the table in the turn in which its gate fails, even while paused."""
    play.start()
    play.until(Stage.CANARY)
    play.wish("pause", "lunch")
    play.world.script.judgement = FAILS
    state = play.turn(times=4)
    assert state.stage is Stage.ROLLED_BACK
    assert play.route() is None
    assert state.ended_why == "errors doubled"


@pytest.mark.parametrize("judgement", [UNCLEAR, None])
def test_missing_data_never_promotes(play: Play, judgement: Judgement | None) -> None:
    """However long it lasts, an inconclusive step is held."""
    play.start()
    play.until(Stage.CANARY)
    play.world.script.judgement = judgement
    assert play.turn(times=300).step == 0


def test_an_open_breaker_rolls_back(play: Play) -> None:
    """A worker that cut the candidate off is believed at once."""
    play.start()
    state = play.until(Stage.CANARY)
    play.world.board.open_breakers = (Tripped("reply", "another upgrade", "old news"),)
    assert play.turn().stage is Stage.CANARY
    play.world.board.open_breakers = (Tripped("reply", state.id, "5 failures in a row"),)
    assert play.turn(0.1).stage is Stage.ROLLED_BACK
    assert "5 failures in a row" in play.state().ended_why


def test_a_kill_file_becomes_a_rollback_and_is_cleared(play: Play) -> None:
    """What an operator did with everything dead is journaled in their name, and the file has then served."""
    play.start()
    play.until(Stage.CANARY)
    play.world.board.killed["reply"] = Kill("reply", "bob", "users complain", 12.0)
    state = play.turn(0.1)
    assert (state.stage, state.ended_by, state.ended_why) == (Stage.ROLLED_BACK, "bob", "users complain")
    play.turn(0.1)
    assert play.world.board.killed == {}


def test_a_kill_file_stays_until_its_writer_has_heard_every_worker(play: Play) -> None:
    """The controller may be quicker than a worker's next look: the file outlives both."""
    play.start()
    play.until(Stage.CANARY)
    play.world.board.killed["reply"] = Kill("reply", "bob", "to be safe", play.world.clock.wall())
    assert play.turn(0.1, times=5).stage is Stage.ROLLED_BACK
    assert "reply" in play.world.board.killed
    play.turn(10.0)
    assert play.world.board.killed == {}


def test_a_lagging_worker_holds_the_step(play: Play) -> None:
    """A step counts as held from when every live worker serves it."""
    play.start()
    play.until(Stage.SHADOW)
    play.world.board.lagging = {"worker-1"}
    play.until(Stage.CANARY)
    assert play.turn(times=40).step == 0
    assert any("worker-1" in text for text in play.said()["missing"])
    play.world.board.lagging = set()
    assert play.until(Stage.CANARY, step=1).share == 250_000


def test_a_blind_controller_lets_the_lease_run_out(play: Play) -> None:
    """Without evidence for a whole lease the incumbent takes over, and the time does not count as held."""
    play.start()
    play.until(Stage.CANARY)
    play.turn()

    class Blind(ScriptedEvidence):
        def judge(self, *args: object, **named: object) -> Judgement:
            raise CannotMeasure("the lake is gone")

    play.now.evidence = Blind(play.world.script)
    play.turn(times=20)
    lease = play.route().lease_until
    assert lease is not None
    assert lease < play.world.clock.wall()
    assert play.state().step == 0
    assert "the lake is gone" in play.said()["problem"]
    play.now.evidence = ScriptedEvidence(play.world.script)
    play.turn(times=3)
    assert play.route().lease_until > play.world.clock.wall()


def test_a_dead_controller_leaves_a_lease_that_ends(play: Play) -> None:
    """Every canary route carries a lease no longer than the profile's."""
    play.start()
    play.until(Stage.CANARY)
    route = play.route()
    assert route.lease_until is not None
    assert route.lease_until <= play.world.clock.wall() + 50.0


def test_manual_promotion_waits_for_a_word(play: Play) -> None:
    """With `promote: manual` a pass waits; the word is refused without a pass and counts for one step."""
    play.reconfigure(lambda text: text.replace("      lease: 50s", "      lease: 50s\n      promote: manual"))
    play.start()
    play.until(Stage.CANARY)
    early = play.wish("promote", "go")
    assert not early.granted
    assert "missing" in early.remedy
    play.turn(times=20)
    assert play.state().step == 0
    assert "upgrade promote" in play.said()["missing"][0]
    assert play.wish("promote", "go").granted
    assert play.turn(times=2).step == 1
    assert play.turn(times=30).step == 1


def test_signing_off_a_slice(play: Play) -> None:
    """A slice that a person has to approve holds every step until somebody did."""
    play.reconfigure(lambda text: text.replace("      lease: 50s", "      lease: 50s\n      sign_off: [legal]"))
    play.start()
    play.until(Stage.CANARY)
    play.turn(times=20)
    assert play.state().step == 0
    assert play.said()["missing"] == ["an approval of legal"]
    play.wish("approve", "read 40 answers", subject="legal")
    assert play.turn(times=2).step == 1
    assert play.until(Stage.CANARY, step=2).share == 1_000_000


def test_a_pause_holds_and_keeps_the_lease(play: Play) -> None:
    """Paused: users stay where they are, nothing moves forward, resuming goes on."""
    play.start()
    play.until(Stage.CANARY)
    play.wish("pause", "holidays")
    state = play.turn(times=40)
    assert (state.step, state.paused) == (0, True)
    assert play.route().lease_until > play.world.clock.wall()
    play.wish("resume", "back")
    assert play.turn(times=2).step == 1


def test_a_longer_ladder_is_followed_from_where_it_stands(play: Play) -> None:
    """An edited ladder neither lowers the share nor skips: the next step is the next larger share."""
    play.start()
    play.until(Stage.CANARY)
    play.reconfigure(
        lambda text: text.replace("[{share: 1%, hold: 100s},", "[{share: 1%, hold: 100s}, {share: 5%, hold: 50s},")
    )
    assert play.until(Stage.CANARY, step=1).share == 50_000
    assert play.until(Stage.CANARY, step=2).share == 250_000


def test_an_edited_candidate_in_canary_is_not_served(play: Play) -> None:
    """Users get the variant that was evaluated; the edit is noted once."""
    play.start()
    play.until(Stage.CANARY)
    play.reconfigure(
        lambda text: text.replace('model-2, system_prompt: "text:Be kind."', 'model-2, system_prompt: "text:Be good."')
    )
    play.turn(times=2)
    table = play.world.board.newest()
    assert table is not None
    assert table.workloads["reply"].variants["new"].system_prompt == "Be kind."
    assert [f.kind for f in play.state().findings] == ["config_differs"]
    assert play.kinds().count("noted") == 1


def test_a_broken_configuration_keeps_the_last_good_one(play: Play) -> None:
    """The upgrade goes on, and every turn says what is wrong until it is mended."""
    play.start()
    play.until(Stage.CANARY)
    good = play.world.project

    def broken(project: object) -> object:
        raise UsageError("workloads.reply has no variant old")

    play.now.reopen = broken  # type: ignore[assignment]
    turn = play.run(play.now.turn())
    assert "no variant old" in turn.problems[0]
    assert play.turn(times=10).step >= 1
    play.now.reopen = lambda project: good
    assert play.run(play.now.turn()).problems == ()


def test_a_workload_with_an_upgrade_cannot_be_deleted(play: Play) -> None:
    """S11: a configuration without what an upgrade needs is not taken, and is once the upgrade is over."""
    play.start()
    play.until(Stage.CANARY)
    before, after = play.world.project.file.read_text().split("  other:")
    play.reconfigure(lambda text: before.split("  reply:")[0] + "  other:" + after)
    turn = play.run(play.now.turn())
    assert "workload reply is gone" in turn.problems[0]
    assert play.turn(times=10).step >= 1
    play.wish("abort", "enough")
    play.run(play.now.turn())
    table = play.world.board.newest()
    assert table is not None
    assert list(table.workloads) == ["other"]


# -- soak and after


def test_done_serves_the_candidate_before_the_file_is_edited(play: Play) -> None:
    """After done the candidate is what the workload serves; once the file says so too, the journal is not needed."""
    play.start()
    play.until(Stage.DONE)
    play.turn()
    table = play.world.board.newest()
    assert table is not None
    assert (table.workloads["reply"].incumbent, table.workloads["reply"].route) == ("new", None)
    with pytest.raises(Refused, match="new is the incumbent new"):
        play.start("new", "t2")
    play.reconfigure(lambda text: text.replace("incumbent: old", "incumbent: new", 1))
    play.turn()
    assert play.run(play.world.store.read()).upgrades == ()
    play.reconfigure(lambda text: text.replace("incumbent: new", "incumbent: old", 1))
    play.turn()
    table = play.world.board.newest()
    assert table is not None
    assert table.workloads["reply"].incumbent == "old"


def test_the_next_upgrade_starts_from_what_is_served(play: Play) -> None:
    """Two upgrades in a row without an edit in between: the second one's incumbent is the first one's candidate."""
    play.start()
    play.until(Stage.DONE)
    state = play.start("newer", "t2")
    assert (state.incumbent.name, state.candidate.name) == ("new", "newer")
    play.until(Stage.DONE)
    play.turn()
    table = play.world.board.newest()
    assert table is not None
    assert table.workloads["reply"].incumbent == "newer"


def test_the_incumbent_stays_until_retention_ends(play: Play) -> None:
    """S11: through the whole soak it is in every table, as it was when the upgrade began."""
    state = play.start()
    play.until(Stage.DONE)
    for table in play.world.board.tables:
        route = table.workloads["reply"]
        if route.route is not None:
            assert route.variants["old"].fingerprint == state.incumbent.fingerprint
            assert route.incumbent == "old"


def test_an_incumbent_that_does_not_answer_is_an_alarm(play: Play) -> None:
    """There is no way back while it is down: it is noted, nothing retires, and nothing is rolled back for it."""
    play.start()
    play.until(Stage.SOAK)
    down = play.world.clock.wall()
    play.world.script.probe = Probe(down, down, "connect: refused")
    state = play.turn(times=30)
    assert state.stage is Stage.SOAK
    assert [f.kind for f in state.findings] == ["incumbent_down"]
    play.world.script.probe = Probe(play.world.clock.wall(), None)
    assert play.until(Stage.DONE).stage is Stage.DONE


def test_a_soak_that_fails_rolls_back(play: Play) -> None:
    """At 100 % the way back is as short as before."""
    play.start()
    play.until(Stage.SOAK)
    play.world.script.judgement = FAILS
    assert play.turn(times=4).stage is Stage.ROLLED_BACK
    assert play.route() is None


# -- two controllers, lost and restored stores


def test_two_controllers_do_no_harm(play: Play) -> None:
    """Each step is taken once, and time watched by both counts once."""
    other = play.world.controller("other")
    play.start()
    begun = play.world.clock.mono
    for _ in range(200):
        play.world.clock.pass_(12.5)

        async def both() -> None:
            await asyncio.gather(play.now.turn(), other.turn())

        play.run(both())
        if play.state().over:
            break
    assert play.state().stage is Stage.DONE
    assert play.world.clock.mono - begun >= 100 + 200 + 150
    moves = [k for k in play.kinds() if k in ("exposed", "widened", "taken_over", "retired")]
    assert moves == ["exposed", "widened", "widened", "taken_over", "retired"]


def test_a_lost_store_never_lowers_the_epoch(play: Play) -> None:
    """A new, empty store publishes above what gateways have seen, and serves the incumbent."""
    play.start()
    play.until(Stage.CANARY)
    before = play.world.board.reached()
    fresh = type(play.world)(play.world.project, clock=play.world.clock)
    fresh.store.generation = "new"
    fresh.board = play.world.board
    controller = fresh.controller("after")
    asyncio.run(controller.turn())
    assert play.world.board.reached() > before
    assert play.route() is None


def test_a_restored_store_is_not_believed(play: Play) -> None:
    """An older copy would serve what was rolled back: nothing changes until a person accepts it."""
    play.start()
    play.until(Stage.CANARY)
    backup = play.world.store.copied()
    play.wish("rollback", "bad")
    assert play.route() is None
    play.world.store = backup
    play.now = play.world.controller("restored")
    tables = len(play.world.board.tables)
    turn = play.run(play.now.turn())
    assert "--reseal" in turn.problems[0]
    assert len(play.world.board.tables) == tables
    play.run(backup.reseal(backup.epoch, "resealed", play.world.board.reached()))
    assert play.run(play.now.turn()).published > 0


def test_a_table_issued_while_the_store_is_read_is_no_restored_store(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another controller obeys a person between the reading of the store and of the table."""
    play.start()
    play.until(Stage.CANARY)
    store, other = play.world.store, play.world.controller("other")
    read, upgrade = store.read, play.state().id

    async def slowly() -> Snapshot:
        snapshot = await read()
        monkeypatch.setattr(store, "read", read)
        await store.submit(upgrade, "rollback", "ada", "bad", {}, play.world.clock.wall())
        assert (await other.turn()).published
        return snapshot

    monkeypatch.setattr(store, "read", slowly)
    assert not [problem for problem in play.run(play.now.turn()).problems if "--reseal" in problem]


def test_time_without_a_controller_is_not_held(play: Play) -> None:
    """Two days without anybody watching count as one lease."""
    play.start()
    play.until(Stage.CANARY)
    play.now = play.world.controller("restarted")
    play.world.clock.pass_(172_800.0)
    play.run(play.now.turn())
    assert play.state().step == 0


def test_a_wall_clock_that_jumps_promotes_nothing(play: Play) -> None:
    """Forward or back, only time that passed counts."""
    play.start()
    play.until(Stage.CANARY)
    for jump in (172_800.0, -345_600.0):
        play.world.clock.now += jump
        play.turn(1.0, times=3)
        assert play.state().step == 0
