"""The bytes of a segment file: framing, checksums and file names. Pure; files are written and read elsewhere.

A segment is MAGIC, then frames. A frame is a header of 16 bytes (payload length, CRC-32, sequence number, little
endian) and the payload, one record in MessagePack. The checksum covers number and payload, so a frame that was moved
or renumbered fails it as well. A Loss stands for `count` numbers beginning with its own, so whatever was lost, the
numbers of a boot have no hole unless something was lost that nobody counted.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from understudy.core.records import Exchange, Feedback, Loss, Record

MAGIC = b"USSEG\x001\n"
HEADER = struct.Struct("<IIQ")
SEQUENCE = struct.Struct("<Q")
_PREFIX = struct.Struct("<II")
"""A header without its number."""
_CHECKED = HEADER.size - SEQUENCE.size
MAX_PAYLOAD = 64 * 1024 * 1024
"""A longer length is damage: the gateway keeps far less than this of one exchange."""

WORKER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEGMENT_NAME = re.compile(r"(?P<worker>[A-Za-z0-9_-]+)\.(?P<boot>[0-9a-f]+)\.(?P<index>\d{6,})\.seg")

_number, _prefix = SEQUENCE.pack, _PREFIX.pack
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Boot(NamedTuple):
    """One life of one worker process: records are numbered from 0 within it."""

    worker: str
    boot: str

    def __str__(self) -> str:
        return f"{self.worker}.{self.boot}"


class Frame(NamedTuple):
    """One valid frame: its number, its payload and where the next frame begins."""

    seq: int
    payload: bytes
    end: int


def frame(seq: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    checked = SEQUENCE.pack(seq) + payload
    return _PREFIX.pack(len(payload), crc32(checked)) + checked


def encode_payload(record: Record) -> bytes:
    """A record in MessagePack."""
    return _encode(record)


def encode(seq: int, record: Record) -> bytes:
    """The frame of a record. Raises UnicodeEncodeError, TypeError or OverflowError for values no record may hold."""
    checked = _number(seq) + _encode(record)  # `frame`, without the call: this is done for every exchange
    return _prefix(len(checked) - SEQUENCE.size, crc32(checked)) + checked


def decode(payload: bytes) -> Record:
    """The record of a payload. Raises msgspec.DecodeError for one that no version up to this one wrote."""
    record: Record = _decode(payload)
    return record


def width(record: Record) -> int:
    """How many sequence numbers a record stands for."""
    return record.count if isinstance(record, Loss) else 1


def read_frame(data: bytes | memoryview, offset: int) -> Frame | None:
    """The frame at `offset`, or None where there is no whole and valid one."""
    start = offset + HEADER.size
    if start > len(data):
        return None
    length, checksum, seq = HEADER.unpack_from(data, offset)
    if not 0 < length <= MAX_PAYLOAD or start + length > len(data):
        return None
    end = start + length
    if crc32(data[offset + _CHECKED : end]) != checksum:  # number and payload lie side by side
        return None
    return Frame(seq, bytes(data[start:end]), end)


def run(data: bytes, offset: int, seq: int, *, count: int, stop: int) -> tuple[list[Exchange | Feedback], int]:
    """The records from `offset` on that are numbered on from `seq`, and where the next frame begins.

    Ends before the first frame that is not whole, not valid, not the next number, no record or a Loss; after `count`
    records; and where a frame would begin at or behind `stop`. What `read_frame` and `decode` say of each, in one loop:
    nearly all that is ever read comes through here.
    """
    records: list[Exchange | Feedback] = []
    unpack, header, end = HEADER.unpack_from, HEADER.size, len(data)
    last = min(stop, end - header + 1)
    try:
        while offset < last and len(records) < count:
            length, checksum, number = unpack(data, offset)
            start = offset + header
            after = start + length
            if number != seq or after > end or not 0 < length <= MAX_PAYLOAD:
                break
            if crc32(data[offset + _CHECKED : after]) != checksum:
                break
            record = _decode(data[start:after])
            if type(record) is Loss:
                break
            records.append(record)
            seq += 1
            offset = after
    except msgspec.DecodeError:
        pass  # the caller looks at that frame again, and keeps its bytes
    return records, offset


def scan(data: bytes | memoryview, offset: int = len(MAGIC)) -> Iterator[Frame]:
    """The valid frames from `offset` up to the first that is not."""
    while (found := read_frame(data, offset)) is not None:
        yield found
        offset = found.end


def resume_after_damage(data: bytes | memoryview, offset: int) -> int | None:
    """Where the next valid frame begins after a damaged one at `offset`, if its length can still be trusted."""
    if offset + HEADER.size > len(data):
        return None
    length, _, _ = HEADER.unpack_from(data, offset)
    after = offset + HEADER.size + int(length)
    return after if after < len(data) and read_frame(data, after) is not None else None


def segment_name(boot: Boot, index: int) -> str:
    return f"{boot}.{index:06d}.seg"


def parse_segment_name(path: Path) -> tuple[Boot, int] | None:
    """Whose segment a file is, by its name; None where it is no segment."""
    found = _SEGMENT_NAME.fullmatch(path.name)
    return (Boot(found["worker"], found["boot"]), int(found["index"])) if found else None
