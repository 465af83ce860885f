from __future__ import annotations

from understudy.upstream.chunks import LONGEST, SIZE_LINES


def test_every_chunk_is_known_by_the_length_of_its_read() -> None:
    """Each size that fits has its line; no read of a length that no chunk has can begin with what stands there."""
    seen = set()
    for size in range(1, LONGEST):
        length = len(b"%x" % size) + 2 + size + 2
        if length < LONGEST:
            assert SIZE_LINES[length] == b"%x\r\n" % size
            seen.add(length)
    impossible = set(range(LONGEST)) - seen
    assert impossible == {0, 1, 2, 3, 4, 5, 21, 262}
    assert all(len(SIZE_LINES[length]) > length for length in impossible)
