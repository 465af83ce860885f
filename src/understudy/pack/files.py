"""Makes the sealed files of a pack, page, data and short form, and holds such a file against itself later."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from understudy.core.canonical import digest
from understudy.core.errors import DataCorrupt
from understudy.pack import markdown, page
from understudy.pack.blocks import moment
from understudy.pack.seal import Checked, Part, check, sealed
from understudy.pack.sections import sections, title
from understudy.rollout.journal import Event, verify
from understudy.rollout.machine import Kind

FILES = {"html": "evidence.html", "json": "evidence.json", "md": "evidence.md"}
"""What each form is called in a folder."""
_DATA = re.compile(rb'<script type="application/json" id="pack">\n(.*?)</script>', re.S)


def written(pack: Mapping[str, Any], kind: str) -> tuple[bytes, str]:
    """One form of the pack as a file, and its seal."""
    match kind:
        case "html":
            return sealed(_page(pack), kind)
        case "md":
            return sealed(_short(pack), kind)
        case _:
            return sealed(_data(pack), "json")


def _page(pack: Mapping[str, Any]) -> list[Part]:
    found = sections(pack)
    parts = [Part("opening", page.opening(title(pack), _under(pack), found).encode())]
    parts += [Part(one.name, page.section(one).encode()) for one in found]
    return [*parts, Part("data", page.closing(json.dumps(pack, ensure_ascii=False, allow_nan=False)).encode())]


def _short(pack: Mapping[str, Any]) -> list[Part]:
    parts = [Part("opening", markdown.opening(title(pack), _under(pack)).encode())]
    return parts + [Part(one.name, markdown.section(one).encode()) for one in sections(pack)]


def _data(pack: Mapping[str, Any]) -> list[Part]:
    """A line for each member, so that each is a part of its own."""
    parts: list[Part] = []
    for name, value in pack.items():
        said = f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        parts.append(Part(name, ("{\n" if not parts else ",\n").encode() + said.encode()))
    return parts


def _under(pack: Mapping[str, Any]) -> str:
    made = f"as of {moment(pack['made_at'])} UTC, made by {pack['made_by']}"
    return f"Evidence of upgrade {pack['upgrade']['id']}, {made}. All times are UTC."


def verified(file: bytes, seal: str = "") -> Checked:
    """Every byte by the manifest; then, where the file has the data, the journal's chain and the evidence by their own
    hashes, which somebody who seals a changed file anew would have to forge as well.
    """
    found = check(file, seal)
    data = _data_of(file)
    if data is None:
        return found
    return found._replace(changed=(*found.changed, *_chained(data)))


def _data_of(file: bytes) -> Mapping[str, Any] | None:
    """The pack's document, None in a short form, and where it cannot be read any more."""
    inside = _DATA.search(file)
    try:
        document = json.loads(inside.group(1) if inside else file)
    except ValueError:
        return None
    return document if isinstance(document, dict) and "journal" in document else None


def _chained(pack: Mapping[str, Any]) -> list[str]:
    try:
        events = [Event(**{**event, "kind": Kind(event["kind"])}) for event in pack["journal"]["events"]]
        head, kept = pack["integrity"]["head"], pack["journal"]["evidence"]
        last = verify(events)
        changed = [name for name, one in kept.items() if digest(one["document"]) != name]
    except DataCorrupt as error:
        return [error.message]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"the journal in it cannot be read: {error!r}"]
    told = [f"the evidence {name[:12]} is not what its decision names" for name in changed]
    return told if last == head else [*told, "the last event is not the one that the pack names"]
