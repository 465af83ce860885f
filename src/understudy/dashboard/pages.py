"""The pages: where workloads stand, an upgrade with its evidence, answers to read, what was served; forms that act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from understudy import __version__
from understudy.core.errors import CannotMeasure, Refused, UnderstudyError, UsageError
from understudy.core.moment import moment
from understudy.dashboard import views, words
from understudy.dashboard.access import WRONG_KEY_S, Access, Person, Session, genuine
from understudy.dashboard.acts import ACTS, act, told
from understudy.dashboard.facts import Facts
from understudy.rollout.fold import EVERYTHING
from understudy.rollout.intents import subjects
from understudy.rollout.sheet import FEWEST, MOST
from understudy.rollout.store.base import StoreUnavailable

HERE = Path(__file__).parent


class Away(Exception):
    """Nobody has signed in here: the page to go to. Never shown to a user."""


class Visit:
    """Somebody who has signed in, on one request."""

    def __init__(self, request: Request, session: Session, person: Person) -> None:
        self.request = request
        self.session = session
        self.person = person

    @property
    def facts(self) -> Facts:
        facts: Facts = self.request.app.state.facts
        return facts


def cookie_name(request: Request) -> str:
    """Browsers keep the cookies of all ports of a host together."""
    return f"understudy-{request.url.port or 'session'}"


async def visit(request: Request) -> Visit:
    """Raises Away where nobody has signed in."""
    access: Access = request.app.state.access
    found = access.session(request.cookies.get(cookie_name(request), ""), time.time())
    if found is None:
        raise Away
    return Visit(request, *found)


Visitor = Annotated[Visit, Depends(visit)]
router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


def environment() -> Environment:
    """Templates with everything escaped that is not text of ours; a name that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: (
            words.plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
        ),
    )
    made.filters |= {
        name: getattr(words, name)
        for name in ("spoken", "clock", "percent", "seconds", "dollars", "ago", "coded", "money")
    }
    made.globals["version"] = __version__
    return made


TEMPLATES = environment()


def show(visit: Visit, page: str, **context: Any) -> HTMLResponse:
    """A page for somebody who has signed in."""
    said, visit.session.said = visit.session.said, []
    text = TEMPLATES.get_template(page).render(
        person=visit.person,
        forgery=visit.session.forgery,
        said=said,
        now=time.time(),
        problem=visit.facts.problem,
        workloads=list(visit.facts.project.config.workloads),
        **context,
    )
    return HTMLResponse(text)


async def form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, as browsers send them."""
    try:
        return parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise UsageError("the form cannot be read", remedy="send it again") from None


def first(fields: Mapping[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


@router.get("/sign-in")
def signing_in(request: Request, undone: bool = False) -> HTMLResponse:
    """The form that asks for a key; `undone` where somebody whose session had ended asked for something."""
    text = TEMPLATES.get_template("sign_in.html").render(wrong=False, undone=undone, linked=request.app.state.linked)
    return HTMLResponse(text)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Begin a session, or ask again."""
    key = first(await form(request), "key")
    answer = _begun(request, key)
    if answer is None:
        await asyncio.sleep(WRONG_KEY_S)
        text = TEMPLATES.get_template("sign_in.html").render(wrong=True, undone=False, linked=request.app.state.linked)
        return HTMLResponse(text, 403)
    return answer


@router.get("/enter")
async def enter(request: Request, key: str = "") -> Response:
    """The link that a dashboard without users prints: begins a session, and leaves no key in the address."""
    answer = _begun(request, key) if request.app.state.linked else None
    if answer is None:
        await asyncio.sleep(WRONG_KEY_S)
        return RedirectResponse("/sign-in", 303)
    return answer


def _begun(request: Request, key: str) -> RedirectResponse | None:
    access: Access = request.app.state.access
    token = access.sign_in(key, time.time())
    if token is None:
        return None
    answer = RedirectResponse("/", 303)
    secure = request.headers.get("origin", "").startswith("https:")
    answer.set_cookie(cookie_name(request), token, httponly=True, samesite="strict", secure=secure, path="/")
    return answer


