"""The pages in a real browser: at two widths, in light and dark, by keyboard, and with hostile text everywhere.

Skipped where there is no Chromium: /usr/bin/chromium, or what CHROMIUM names.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from understudy.dashboard import guard, pages

from .conftest import KEY, dashboard, ordinary, planted
from .payloads import COUNT, ELSEWHERE, payload

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

    from .conftest import Site

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium, or name one in CHROMIUM"),
]
OPTIONS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SHOWN = ("/", "/w/reply", "/w/reply/answers?slice=refund", "/w/reply/history?everything=true")
ASKED = ("/w/reply/served?user=user-7", "/w/reply/ask/waive", "/w/reply/ask/rollback")
SPY = """
window.__hit = (n) => __told(String(n));
document.addEventListener("securitypolicyviolation", (e) => __told("policy: " + e.violatedDirective));
"""
FOREIGN = """() => Array.from(document.querySelectorAll("*")).filter((each) =>
  "IMG IFRAME OBJECT EMBED VIDEO AUDIO BASE STYLE MARQUEE X-X TEMPLATE MATH".split(" ").includes(
    each.tagName.toUpperCase()) ||
  (each.tagName === "SCRIPT" && each.getAttribute("src") !== "/static/live.js") ||
  Array.from(each.attributes).some((a) => a.name.startsWith("on") || a.name === "style")
).map((each) => each.outerHTML.slice(0, 80))"""
CONTRAST = """() => {
  const light = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const of = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = of(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || e.closest("svg")) continue;
    if (!Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [lum(of(getComputedStyle(e).color)), lum(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([e.tagName, e.className, ratio.toFixed(2), e.textContent.slice(0, 40)].join(" "));
  }
  return poor;
}"""
UNNAMED = """() =>
  Array.from(document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea, svg[role=img]"))
  .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
  .map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield opened
        opened.close()


class Watched:
    """A browser's page, and everything that went wrong on it."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.site = site
        self.wrong: list[str] = []
        context.expose_binding("__told", lambda source, what: self.wrong.append(what))
        context.add_init_script(SPY)
        self.page: Page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)
        self.page.goto(f"{site.url}/sign-in")
        self.page.fill("input[name=key]", KEY)
        self.page.click("text=Sign in")

    def _console(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.wrong.append(f"{said.type}: {said.text}")

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if not request.url.startswith(self.site.url + "/"):
            self.wrong.append(f"request to {request.url}")

    def go(self, path: str) -> Page:
        answer = self.page.goto(self.site.url + path)
        assert answer and answer.status == 200, path
        return self.page

    def injected(self) -> list[str]:
        """What of the text on this page became code, elements or requests."""
        return [*self.wrong, *self.page.evaluate(FOREIGN)]


@contextmanager
def watching(browser: Browser, site: Site, **more: Any) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **more)
    context.set_default_timeout(90_000)
    try:
        yield Watched(context, site)
    finally:
        context.close()


def test_pages_fit_are_legible_and_act(browser: Browser, site: Site) -> None:
    """No page is wider than its window, each text stands out, each control has a name; a rollback takes the keyboard
    and no script; what changes elsewhere appears by itself.
    """
    with watching(browser, site) as seen:
        for path in (*SHOWN, *ASKED):
            page = seen.go(path)
            page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(CONTRAST) == [], (path, scheme)
            assert page.evaluate(UNNAMED) == [], path
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 900})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{path} is {wide} wide in {width}"
        assert seen.injected() == []
    with watching(browser, site) as seen:
        page = seen.go("/w/reply")
        page.click("summary >> nth=0")
        site.send("/w/reply/pause", why="elsewhere")
        page.wait_for_selector("#journal >> text=elsewhere", timeout=90_000)
        assert page.locator("details[open]").count() >= 1, "what was opened stays open"
        assert seen.injected() == []
    with watching(browser, site, java_script_enabled=False) as seen:
        page = seen.go("/w/reply")
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.locator("a.danger:focus").count():
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/ask/rollback")
        page.wait_for_selector("button.danger:focus")  # one more key rolls back
        page.keyboard.press("Enter")
        page.wait_for_url("**/w/reply")
        assert "the next one that starts obeys" in page.inner_text("p.said")
    assert site.state().ended_by == "operator"


def hostile(what: str, n: int) -> str:
    """A payload in every field; what people and programs look for in a text stays."""
    places = ("asked", "served", "copied", "user", "model", "error", "why", "by", "sentence")
    long = "y" * 90 if what == "by" else ""
    return payload((places.index(what) * 29 + n) % COUNT) + long


def test_nothing_that_models_and_people_write_becomes_code(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred payloads in answers, prompts, user ids, model names, errors, reasons: no script runs, nothing is
    fetched, no element comes of them. With escaping off the same test finds them, with the policy of the headers and
    without.
    """
    assert COUNT == 200
    with dashboard(planted(tmp_path / "hostile", hostile)) as site, watching(browser, site) as seen:
        paths = ["/", "/w/reply", "/w/reply/history?everything=true"]
        paths += [f"/w/reply/answers?slice=all&count=50&turn={turn}" for turn in (0, 1)]
        paths += [f"/w/reply/served?user={site_quoted(hostile('user', n))}" for n in (0, 6)]
        paths += [f"/w/reply/ask/waive?subject={site_quoted(payload(n))}" for n in (32, 34)]
        shown = 0
        for path in paths:
            page = seen.go(path)
            page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
            shown += page.content().count("__hit(")
            assert seen.injected() == [], path
            page.set_viewport_size({"width": 390, "height": 900})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, f"{path} is {wide} wide"
        assert shown > 200, "the payloads are there, as text"
        site.sign_in()
        site.send("/w/reply/pause", why=payload(0))
        seen.go("/w/reply")
        assert seen.injected() == []

        monkeypatch.setattr(pages.TEMPLATES, "autoescape", False)
        pages.TEMPLATES.cache.clear()  # type: ignore[union-attr]
        blocked = defect(seen, lambda found: found == "policy: script-src-elem")
        assert "policy: script-src-elem" in blocked, "the policy stops what is not escaped"
        assert not any(found.isdigit() for found in blocked), blocked
        policy = {name: value for name, value in guard.HEADERS.items() if name != "content-security-policy"}
        monkeypatch.setattr(guard, "HEADERS", policy)
        ran = defect(seen, lambda found: found.startswith(f"request to {ELSEWHERE}"))
        assert any(found.isdigit() for found in ran), "and without it the test sees them run"
        assert any(found.startswith(f"request to {ELSEWHERE}") for found in ran)
    pages.TEMPLATES.cache.clear()  # type: ignore[union-attr]


def defect(seen: Watched, shown: Callable[[str], bool]) -> list[str]:
    """What goes wrong on a page that is known to be hostile, and a moment more once it shows; it may lead away from
    itself."""
    seen.wrong.clear()
    seen.page.goto(f"{seen.site.url}/w/reply/answers?slice=all&count=50", wait_until="commit")
    patience = time.monotonic() + 30
    while not any(map(shown, seen.wrong)) and time.monotonic() < patience:
        seen.page.wait_for_timeout(100)
    seen.page.wait_for_timeout(700)
    return seen.wrong


def site_quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def test_a_page_of_another_site_changes_nothing(browser: Browser, site: Site) -> None:
    """A form elsewhere that is sent here by itself, with the cookie of a browser that is signed in."""
    with watching(browser, site) as seen:
        # localhost and 127.0.0.1 are two sites to a browser, and the same dashboard.
        trap = f"""<form method=post action="{site.url}/w/reply/rollback"><input name=why value=x></form>
        <script>document.forms[0].submit()</script>"""
        seen.page.route("http://elsewhere.example/", lambda route: route.fulfill(body=trap, content_type="text/html"))
        seen.page.goto("http://elsewhere.example/")
        seen.page.wait_for_url(f"{site.url}/**")
        assert "this request comes from another site" in seen.page.inner_text("body")
    assert not site.state().over
    assert ordinary("by", 0) == site.state().started_by
