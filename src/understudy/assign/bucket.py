"""A unit's place among one million, and its place among 256 analysis groups; nothing but a keyed hash.

Both numbers are relied on by running upgrades: changing either would move users between arms. Golden values are in
the tests. Python's own `hash()` is never used: it differs between processes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from understudy.core.playbook import PARTS_PER_MILLION

_ASSIGN = b"understudy-arm"
_ANALYSE = b"understudy-grp"
_REMEMBERED = 512
"""Users come again within seconds; remembering one costs some 200 bytes, in every worker and for every upgrade, and
placing one anew a microsecond."""
_SALT_BYTES = 64
"""The longest key blake2b takes; a longer salt is hashed first."""


def bucket(salt: str, unit: str) -> int:
    """0..999_999, uniform, the same for ever; the candidate serves units whose bucket is below its share."""
    return _placing(salt)(unit)


def buckets(salt: str) -> Callable[[str], int]:
    """`bucket` for many units under one salt: the last ones are remembered."""
    return lru_cache(_REMEMBERED)(_placing(salt))


def _placing(salt: str) -> Callable[[str], int]:
    """The keyed state is made once and copied for each unit."""
    keyed = blake2b(digest_size=8, key=_key(salt), person=_ASSIGN)

    def place(unit: str) -> int:
        state = keyed.copy()
        state.update(unit.encode("utf-8", "surrogatepass"))
        return int.from_bytes(state.digest()) % PARTS_PER_MILLION  # 8 bytes: the bias is below 6e-14

    return place


def analysis_bucket(salt: str, unit: str) -> int:
    """0..255, independent of `bucket`; variance is estimated over these groups of units."""
    return blake2b(_encode(unit), digest_size=1, key=_key(salt), person=_ANALYSE).digest()[0]


def _key(salt: str) -> bytes:
    key = _encode(salt)
    return key if len(key) <= _SALT_BYTES else blake2b(key).digest()


def _encode(text: str) -> bytes:
    """UTF-8; a lone surrogate, which JSON can carry, keeps a byte form of its own instead of an error."""
    return text.encode("utf-8", "surrogatepass")
