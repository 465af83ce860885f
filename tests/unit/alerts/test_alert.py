"""The forms an alert is sent in."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from understudy.alerts.alert import Alert, Kind, Severity, plain, signature, slack
from understudy.alerts.post import Target, wait_s

ALERT = Alert(
    "u1:8", (Kind.ROLLED_BACK, Kind.BREAKER_OPEN), Severity.HIGH, "reply", "u1", 7.5, "reply: <!channel> & <@U1>",
    "by <http://evil|ana>: 5 failures", "understudy upgrade status `reply`",
)  # fmt: skip


def test_nothing_people_wrote_becomes_a_mention_or_a_link() -> None:
    """The characters that Slack's text gives a meaning are written as it asks for."""
    text = json.loads(slack(ALERT.as_dict()))["text"]
    assert "<" not in text and ">" not in text
    assert "&lt;!channel&gt; &amp; &lt;@U1&gt;" in text and "`understudy upgrade status reply`" in text
    assert text.startswith(":rotating_light: *reply: ")


def test_the_json_form_is_the_same_bytes_each_time() -> None:
    """A receiver that saw it before sees equal bytes, and everything the alert says."""
    body = plain(ALERT.as_dict())
    assert body == plain(json.loads(body))
    assert json.loads(body) == {
        "format": 1, "id": "u1:8", "kinds": ["rolled_back", "breaker_open"], "severity": "high", "workload": "reply",
        "upgrade": "u1", "at": 7.5, "title": ALERT.title, "text": ALERT.text, "todo": ALERT.todo,
    }  # fmt: skip


def test_the_signature_is_what_a_receiver_works_out() -> None:
    """HMAC-SHA256 over time, full stop and body; another secret, time or byte gives another."""
    body = plain(ALERT.as_dict())
    expected = hmac.new(b"s3cret", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert signature("s3cret", 1_700_000_000, body) == f"t=1700000000,v1={expected}"
    others = {signature("s3cres", 1_700_000_000, body), signature("s3cret", 1_700_000_001, body)}
    others.add(signature("s3cret", 1_700_000_000, body + b" "))
    assert len(others) == 3 and not any(expected in other for other in others)


def test_a_target_shows_nobody_its_address() -> None:
    """Neither address nor secret stand in what a log would show of it."""
    shown = repr(Target("ops", "slack", "https://hooks.example/T0/B0/key", "s3cret"))
    assert "key" not in shown and "s3cret" not in shown


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (2, 2), (5, 16), (10, 512), (11, 900), (10_000, 900)])
def test_attempts_grow_rarer(attempts: int, seconds: float) -> None:
    assert wait_s(attempts) == seconds
