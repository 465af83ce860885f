"""Chooses which cases the reflecting model is shown next: mostly ones that the candidate loses. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import zip_longest

from understudy.tuning.bar import Held

BATCH = 6
"""Cases that are shown at once, and asked again of the new prompt."""
LOST = 4
"""How many of them the candidate loses, where it loses so many; the others are there so that they stay won."""


def batch(cases: Sequence[Held], number: int, seed: int) -> list[int]:
    """Places in `cases` of the batch with this number (from 0).

    Cases that were lost come in turn, slice by slice, so that a thin slice is seen as early as a broad one.
    """
    drawn = random.Random(f"{seed}/{number}")
    lost = _by_slice([i for i, each in enumerate(cases) if each.lost], cases, seed)
    kept = [i for i, each in enumerate(cases) if not each.lost]
    size = min(BATCH, len(cases))
    take = min(LOST, len(lost)) if kept else min(size, len(lost))
    first = number * take
    chosen = [lost[(first + k) % len(lost)] for k in range(take)]
    return chosen + drawn.sample(kept, min(size - take, len(kept)))


def _by_slice(places: Sequence[int], cases: Sequence[Held], seed: int) -> list[int]:
    """The places in a drawn order, one of each slice in turn."""
    shuffled = list(places)
    random.Random(seed).shuffle(shuffled)
    groups: dict[tuple[str, ...], list[int]] = {}
    for place in shuffled:
        groups.setdefault(cases[place].slices, []).append(place)
    turns = zip_longest(*(groups[name] for name in sorted(groups)))
    return [place for turn in turns for place in turn if place is not None]
