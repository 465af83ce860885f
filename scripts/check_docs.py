"""Dead links in the documentation, pages that were cut off, and generated parts that no longer match the code.

A link to a file must lead to a file of the tree, a link to a heading to a heading of that page. Addresses elsewhere
are not visited: the checks run without a network. A merge can leave half of a page behind in which every link is
alive, so that pages are asked for what only a whole one has: its end, its closing fences, all pages, all words.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import generate_docs

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors a page offers, made from its headings as code hosts make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M):
        plain = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


def dead_links(page: Path) -> list[str]:
    """Each link of the page that leads nowhere, as a sentence."""
    text = page.read_text()
    found: list[str] = []
    for match in LINK.finditer(re.sub(r"```.*?```", "", text, flags=re.S)):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists():
            found.append(f"{page}: link to {target}: no such file")
        elif anchor and other.suffix == ".md" and anchor not in anchors(other.read_text()):
            found.append(f"{page}: link to {target}: no such heading")
    return found


LICENCE = "Apache-2.0."
"""How the README ends."""
RELIED_ON = (
    "workload", "variant", "fingerprint", "incumbent", "candidate", "upgrade", "stage", "rung", "profile", "unit",
    "arm", "routing table", "kill file", "exchange", "pair", "ledger", "segment", "lake", "suite", "grader", "snapshot",
    "slice", "gate", "margin", "verdict", "decision", "finding", "waiver", "pack", "alert", "outbox", "journal", "pin",
    "tier", "deadline", "controller", "committer",
)  # fmt: skip
"""Words that pages use and leave to the glossary, from its beginning to its end."""


def unfinished(text: str) -> list[str]:
    """What says of any page that it ends too early, or that a merge was never finished."""
    found: list[str] = []
    if len(re.findall(r"^ *```", text, re.M)) % 2:
        found.append("a code block is not closed")
    if re.search(r"^(<{7} |={7}$|>{7} )", text, re.M):
        found.append("a conflict of a merge is left in it")
    last = text.rstrip("\n").rpartition("\n")[2]
    if not text.endswith("\n") or (last.startswith("|") and not last.endswith("|")):
        found.append("the last line is not whole")
    return found


def cut_off(root: Path) -> list[str]:
    """What a tree of documentation lacks that a whole one has, each as a sentence."""
    found: list[str] = []
    pages = sorted((root / "docs").rglob("*.md"))
    for page in (*sorted(root.glob("*.md")), *pages):
        found += [f"{page}: {what}" for what in unfinished(page.read_text())]
    readme, index, glossary = root / "README.md", root / "docs" / "index.md", root / "GLOSSARY.md"
    if readme.read_text().rstrip().rpartition("\n")[2] != LICENCE:
        found.append(f"{readme}: does not end with {LICENCE}")
    targets = (one or other for one, other in LINK.findall(index.read_text()))
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in targets}
    for page in (*pages, *sorted(root.glob("examples/*/README.md"))):
        if page != index and page.resolve() not in linked:
            found.append(f"{index}: no link to {page.relative_to(root)}")
    said = {word for row in re.findall(r"^\| \*\*(.+?)\*\* \|", glossary.read_text(), re.M) for word in row.split(", ")}
    return found + [f"{glossary}: no row for {word}" for word in RELIED_ON if word not in said]


def main() -> int:
    found = [line for page in generate_docs.pages() for line in dead_links(page)] + cut_off(generate_docs.ROOT)
    print("\n".join(found), end="\n" if found else "")
    return 1 if generate_docs.main(write=False) or found else 0


if __name__ == "__main__":
    sys.exit(main())
