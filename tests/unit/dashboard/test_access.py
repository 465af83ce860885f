"""Keys, sessions and tokens; which requests are heard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from understudy.config.project import DashboardUser
from understudy.dashboard.access import MOST_SESSIONS, SESSION_S, Access, Person, genuine, hashed
from understudy.dashboard.guard import known_host, own_request

USERS = (DashboardUser("ops", hashed("k1"), True), DashboardUser("audit", hashed("k2"), False))


@pytest.fixture
def access() -> Access:
    secrets: Iterator[str] = (f"secret-{n}" for n in count())
    return Access(USERS, random=lambda: next(secrets))


def test_a_key_is_one_person_and_a_session_ends(access: Access) -> None:
    assert access.sign_in("k3", 0.0) is None
    token = access.sign_in("k2", 0.0)
    assert token is not None
    found = access.session(token, SESSION_S - 1)
    assert found is not None
    assert found[1] == Person("audit", False)
    assert access.session(token, 2 * SESSION_S - 2) is not None, "its use prolongs it"
    assert access.session(token, 9 * SESSION_S) is None
    assert access.session("secret-99", 0.0) is None
    assert token not in repr(vars(access)), "only hashes are kept"


def test_a_form_is_of_its_own_session(access: Access) -> None:
    first, second = (access.session(access.sign_in(key, 0.0) or "", 0.0) for key in ("k1", "k2"))
    assert first is not None
    assert second is not None
    assert genuine(first[0], first[0].forgery)
    assert not genuine(first[0], second[0].forgery)
    assert not genuine(first[0], "")


def test_who_is_gone_from_the_configuration_is_out_at_once(access: Access) -> None:
    token = access.sign_in("k1", 0.0) or ""
    access.use(USERS[1:])
    assert access.session(token, 1.0) is None
    access.use([DashboardUser("ops", hashed("another key"), True)])
    assert access.session(token, 1.0) is None


def test_signing_out_ends_it_and_sessions_are_bounded(access: Access) -> None:
    token = access.sign_in("k1", 0.0) or ""
    access.sign_out(token)
    assert access.session(token, 0.0) is None
    first = access.sign_in("k1", 0.0) or ""
    for _ in range(MOST_SESSIONS):
        access.sign_in("k1", 0.0)
    assert access.session(first, 0.0) is None


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8090", True),
        ("[::1]:8090", True),
        ("localhost", True),
        ("192.168.1.7", True),
        ("Dash.Example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_only_own_names_are_heard(host: str, known: bool) -> None:
    assert known_host(host, ["dash.example"]) is known


HOST = {"host": "127.0.0.1:8090"}


@pytest.mark.parametrize(
    ("method", "headers", "own"),
    [
        ("GET", {}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, False),
        ("POST", {}, False),
        ("POST", {"origin": "http://127.0.0.1:8090"}, True),
        ("POST", {"origin": "http://127.0.0.1:8091"}, False),
        ("POST", {"origin": "http://127.0.0.1:8090.evil.example"}, False),
        ("POST", {"origin": "null"}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "none"}, False),
        ("POST", {"authorization": "Bearer k", "origin": "http://evil.example"}, True),
        ("POST", {"authorization": "Basic k", "origin": "http://evil.example"}, False),
        ("DELETE", {"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_only_own_pages_change_something(method: str, headers: dict[str, str], own: bool) -> None:
    assert own_request(method, HOST | headers) is own
