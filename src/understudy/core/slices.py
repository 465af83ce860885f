"""One slice, two names: a suite that people wrote says `refund`, traffic and suites made of it say `ticket=refund`."""

from __future__ import annotations

from collections.abc import Collection


def meant(name: str, present: Collection[str]) -> list[str]:
    """The slices of `present` that `name` means: itself, else those of the same value that one side gives no key."""
    if name in present:
        return [name]
    key, equals, value = name.partition("=")
    if equals:
        return [value] if value in present else []
    return [slice_ for slice_ in present if slice_.partition("=")[2] == key]
