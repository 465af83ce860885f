"""The page RESULTS.md and what a terminal shows, from what was measured. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gateway.figures import Measured, promise_table, promises, proxy_table
from benchmarks.gateway.streams import Growth

from understudy.wires.reading import MAX_TEXT

RESULTS = Path(__file__).with_name("RESULTS.md")
SHORT, SHORT_END = "<!-- front page -->", "<!-- end of front page -->"
"""What stands between these two on the page is the table of the README."""


class Result(NamedTuple):
    """`about`: when and where; `left_out`: what could not be measured and why."""

    about: Sequence[str]
    rows: Mapping[str, Measured]
    streams: Sequence[Growth]
    left_out: Sequence[str]
    summary: Mapping[str, Any]


def _promised(result: Result) -> str:
    return promise_table(promises(result.rows, result.summary["streams_per_gib"]))


def _stream_table(streams: Sequence[Growth]) -> str:
    lines = ["| clients | streams in a GiB | KiB each | resident MiB at so many open streams |", "|---|---|---|---|"]
    for growth in streams:
        points = ", ".join(f"{count:,}: {mib:.0f}" for count, mib in growth.points)
        lines.append(f"| {growth.case} | {growth.per_gib:,.0f} | {growth.kib_each:.1f} | {points} |")
    return "\n".join(lines)


def shown(result: Result) -> str:
    """For a terminal."""
    parts = ["; ".join(result.about), proxy_table(result.rows), _promised(result), _stream_table(result.streams)]
    parts += ["\n".join(result.left_out)] if result.left_out else []
    return "\n\n".join(parts) + "\n"


def whole(result: Result) -> str:
    """The page RESULTS.md."""
    left_out = "\n".join(f"- {line}" for line in result.left_out) or "- nothing"
    return f"""# What the gateway costs

Written by `make bench-gateway ARGS=--write`. {"; ".join(result.about)}.

{SHORT}
{proxy_table(result.rows, short=True)}
{SHORT_END}

## What was promised

{_promised(result)}

*kept*: `yes` in every round, `median` in the middle one and not in all, `no` otherwise.

## Every proxy

{proxy_table(result.rows)}

Median (lowest to highest) of the rounds. The ratio divides by `nginx` as it is, without split and log, which is the
harder mark; ratios are taken within a round. All proxies have one core, keep their connections to the provider, get
the same request of 1.5 KB and give back the same answer of 1 KB; 64 connections (16 for the slow ones), 200 streams of
51 chunks 10 ms apart (20). nginx, HAProxy and Envoy never look into a body: they are lower bounds. Latency is what
the proxy adds over the provider asked directly, 200 requests a second (20 for the slow ones).

Microseconds of CPU depend on the machine and on what else runs on it, for every proxy: compare ratios between runs,
not microseconds, and look at the range.

## Open streams

{_stream_table(result.streams)}

The slope of resident memory over the number of open streams; `not reading` are clients that stopped after the first
token of a provider that goes on sending. The fewer of the two counts. What the system keeps for the sockets is not in
it, nor the text of a long answer: until a stream ends its text so far is kept for the ledger, at most {MAX_TEXT:,}
bytes. Memory over many requests: [SOAK.md](SOAK.md).

## Left out

{left_out}

## The last line

```json
{json.dumps(result.summary)}
```
"""
