"""A provider that simulates models: deterministic text, honest token counts, faults that are switched while it runs.

In process: `async with SimulatedProvider({"m": Behaviour()}) as provider: provider.set("m", closing=False)`.
As a process of its own: `python -m understudy.testing.simulated --model m --model 'n={"length":0.5}'`, which prints
one JSON line with its port; switch faults with `POST /_control {"model": "m", "set": {"closing": false}}`, read them
with `GET /_control`, and the calls it had with `GET /_journal?model=m&last=100`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any
from urllib.parse import parse_qs

from understudy.testing.behaviour import Behaviour
from understudy.testing.dialects import OPENAI, Asked, Call, Said, Unreadable
from understudy.testing.dialects.base import input_tokens
from understudy.testing.dialects.openai import decode
from understudy.testing.provider import Answered, Declined, Outcome, ProviderServer, Silent
from understudy.testing.server import Reply, Request
from understudy.testing.writer import draw, fill, kind_of, write

EFFORT = {"none": 0.0, "minimal": 0.1, "low": 0.3, "medium": 1.0, "high": 2.5, "xhigh": 4.0, "max": 6.0}
"""How much of its usual thinking a model does at an effort."""

_normal = NormalDist()


def decide(asked: Asked, behaviour: Behaviour, seed: int, number: int) -> Outcome:
    """What a model does with its `number`-th call. Pure."""
    model = asked.model
    latency = latency_of(asked, behaviour, seed, number)
    if draw(seed, "hang", model, number) < behaviour.hang_share:
        return Silent()
    if draw(seed, "error", model, number) < behaviour.error_share:
        status = behaviour.error_status
        headers = (("retry-after", "1"),) if status in (429, 503, 529) else ()
        return Declined(status, f"{model} has a planted fault", latency, headers)
    return Answered(said(asked, behaviour, seed), latency * behaviour.first_content, latency)


def latency_of(asked: Asked, behaviour: Behaviour, seed: int, number: int) -> float:
    """Seconds to the last byte."""
    latency = behaviour.latency_s
    if latency and behaviour.latency_spread:
        chance = draw(seed, "latency", asked.model, number)
        latency *= math.exp(behaviour.latency_spread * _normal.inv_cdf(min(max(chance, 1e-9), 1 - 1e-9)))
    if draw(seed, "tail", asked.model, number) < behaviour.tail_share:
        latency += behaviour.tail_s
    return latency + reasoning_tokens(asked, behaviour) * behaviour.reasoning_s_per_token


def reasoning_tokens(asked: Asked, behaviour: Behaviour) -> int:
    """Tokens spent on thinking: the model's habit, scaled by the caller's effort, capped by a budget in tokens."""
    if asked.effort.lstrip("-").isdigit():
        budget = int(asked.effort)
        return behaviour.reasoning_tokens if budget < 0 else min(budget, behaviour.reasoning_tokens)
    return round(behaviour.reasoning_tokens * EFFORT.get(asked.effort.lower(), 1.0))


def said(asked: Asked, behaviour: Behaviour, seed: int) -> Said:
    """The answer, with the tokens counted on what is really sent."""
    thought = reasoning_tokens(asked, behaviour)
    calls = tool_calls(asked)
    text = "" if calls else write(asked, behaviour, seed)
    words = text.split(" ") if text else []
    finish = "tool_calls" if calls else "stop"
    room = None if asked.max_tokens is None else max(0, asked.max_tokens - thought)
    if room is not None and count_tokens(len(words), behaviour) > room:
        words = words[: int(room / behaviour.tokens_per_word)]
        text, finish = " ".join(words), "length"
    written = count_tokens(len(words) + sum(len(call.arguments.split()) for call in calls), behaviour)
    return Said(
        text=text,
        model=behaviour.served_model or asked.model,
        input_tokens=input_tokens(asked),
        output_tokens=written + thought,
        reasoning_tokens=thought,
        finish=finish,
        calls=calls,
    )


def count_tokens(words: int, behaviour: Behaviour) -> int:
    return math.ceil(words * behaviour.tokens_per_word)


def tool_calls(asked: Asked) -> tuple[Call, ...]:
    """The call a model makes: the tool it must call, or the first tool it has until a tool has answered."""
    if not asked.tools or (asked.must_call is None and asked.turns and asked.turns[-1].role == "tool"):
        return ()
    tool = next((tool for tool in asked.tools if tool.name == asked.must_call), asked.tools[0])
    kind = kind_of(asked.last_user)
    arguments = fill({"type": "object", **tool.schema}, asked.last_user, kind)
    identity = re.sub(r"\W", "", f"{tool.name}{draw(asked.model, asked.last_user)}")[:24]
    return (Call(f"call_{identity}", tool.name, json.dumps(arguments)),)


class SimulatedProvider(ProviderServer):
    """Models by name, each with its `Behaviour`; a model that is not named gets a 404."""

    def __init__(self, behaviours: Mapping[str, Behaviour], *, seed: int = 0, port: int = 0, key: str = "") -> None:
        self.behaviours = dict(behaviours)
        self.seed = seed
        self._calls: Counter[str] = Counter()
        super().__init__(self._decide, models=list(self.behaviours), port=port, key=key)
        self.route("GET", "/_control", self._show)
        self.route("POST", "/_control", self._control)
        self.route("GET", "/_journal", self._show_journal)

    def set(self, model: str, **changes: Any) -> Behaviour:
        """Switch faults on or off from the next call on; a new model name adds a model.

        Raises ValueError for a field that does not exist or a value it cannot have; nothing is changed then.
        """
        changed = self.behaviours.get(model, Behaviour()).changed(changes)
        if model not in self.behaviours:
            self.models.append(model)
        self.behaviours[model] = changed
        return changed

    def _decide(self, asked: Asked) -> Outcome:
        behaviour = self.behaviours.get(asked.model)
        if behaviour is None:
            return Declined(404, f"the model {asked.model!r} does not exist; known: {', '.join(self.behaviours)}")
        self._calls[asked.model] += 1
        return decide(asked, behaviour, self.seed, self._calls[asked.model])

    def _show(self, request: Request, reply: Reply) -> None:
        del request
        shown = {model: dataclasses.asdict(behaviour) for model, behaviour in self.behaviours.items()}
        reply.send(200, json.dumps(shown).encode())

    def _control(self, request: Request, reply: Reply) -> None:
        if not request.headers.get("content-type", "").startswith("application/json"):
            # A web page can send other types to a loopback port without asking; this one it cannot.
            reply.send(415, OPENAI.error(415, "send content-type: application/json"))
            return
        try:
            fields = decode(request.body)
            self.set(str(fields["model"]), **fields["set"])
        except Unreadable as error:
            reply.send(error.status, OPENAI.error(error.status, error.message))
        except (KeyError, TypeError):
            reply.send(400, OPENAI.error(400, 'write {"model": NAME, "set": {FIELD: VALUE}}'))
        except ValueError as error:
            reply.send(400, OPENAI.error(400, str(error)))
        else:
            self._show(request, reply)

    def _show_journal(self, request: Request, reply: Reply) -> None:
        query = parse_qs(request.query)
        model, last = query.get("model", [""])[0], int(query.get("last", ["100"])[0])
        calls = [seen for seen in self.journal if not model or seen.model == model][-last:] if last > 0 else []
        document = {
            "calls": [seen._asdict() for seen in calls],
            "count": dict(self._calls),
            "last_answer_at": self.last_answer_at,
        }
        reply.send(200, json.dumps(document).encode())


def _model(text: str) -> tuple[str, Behaviour]:
    """One --model argument: NAME or NAME={"field": value}."""
    name, _, fields = text.partition("=")
    try:
        changes = json.loads(fields) if fields else {}
        return name, Behaviour().changed(changes)
    except (ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


async def _serve(provider: SimulatedProvider, *, with_parent: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else stop.set())
    async with provider:
        urls = {"port": provider.port, "base_url": provider.base_url, "root_url": provider.root_url}
        sys.stdout.write(json.dumps({**urls, "models": provider.models}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m understudy.testing.simulated", description="A simulated provider.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port, which is printed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", default="", help="answer only callers who present this key")
    parser.add_argument("--model", action="append", type=_model, default=[], help='NAME or NAME={"closing": false}')
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    given = parser.parse_args(arguments)
    provider = SimulatedProvider(dict(given.model), seed=given.seed, port=given.port, key=given.key)
    uvloop.run(_serve(provider, with_parent=given.with_parent))


if __name__ == "__main__":
    main()
