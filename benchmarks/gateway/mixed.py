"""What a soak asks, drawn by a seed: whole answers and streams, three dialects, faults, leavers, big bodies. Pure."""

from __future__ import annotations

import json
import random
from typing import NamedTuple

from benchmarks.chaos.client import PATHS, request

DIALECTS = ("openai", "anthropic", "gemini")
FAULTS = {
    "refused": "f/503",
    "limited": "f/429;ra=1",
    "reset-before": "f/rst@pre",
    "reset-within": "f/rst@3",
    "closed-within": "f/fin@3",
    "ends-early": "f/eof@3",
    "error-within": "f/err@2",
    "broken-event": "f/bad-json@2",
    "stale": "f/stale",
    "gzip": "f/gzip",
    "long": "f/tiny=300",
    "huge-event": "f/huge-line=1",
}
"""Workloads whose incumbent has that fault; the candidate's shadow answer to each is sound."""
FAILING_SHADOW = "failing-shadow"
"""A workload whose incumbent is sound and whose candidate fails in one way or another."""
CONVERSATIONS = 300
"""So few that the pages of the pins' file, which has a fixed size, are all touched while the worker fills up."""

SHARES = {
    "whole": 40,
    "stream": 22,
    "fault": 12,
    "failing shadow": 5,
    "leaves": 6,
    "big request": 2,
    "slow reader": 2,
    "refused by us": 6,
    "feedback": 3,
    "looked at": 2,
}
"""Percent of the requests."""


class Asked(NamedTuple):
    """One request: its kind, its bytes, what its client does, and which status it must get (0: any, or none)."""

    kind: str
    data: bytes
    leave_after: int = 0
    """The client goes away once it has so many bytes of the answer; 0: it stays."""
    reset: bool = False
    slow: bool = False
    must: int = 0


def draw(chance: random.Random, number: int, key: str) -> Asked:
    """The request of that number."""
    kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
    dialect = chance.choice(DIALECTS)
    mark = f"m{number}"
    headers = [("authorization", f"Bearer {key}")]
    if chance.random() < 0.1:
        headers.append(("x-conversation-id", f"c{chance.randrange(CONVERSATIONS)}"))
    stream = chance.random() < 0.5

    def ask(workload: str, *, stream: bool, **more: object) -> bytes:
        return request(
            dialect, f"{workload}-{dialect}", mark, stream=stream, headers=tuple(headers), close=False, **more
        )  # type: ignore[arg-type]

    match kind:
        case "whole":
            return Asked(kind, ask("plain", stream=False), must=200)
        case "stream":
            return Asked(kind, ask("plain", stream=True), must=200)
        case "fault":
            return Asked(kind, ask(chance.choice(list(FAULTS)), stream=stream))
        case "failing shadow":
            return Asked(kind, ask(FAILING_SHADOW, stream=stream), must=200)
        case "leaves":
            return Asked(kind, ask("plain", stream=True), chance.choice((1, 200, 700)), chance.random() < 0.5)
        case "big request":
            words = "a word and another one " * chance.choice((4_000, 12_000, 40_000))
            return Asked(kind, ask("plain", stream=stream, metadata={"note": words}), must=200)
        case "slow reader":
            return Asked(kind, ask("huge-event", stream=True), slow=True)
        case "feedback":
            body = json.dumps({"exchange": f"x{number}", "name": "thumbs", "value": 1}).encode()
            return Asked(kind, _post("/v1/feedback", key, body))
        case "looked at":
            path = chance.choice(("/healthz", "/readyz", "/metrics", "/v1/models"))
            return Asked(kind, f"GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n\r\n".encode())
        case _:
            return Asked(kind, _refused(chance, dialect, mark, key))


def _refused(chance: random.Random, dialect: str, mark: str, key: str) -> bytes:
    """What the gateway itself must turn down."""
    path = PATHS.get(dialect, PATHS["openai"])
    ours = (("authorization", f"Bearer {key}"),)
    return chance.choice(
        (
            request(dialect, f"plain-{dialect}", mark, headers=(("authorization", f"Bearer no-{mark}"),), close=False),
            request(dialect, f"nowhere-{mark}", mark, headers=ours, close=False),
            _post(path, key, b'{"model": "plain", "messages": ['),
            _post(f"/v1/unknown/{mark}", key, b"{}"),
            b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            b"NONSENSE " + mark.encode() + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: g\r\nx-long: " + b"a" * 70_000 + b"\r\n\r\n",
        )
    )


def _post(path: str, key: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
