"""What is no webhook's address is said, in words without it; it never ends the process that sends."""

from __future__ import annotations

import asyncio

import pytest

from understudy.alerts.post import Target, post

MESSAGE = {"id": "test:1", "title": "t", "text": "t", "todo": "", "severity": "info", "kinds": ["test"], "at": 0.0}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/KEY",
        "http://127.0.0.1:port/KEY",
        "http://127.0.0.1:0/KEY",
        "http://[::1/KEY",
        "ftp://127.0.0.1/KEY",
        "https:///KEY",
        "not an address KEY",
        "http://127.0.0.1:1/KEY\nKEY",
        f"http://{'KEY' * 30}.invalid/KEY",
        "http://127.0.0.1:1/KEY",
    ],
)
@pytest.mark.parametrize("form", ["json", "slack"])
def test_a_wrong_address_is_a_failure_of_its_target_alone(url: str, form: str) -> None:
    said = asyncio.run(post(Target("chat", form, url), {**MESSAGE, "workload": "w", "upgrade": "u"}, 0.0))
    assert said and "KEY" not in said
