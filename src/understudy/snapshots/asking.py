"""Asks the variants of a project from a test, which is not asynchronous, or from one that is.

The calls are those of a regression eval: the same client, the same wires, the same rule of when to ask again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from understudy.config.explain import suggest
from understudy.config.project import Project
from understudy.core.canonical import digest
from understudy.core.errors import CannotMeasure, Position, UnderstudyError, UsageError
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals.answers import Kept
from understudy.evals.asking import Asker, Failed
from understudy.evals.cases import Case
from understudy.testing.background import running
from understudy.testing.recorded import RecordedProvider
from understudy.upstream.client import Client
from understudy.wires.base import Message

OPENAI = "openai"
Question = str | Sequence[Mapping[str, str] | Message]
_PATIENCE_S = 600.0
"""A call's own deadlines and pauses end long before; this only keeps a bug from hanging a test run."""


class Cast(NamedTuple):
    """A variant as a test plays it; `label` names its snapshots, and stands in the test's name."""

    workload: str
    variant: Variant
    label: str


def cast(project: Project, workload: str, models: Sequence[str]) -> list[Cast]:
    """Who answers: the variants of these models or names, else the incumbent. Empty where the workload has none.

    A model's name stands for its variant where there is one with it. Raises UsageError where there are several.
    """
    variants = project.variants(workload)
    if not models:
        return [_cast(workload, variants, project.workload(workload).incumbent)]
    found: dict[str, Cast] = {}
    for model in models:
        names = [model] if model in variants else [name for name, one in variants.items() if one.model == model]
        if len(names) > 1:
            raise UsageError(
                f"{len(names)} variants of {workload} have the model {model}: {', '.join(names)}",
                remedy=f"name one of them, like --model {names[0]}",
            )
        for name in names:
            found.setdefault(name, _cast(workload, variants, name))
    return list(found.values())


def check_models(project: Project, models: Sequence[str]) -> None:
    """Raises UsageError for a model that no workload has."""
    known: dict[str, None] = {}
    for workload in project.config.workloads:
        for name, variant in project.variants(workload).items():
            known |= {variant.model: None, name: None}
    for model in models:
        if model not in known:
            raise UsageError(
                f"{project.document.file} has no variant and no model {model!r}", remedy=suggest(model, known)
            )


def _cast(workload: str, variants: Mapping[str, Variant], name: str) -> Cast:
    """Snapshots are filed by model, and by variant too where several share one: effort and prompt make variants."""
    variant = variants[name]
    shared = sum(one.model == variant.model for one in variants.values()) > 1
    label = f"{variant.model}@{name}" if shared else variant.model
    return Cast(workload, variant, quote(label, safe="@+~ "))


def messages_of(question: Question) -> tuple[Message, ...]:
    """A text is what the user says; a conversation ends with the user's turn. Raises UsageError."""
    if isinstance(question, str):
        turns: tuple[Message, ...] = (Message("user", question),)
    else:
        try:
            turns = tuple(one if isinstance(one, Message) else Message(one["role"], one["content"]) for one in question)
        except (KeyError, TypeError):
            raise UsageError(
                "a message has no role and content", remedy='write {"role": "user", "content": "..."}'
            ) from None
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise UsageError("the question does not end with something the user says", remedy="ask something")
    if any(turn.role not in ("user", "assistant") for turn in turns):
        raise UsageError(
            "a message has another role than user or assistant",
            remedy="a system prompt belongs to the variant, in understudy.yaml",
        )
    return turns


def asked(messages: Sequence[Message]) -> str:
    """A hash of a question, which tells whether a snapshot was made of the same one."""
    return digest([list(message) for message in messages])[:16]


class Desk:
    """Asks over one client on a loop of its own, in a thread that begins with the first question.

    With `recordings` every provider's answers come from these files instead, over HTTP as ever.
    """

    def __init__(self, project: Project, recordings: Sequence[Path] = ()) -> None:
        self._project = project
        self._recordings = recordings
        self._recorded: AbstractContextManager[RecordedProvider] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._asker: Asker | None = None
        self._down: dict[str, UnderstudyError] = {}
        """Providers that cannot be reached, or refuse the key."""

    def ask(self, variant: Variant, messages: tuple[Message, ...]) -> Kept:
        """Raises CannotMeasure where there is no whole answer with something in it, UsageError and ConfigError."""
        case = Case("", messages, (), None, False, Position("", 1, 1))
        loop, asker = self._begin()
        if variant.provider in self._down:
            raise self._down[variant.provider]
        future: Future[Kept | Failed] = asyncio.run_coroutine_threadsafe(asker.ask(variant, case, ""), loop)
        try:
            answer = future.result(_PATIENCE_S)
        except UnderstudyError as error:
            # It will be no better for the next test, which need not wait for that as long as this one did.
            self._down[variant.provider] = error
            raise
        except BaseException:
            future.cancel()
            raise
        if isinstance(answer, Failed):
            said = f"{variant.model} gave no answer ({answer.kind}): {answer.message}"
            raise CannotMeasure(said, remedy=self._remedy(variant))
        if not answer.text.strip() and not answer.tool_calls:
            raise CannotMeasure(
                f"{variant.model} answered with nothing (finish reason {answer.finish_reason or 'not given'})",
                remedy="raise the token limit in the variant's params, or ask it by hand",
            )
        return answer

    def close(self) -> None:
        if self._loop is not None and self._thread is not None:
            if self._client is not None:
                asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30)
            self._loop.close()
            self._loop = None
        if self._recorded is not None:
            self._recorded.__exit__(None, None, None)
            self._recorded = None

    def _begin(self) -> tuple[asyncio.AbstractEventLoop, Asker]:
        if self._loop is None or self._asker is None:
            providers = self._providers()
            keys = (lambda _: "") if self._recordings else self._project.provider_key
            self._client = Client(providers, keys)
            self._asker = Asker(self._client, providers, time.time)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="understudy-snapshots", daemon=True)
            self._thread.start()
        return self._loop, self._asker

    def _providers(self) -> dict[str, Provider]:
        providers = self._project.providers()
        if not self._recordings:
            return providers
        self._recorded = running(lambda: RecordedProvider(self._recordings))
        recorded = self._recorded.__enter__()
        # An OpenAI base_url ends in /v1, the others' do not.
        return {
            name: replace(
                provider, base_url=recorded.base_url if provider.wire == OPENAI else recorded.root_url, ca_file=""
            )
            for name, provider in providers.items()
        }

    def _remedy(self, variant: Variant) -> str:
        if self._recordings:
            return "record this question, or ask one that is in the recordings"
        return f"check provider {variant.provider} and its model {variant.model}; no snapshot was read or written"
