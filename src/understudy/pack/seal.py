"""Seals a file part by part, and says later which part was changed. Pure, on bytes.

A sealed file is its parts, one behind the other without a gap, and a manifest: the name, length and SHA-256 of every
part, and the hash of that list, which is the seal. Every byte belongs to a part or to the manifest, whose own form is
fixed, so no byte can change unseen. Whoever writes the manifest anew as well gets another seal: keep the seal
elsewhere, and hand it to the verification.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from understudy.core.canonical import canonical_json, digest

FORMAT = 1


class Frame(NamedTuple):
    """What stands around the manifest, by the kind of file."""

    before: bytes
    after: bytes


FRAMES = {
    "html": Frame(b"\n<!-- understudy manifest ", b" -->\n"),
    "md": Frame(b"\n<!-- understudy manifest ", b" -->\n"),
    "json": Frame(b',\n"manifest":', b"}\n"),
}


class Part(NamedTuple):
    """One stretch of the file."""

    name: str
    content: bytes


class Checked(NamedTuple):
    """What a verification found; `changed` has a sentence for each part that is not as it was sealed."""

    seal: str
    parts: int
    changed: tuple[str, ...]


def sealed(parts: Sequence[Part], kind: str) -> tuple[bytes, str]:
    """The file and its seal. Raises ValueError where two parts have one name."""
    if len({part.name for part in parts}) != len(parts):
        raise ValueError("two parts of a pack have one name")
    listed = [[part.name, len(part.content), hashlib.sha256(part.content).hexdigest()] for part in parts]
    manifest = {"format": FORMAT, "parts": listed, "seal": digest(listed)}
    frame = FRAMES[kind]
    return b"".join([*(p.content for p in parts), frame.before, canonical_json(manifest), frame.after]), digest(listed)


def check(file: bytes, seal: str = "") -> Checked:
    """Hold every part against the manifest, and the manifest against the `seal` that was kept elsewhere."""
    found = _manifest(file)
    if found is None:
        return Checked("", 0, ("the manifest at the end is missing, or was changed",))
    manifest, at = found
    listed = manifest["parts"]
    changed: list[str] = []
    if digest(listed) != manifest["seal"]:
        changed.append("the manifest was changed: its list of parts does not have the seal it states")
    if seal and seal != digest(listed):
        changed.append(f"the seal is {digest(listed)}, and not {seal}: this is another file, or it was sealed anew")
    place = 0
    grown = at - sum(length for _, length, _ in listed)
    for name, length, sha in listed:
        # Behind a part that became longer or shorter, the others are where they are counted from the end.
        places = [file[begin : min(begin + length, at)] for begin in {place, max(place + grown, 0)}]
        place += length
        if sha not in {hashlib.sha256(content).hexdigest() for content in places}:
            changed.append(f"part {name} was changed")
    if place != at:
        changed.append(f"the parts end at byte {place}, the manifest begins at byte {at}")
    return Checked(str(manifest["seal"]), len(listed), tuple(changed))


def _manifest(file: bytes) -> tuple[dict[str, Any], int] | None:
    """The manifest and where its frame begins; None where there is none in its one form."""
    for frame in dict.fromkeys(FRAMES.values()):
        at = file.rfind(frame.before)
        if at < 0 or not file.endswith(frame.after):
            continue
        written = file[at + len(frame.before) : len(file) - len(frame.after)]
        try:
            manifest = json.loads(written)
            if canonical_json(manifest) == written and _understood(manifest):
                return manifest, at
        except (ValueError, KeyError, TypeError):
            continue
    return None


def _understood(manifest: dict[str, Any]) -> bool:
    """Whether it has the form that `sealed` gives it. Raises KeyError, TypeError or ValueError where it has not."""
    listed = all(
        isinstance(name, str) and isinstance(length, int) and length >= 0 and isinstance(sha, str)
        for name, length, sha in manifest["parts"]
    )
    return listed and manifest["format"] == FORMAT and isinstance(manifest["seal"], str)
