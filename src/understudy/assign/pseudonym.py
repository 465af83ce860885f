"""The name under which somebody is kept whose own name may not be written down: a keyed hash of it.

Whoever has the name and the key finds the records again; without the key nobody can try names out. Bits are plenty, so
that two people never share a pseudonym.
"""

from __future__ import annotations

from hashlib import blake2b

PREFIX = "hashed-"
KEY_LIMIT = 64
"""Bytes that BLAKE2b takes as a key; a longer one is hashed first."""


def keys_of(written: str) -> tuple[bytes, ...]:
    """The keys in a text like "NEW,OLD": the first one makes names, all of them find them. One, empty, for no key."""
    found = tuple(key.encode() for key in (part.strip() for part in written.split(",")) if key)
    return found or (b"",)


def pseudonym(name: str, key: bytes = b"") -> str:
    """The pseudonym of a unit or conversation, the same in every process; "" for nobody.

    Without a key it hides the name from readers, and not from somebody who guesses names and hashes them.
    """
    if not name:
        return ""
    if len(key) > KEY_LIMIT:
        key = blake2b(key).digest()
    spelt = name.encode("utf-8", "surrogatepass")
    return PREFIX + blake2b(spelt, digest_size=16, key=key, person=b"understudy-unit").hexdigest()
