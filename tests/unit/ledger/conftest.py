"""Records to put into a ledger, and the way from records to a lake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests import records

from understudy.core.records import Exchange, Record

Make = Callable[..., Exchange]
Fill = Callable[[Iterable[Record]], Path]


@pytest.fixture
def make() -> Make:
    """An exchange by number, of one of seven users; any field can be given."""
    return lambda number, **fields: records.exchange(number, **({"unit": f"u-{number % 7}"} | fields))


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Append records as one worker, commit them, and return the lake."""

    def filled(given: Iterable[Record]) -> Path:
        records.fill(tmp_path, given)
        return tmp_path / "lake"

    return filled
