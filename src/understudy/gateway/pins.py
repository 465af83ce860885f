"""Which arm a conversation began with, shared by all workers of a machine and kept over restarts.

A file of fixed size, mapped into memory: a slot holds a hash, the arm and the hour it was last used. When a bucket
is full the conversation that was silent longest loses its slot. Losing one costs a conversation its pin, no more.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from pathlib import Path

from understudy.core.playbook import Arm
from understudy.gateway.shared import mapped

SLOTS = 1 << 18
_WAYS = 8
_SLOT = struct.Struct("<QQ")
_NOBODY = 0
_HOUR = 3600.0
FORGET_HOURS = 48
"""A conversation silent for this long has ended."""


class Pins:
    """`path` None keeps the pins of one process only."""

    def __init__(self, path: Path | None) -> None:
        self._map = mapped(path, SLOTS * _SLOT.size)

    def get(self, upgrade: str, conversation: str, now: float) -> Arm | None:
        """The arm this conversation began with in this upgrade; keeps it from being forgotten."""
        key, first = _place(upgrade, conversation)
        hour = int(now / _HOUR)
        for slot in range(first, first + _WAYS):
            found, value = _SLOT.unpack_from(self._map, slot * _SLOT.size)
            if found == key and hour - (value >> 1) <= FORGET_HOURS:
                if value >> 1 != hour:
                    self._write(slot, key, value & 1 | hour << 1)
                return Arm.CANDIDATE if value & 1 else Arm.INCUMBENT
        return None

    def put(self, upgrade: str, conversation: str, arm: Arm, now: float) -> None:
        key, first = _place(upgrade, conversation)
        oldest, age = first, None
        for slot in range(first, first + _WAYS):
            found, value = _SLOT.unpack_from(self._map, slot * _SLOT.size)
            if found in (_NOBODY, key):
                oldest = slot
                break
            if age is None or value >> 1 < age:
                oldest, age = slot, value >> 1
        self._write(oldest, key, (arm is Arm.CANDIDATE) | int(now / _HOUR) << 1)

    def close(self) -> None:
        self._map.close()

    def _write(self, slot: int, key: int, value: int) -> None:
        """Another worker that reads in between finds nobody, never the wrong arm."""
        at = slot * _SLOT.size
        self._map[at : at + 8] = bytes(8)
        self._map[at + 8 : at + 16] = value.to_bytes(8, "little")
        self._map[at : at + 8] = key.to_bytes(8, "little")


def _place(upgrade: str, conversation: str) -> tuple[int, int]:
    text = f"{upgrade}\0{conversation}".encode("utf-8", "surrogatepass")
    key = int.from_bytes(blake2b(text, digest_size=8, person=b"understudy-pin").digest(), "little") or 1
    return key, key % (SLOTS // _WAYS) * _WAYS
