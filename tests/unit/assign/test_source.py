from __future__ import annotations

from typing import Any

import pytest

from understudy.assign.source import MAX_VALUE, first, parse


@pytest.mark.parametrize(
    ("sources", "headers", "fields", "found"),
    [
        (["header:X-User-Id", "body:user"], {"x-user-id": "h"}, {"user": "b"}, "h"),
        (["header:x-user-id", "body:user"], {}, {"user": "b"}, "b"),
        (["header:x-user-id", "body:user"], {"x-user-id": ""}, {"user": "b"}, "b"),
        (["body:metadata.user.id"], {}, {"metadata": {"user": {"id": "deep"}}}, "deep"),
        (["body:metadata.user"], {}, {"metadata": "text"}, ""),
        (["body:user"], {}, {"user": 42}, "42"),
        (["body:user"], {}, {"user": True}, ""),
        (["body:user"], {}, {"user": None}, ""),
        (["body:user"], {}, {"user": ["a"]}, ""),
        (["body:user"], {}, {"user": "u" * 9999}, "u" * MAX_VALUE),
        ([], {"x-user-id": "h"}, {}, ""),
    ],
)
def test_the_first_source_that_names_something_wins(
    sources: list[str], headers: dict[str, str], fields: dict[str, Any], found: str
) -> None:
    """Sources are tried in order; empty and non-scalar values count as absent."""
    assert first([parse(s) for s in sources], headers, fields) == found


@pytest.mark.parametrize("text", ["", "header:", "body:", "cookie:user", "user"])
def test_anything_else_is_no_source(text: str) -> None:
    """A source is header:NAME or body:FIELD."""
    with pytest.raises(ValueError, match="no source"):
        parse(text)
