"""What may happen in which stage. This table is the specification; the machine's tables have to agree with it."""

from __future__ import annotations

import pytest

from understudy.core.playbook import PARTS_PER_MILLION, Stage
from understudy.rollout.machine import (
    ACTIVE,
    EXITS,
    FORWARD,
    JUDGED_MOVES,
    MOVES,
    RECORDS,
    Illegal,
    Kind,
    Place,
    legal,
    mermaid,
    move,
)

TABLE = """
event          draft    regress  retune   shadow   canary   soak     done blocked rolled_back aborted
started        -        -        -        -        -        -        -    -       -           -
opened         regress  -        -        -        -        -        -    -       -           -
cleared        -        shadow   -        -        -        -        -    -       -           -
fell_short     -        retune   -        -        -        -        -    -       -           -
switched       draft    regress  regress  regress  -        -        -    -       -           -
drifted        -        -        -        retune   -        -        -    -       -           -
exposed        -        -        -        canary   -        -        -    -       -           -
widened        -        -        -        -        canary   -        -    -       -           -
taken_over     -        -        -        -        soak     -        -    -       -           -
retired        -        -        -        -        -        done     -    -       -           -
blocked        blocked  blocked  -        blocked  -        -        -    -       -           -
gave_up        -        -        blocked  -        -        -        -    -       -           -
aborted        aborted  aborted  aborted  aborted  aborted  aborted  -    -       -           -
rolled_back    rolled   rolled   rolled   rolled   rolled   rolled   -    -       -           -
evaluated      -        same     -        same     -        -        -    -       -           -
waived         -        same     -        same     same     same     -    -       -           -
approved       -        same     -        same     same     same     -    -       -           -
clock_started  -        -        -        same     -        -        -    -       -           -
baselined      -        -        -        -        same     -        -    -       -           -
judged         -        -        -        same     same     same     -    -       -           -
promoted       -        -        -        -        same     -        -    -       -           -
noted          same     same     same     same     same     same     -    -       -           -
soaked         -        -        -        -        -        same     -    -       -           -
rested         -        -        -        same     same     -        -    -       -           -
drilled        same     same     same     same     same     same     -    -       -           -
paused         same     same     same     same     same     same     -    -       -           -
resumed        same     same     same     same     same     same     -    -       -           -
"""

_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(stage, kind, cell) for kind, *cells in _ROWS[1:] for stage, cell in zip(_ROWS[0][1:], cells, strict=True)]


def place_in(stage: Stage) -> Place:
    """A place in the stage from which every legal event with fitting data is possible."""
    if stage is Stage.CANARY:
        return Place(stage, step=0, share=10_000, clock=7)
    if stage is Stage.SOAK:
        return Place(stage, step=2, share=PARTS_PER_MILLION, clock=7)
    return Place(stage, clock=7)


def data_for(stage: Stage, kind: Kind) -> tuple[Place, dict[str, int]]:
    place = place_in(stage)
    if kind is Kind.TAKEN_OVER:
        place = place._replace(share=PARTS_PER_MILLION)
    return place, {"judged": 7, "share": max(place.share + 1, 20_000)}


def test_the_table_names_every_stage_and_every_event() -> None:
    """No stage and no event is left out of the specification."""
    assert _ROWS[0][1:] == [str(stage) for stage in Stage]
    assert [row[0] for row in _ROWS[1:]] == [str(kind) for kind in Kind]


@pytest.mark.parametrize(("stage", "kind", "cell"), CELLS)
def test_each_event_in_each_stage(stage: str, kind: str, cell: str) -> None:
    """An event leads where the table says, or raises and changes nothing."""
    place, data = data_for(Stage(stage), Kind(kind))
    if cell == "-":
        assert not legal(Stage(stage), Kind(kind))
        with pytest.raises(Illegal):
            move(place, Kind(kind), 8, data)
        return
    after = move(place, Kind(kind), 8, data)
    wanted = {"same": stage, "rolled": "rolled_back"}.get(cell, cell)
    assert after.stage == wanted


