"""Writes the page of results: what happens when X dies, and which goal which row shows with which figure."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.chaos.row import Row


class Result(NamedTuple):
    """What one row came to."""

    row: Row
    found: list[str]
    caught: bool
    outcomes: dict[str, int]
    facts: dict[str, Any]
    seconds: float


GOALS = (
    (
        "No user notices that controller, database, lake and dashboard are dead",
        "{r72[user_failures]} of {r72[clients]} failed with everything dead, {r73[user_failures]} of {r73[clients]} "
        "with the database locked, corrupt, missing (95 % bound: 3 in {r72[clients]})",
        (72, 73),
    ),
    (
        "No user notices a dead, hanging or failing candidate",
        "{r57[failed_users]} of {r57[clients]} failed at 100 %; {r57[calls_to_dead_candidate]} calls to it at most; a "
        "silent one costs {r4[fallback_max_s]} s at a deadline of 0.5 s; {r5[fake_successes]} fake endings",
        (4, 5, 57),
    ),
    ("A cold start with everything dead serves within 1.5 s", "{r74[first_answer_s]} s, command to answer", (74,)),
    (
        "A flip reaches every worker within 300 ms (p99), acknowledged",
        "p50 {r41[propagation_p50_ms]} ms, p99 {r41[propagation_p99_ms]} ms; stale answers after effective: "
        "{r41[stale_after_effective]}; wrong epochs of starting workers: {r42[wrong_epoch]}",
        (41, 42, 43, 44),
    ),
    (
        "A rollback ends the candidate within 500 ms, the control plane dead",
        "last candidate request after {r75[last_candidate_request_max_ms]} ms at most; after a lapsed lease: "
        "{r58[candidate_after]}",
        (58, 75),
    ),
    (
        "A client that leaves frees its provider within 100 ms (p99)",
        "in mid-stream p50 {r1[leave_to_close_p50_ms]} ms, p99 {r1[leave_to_close_p99_ms]} ms; before the first token "
        "p99 {r2[leave_to_close_p99_ms]} ms; {r1[clients]} and {r2[clients]} leavers, none leaked",
        (1, 2),
    ),
    (
        "No stream is completed for its provider",
        "{r5[fake_successes]} of {r5[cut_streams]} cut streams; errors inside a 200 misread: {r8[misclassified]}",
        (5, 8),
    ),
    (
        "Bytes pass unchanged",
        "0 of {r6[clients]} answers changed, split at every byte and with every line end; misread: {r6[misread]}; "
        "encoded answers changed: {r16[changed_answers]}",
        (6, 16),
    ),
    (
        "Memory is bounded and flat",
        "{r14[rss_kb_per_stream]} KB a client that never reads; {r15[rss_mb_per_100k]} MB per 100,000 mixed requests; "
        "endless answer of {r12[received_mb]} MB: {r12[rss_growth_mb]} MB",
        (12, 14, 15),
    ),
    (
        "No POST is sent twice unseen",
        "{r19[duplicates]} of {r19[clients]} under resets; closes that cross a request: {r18[race_errors]} errors of "
        "{r18[clients]}, orderly ones {r18[stale_errors]}",
        (18, 19),
    ),
    (
        "Restarts under load lose nothing",
        "{r22[failed]} of {r22[clients]} over {r22[restarts]} rolling restarts",
        (22,),
    ),
    (
        "Nobody gets in without a right",
        "{r81[reached_provider]} of {r81[cases]} paths, methods and credentials reached a provider; a revoked key "
        "is dead after {r83[effective_max_ms]} ms, accepted after: {r83[accepted_after]}; timing t = {r82[timing_t]}",
        (81, 82, 83, 84),
    ),
    (
        "No request is smuggled",
        "0 of {r17[cases]} cases direct, behind nginx ({r17[nginx_calls]} requests passed) and HAProxy "
        "({r17[haproxy_calls]})",
        (17,),
    ),
)
"""The promise, the sentence with its figures, the rows that make it."""


class _Facts(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "(not measured)"


def goal_lines(results: Sequence[Result]) -> list[str]:
    """A table row for each goal; one whose rows did not all run, or did not hold, says so."""
    by_row = {result.row.number: result for result in results}
    facts = {
        f"r{number}": _Facts(clients=f"{sum(result.outcomes.values()):,}", **result.facts)
        for number, result in by_row.items()
    }
    lines = []
    for promise, sentence, rows in GOALS:
        missing = [number for number in rows if number not in by_row]
        broken = [number for number in rows if number in by_row and by_row[number].found]
        if missing:
            figure = f"not run: {_numbers(missing)}"
        else:
            figure = ("**not held:** " if broken else "") + sentence.format(**facts)
        lines.append(f"| {promise} | {figure} | {_numbers(rows)} |")
    return lines


def kept(file: Path, rows: Sequence[Row]) -> dict[int, Result]:
    """The results of earlier runs, by row; nothing where there is no file. Rows that are no more are left out."""
    known = {row.number: row for row in rows}
    stored = json.loads(file.read_text()) if file.exists() else {}
    return {
        int(number): Result(row=known[int(number)], **one) for number, one in stored.items() if int(number) in known
    }


def keep(file: Path, results: Sequence[Result]) -> None:
    """Write the results, for `kept`."""
    named = {result.row.number: {k: v for k, v in result._asdict().items() if k != "row"} for result in results}
    file.write_text(json.dumps(named, indent=1, default=str) + "\n")


def page(results: Sequence[Result], missing: Sequence[int]) -> str:
    """The whole page, in Markdown. `missing` are the rows of the matrix that were not run."""
    held = sum(not result.found for result in results)
    caught = sum(result.caught for result in results)
    minutes = sum(result.seconds for result in results) / 60
    lines = [
        "# What happens when X dies",
        "",
        f"Written by `make chaos` on {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, in {minutes:.0f} minutes. {held} of {len(results)} rows held; the "
        f"planted defect was caught in {caught} of {len(results)}."
        + (f" Not run: rows {_numbers(missing)}." if missing else ""),
        "",
        "Every row runs a real gateway process against providers that fail on purpose, joins what the clients saw,",
        "what the providers received and what the ledger says, and is run again with its typical defect planted in the",
        "gateway, which must turn it red. Rows 26 and 74 take off what the processes waited for a processor.",
        "",
        "## Goals",
        "",
        "| promise | measured | rows |",
        "|---|---|---|",
        *goal_lines(results),
        "",
        "## Rows",
        "",
        "| # | what happens | what then | held | clients | figures | defect caught |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        row = result.row
        held_word = "yes" if not result.found else f"**no**: {result.found[0].replace('|', '/')}"
        counts = ", ".join(f"{count:,} {name}" for name, count in result.outcomes.items()) or "-"
        figures = ", ".join(f"{name} {value}" for name, value in result.facts.items() if _figure(name, value))
        caught_word = "yes" if result.caught else "**no**"
        cells = (row.number, row.fault, row.promise, held_word, counts, figures or "-", caught_word)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def _figure(name: str, value: object) -> bool:
    return isinstance(value, (int, float)) and name != "exit_code"


def _numbers(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows))
