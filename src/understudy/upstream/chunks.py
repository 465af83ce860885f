"""Knows a read that is one whole chunk of HTTP from its length alone, so that it need not be parsed or framed anew.

For each length of a read there is at most one way to write the size line of a chunk that fills it: without extension,
without leading zeros, in lower case. What begins with that line and ends with CRLF is that chunk and nothing else;
whatever is written differently is the parser's.
"""

from __future__ import annotations

LONGEST = 2048
"""Bytes of a read. A token's event has a few hundred; for a long one the parser is not what costs."""
_NO_CHUNK = b"-" * LONGEST


def _size_line(length: int) -> bytes:
    """Of the chunk that is `length` bytes long with its framing; where there is none, what no such read begins with."""
    for digits in (1, 2, 3):
        size = length - digits - 4
        if size > 0 and len(f"{size:x}") == digits:
            return b"%x\r\n" % size
    return _NO_CHUNK


SIZE_LINES = [_size_line(length) for length in range(LONGEST)]
