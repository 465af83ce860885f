"""Secrets planted in every field and path of real traffic turn up in no file, in any spelling.

A real gateway serves, a real provider streams them back, a committer, a grader and a sampler go over what was kept. A
redactor that overlooks one path is planted too, and each time the search finds what was overlooked.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.assign.pseudonym import pseudonym
from understudy.core.routing import Privacy, RoutingTable, Shadow
from understudy.gateway.record import Keeper
from understudy.ledger.committer import Committer
from understudy.ledger.export import export
from understudy.ledger.lake import Score
from understudy.ledger.queries import Ledger
from understudy.ledger.redact import Redactor
from understudy.ledger.sampling import sample, write
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import WORKLOAD, GatewayProcess, call, chat, route, table, until

from .planting import CUSTOMER, Planted, hits

JSON = b"content-type: application/json\r\n"
LONG = 256 * 1024


class Garden:
    """Where what was planted, by the name of the place."""

    def __init__(self) -> None:
        self.planted: dict[str, Planted] = {}

    def __call__(self, place: str) -> Planted:
        return self.planted.setdefault(place, Planted(len(self.planted) + 17))

    @property
    def all(self) -> list[tuple[str, Planted]]:
        return list(self.planted.items())


def picture(words: str) -> str:
    """A PNG of one pixel with a comment in it, in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    body = chunk(b"tEXt", b"Comment\0" + words.encode()) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")).decode()


def conversation(plant: Garden) -> dict[str, Any]:
    """A request with secrets in every part of it that people, tools and apps fill in."""
    arguments = json.dumps({"to": plant("tool arguments").text, "deep": json.dumps({"x": plant("deep").text})})
    file = base64.b64encode(plant("base64 file").text.encode()).decode()
    wide = base64.b64encode(plant("utf-16 file").text.encode("utf-16-le")).decode()
    twice = base64.b64encode(base64.b64encode(plant("base64 twice").text.encode())).decode()
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": plant("user part").text},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture(plant('picture').text)}"}},
        {"type": "file", "file": {"filename": plant("file name").email, "file_data": f"data:text/plain;base64,{file}"}},
        {"type": "text", "text": f"attached: {wide} and {twice}"},
        {"type": "text", "text": f"small: {base64.b64encode(plant('small').email.encode('utf-16-le')).decode()}"},
    ]
    return {
        "messages": [
            {"role": "system", "content": plant("system").text},
            {"role": "user", "name": plant("name of the speaker").email, "content": parts},
            {"role": "assistant", "content": plant("assistant").text, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"found": [plant("tool result").text]})},
            {"role": "user", "content": {"card": int(plant("number").forms["card"].replace(" ", ""))}},
        ],
        "tools": [{"type": "function", "function": {"name": "send", "description": plant("tool").text,
                   "parameters": {"type": "object", "properties": {plant("property").email: {"type": "string"}}}}}],
        "metadata": {"ticket": plant("metadata").text},
        "unknown": [plant("unknown field").text],
        plant("name of a field").email: 1,
        "stop": [plant("stop").text],
    }  # fmt: skip


def said(text: str, **more: Any) -> bytes:
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}).encode()


def answers(plant: Garden) -> Any:
    """A provider that gives secrets back in every way it can; what is asked of it says how."""

    async def answer(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        if b"ask for an error" in body:
            writer.write(whole(json.dumps({"error": {"message": plant("error body").text}}).encode(), 400, JSON))
        elif b"ask for a page" in body:
            writer.write(
                whole(f"<html>{plant('error page').text}</html>".encode(), 502, b"content-type: text/html\r\n")
            )
        elif b"ask for a refusal" in body:
            writer.write(whole(said("", message={"refusal": plant("refusal").text}), 200, JSON))
        elif b'"stream":true' in body.replace(b" ", b""):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            call_ = {"index": 0, "id": "c", "function": {"name": "send", "arguments": ""}}
            whole_call = json.dumps({"to": plant("streamed call").text})
            deltas: list[dict[str, Any]] = [{"content": piece} for piece in _pieces(plant("stream").text)]
            deltas += [{"tool_calls": [call_]}]
            deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in _pieces(whole_call)]
            events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
            events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            for piece in _pieces(text, 61):
                writer.write(f"{len(piece.encode()):x}\r\n{piece}\r\n".encode())
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            made = [{"id": "c", "type": "function", "function": {"name": "send",
                     "arguments": json.dumps({"to": plant("answered call").text})}}]  # fmt: skip
            body = said(
                plant("answer").text, id=plant("answer id").email, model=f"m-{plant('served model').email}",
                system_fingerprint=plant("system fingerprint").forms["openai key"],
                message={"tool_calls": made} if b"ask for a call" in body else {},
            )  # fmt: skip
            writer.write(whole(body, 200, JSON))

    return answer


