"""Dead links in the documentation, and generated parts that no longer match the code.

A link to a file must lead to a file of the tree, a link to a heading to a heading of that page. Addresses elsewhere
are not visited: the checks run without a network.
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


def main() -> int:
    found = [line for page in generate_docs.pages() for line in dead_links(page)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if generate_docs.main(write=False) or found else 0


if __name__ == "__main__":
    sys.exit(main())
