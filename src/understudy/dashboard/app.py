"""Puts pages, control API and guard together into one application."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from understudy import __version__
from understudy.core.errors import CannotMeasure, DataCorrupt, NotThere, Refused, UnderstudyError
from understudy.dashboard import api, pages
from understudy.dashboard.access import Access
from understudy.dashboard.facts import Facts
from understudy.dashboard.guard import Guard

CODES: dict[type[UnderstudyError], int] = {NotThere: 404, Refused: 409, CannotMeasure: 503, DataCorrupt: 503}
"""The status of an answer that is an error of ours; 400 for the others."""


def make_app(facts: Facts, access: Access, *, linked: bool) -> FastAPI:
    """The application. It closes `facts` when it ends.

    linked: somebody signs in by the link that was printed, not by a key of their own.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> Any:
        yield
        await facts.close()

    app = FastAPI(
        title="Understudy",
        version=__version__,
        description="Where upgrades stand, and what a person wishes of them. Errors name what happened and the remedy.",
        openapi_url=None,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=life,
    )
    app.state.facts, app.state.access, app.state.linked = facts, access, linked
    app.include_router(api.router)

    @app.get("/api/openapi.json", include_in_schema=False)
    def described(who: api.Who) -> dict[str, Any]:
        return app.openapi()

    app.mount("/static", StaticFiles(directory=pages.HERE / "static"))
    app.include_router(pages.router)
    for kind, answer in (
        (pages.Away, _away),
        (api.Unknown, _unknown),
        (UnderstudyError, _failed),
        (RequestValidationError, _unread),
        (HTTPException, _no_such),
        (Exception, _defect),
    ):
        app.add_exception_handler(kind, answer)
    app.add_middleware(Guard, names=lambda: facts.project.config.dashboard.hosts)
    return app


def _away(request: Request, error: Exception) -> Response:
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # A link from elsewhere comes without the cookie of a session; from here the browser sends it.
        return HTMLResponse(pages.TEMPLATES.get_template("again.html").render())
    undone = request.method == "POST" and request.url.path != "/sign-out"
    return RedirectResponse("/sign-in?undone=true" if undone else "/sign-in", 303)


def _unknown(request: Request, error: Exception) -> Response:
    document = {"error": "Unknown", "message": "no user has this key", "remedy": "send authorization: Bearer KEY"}
    return JSONResponse(document, 401, {"www-authenticate": "Bearer"})


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, UnderstudyError), "registered for these"
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), 400)
    return _told(request, code, error.as_dict(), error.message, error.remedy)


def _unread(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for these"
    wrong = "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
    remedy = "/api/openapi.json says what may be sent"
    return _told(request, 400, {"error": "UsageError", "message": wrong, "remedy": remedy}, wrong, "")


def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these"
    message = "there is no such page" if error.status_code == 404 else str(error.detail)
    document = {"error": "UsageError", "message": message, "remedy": "/api/openapi.json lists what is there"}
    return _told(request, error.status_code, document, message, "")


def _defect(request: Request, error: Exception) -> Response:
    """A mistake of ours: where is said to whoever runs this, and not on the page."""
    traceback.print_exception(error, file=sys.stderr)
    message = f"a defect of understudy: {type(error).__name__}"
    remedy = "the dashboard's standard error says where; report it"
    return _told(request, 500, {"error": "Defect", "message": message, "remedy": remedy}, message, remedy)


def _told(request: Request, code: int, document: Mapping[str, object], message: str, remedy: str) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse(dict(document), code)
    text = pages.TEMPLATES.get_template("error.html").render(
        message=message,
        remedy=remedy,
        code=code,
        phrase=HTTPStatus(code).phrase,
        # Going back needs nothing that failed here.
        stays=request.path_params.get("workload", "") if code == HTTPStatus.SERVICE_UNAVAILABLE else "",
    )
    return HTMLResponse(text, code)
