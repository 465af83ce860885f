"""Identifiers and secrets do not survive redaction, wherever they hide; ordinary text does."""

from __future__ import annotations

import base64
import json

import pytest

from understudy.core.errors import UsageError
from understudy.ledger.redact import CUT_MARGIN, Redactor

SECRETS = {
    "email": "jo.example+tag@mail.example.org",
    "email with letters of its own": "jürgen@bücher.example",
    "email in a link": "jo%40example.org",
    "card": "4111 1111 1111 1111",
    "card without spaces": "5500005555555559",
    "account": "DE89 3704 0044 0532 0130 00",
    "social security number": "078-05-1120",
    "phone": "+49 (0)30 901820",
    "phone in brackets": "(555) 013-4567",
    "address": "192.168.17.4",
    "address of version six": "2001:db8:85a3::8a2e:370:7334",
    "provider key": "sk-proj-abcdefghijklmnop0123456789",
    "cloud key": "AKIAIOSFODNN7EXAMPLE",
    "repository token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcDEF123_-x",
    "bearer": "Bearer abcdefghijklmnopqrstuvwxyz",
    "password": "password=hunter2hunter2",
    "password in an address": "postgres://app:s3cr3tpw@db.internal/x",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
}
HARMLESS = [
    "The order of 12 May was 1,299.00 EUR; version 1.2.3 of 2026-11-21 04:05:06.",
    "Call us between 9 and 17 o'clock, room 4.2.1, ratio 3:4:5.",
    "def f(x): return x[0:10] if x else None  # see RFC 2119",
    "1234 5678 9012 3456",
    "call_abc123DEF456ghi789JKL012",
    "a very-long-hyphenated-identifier-that-is-just-words",
    "x@y is no address",
    "the 17th prime is 59, the 100th is 541",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_gone_in_every_wrapping(name: str) -> None:
    """In text, in JSON, in JSON within JSON, escaped, and in base64, once and twice."""
    secret = SECRETS[name]
    redactor = Redactor()
    arguments = json.dumps({"to": secret})
    body = {"model": "m", "messages": [{"role": "user", "content": f"Please use {secret} now"}]}
    call = {"tool_calls": [{"function": {"name": "send", "arguments": arguments}}]}
    once = base64.b64encode(f"the secret is {secret}, keep it".encode()).decode()
    twice = base64.b64encode(once.encode()).decode()
    escaped = json.dumps(body).replace("@", "\\u0040")
    for text in (
        f"Please use {secret} now", json.dumps(body), json.dumps(call), json.dumps([arguments]), arguments, escaped,
        f"attached: {once}", json.dumps({"data": once}), f"attached: {twice}", json.dumps({secret: 1}),
    ):  # fmt: skip
        cleaned = redactor.text(text)
        assert secret not in cleaned
        assert json.dumps(secret)[1:-1] not in cleaned
        assert once not in cleaned
        assert twice not in cleaned
    assert secret.encode() not in redactor.body(json.dumps(body).encode())


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """What merely looks like an identifier stays, so that answers can still be compared."""
    assert Redactor().text(text) == text


def test_json_stays_json_and_numbers_are_looked_at() -> None:
    """A redacted body parses, and a card number written as a number is taken out."""
    body = json.dumps({"messages": [{"content": {"card": 4111111111111111, "n": 5, "ok": True}}]})
    cleaned = json.loads(Redactor().text(body))
    assert cleaned == {"messages": [{"content": {"card": "[redacted card]", "n": 5, "ok": True}}]}


def test_fields_that_do_not_describe_the_work_are_left_out_of_bodies() -> None:
    """Who asked stands in fields beside the work; only listed fields are kept."""
    body = json.dumps({"model": "m", "messages": [], "user": "u-17", "metadata": {"name": "Jo"}, "own": 1}).encode()
    assert json.loads(Redactor().body(body)) == {"model": "m", "messages": []}
    assert json.loads(Redactor(fields=["own"]).body(body)) == {"model": "m", "messages": [], "own": 1}


def test_a_body_with_nothing_to_redact_keeps_its_bytes() -> None:
    """Spaces and the order of keys are not touched without need."""
    body = b'{ "model": "m",  "messages": [ {"content": "hello"} ] }'
    assert Redactor().body(body) == body


def test_pictures_are_not_kept() -> None:
    """Binary base64 cannot be looked into: only its size is kept."""
    picture = base64.b64encode(bytes(range(256)) * 4).decode()
    text = json.dumps({"image_url": {"url": f"data:image/png;base64,{picture}"}})
    cleaned = Redactor().text(text)
    assert picture[:40] not in cleaned
    assert "[redacted 1024 bytes]" in cleaned


def test_an_address_that_was_cut_is_no_address_left() -> None:
    """The end of a copy that was cut short does not leak the beginning of an address."""
    assert "jo.example" not in Redactor().text("write to jo.example@mai")


@pytest.mark.parametrize("name", SECRETS)
def test_a_cut_through_a_secret_leaves_no_part_of_it(name: str) -> None:
    """Wherever the cut goes: the text, a body and a body with the secret in base64 show none of its beginning."""
    secret = SECRETS[name]
    redactor = Redactor()
    begins = secret.removeprefix("password=").removeprefix("postgres://")[:5]
    packed = base64.b64encode(f"so: {secret}".encode()).decode()
    for at in range(len(secret) + 1):
        for more in (0, CUT_MARGIN + 100):
            text = "a " * (600 - at) + secret + " and so on" + " b" * more
            shown = redactor.text(text, 1200 - at)
            assert len(shown) <= 1200 - at
            assert begins not in shown
            body = json.dumps({"messages": [{"content": text}, packed], "user": secret}).encode()
            assert begins.encode() not in redactor.body(body, 1200 - at)
    assert redactor.text("a " * 40_000, 60_000) == ("a " * 40_000)[:60_000]
    assert redactor.body(b'{"messages":["' + b"a" * (5 << 20) + b'"]}', 1000) == b""


def test_a_part_of_a_body_is_json_as_far_as_it_goes() -> None:
    """What is kept of a long body has its known fields only, in order, and each text looked at whole."""
    body = {"user": "jo@example.org", "model": "m", "n": 1, "messages": [{"content": "a" * 90 + " jo@example.org"}] * 9}
    shown = Redactor().body(json.dumps(body).encode(), 400)
    assert len(shown) == 400
    assert shown.startswith(b'{"model":"m","n":1,"messages":[{"content":"aaa')
    assert shown.count(b"a [redacted email]") >= 2
    assert b"example" not in shown
    assert b"user" not in shown


def test_own_patterns_are_taken_out_first() -> None:
    """A configured pattern replaces what it finds."""
    assert Redactor({"customer": r"\bCUST-\d{6}\b"}).text("for CUST-123456.") == "for [redacted customer]."


def test_a_pattern_that_could_hang_is_refused() -> None:
    """RE2 takes no look-around: the message names the pattern."""
    with pytest.raises(UsageError, match="is no pattern"):
        Redactor({"own": r"(?=a)b"})


def test_broken_bodies_are_redacted_as_text() -> None:
    """Half a JSON document and bytes that are no UTF-8 raise nothing and leak nothing."""
    redactor = Redactor()
    assert b"jo@example.org" not in redactor.body(b'{"messages": [{"content": "jo@example.org')
    assert b"example" not in redactor.body(b'{"messages": [{"content": "jo\\u0040example.org')
    assert redactor.body(b"\xff\xfe") == "\ufffd\ufffd".encode()
    assert redactor.body(b"") == b""
    assert redactor.text("a\ud800b jo@example.org") == "a?b [redacted email]"


def test_deep_nesting_is_no_way_to_crash() -> None:
    """A thousand brackets are text like any other."""
    text = "[" * 5_000 + '"jo@example.org"' + "]" * 5_000
    assert "jo@example.org" not in Redactor().text(text)
