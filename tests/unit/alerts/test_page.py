"""The page on alerts says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from understudy.alerts.alert import Kind, signature
from understudy.config.webhooks import TargetSection

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "alerts.md").read_text()


def test_every_kind_is_on_the_page_and_may_be_asked_for() -> None:
    """The table, the configuration and the code know the same kinds."""
    kinds = {str(kind) for kind in Kind} - {str(Kind.TEST)}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M)) - {"on"} == kinds  # the first row is the heading
    (choices,) = get_args(TargetSection.model_fields["on"].annotation)
    assert set(get_args(choices)) == kinds


def test_the_receiver_of_the_page_checks_what_is_sent() -> None:
    """The function that readers copy takes a genuine alert, and neither a changed, a forged nor an old one."""
    block = PAGE.partition("```python\n")[2].partition("```")[0]
    copied: dict[str, Any] = {}
    exec(block, copied)
    genuine, body = copied["genuine"], b'{"id":"u1:2"}'
    header = signature("s3cret", 1_700_000_000, body)
    assert genuine(b"s3cret", header, body, 1_700_000_010.0)
    assert not genuine(b"s3cret", header, body + b" ", 1_700_000_010.0)
    assert not genuine(b"other", header, body, 1_700_000_010.0)
    assert not genuine(b"s3cret", header, body, 1_700_001_000.0)
