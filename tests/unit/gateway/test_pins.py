from __future__ import annotations

from pathlib import Path

import pytest

from understudy.core.playbook import Arm
from understudy.gateway.pins import FORGET_HOURS, Pins

NOW = 1_800_000_000.0


def test_a_pin_is_seen_by_other_workers_and_after_a_restart(tmp_path: Path) -> None:
    """The file is shared, and outlives the process."""
    one, other = Pins(tmp_path / "pins"), Pins(tmp_path / "pins")
    one.put("u1", "talk-1", Arm.CANDIDATE, NOW)
    one.put("u1", "talk-2", Arm.INCUMBENT, NOW)
    assert other.get("u1", "talk-1", NOW) is Arm.CANDIDATE
    one.close()
    other.close()
    later = Pins(tmp_path / "pins")
    assert later.get("u1", "talk-1", NOW) is Arm.CANDIDATE
    assert later.get("u1", "talk-2", NOW) is Arm.INCUMBENT
    assert later.get("u1", "talk-3", NOW) is None
    assert later.get("u2", "talk-1", NOW) is None
    later.close()


def test_a_silent_conversation_is_forgotten_and_a_used_one_is_not() -> None:
    """Each use renews the pin."""
    pins = Pins(None)
    pins.put("u1", "silent", Arm.CANDIDATE, NOW)
    pins.put("u1", "used", Arm.CANDIDATE, NOW)
    half = NOW + FORGET_HOURS * 1800
    assert pins.get("u1", "used", half) is Arm.CANDIDATE
    late = NOW + (FORGET_HOURS + 2) * 3600
    assert pins.get("u1", "silent", late) is None
    assert pins.get("u1", "used", late) is Arm.CANDIDATE
    pins.close()


@pytest.mark.slow
def test_a_full_table_loses_pins_and_never_confuses_them() -> None:
    """With far more conversations than slots a pin may be gone; one that is there is right."""
    pins = Pins(None)
    arms = {f"talk-{n}": Arm.CANDIDATE if n % 3 == 0 else Arm.INCUMBENT for n in range(300_000)}
    for talk, arm in arms.items():
        pins.put("u1", talk, arm, NOW)
    found = {talk: pins.get("u1", talk, NOW) for talk in arms}
    assert all(found[talk] in (None, arm) for talk, arm in arms.items())
    assert sum(arm is not None for arm in found.values()) > 150_000
    pins.close()
