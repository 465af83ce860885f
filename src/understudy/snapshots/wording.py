"""Says what changed between two answers as a page that a terminal of any width shows, and as a line for a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from understudy.snapshots.compare import aligned
from understudy.snapshots.extension import Seen

NARROW = 60
"""Below so many columns the two answers stand one below the other."""
_MOST_ROWS = 80


def page(seen: Seen, width: int) -> str:
    """The verdict, its reasons, and both answers side by side; differing rows are marked with |."""
    difference = seen.difference
    lines = [f"{difference.worth.upper()}  similarity {difference.similarity:.2f}"]
    for mark, said in (("!", difference.worries), ("-", difference.remarks), ("-", seen.notes)):
        for one in said:
            lines += wrap(one, max(20, width - 4), initial_indent=f"  {mark} ", subsequent_indent="    ")
    lines.append("")
    lines += _columns(seen, width) if width >= NARROW else _stacked(seen, width)
    return "\n".join(lines)


def line(seen: Seen) -> str:
    """For a list: which test, whose answer, what became of it."""
    return f"{seen.test} [{seen.label}] {seen.difference.headline}"


def _columns(seen: Seen, width: int) -> Iterator[str]:
    half = (width - 3) // 2
    yield f"{'stored':<{half}}   now"
    yield "-" * half + "   " + "-" * half
    rows = aligned(seen.old, seen.new)
    for old, new, differs in rows[:_MOST_ROWS]:
        left, right = wrap(old, half) or [""], wrap(new, half) or [""]
        for index in range(max(len(left), len(right))):
            mark = "|" if differs else " "
            yield f"{_at(left, index):<{half}} {mark} {_at(right, index)}".rstrip()
    if len(rows) > _MOST_ROWS:
        yield f"... {len(rows) - _MOST_ROWS} further rows: see git diff after --snapshot-update"


def _stacked(seen: Seen, width: int) -> Iterator[str]:
    rows = [row for row in aligned(seen.old, seen.new) if row[2]]
    for old, new, _ in rows[:_MOST_ROWS]:
        for mark, said in (("stored", old), ("now", new)):
            yield from wrap(said, max(20, width), initial_indent=f"{mark}: ", subsequent_indent="  ") if said else []


def _at(lines: Sequence[str], index: int) -> str:
    return lines[index] if index < len(lines) else ""
