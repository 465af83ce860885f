"""Rows 9, 10, 12, 14, 16, 18, 19, 20, 27: what providers and networks do to answers, and clients who do not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import replace
from pathlib import Path

import psutil
from benchmarks.chaos.client import DIALECTS, request
from benchmarks.chaos.row import (
    Row,
    Scale,
    at_most,
    in_time,
    none_of,
    only,
    plant_changed_byte,
    plant_fact,
    plant_hang,
    plant_second_call,
    quantile,
)
from benchmarks.chaos.waiting import probing
from benchmarks.chaos.world import Evidence, World, world

from understudy.testing.faulty import FaultProvider, Received

REFUSALS = (
    "f/429",
    "f/429;ra=3",
    "f/429;ra=0",
    "f/429;ra=1000000000",
    "f/429;ra-date=5",
    "f/429;ra-ms=300",
    "f/429;spend",
    "f/429;spend;ra=1",
    "f/529",
    "f/529;ra=2",
    "f/503;ra=2",
    "f/429;html",
)


async def refusals(scale: Scale) -> Evidence:
    async with world() as made:
        for fault in REFUSALS:
            made.inc.become("inc", fault)
            for _ in range(scale.n(1, 20)):
                for dialect in DIALECTS:
                    await made.ask(dialect)
        return await made.finish()


def judge_refusals(evidence: Evidence) -> list[str]:
    found = only(evidence, "error")
    calls = sum(len(evidence.calls(saw.mark)) for saw in evidence.saw)
    for saw in evidence.saw:
        call = evidence.calls(saw.mark)[0]
        status = int(call.fault[2:5])
        if saw.status != status:
            found.append(f"{saw.mark} ({call.fault}): the client saw {saw.status}")
        for option, header in (("ra=", "retry-after"), ("ra-date", "retry-after"), ("ra-ms", "retry-after-ms")):
            if option in call.fault and header not in saw.headers:
                found.append(f"{saw.mark} ({call.fault}): {header} did not reach the client")
    evidence.facts["amplification"] = round(calls / len(evidence.saw), 3)
    return found + at_most(evidence, "amplification", 1.1)


async def broken_statuses(scale: Scale) -> Evidence:
    async with world() as made, FaultProvider() as evil:
        faults = ["f/500", "f/500;html", "f/500;empty", "f/502;html", "f/503;empty", "f/404;html", "f/418;html"]
        faults += [f"f/{status};to={evil.base_url}/chat/completions" for status in (301, 302, 303, 307, 308)]
        for fault in faults:
            made.inc.become("inc", fault)
            for dialect in DIALECTS:
                for _ in range(scale.n(1, 10)):
                    await made.ask(dialect, stream=False)
                    await made.ask(dialect)
        made.facts["redirects_followed"] = len(evil.lines)
        return await made.finish()


def judge_broken_statuses(evidence: Evidence) -> list[str]:
    evidence.facts["wrong_dialect"] = sum(saw.outcome != "error" for saw in evidence.saw)
    return none_of(evidence, "wrong_dialect") + none_of(evidence, "redirects_followed")


async def endless(scale: Scale) -> Evidence:
    async with world(deadlines={"total_s": 110, "idle_s": 30}) as made:
        await made.ask()
        process = psutil.Process(made.pid)
        made.inc.become("inc", f"f/tiny={scale.n(20_000, 300_000)}")
        tiny = asyncio.create_task(made.ask(patience=120))
        await asyncio.sleep(0.5)
        before = process.memory_info().rss
        await tiny
        grown = process.memory_info().rss - before
        await made.stop()
        await made.start(deadlines={"total_s": scale.n(3, 10)})
        made.inc.become("inc", "f/ok")
        await made.ask()
        process = psutil.Process(made.pid)
        before = process.memory_info().rss
        made.inc.become("inc", "f/infinite;size=65536")
        # Its payload is not kept by the provider's ledger; only its end and the memory are of interest.
        endless_saw = asyncio.create_task(made.ask(patience=60, counted=False))
        peak = 0
        while not endless_saw.done():
            await asyncio.sleep(0.1)
            peak = max(peak, process.memory_info().rss)
        saw = await endless_saw
        made.facts["endless_outcome"] = saw.outcome
        made.facts["received_mb"] = round(saw.size / 1e6)
        made.facts["rss_growth_mb"] = round(max(grown, peak - before) / 1e6, 1)
        made.inc.ledger[:] = [call for call in made.inc.ledger if call.mark != saw.mark]
        return await made.finish()


def judge_endless(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok")
    if evidence.facts["endless_outcome"] != "broken":
        found.append(f"an endless answer ended as {evidence.facts['endless_outcome']}, wanted broken (total deadline)")
    return found + at_most(evidence, "rss_growth_mb", 24)


async def slow_readers(scale: Scale) -> Evidence:
    """Clients that ask and never read, and honest ones beside them."""
    write_s = scale.n(4, 15)  # long enough that all are stuck before the first is cut off
    async with world(
        deadlines={"connect_s": 60, "headers_s": 60, "first_token_s": 60, "idle_s": 60, "total_s": 150},
        limits={"connections": 5000, "write_s": write_s, "idle_s": 60, "receipt_s": 60},
    ) as made:
        await made.ask()
        process = psutil.Process(made.pid)
        before = process.memory_info().rss
        count = scale.n(100, 1000)  # so many that what the gateway needs once does not count
        made.inc.become("inc", "f/infinite;size=16384")
        stuck = [_never_read(made, index) for index in range(count)]
        await _stuck(made, count)
        made.facts["rss_kb_per_stream"] = round((process.memory_info().rss - before) / 1024 / count, 1)
        made.inc.become("inc", "f/ok")
        await made.many(20, lambda i: made.ask(patience=60))
        for _ in range(10 * (write_s + 8)):
            if not _streaming(made):
                break
            await asyncio.sleep(0.1)
        made.facts["streams_still_open"] = len(_streaming(made))
        for sock in stuck:
            sock.close()
        made.inc.ledger[:] = [call for call in made.inc.ledger if not call.mark.startswith("stuck")]
        return await made.finish()


def _streaming(made: World) -> list[Received]:
    return [call for call in made.inc.ledger if call.fault.startswith("f/infinite") and not call.ended]


async def _stuck(made: World, count: int) -> None:
    """Wait until so many streams have begun and no provider can send any more. Raises TimeoutError."""
    sent = -1
    async with asyncio.timeout(120):
        while True:
            await asyncio.sleep(0.4)
            calls = [call for call in made.inc.ledger if call.fault.startswith("f/infinite")]
            former, sent = sent, sum(call.sent for call in calls)
            if len(calls) == count and former == sent:
                return


def _never_read(made: World, index: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", made.port))
    sock.sendall(request("openai", "openai", f"stuck{index}"))
    return sock


def judge_slow_readers(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok") + at_most(evidence, "rss_kb_per_stream", 256)
    return found + none_of(evidence, "streams_still_open")


ENCODINGS = ("f/gzip", "f/gzip-multi", "f/deflate", "f/gzip-lie")


async def encodings(scale: Scale) -> Evidence:
    async with world(deadlines={"total_s": 60}) as made:
        await made.ask()
        for fault in ENCODINGS:
            made.inc.become("inc", fault)
            for dialect in DIALECTS:
                for stream in (True, False):
                    # The client does not decode: what it got is compared byte for byte.
                    saw = await made.ask(dialect, stream=stream, counted=False)
                    call = made.inc.marked(saw.mark)[0]
                    same = saw.payload == call.payload and saw.headers.get("content-encoding") == (
                        "deflate" if fault == "f/deflate" else "gzip"
                    )
                    made.facts["changed_answers"] = made.facts.get("changed_answers", 0) + (not same)
                    made.inc.ledger.remove(call)
        process = psutil.Process(made.pid)
        before, cpu = process.memory_info().rss, process.cpu_times().user
        made.inc.become("inc", f"f/gzip-bomb={scale.n(50, 1000)}")
        for stream in (True, False):
            saw = await made.ask(stream=stream, counted=False, patience=60)
            made.inc.ledger[:] = [call for call in made.inc.ledger if call.mark != saw.mark]
        made.facts["rss_growth_mb"] = round((process.memory_info().rss - before) / 1e6, 1)
        made.facts["bomb_cpu_s"] = round(process.cpu_times().user - cpu, 2)
        made.inc.become("inc", "f/ok")
        await made.ask()
        return await made.finish()


def judge_encodings(evidence: Evidence) -> list[str]:
    found = none_of(evidence, "changed_answers") + at_most(evidence, "rss_growth_mb", 32)
    return found + in_time(evidence, "bomb_cpu_s", 1.0) + only(evidence, "ok")


BURST = 16
"""Requests at once, so that as many connections are kept and then used again at the same moment."""


async def keep_alive_race(scale: Scale) -> Evidence:
    """The provider closes idle connections just when the next requests come, at every moment around that."""
    async with world() as made:
        gap = 0.6
        made.inc.become("inc", f"f/close-after={gap}")
        steps = scale.n(8, 40)
        for step in range(steps):
            await made.many(BURST, lambda i: made.ask(stream=i % 2 == 0), at_once=BURST)
            await asyncio.sleep(gap - 0.01 + 0.02 * step / steps)
        made.facts["race_errors"] = sum(saw.outcome != "ok" for saw in made.saw)
        made.facts["closed_by_provider"] = sum(line.ended == "ours" for line in made.inc.lines)
        start = made.facts["race_requests"] = len(made.saw)
        made.inc.become("inc", "f/stale")
        for step in range(scale.n(10, 100)):
            await made.ask(stream=step % 2 == 0)
        made.facts["stale_errors"] = sum(saw.outcome != "ok" for saw in made.saw[start:])
        return await made.finish()


def judge_keep_alive_race(evidence: Evidence) -> list[str]:
    # A close that crosses our request comes back as a reset, which does not tell whether the request was carried out:
    # that is an error for the caller, and sending again would be a second bill. Once it has happened, or a connection
    # was seen to be closed, the provider's time-out is known, and it does not happen again. A gateway that learns
    # nothing is closed upon at least every second time; one that is kept from a processor now and then.
    found = at_most(evidence, "race_errors", BURST)
    found += at_most(evidence, "closed_by_provider", evidence.facts["race_requests"] / 4)
    return found + none_of(evidence, "stale_errors") + only(evidence, "ok", "error")


async def process_then_reset(scale: Scale) -> Evidence:
    async with world() as made:
        made.inc.become("inc", "f/rst@pre")
        count = scale.n(60, 100_000)
        await made.many(count, lambda i: made.ask(DIALECTS[i % 5], stream=i % 2 == 0))
        return await made.finish()


def judge_process_then_reset(evidence: Evidence) -> list[str]:
    calls = sum(len(evidence.calls(saw.mark)) for saw in evidence.saw)
    evidence.facts["duplicates"] = calls - len(evidence.saw)
    return only(evidence, "error") + none_of(evidence, "duplicates")


def _blackhole() -> tuple[socket.socket, list[socket.socket]]:
    """A port whose queue is full: what is sent to connect is never answered."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(listener.getsockname())
        fillers.append(filler)
    return listener, fillers


