"""Plays the demonstration and takes the pictures of its dashboard that the documents show.

python scripts/take_pictures.py

Needs Chromium: /usr/bin/chromium, or what CHROMIUM names. Writes docs/pictures/*.png, in light and dark.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
UNDERSTUDY = [sys.executable, "-m", "understudy"]
WIDTH = 1080
MOMENT = "25 % of users"
"""What the demonstration says when the picture of a canary is taken."""


def take(page: Page, path: str, name: str, *, first: str = "", height: int) -> None:
    """A page from the card with the heading `first` on, or from its beginning, in both schemes."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.goto(path)
        page.wait_for_load_state("networkidle")
        if first:
            page.get_by_role("heading", name=first, exact=True).evaluate("each => each.parentElement.scrollIntoView()")
        page.screenshot(path=FOLDER / f"{name}-{scheme}.png")


def pictures(demo: subprocess.Popen[str], project: Path, chromium: str) -> None:
    """One in the middle of the canary, the others when all is over."""
    assert demo.stdout is not None
    for line in demo.stdout:
        print(line, end="")
        if MOMENT in line:
            break
    command = [*UNDERSTUDY, "dashboard", "--port", "0", "--json"]
    with (
        subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as dashboard,
        sync_playwright() as play,
    ):
        try:
            assert dashboard.stdout is not None
            ready = json.loads(dashboard.stdout.readline())
            page = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
            page.goto(ready["link"])
            take(page, f"{ready['url']}/w/reply-drafting", "canary", height=1000)
            print(demo.stdout.read())
            take(page, f"{ready['url']}/w/order-status", "shadow", first="Would users notice?", height=900)
        finally:
            dashboard.terminate()


def main() -> int:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("no chromium: apt-get install chromium, or name one in CHROMIUM", file=sys.stderr)
        return 3
    FOLDER.mkdir(exist_ok=True)
    os.environ["LOGNAME"] = "you"  # whoever plays it is not in the picture
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "demo"
        command = [*UNDERSTUDY, "demo", "--out", str(project)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
            pictures(demo, project, chromium)
    return 0


if __name__ == "__main__":
    sys.exit(main())
