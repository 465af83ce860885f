"""The only module that knows every concrete adapter: it puts the parts of each process together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from understudy.config.project import Project
from understudy.rollout.board import Folder
from understudy.rollout.store.base import Store


class Control(NamedTuple):
    """The control store of a project and the folder its gateways read."""

    store: Store
    board: Folder


@asynccontextmanager
async def control(project: Project) -> AsyncIterator[Control]:
    """Open the control store, made where it is not there yet. Raises StoreUnavailable."""
    from understudy.rollout.store.sql import open_store

    store = await open_store(project.paths.store)
    try:
        yield Control(store, Folder(project.paths.routing))
    finally:
        await store.close()