@router.post("/sign-out")
async def sign_out(visit: Visitor) -> Response:
    """End the session."""
    access: Access = visit.request.app.state.access
    access.sign_out(visit.request.cookies.get(cookie_name(visit.request), ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(cookie_name(visit.request))
    return answer


@router.get("/")
async def overview(visit: Visitor) -> HTMLResponse:
    """Where every workload stands."""
    project = visit.facts.current()
    cards: list[dict[str, Any]] = []
    lost: UnderstudyError | None = None
    for name in project.config.workloads:
        # Where the store cannot be used it is waited for once, and not once for each workload.
        cards.append({"name": name, "error": lost} if lost else await _card(visit.facts, name))
        lost = cards[-1]["error"] if isinstance(cards[-1]["error"], StoreUnavailable) else None
    return show(visit, "overview.html", cards=cards)


async def _card(facts: Facts, name: str) -> dict[str, Any]:
    """A workload in brief. One that cannot be read does not hide the others."""
    try:
        status = await facts.status(name)
        changes = await facts.changes(name, everything=True)
    except UnderstudyError as error:
        return {"name": name, "error": error}
    return {"name": name, "error": None, **_standing(status, changes)}


def _standing(status: dict[str, Any], changes: list[dict[str, Any]]) -> dict[str, Any]:
    upgrade = status["upgrade"]
    own = [change for change in changes if upgrade and change["upgrade"] == upgrade["id"]]
    assessment = upgrade["assessment"] if upgrade else None
    return {
        "status": status,
        "upgrade": upgrade,
        "assessment": assessment,
        "changes": own,
        "path": views.path(status, own) if upgrade else [],
        "ladder": views.ladder(upgrade) if upgrade else [],
        "waits_for": views.waits_for(assessment),
        "running": upgrade is not None and upgrade["ended_at"] is None,
    }


@router.get("/w/{workload}")
async def workload(visit: Visitor, workload: str, upgrade: str = "", slice: str = "") -> HTMLResponse:
    """An upgrade of a workload, the latest or a named one, with all its evidence."""
    facts = visit.facts
    facts.current()
    status = await facts.status(workload, upgrade)
    every = await facts.changes(workload, everything=True)
    standing = _standing(status, every)
    if status["upgrade"] is None:
        return show(visit, "workload.html", name=workload, latest=True, upgrades=[], **standing)
    state = await facts.state(workload, upgrade)
    upgrades = list(dict.fromkeys(change["upgrade"] for change in every))
    evaluation: list[views.Row] = []
    unread = ""
    try:
        evaluation = views.evaluation(facts.evaluation(status))
    except UnderstudyError as error:
        unread = error.message
    figures, shadow = await asyncio.gather(facts.figures(workload, state.id), facts.shadow(state, slice))
    return show(
        visit,
        "workload.html",
        name=workload,
        latest=upgrades[-1] == state.id,
        upgrades=upgrades,
        slice=slice,
        gates=views.gates(standing["assessment"]),
        tails=views.tails(standing["assessment"]),
        evaluation=evaluation,
        unread=unread,
        exposure=views.exposure(status["upgrade"], standing["changes"], time.time()),
        figures=figures,
        arms={role: views.arms((figures.value or {}).get(role, ())) for role in ("served", "shadow")},
        months=(figures.value or {}).get("months", []),
        shadow=shadow,
        drift=views.drift(shadow.value["rows"]) if shadow.value else [],
        **standing,
    )


@router.get("/w/{workload}/answers")
async def answers(
    visit: Visitor, workload: str, upgrade: str = "", slice: str = EVERYTHING, turn: int = 0, count: int = FEWEST
) -> HTMLResponse:
    """Answers of both sides to read, and the signature."""
    visit.facts.current()
    state = await visit.facts.state(workload, upgrade)
    status = await visit.facts.status(workload, state.id)
    count = min(max(1, count), MOST)
    sheet = await visit.facts.sheet(state, slice, count, max(0, turn))
    kept = urlencode({**({"upgrade": upgrade} if upgrade else {}), "slice": slice, "count": count})
    return show(
        visit,
        "answers.html",
        name=workload,
        upgrade=status["upgrade"],
        status=status,
        slice=slice,
        turn=max(0, turn),
        count=count,
        named=upgrade,
        kept=kept,
        sheet=sheet,
        running=not state.over,
        fewest=FEWEST,
        critical=visit.facts.project.workload(workload).gates.critical,
    )


@router.get("/w/{workload}/history")
async def history(visit: Visitor, workload: str, everything: bool = False) -> HTMLResponse:
    """What was decided and what was served, over all upgrades."""
    visit.facts.current()
    changes = await visit.facts.changes(workload, everything=everything)
    seen = await visit.facts.seen(workload)
    return show(visit, "history.html", name=workload, changes=changes, everything=everything, seen=seen)


@router.get("/w/{workload}/served")
async def served(visit: Visitor, workload: str, user: str = "", at: str = "") -> HTMLResponse:
    """Which variant answered a user, and why that one."""
    visit.facts.project.workload(workload)
    found, wrong = None, ""
    if user:
        try:
            found = await visit.facts.served(workload, user, moment(at) if at else time.time())
        except UsageError as error:
            wrong = f"{error.message}; {error.remedy}"
    return show(visit, "served.html", name=workload, user=user, at=at, found=found, wrong=wrong)


@router.get("/w/{workload}/ask/{what}")
async def ask(visit: Visitor, workload: str, what: str, subject: str = "") -> HTMLResponse:
    """Ask once more before something is done. It needs no control store, so that going back can always be asked for."""
    visit.facts.project.workload(workload)
    if what not in ACTS:
        raise UsageError(f"nobody can ask for {what!r}", remedy=f"there is {', '.join(ACTS)}")
    known: list[str] = []
    status, problem = None, ""
    try:
        status = await asyncio.wait_for(visit.facts.status(workload), 2.0)
        if what == "waive" and status["upgrade"]:
            known = sorted(subjects(await visit.facts.state(workload)))
    except (UnderstudyError, TimeoutError) as error:
        problem = str(error) or "the control store does not answer"
    return show(
        visit, "ask.html", name=workload, what=what, status=status, store_problem=problem, known=known, subject=subject
    )


@router.post("/w/{workload}/{what}")
async def do(visit: Visitor, workload: str, what: str) -> Response:
    """Pass a wish on, and tell on the page of the workload what came of it."""
    fields = await form(visit.request)
    if not genuine(visit.session, first(fields, "forgery")):
        raise Refused("this form is not of this session", remedy="open the page again, and send it from there")
    given = {name: first(fields, name) for name in ("why", "subject", "owner", "until", "upgrade")}
    try:
        done = await act(visit.facts, workload, what, visit.person, {**given, "read": fields.get("read", [])})
        visit.session.said.append(told(done))
    except (Refused, CannotMeasure) as error:
        visit.session.said.append(("bad", "; ".join(filter(None, (f"{what}: {error.message}", error.remedy)))))
    return RedirectResponse(f"/w/{quote(workload, safe='')}", 303)
