"""The pages and the control API over HTTP: what they show, what they pass on, and whom they do not hear."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from understudy.core.playbook import Stage
from understudy.rollout.publish import read_kills

from .conftest import KEY, PAIRS, READER, dashboard, planted

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow
PAGES = (
    "/",
    "/w/reply",
    "/w/reply?slice=ticket=refund",
    "/w/other",
    "/w/reply/answers?slice=refund",
    "/w/reply/history?everything=true",
    "/w/reply/served?user=user-7",
    "/w/other/history",
    *(f"/w/reply/ask/{what}" for what in ("rollback", "drill", "promote", "pause", "resume", "abort", "waive")),
)


def test_every_page_shows_what_the_store_and_the_ledger_say(shared: Site) -> None:
    """Each page is whole, is HTML, and has the headers that keep everything foreign out."""
    seen = {path: shared.get(path) for path in PAGES}
    for path, answer in seen.items():
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), (path, answer.text)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'"), path
        assert (answer.headers["x-frame-options"], answer.headers["cache-control"]) == ("DENY", "no-store"), path
        assert "</html>" in answer.text, path
        assert KEY not in answer.text, path
    assert "no upgrade yet" in seen["/"].text
    for said in ("canary <b>1 %</b>", "waits for an approval of refund", "armed", "satisfaction in 1 slice "):
        assert said in seen["/w/reply"].text, said
    assert "0 % of the answers end with the closing line" in seen["/w/reply"].text
    assert seen["/w/reply/answers?slice=refund"].text.count('class="card pair"') == 20
    assert f"20 of {PAIRS // 2} pairs" in seen["/w/reply/answers?slice=refund"].text
    assert "m1-2026" in seen["/w/reply/served?user=user-7"].text
    assert "the ledger has no exchange of" in shared.get("/w/reply/served?user=nobody").text
    nowhere = (
        "/w/nothing",
        "/w/nothing/answers",
        "/w/nothing/ask/pause",
        "/w/reply?upgrade=none",
        "/w/other?upgrade=x",
    )
    assert {path: shared.get(path).status for path in nowhere} == dict.fromkeys(nowhere, 404)
    assert shared.send("/w/nothing/pause").status == 404
    assert "Not Found" in shared.get("/w/nothing").text
    head = shared.ask("HEAD", "/w/reply")
    assert (head.status, head.text) == (200, "")
    assert shared.get("/nothing").status == 404


def test_the_control_api_gives_the_documents_of_the_commands(shared: Site) -> None:
    """The same facts as JSON, for a key, and described without anything from elsewhere."""
    both = shared.api("GET", "/workloads").json
    assert [(one["workload"], one["upgrade"] and one["upgrade"]["stage"]) for one in both] == [
        ("reply", "canary"),
        ("other", None),
    ]
    status = shared.api("GET", "/workloads/reply", key=READER).json
    assert status["serves"] == {"new": 0.01, "old": 0.99}
    assert status["outlook"]["next"] == "canary at 5 % of the users"
    drift = shared.api("GET", "/workloads/reply/shadow").json
    assert (drift["pairs"], drift["problem"]) == (PAIRS, "")
    sheet = shared.api("GET", "/workloads/reply/answers?slice=refund&count=50").json
    assert (sheet["of"], len(sheet["pairs"])) == (PAIRS // 2, PAIRS // 2)
    assert sheet["pairs"][0]["asked"][0]["content"].startswith("Where is order")
    assert shared.api("GET", "/workloads/reply/served?user=user-7").json["exchange"] == "x-000007"
    assert [each["event"] for each in shared.api("GET", "/workloads/reply/history").json["changes"]] == ["exposed"]
    figures = shared.api("GET", "/workloads/reply/figures").json
    assert {row["exchanges"] for row in figures["shadow"] if not row["slice"]} == {PAIRS}
    assert {month["variant"]: month["usd"] for month in figures["months"]} == {"old": None, "new": None}
    described = shared.api("GET", "/openapi.json").json
    assert "/api/workloads/{workload}/{what}" in described["paths"]
    assert shared.get("/docs").status == 404
    nothing = shared.api("GET", "/workloads/nothing")
    assert (nothing.status, nothing.json["error"]) == (404, "NotThere")
    assert shared.api("POST", "/workloads/nothing/pause", {}).status == 404
    wrong = shared.api("GET", "/workloads/reply/shadow?slice=nothing")
    assert (wrong.status, "ticket=refund" in wrong.json["remedy"]) == (400, True), wrong.text
    assert shared.api("GET", "/workloads/reply/answers?count=9999").status == 400
    assert shared.api("GET", "/workloads", key="wrong").status == 401


def test_nobody_is_heard_who_has_no_business_here(shared: Site) -> None:
    """Other names, other sites, forms without their token, strangers, readers: nothing changes."""
    before = shared.journal()
    fields = urlencode({"forgery": shared.forgery})
    assert shared.get("/", host="evil.example").status == 421
    assert shared.get("/", host="127.0.0.1.evil.example").status == 421
    for origin in ("http://evil.example", "null", f"https://{shared.host}.evil.example"):
        assert shared.ask("POST", "/w/reply/rollback", fields, origin=origin).status == 403, origin
    assert shared.ask("POST", "/w/reply/rollback", fields).status == 403
    assert shared.ask("POST", "/w/reply/rollback", fields, sec_fetch_site="same-site").status == 403
    assert shared.get("/", sec_fetch_site="cross-site", sec_fetch_mode="no-cors").status == 403
    assert shared.send("/w/reply/rollback", forgery="x").status == 409
    stranger = shared.ask("POST", "/w/reply/rollback", fields, origin=shared.url, cookie="")
    assert (stranger.status, stranger.headers["location"]) == (303, "/sign-in?undone=true")
    assert "Nothing was done: your session has ended" in shared.get("/sign-in?undone=true", cookie="").text
    assert shared.get("/", cookie="").headers["location"] == "/sign-in"
    assert shared.ask("POST", "/api/workloads/reply/rollback", "{}", origin=shared.url).status == 401
    assert shared.ask("POST", "/w/reply/pause", b"x" * 70_000, origin=shared.url).status == 413
    assert shared.api("POST", "/workloads/reply/rollback", {}, key=READER).status == 409
    assert shared.api("POST", "/workloads/reply/approve", {"subject": 7}).status == 400
    assert shared.api("POST", "/workloads/reply/waive", {"subject": "all", "owner": "x", "why": "y"}).status == 400
    assert shared.api("POST", "/workloads/reply/destroy", {}).status == 400
    began = time.monotonic()
    wrong = shared.ask("POST", "/sign-in", urlencode({"key": "guess"}), origin=shared.url, cookie="")
    assert (wrong.status, "set-cookie" in wrong.headers) == (403, False)
    assert time.monotonic() - began >= 0.9
    assert shared.journal() == before


def test_what_a_person_wishes_is_journaled_in_their_name(site: Site) -> None:
    """Pause, resume, sign off what was read, waive, and go back: the same events as by command."""
    assert site.send("/w/reply/pause", why="sale weekend").headers["location"] == "/w/reply"
    paused = site.get("/w/reply").text
    assert "paused: sale weekend" in paused
    assert "paused: sale weekend" not in site.get("/w/reply").text.partition("<h1>")[0], "told once"
    assert site.api("POST", "/workloads/reply/resume", {"why": "over"}).json["answer"] == "resumed: over"
    refused = site.send("/w/reply/waive", subject="refund", owner="support", why="wording", until="14d")
    assert refused.status == 303
    assert "nothing called &#39;refund&#39; failed" in site.get("/w/reply").text
    site.send("/w/reply/waive", subject="all/closing", owner="support", why="wording", until="14d")
    site.send("/w/reply/approve", subject="refund", why="read well", read=["x-000001", "x-000003"])
    promoted = site.api("POST", "/workloads/reply/rollback", {"why": "complaints"}, key=KEY).json
    assert (promoted["effective"], promoted["workers"]) == (False, 0)
    state = site.state()
    assert (state.stage, state.ended_by, state.ended_why) == (Stage.ROLLED_BACK, "operator", "complaints")
    by_us = [(str(e.kind), e.by, e.why) for e in site.journal() if e.by == "operator"]
    assert by_us == [
        ("paused", "operator", "sale weekend"),
        ("resumed", "operator", "over"),
        ("waived", "operator", "wording"),
        ("approved", "operator", "read well"),
        ("rolled_back", "operator", "complaints"),
    ]
    signed = next(e for e in site.journal() if e.kind == "approved")
    assert signed.data == {"subject": "refund", "read": ["x-000001", "x-000003"]}
    assert "rolled back" in site.get("/w/reply").text


def test_going_back_works_with_a_ledger_that_never_answers_and_with_a_store_that_is_none(stuck: Site) -> None:
    """The page says what it lacks and goes on; the kill file takes the place of the store."""
    page = stuck.get("/w/reply").text
    assert "The ledger is being read, for" in page
    waiting = stuck.api("GET", "/workloads/reply/figures")
    assert (waiting.status, "is being read" in waiting.json["message"]) == (503, True)
    assert "Roll back" in page
    stuck.project.paths.store.write_bytes(b"no database any more" * 100)
    overview = stuck.get("/")
    assert (overview.status, overview.text.count("/ask/rollback")) == (200, 2)
    page = stuck.get("/w/reply")
    assert (page.status, "/w/reply/ask/rollback" in page.text) == (503, True)
    asked = stuck.get("/w/reply/ask/rollback").text
    assert "by the kill file" in asked
    done = stuck.api("POST", "/workloads/reply/rollback", {"why": "fire"})
    assert done.json["answer"] == "the kill file forces the incumbent"
    kill = read_kills(stuck.project.paths.routing)["reply"]
    assert (kill.by, kill.why) == ("operator", "fire")


def test_a_form_that_was_open_for_an_upgrade_acts_on_no_other(site: Site) -> None:
    """Who read the answers of one upgrade does not sign for the next; going back is never refused for it."""
    here = site.state().id
    page = site.get("/w/reply/answers?slice=refund&count=30").text
    assert f'name="upgrade" value="{here}"' in page
    assert f'name="upgrade" value="{here}"' in site.get("/w/reply/ask/promote").text
    assert "?slice=refund&amp;count=25&amp;turn=1" in site.get("/w/reply/answers?slice=refund&count=25").text
    before = site.journal()
    for what in ("approve", "pause"):
        site.send(f"/w/reply/{what}", subject="refund", upgrade="reply-before")
        assert f"{here} is under way now, and not reply-before" in site.get("/").text
    assert site.api("POST", "/workloads/reply/pause", {"upgrade": "reply-before"}).status == 409
    assert site.journal() == before
    site.send("/w/reply/approve", subject="refund", upgrade=here)
    site.send("/w/reply/rollback", upgrade="reply-before")
    assert [str(event.kind) for event in site.journal()[len(before) :]] == ["approved", "rolled_back"]


def test_what_the_configuration_says_now_holds_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An error in it is told and the last good one used; a new name of the dashboard is heard."""
    project = planted(tmp_path_factory.mktemp("changing"))
    with dashboard(project) as site:
        site.sign_in()
        good = project.file.read_text()
        assert site.get("/", host="dash.example").status == 421
        project.file.write_text(good + "surprise: 1\n")
        assert "The configuration has an error" in site.get("/").text
        project.file.write_text(good + "dashboard: {hosts: [dash.example]}\n")
        assert "The configuration has an error" not in site.get("/").text
        assert site.get("/sign-in", host="dash.example").status == 200