async def unreachable(scale: Scale) -> Evidence:
    import ssl

    import trustme

    ca, other_ca = trustme.CA(), trustme.CA()
    wrong_name, unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("other.example").configure_cert(wrong_name)
    other_ca.issue_cert("127.0.0.1").configure_cert(unknown)
    listener, fillers = _blackhole()
    refused = socket.socket()
    refused.bind(("127.0.0.1", 0))
    refused_port = refused.getsockname()[1]
    refused.close()
    async with (
        world(deadlines=scale.deadlines) as made,
        FaultProvider(tls=wrong_name) as misnamed,
        FaultProvider(tls=unknown) as untrusted,
    ):
        ca_file = Path(made.folder) / "ca.pem"
        ca.cert_pem.write_to_path(str(ca_file))
        places = {
            "no such host": "http://no-such-host.invalid",
            "refused": f"http://127.0.0.1:{refused_port}",
            "blackhole": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "wrong name": misnamed.root_url,
            "untrusted": untrusted.root_url,
        }
        healthy: list[float] = []
        for url in places.values():
            providers = dict(made.routing.providers)
            providers["inc-anthropic"] = replace(
                providers["inc-anthropic"], base_url=url, ca_file=str(ca_file) if url.startswith("https") else ""
            )
            made.publish(providers=providers)
            await made.applied(made.epoch)
            count = scale.n(6, 60)
            async with probing(made.port, made.pid) as lags:
                bad = asyncio.gather(*(made.ask("anthropic", stream=i % 2 == 0) for i in range(count)))
                for _ in range(20):
                    await made.ask("openai")
                await bad
            healthy += lags
        made.facts["healthy_p99_ms"] = round(1000 * quantile(healthy, 0.99), 1)
        failing = [saw for saw in made.saw if saw.dialect == "anthropic"]
        made.facts["connect_s"] = scale.deadlines["connect_s"]
        made.facts["slowest_error_s"] = round(max(saw.seconds for saw in failing), 2)
        made.facts["tls_requests_sent"] = len(misnamed.ledger) + len(untrusted.ledger)
        for sock in (listener, *fillers):
            sock.close()
        return await made.finish()