def _pieces(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


async def traffic(port: int, plant: Garden) -> None:
    """Requests with secrets in every place where a caller can put one."""
    user = {"x-user-id": plant("user header").email, "x-ticket": plant("slice").email}
    user |= {"x-conversation": plant("conversation").email, "x-note": plant("header").text}
    user |= {"authorization": f"Bearer {plant('authorization').forms['openai key']}", "cookie": plant("cookie").text}

    async def ask(text: str = "hello", headers: dict[str, str] = user, **fields: Any) -> None:
        await call(port, chat(text, **fields), headers=headers)

    await call(port, json.dumps({"model": WORKLOAD, **conversation(plant)}).encode(), headers=user)
    await ask(stream=True)
    for how in ("an error", "a page", "a refusal", "a call"):
        await ask(f"ask for {how}")
    await ask(headers={}, user=plant("user field").email)
    for spelt in (plant("phone as user").forms["phone"], plant("own pattern as user").forms["own"]):
        await ask(headers={"x-user-id": spelt})
    await ask(headers={"x-user-id": "a" * 505 + plant("user at the cut").forms["card"].replace(" ", "")})
    await call(port, chat(), path=f"/v1/chat/completions?key={plant('query').forms['google key']}", headers=user)
    await call(port, chat(), path=f"/v1/nowhere/{plant('path').email}", headers=user)
    named = {"model": plant("requested model").email, "messages": [{"role": "user", "content": "hi"}]}
    await call(port, json.dumps(named).encode(), headers={"x-understudy-workload": WORKLOAD})
    await call(port, json.dumps(named).encode())
    await call(port, b'{"messages": "' + plant("broken body").text.encode(), headers=user)
    for number, (form, secret) in enumerate(plant("at the cut").forms.items()):  # the cut goes through its middle
        extra = "z" * 40_000 * (number % 2)
        room = LONG - len('{"model":"chat","messages":[{"role":"user","content":"') - len(secret) // 2
        await ask("word " * (room // 5) + "w" * (room % 5) + f" {secret} {form} {extra}")
        await ask("w" * room + f" {secret} " + extra, metadata={"who": plant("metadata of a long body").text})
    packed = base64.b64encode(("word " * 60_000 + plant("long base64").text + " word" * 60_000).encode()).decode()
    await ask(f"attached: {packed}")
    feedback: dict[str, Any] = {"exchange": plant("exchange of feedback").email, "name": "thumb", "value": 1}
    feedback |= {"comment": plant("comment").text, "workload": plant("workload of feedback").email}
    await call(port, json.dumps(feedback).encode(), path="/v1/feedback", headers=user)
    for name, value in ((plant("metric").email, 1), ("n", int(plant("value").forms["card"].replace(" ", "")))):
        body = json.dumps({"exchange": "x", "name": name, "value": value}).encode()
        await call(port, body, path="/v1/feedback", headers=user)
    await call(port, b"", path="/metrics", method="GET", headers=user)


def keeping(setting: str, urls: tuple[str, str]) -> RoutingTable:
    """A canary at a share of nobody, whose every request is copied, with all that a workload reads from requests."""
    made = table(
        *urls,
        route=route(0, shadow=Shadow(1_000_000), lease_until=time.time() + 600),
        content=setting,
        conversation=("header:x-conversation",),
        slice_by={"ticket": "header:x-ticket"},
    )
    return replace(made, privacy=Privacy(patterns={"own": CUSTOMER}, unit_key="a key of the project"))


async def served(folder: Path, setting: str, plant: Garden) -> None:
    async with (
        raw_server(answers(plant)) as old,
        raw_server(answers(plant)) as new,
        GatewayProcess(
            folder, keeping(setting, (old.base_url, new.base_url)), workers=1, arguments=["--log"]
        ) as gateway,
    ):
        await traffic(gateway.port, plant)
        workers = folder / "routing" / "workers"
        await until(lambda: any(b"requests_total" in file.read_bytes() for file in workers.glob("*.metrics")))
        await until(lambda: len(new.requests) == len(old.requests))
        await asyncio.sleep(1.5)  # the metrics file is written once a second: all of it is in the last one
        gateway.signal(signal.SIGTERM)
        await gateway.ended()
    (folder / "errors.log").write_bytes(gateway.errors)


def afterwards(folder: Path) -> None:
    """What is made of the ledger: tables, scores, a suite, exports."""
    lake = folder / "lake"
    with Committer(folder / "segments", lake) as committer:
        committer.run_once()
    ledger = Ledger(lake)
    read = list(ledger.exchanges(workload=WORKLOAD))
    assert len(read) > 30
    ledger.add_scores([Score(each.exchange, WORKLOAD, "g", 1.0, 1.0, detail=each.answer[:200]) for each in read])
    ledger.close()
    if any(each.request for each in read):
        write(folder / "suite.yaml", "s", sample(read, 5, by="ticket", seed="1", redactor=Redactor({"own": CUSTOMER})))
    export(folder / "out.jsonl.gz", lake=lake)
    export(folder / "out.parquet", lake=lake)


@contextmanager
def defect(folder: Path, code: str) -> Iterator[None]:
    """Every Python process that is started meanwhile has this defect. It runs the sources: what is compiled does not
    look its own parts up by name."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{Path(__file__).parents[3] / 'src'}"
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["redacted", "off"])
def test_no_secret_is_in_any_file(tmp_path: Path, setting: str) -> None:
    """Under both settings, in segments, tables, logs, metrics, heartbeats, suites and exports: 0 hits."""
    plant = Garden()
    asyncio.run(served(tmp_path, setting, plant))
    assert len(plant.planted) > 45
    assert hits(tmp_path, plant.all) == []
    afterwards(tmp_path)
    assert hits(tmp_path, plant.all) == []


_KEEPER = "from understudy.gateway.record import Keeper\n"
_REDACTOR = "from understudy.ledger.redact import Redactor\n"
DEFECTS = {
    "short texts": (_KEEPER + "Keeper.short = lambda self, text: text", "slice: email"),
    "units": (_KEEPER + "Keeper.who = lambda self, name: name", "user header: email"),
    "answers": (
        _REDACTOR + "was = Redactor.text\n"
        "Redactor.text = lambda self, text, limit=None: text if text[:4] == 'Dear' else was(self, text, limit)",
        "stream: card",
    ),
    "base64": (_REDACTOR + "Redactor._decoded = lambda self, blob, depth: blob", "base64 file: email"),
    "fields": (
        _REDACTOR + "was = Redactor.__init__\n"
        "def init(self, *a, **k):\n    was(self, *a, **k)\n    self._detectors = []\nRedactor.__init__ = init",
        "system: phone",
    ),
    "the cut": (
        _REDACTOR
        + "Redactor.body = lambda self, body, limit=None: self.text(body[:limit].decode('utf-8', 'replace')).encode()",
        "at the cut: email",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFECTS)
def test_a_path_that_is_overlooked_is_found(tmp_path: Path, name: str) -> None:
    """With the redactor off for one path the same search names the place that leaked."""
    code, expected = DEFECTS[name]
    plant = Garden()
    with defect(tmp_path / "defect", code):
        asyncio.run(served(tmp_path, "redacted", plant))
    found = hits(tmp_path, plant.all)
    assert any(each.startswith(expected) for each in found), found


HANDLERS = {
    "routing": ("import understudy.gateway.session as place", "route", "gateway, spot, headers, body"),
    "keeping": ("from understudy.gateway.record import Keeper as place", "content", "self, setting, request, answer"),
    "reading": ("from understudy.gateway.copying import Copy as place", "add", "self, chunk"),
    "appending": ("from understudy.ledger.segments import SegmentWriter as place", "append", "self, record"),
}
"""Where each is, its name, and what it takes."""


def raising(name: str) -> str:
    """A defect: this handler raises, and its message repeats everything it was given."""
    place, handler, given = HANDLERS[name]
    raises = "raise ValueError(f'cannot read {locals()!r}')"
    return f"{place}\ndef broken({given}):\n    {raises}\nplace.{handler} = broken\n"


async def asked(folder: Path, plant: Garden) -> bytes:
    """What a gateway says on standard error while it is asked."""
    async with raw_server(answers(plant)) as old:
        first = keeping("redacted", (old.base_url, old.base_url))
        async with GatewayProcess(folder, first, workers=1, arguments=["--log"]) as gateway:
            body = json.dumps({"model": WORKLOAD, **conversation(plant)}).encode()
            for sent in (body, chat(stream=True), chat("ask for an error")):
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(3):
                        await call(gateway.port, sent, headers={"x-user-id": plant("user").email})
            gateway.signal(signal.SIGTERM)
            await gateway.ended()
    (folder / "errors.log").write_bytes(gateway.errors)
    return gateway.errors


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDLERS)
def test_an_exception_in_a_handler_quotes_nothing(tmp_path: Path, name: str) -> None:
    """A bug whose message repeats the request is told by its kind and place: 0 hits on standard error and elsewhere."""
    plant = Garden()
    with defect(tmp_path / "defect", raising(name)):
        errors = asyncio.run(asked(tmp_path, plant))
    assert b"ValueError" in errors, errors
    assert b"cannot read" not in errors
    assert hits(tmp_path, plant.all) == []


@pytest.mark.slow
def test_a_traceback_with_its_message_would_be_found(tmp_path: Path) -> None:
    """With the usual way of telling exceptions the same search finds the request in the log."""
    plant = Garden()
    usual = "import understudy.gateway.bugs as bugs\nbugs.watch = lambda loop, name: None\n"
    with defect(tmp_path / "defect", raising("routing") + usual):
        asyncio.run(asked(tmp_path, plant))
    assert any("errors.log" in hit for hit in hits(tmp_path, plant.all))


def test_the_search_finds_every_form_in_every_wrapping(tmp_path: Path) -> None:
    """The search itself: each secret alone in a file, in each spelling, is one hit at least."""
    plant = Garden()
    for wrapped in ("plain", "json", "base64", "utf-16", "gzip", "base64 within text"):
        for form, secret in plant(wrapped).forms.items():
            folder = tmp_path / wrapped / form
            folder.mkdir(parents=True)
            (folder / ("f.gz" if wrapped == "gzip" else "f")).write_bytes(_wrapped(wrapped, secret))
            assert any(f"{wrapped}: {form}" in hit for hit in hits(folder, plant.all)), (wrapped, form)


def _wrapped(how: str, secret: str) -> bytes:
    import gzip

    match how:
        case "json":
            return json.dumps({"a": json.dumps([secret])}).encode()
        case "base64":
            return base64.b64encode(secret.encode())
        case "base64 within text":
            return base64.b64encode(f"so: {secret}, ok".encode())
        case "utf-16":
            return secret.encode("utf-16-le")
        case "gzip":
            return gzip.compress(secret.encode())
        case _:
            return secret.encode()


def test_a_unit_is_found_again_under_its_pseudonym() -> None:
    """The command hashes a name as the gateway does: in another process, with the same key and no other."""
    code = "from understudy.assign.pseudonym import pseudonym; print(pseudonym('jo@example.org', b'k'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pseudonym("jo@example.org", b"k")
    assert pseudonym("jo@example.org", b"k") != pseudonym("jo@example.org", b"l")
    assert pseudonym("", b"k") == ""


def test_the_first_of_two_keys_makes_the_names() -> None:
    """While a key is changed, what is written is found by the new one alone."""
    keeper = Keeper(Redactor(), "new key, old key")
    assert keeper.hashed("jo@example.org") == keeper.who("jo@example.org") == pseudonym("jo@example.org", b"new key")
    assert Keeper(Redactor()).hashed("jo") == pseudonym("jo")
