"""Who may look and who may act: users with keys, sessions of browsers, tokens against forged requests. Pure.

Of keys, sessions and the link that signs in only hashes are kept. Sessions live in this process alone: a dashboard that
starts anew asks everybody to sign in again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from understudy.config.project import DashboardUser

SESSION_S = 12 * 3_600.0
"""A session ends so long after its last use."""
WRONG_KEY_S = 1.0
"""How long a wrong key waits for its answer: guessing is slow."""
MOST_SESSIONS = 1_000
"""The oldest one ends where another begins beyond so many."""


class Person(NamedTuple):
    """Who is there, by the name that the journal takes."""

    name: str
    may_act: bool


@dataclass
class Session:
    """A browser that has signed in. `forgery` is the token that its forms carry."""

    key_hash: str
    forgery: str
    until: float
    said: list[tuple[str, str]] = field(default_factory=list)
    """What the next page tells once: ("good" or "bad", sentence)."""


def hashed(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Access:
    """Keys to people, and sessions to people.

    random: gives a new secret, as `secrets.token_urlsafe` does.
    """

    def __init__(self, users: Sequence[DashboardUser], *, random: Callable[[], str]) -> None:
        self.users = tuple(users)
        self._random = random
        self._sessions: dict[str, Session] = {}

    def use(self, users: Sequence[DashboardUser]) -> None:
        """Take over other users; sessions of those who are gone, or have another key, end."""
        self.users = tuple(users)

    def person(self, key_hash: str) -> Person | None:
        """Whose key it is. Every user is compared, in constant time."""
        found = None
        for user in self.users:
            if hmac.compare_digest(user.key_hash, key_hash):
                found = Person(user.name, user.may_act)
        return found

    def sign_in(self, key: str, now: float) -> str | None:
        """A new session's token for the browser to keep; None where nobody has this key."""
        key_hash = hashed(key)
        if self.person(key_hash) is None:
            return None
        self._sessions = {token: each for token, each in self._sessions.items() if each.until > now}
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = self._random()
        self._sessions[hashed(token)] = Session(key_hash, self._random(), now + SESSION_S)
        return token

    def session(self, token: str, now: float) -> tuple[Session, Person] | None:
        """The session of a browser, prolonged by its use; None where it has ended or never was."""
        session = self._sessions.get(hashed(token))
        person = self.person(session.key_hash) if session is not None and session.until > now else None
        if session is None or person is None:
            return None
        session.until = now + SESSION_S
        return session, person

    def sign_out(self, token: str) -> None:
        self._sessions.pop(hashed(token), None)


def genuine(session: Session, given: str) -> bool:
    """Whether a form carries the token of the session it is sent in."""
    return hmac.compare_digest(session.forgery.encode(), given.encode())