def judge_unreachable(evidence: Evidence) -> list[str]:
    wanted = {"openai": "ok", "anthropic": "error"}
    found = [f"{s.mark} ({s.dialect}): {s.outcome}" for s in evidence.saw if s.outcome != wanted[s.dialect]]
    found += at_most(evidence, "healthy_p99_ms", 100) + in_time(
        evidence, "slowest_error_s", evidence.facts["connect_s"] + 1.4
    )
    return found + none_of(evidence, "tls_requests_sent")


async def long_silence(scale: Scale) -> Evidence:
    """Nothing for long between headers and first content: the stream stays alive, and nothing is put into it."""
    async with world(deadlines={"first_token_s": 10, "idle_s": 0.5, "total_s": 30}) as made:
        made.inc.become("inc", f"f/ttft={scale.n(2, 8)}")
        begun = time.monotonic()
        await asyncio.gather(*(made.ask(dialect) for dialect in DIALECTS))
        made.facts["waited_s"] = round(time.monotonic() - begun, 2)
        return await made.finish()


def judge_long_silence(evidence: Evidence) -> list[str]:
    return only(evidence, "ok")


ROWS = [
    Row(
        9,
        "429 and 529 in twelve spellings",
        "told to the client with its headers, not tried again early",
        refusals,
        judge_refusals,
        plant_second_call,
    ),
    Row(
        10,
        "5xx, HTML, empty bodies, redirects",
        "an error in the caller's dialect; no redirect followed",
        broken_statuses,
        judge_broken_statuses,
        plant_fact("redirects_followed", 1),
    ),
    Row(
        12,
        "endless answers, hundreds of thousands of tiny events",
        "streamed in flat memory, ended at the total deadline",
        endless,
        judge_endless,
        plant_fact("rss_growth_mb", 400.0),
    ),
    Row(
        14,
        "clients that never read",
        "a bounded buffer each, then cut off; others unharmed",
        slow_readers,
        judge_slow_readers,
        plant_fact("streams_still_open", 3),
    ),
    Row(
        16,
        "gzip, deflate, two members, lies, bombs",
        "passed on as they are; the copy is bounded",
        encodings,
        judge_encodings,
        plant_changed_byte,
    ),
    Row(
        18,
        "provider closes kept connections as we send",
        "an orderly close costs nothing, a reset is never sent again, the provider's time-out is learned",
        keep_alive_race,
        judge_keep_alive_race,
        plant_second_call,
    ),
    Row(
        19,
        "provider works, then resets before answering",
        "one POST each, never sent again unseen",
        process_then_reset,
        judge_process_then_reset,
        plant_second_call,
    ),
    Row(
        20,
        "no name, refused, black hole, bad certificates",
        "a typed error within the deadline; other routes unharmed",
        unreachable,
        judge_unreachable,
        plant_hang,
    ),
    Row(
        27,
        "long silence before the first token",
        "the stream stays alive, nothing is put into it",
        long_silence,
        judge_long_silence,
        plant_changed_byte,
    ),
]
