"""What counts as a failure of a provider, and what the caller is told of one. Pure."""

from __future__ import annotations

from understudy.upstream.failure import Failure, Kind
from understudy.wires.base import Answer

CALLERS_FAULT = frozenset({400, 405, 409, 411, 413, 415, 422})
"""Statuses that a request may earn by itself: they count against a candidate only if the incumbent does better."""

RATE_LIMITED = frozenset({429, 529})

_TOLD = {
    Kind.CONNECT: (502, "provider_unreachable"),
    Kind.TIMEOUT: (504, "provider_timeout"),
    Kind.RESET: (502, "provider_reset"),
    Kind.TRUNCATED: (502, "provider_truncated"),
    Kind.PROTOCOL: (502, "provider_protocol"),
    Kind.BUSY: (503, "provider_busy"),
}


def told(failure: Failure) -> tuple[int, str]:
    """HTTP status and error code for a caller whose answer could not be had."""
    return _TOLD[failure.kind]


def of_status(status: int) -> str:
    """The ledger's word for an HTTP status of an answer, "" for a success."""
    if status < 300:
        return ""
    if status in RATE_LIMITED:
        return "rate_limited"
    if status < 400:
        return "redirect"
    return "status_4xx" if status < 500 else "status_5xx"


def of_answer(status: int, answer: Answer, *, complete: bool) -> str:
    """The ledger's word for how an answer that arrived in full failed, "" where it did not."""
    by_status = of_status(status)
    if by_status:
        return by_status
    if answer.error:
        return "in_stream"
    return "" if complete else "truncated"
