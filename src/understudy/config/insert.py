"""Puts a variant into the text of understudy.yaml: lines are added, and every other byte stays as it is."""

from __future__ import annotations

from understudy.config.load import parse_yaml
from understudy.core.errors import ConfigError, Refused


def with_variant(text: str, name: str, workload: str, block: str) -> str:
    """The text with a block of lines behind the workload's last variant; `name` stands for the file in errors.

    Raises Refused where the variants are no block of lines, or the block does not fit there.
    """
    document = parse_yaml(text, name)
    path = ("workloads", workload, "variants")
    variants = document.data["workloads"][workload]["variants"]
    places = [document.places[(*path, each)].key for each in variants]
    line, column = max(places)
    lines = text.split("\n")
    if any(lines[at - 1][: to - 1].strip() for at, to in places) or len({at for at, _ in places}) < len(places):
        raise _refused(document.file, line)
    end = line
    for number in range(line + 1, len(lines) + 1):
        shown = lines[number - 1]
        if shown.strip() and len(shown) - len(shown.lstrip(" ")) < column:
            break
        end = number if shown.strip() else end
    given = block.rstrip("\n").split("\n")
    outer = len(given[0]) - len(given[0].lstrip(" "))
    fitted = [" " * (column - 1) + each[outer:] for each in given]
    changed = "\n".join([*lines[:end], *fitted, *lines[end:]])
    try:
        now = parse_yaml(changed, name).data
    except ConfigError:
        raise _refused(document.file, line) from None
    added = {key: value for key, value in now["workloads"][workload]["variants"].items() if key not in variants}
    if len(added) != 1:
        raise _refused(document.file, line)
    for key in added:
        del now["workloads"][workload]["variants"][key]
    if now != document.data:
        raise _refused(document.file, line)
    return changed


def _refused(file: str, line: int) -> Refused:
    return Refused(
        f"{file}:{line}: the variants are not written as a block of lines, so that none can be added there",
        remedy="put the printed block into the file yourself",
    )