@pytest.mark.parametrize("kind", list(Kind))
def test_only_a_start_begins(kind: Kind) -> None:
    """An upgrade begins with `started` and nothing else."""
    if kind is Kind.STARTED:
        assert move(None, kind, 1, {}) == Place(Stage.DRAFT, clock=1)
        return
    with pytest.raises(Illegal):
        move(None, kind, 1, {"judged": 0, "share": 1})


@pytest.mark.parametrize("kind", sorted(FORWARD))
def test_a_pause_stops_what_the_controller_does_by_itself(kind: Kind) -> None:
    """While paused, no forward event is legal anywhere, and resuming makes it so again."""
    for stage in ACTIVE:
        if not legal(stage, kind):
            continue
        place, data = data_for(stage, kind)
        with pytest.raises(Illegal, match="paused"):
            move(place._replace(paused=True), kind, 8, data)
        move(move(place._replace(paused=True), Kind.RESUMED, 8, {}), kind, 9, data)


@pytest.mark.parametrize("kind", sorted(EXITS))
@pytest.mark.parametrize("stage", ACTIVE)
@pytest.mark.parametrize("paused", [False, True])
def test_the_exits_are_always_open(stage: Stage, kind: Kind, paused: bool) -> None:
    """From every active stage, paused or not, both exits lead out, and no share is left."""
    after = move(place_in(stage)._replace(paused=paused), kind, 8, {})
    assert after.stage is EXITS[kind]
    assert after.share == 0


@pytest.mark.parametrize("kind", sorted(JUDGED_MOVES))
def test_a_verdict_counts_only_for_the_clock_it_was_made_by(kind: Kind) -> None:
    """A move on a verdict of another clock raises: no verdict serves two steps."""
    stage = next(stage for stage in ACTIVE if kind in MOVES[stage])
    place, data = data_for(stage, kind)
    with pytest.raises(Illegal, match="clock"):
        move(place, kind, 8, {**data, "judged": 6})
    with pytest.raises(Illegal, match="clock"):
        move(place, kind, 8, {"share": data["share"]})
    assert move(place, kind, 8, data).clock == 8


@pytest.mark.parametrize("share", [10_000, 9_999, 0, -1, PARTS_PER_MILLION + 1, None, "20000", 20_000.0])
def test_the_share_only_rises_and_never_above_all(share: object) -> None:
    """A canary is widened to a larger whole share of at most 100 %, by one step."""
    place = place_in(Stage.CANARY)
    with pytest.raises(Illegal):
        move(place, Kind.WIDENED, 8, {"judged": 7, "share": share})
    after = move(place, Kind.WIDENED, 8, {"judged": 7, "share": 10_001})
    assert (after.step, after.share, after.clock) == (1, 10_001, 8)


def test_a_soak_begins_at_all_of_the_traffic() -> None:
    """The candidate takes over from 100 % only."""
    with pytest.raises(Illegal, match="10000"):
        move(place_in(Stage.CANARY), Kind.TAKEN_OVER, 8, {"judged": 7})


def test_no_state_is_stuck() -> None:
    """From every active stage some action of an operator alone ends the upgrade, whatever the data."""
    for stage in ACTIVE:
        assert set(EXITS) <= set(MOVES[stage])
        assert not set(EXITS) & (FORWARD | JUDGED_MOVES)


def test_events_are_moves_or_records_never_both() -> None:
    """Every event but the first is in exactly one of the tables."""
    moves = {kind for row in MOVES.values() for kind in row}
    assert moves & set(RECORDS) == set()
    assert moves | set(RECORDS) | {Kind.STARTED} == set(Kind)


def test_the_diagram_has_every_edge() -> None:
    """The drawing is made from the tables, so it cannot forget one."""
    drawing = mermaid()
    for stage in ACTIVE:
        for kind, target in MOVES[stage].items():
            start = "active" if kind in EXITS else str(stage)
            assert f"{start} --> {target}: {kind}\n" in drawing
