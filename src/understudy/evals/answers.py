"""Keeps every answer that was paid for, in an append-only file a variant, so that a killed run asks nothing twice.

An answer is found by what it answers: who was asked (base_url, fingerprint), what (the messages) and the how-manieth
time. So a change of prompt, parameter or case asks anew, and a change of grader or threshold does not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from understudy.core.canonical import digest
from understudy.core.errors import CannotMeasure
from understudy.core.variant import Variant
from understudy.wires.base import Message

KEY_FORMAT = 1


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer. Durations are seconds, money US dollars; None means unknown."""

    key: str
    text: str
    at: float
    """When it arrived, seconds since the epoch."""
    latency_s: float
    ttft_s: float
    tool_calls: str = ""
    finish_reason: str = ""
    model: str = ""
    """The model that the provider says has answered."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    case: str = ""
    """Id of the case that asked, so that `ledger erase` finds the answers to a question of live traffic."""


def key_of(fingerprint: str, base_url: str, messages: Sequence[Message], repeat: int) -> str:
    """The name under which a variant's answer is kept; `repeat` counts from 0."""
    return digest([KEY_FORMAT, base_url.rstrip("/"), fingerprint, messages, repeat])[:32]


class AnswerFile:
    """The answers of one variant. A line cut by a crash is passed over; the answer it held is asked again.

    `fresh` takes no notice of what was kept; what is asked from then on takes its place. Several processes may append
    at once: a line is one write. Raises CannotMeasure where the disk refuses.
    """

    def __init__(self, folder: Path, variant: Variant, fresh: bool = False) -> None:
        self.path = folder / f"{variant.fingerprint}.jsonl"
        self.broken = 0
        """Lines that could not be read."""
        self._kept: dict[str, Kept] = {}
        self._encoder = msgspec.json.Encoder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise _refused(self.path, error) from None
        try:
            self._read()
        except OSError as error:
            self.close()
            raise _refused(self.path, error) from None
        if fresh:
            self._kept.clear()

    def __repr__(self) -> str:
        return f"<{self.path.name}: {len(self._kept)} answers, {self.broken} broken lines>"

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Kept | None:
        return self._kept.get(key)

    def put(self, answer: Kept) -> None:
        """Keep an answer; once this returns, killing the process does not lose it."""
        line = self._encoder.encode(answer) + b"\n"
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise _refused(self.path, error) from None
        if written < len(line):
            raise _refused(self.path, OSError(0, f"only {written} of {len(line)} bytes were written"))
        self._kept[answer.key] = answer

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(Kept)
        last = b"\n"
        with open(self._descriptor, "rb", closefd=False) as stream:
            for line in stream:
                last = line
                try:
                    answer = decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    self.broken += 1
                    continue
                self._kept[answer.key] = answer
        if not last.endswith(b"\n"):
            os.write(self._descriptor, b"\n")  # the next answer must not join the line that was cut


def _refused(path: Path, error: OSError) -> CannotMeasure:
    return CannotMeasure(
        f"answers cannot be kept in {path}: {error.strerror or error}",
        remedy="make room or check the permissions, then run this again: what was kept is not asked again",
    )
