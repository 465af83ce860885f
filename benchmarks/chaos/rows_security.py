"""Rows 81 to 84 and 88 to 92: keys, revocation, forged upstreams, secrets in sinks, open doors, greed."""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.chaos.client import DIALECTS, body_of, raw, request
from benchmarks.chaos.row import Row, Scale, at_most, in_time, none_of, only, plant_fact
from benchmarks.chaos.rows_requests import status_of
from benchmarks.chaos.world import Evidence, World, world

from understudy.core.routing import GatewayKey
from understudy.testing.faulty import FaultProvider

GOOD, NARROW, REVOKED = "key-good-0123456789", "key-narrow-0123456789", "key-revoked-0123456789"


def gateway_key(name: str, key: str, workloads: tuple[str, ...] = ("*",)) -> GatewayKey:
    return GatewayKey(name=name, hash=sha256(key.encode()).hexdigest(), workloads=workloads)


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


async def with_keys(made: World, *keys: GatewayKey, workers: int = 1) -> float:
    made.publish(keys=keys)
    return await made.applied(made.epoch, workers=workers)


PATHS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1beta/models/gemini:generateContent",
    "/v1beta/models/gemini:streamGenerateContent",
    "/v1/models",
    "/v1beta/models",
    "/v1/feedback",
    "/metrics",
    "/status",
    "/admin",
    "/admin/keys",
    "/v1/proxy/chat/completions",
    "/v1/files",
    "/v1/batches",
    "/v1/fine_tuning/jobs",
    "/docs",
    "/openapi.json",
    "/",
    "/debug",
    "/v1/",
    "/v1",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/v1/./chat/completions",
    "/x/../v1/chat/completions",
    "/v1/%63hat/completions",
    "/%76%31/chat/completions",
    "/v1/chat%2fcompletions",
    "/V1/CHAT/COMPLETIONS",
    "/v1/chat/completions;x=1",
    "/v1/chat/completions%00",
    "/v1/chat/completions?key=x",
    "/healthz/../v1/chat/completions",
    "/healthz%2f..%2fv1%2fchat%2fcompletions",
    "/readyz/v1/chat/completions",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
CREDENTIALS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    bearer("wrong"),
    bearer(""),
    bearer(REVOKED),
    (("x-api-key", "wrong"),),
    (("x-goog-api-key", "wrong"),),
    (("authorization", GOOD),),
    (("authorization", f"Basic {GOOD}"),),
    (("cookie", f"key={GOOD}"),),
    (("x-understudy-key", "wrong"), *bearer(GOOD)),
)
TRICKS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("host", "x/#@y"),),
    (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-key", "x"), ("sec-websocket-version", "13")),
    (("x-original-url", "/healthz"), ("x-rewrite-url", "/healthz")),
    (("x-http-method-override", "GET"),),
)


async def auth_matrix(scale: Scale) -> Evidence:
    async with world() as made:
        made.reconcile = False
        await with_keys(made, gateway_key("good", GOOD))
        body = json.dumps(
            body_of("openai", "openai", "#auth# x", stream=False, exchange="x", name="n", value=1)
        ).encode()
        cases = [(path, method, credential) for path in PATHS for method in METHODS for credential in CREDENTIALS]
        cases += [(PATHS[0], "POST", trick) for trick in TRICKS]
        if scale.short:
            cases = cases[::3]
        admitted: list[str] = []

        async def one(index: int) -> None:
            path, method, credential = cases[index]
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in credential)]
            if not any(name == "host" for name, _ in credential):
                lines.append("host: gateway")
            lines += ["content-type: application/json", "connection: close", f"content-length: {len(body)}"]
            if any(name == "connection" for name, _ in credential):
                lines.remove("connection: close")
            answer, _ = await raw(made.port, "\r\n".join([*lines, "", ""]).encode() + body)
            if 200 <= status_of(answer) < 300:
                admitted.append(f"{method} {path} with {credential or 'nothing'}: {status_of(answer)}")

        await made.many(len(cases), one, at_once=16)
        made.facts["cases"] = len(cases)
        made.facts["admitted"] = admitted
        made.facts["reached_provider"] = len(made.inc.ledger) + len(made.cand.ledger)
        saw = await made.ask(headers=bearer(GOOD), counted=False)
        made.facts["good_key_outcome"] = saw.outcome
        return await made.finish()


def judge_auth_matrix(evidence: Evidence) -> list[str]:
    found = [f"let in: {case}" for case in evidence.facts["admitted"]] + none_of(evidence, "reached_provider")
    return found if evidence.facts["good_key_outcome"] == "ok" else [*found, "the good key was refused"]


def _plant_admitted(evidence: Evidence) -> None:
    evidence.facts["admitted"] = [*evidence.facts["admitted"], "POST /v1/proxy/chat/completions with nothing: 200"]


ODD_KEYS = (
    "' OR '1'='1",
    "'; DROP TABLE keys; --",
    "%s%s%n",
    "{0.__class__}",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "\x01\x02",
    "é",
    "a" * 8000,
    "../../etc/passwd",
    GOOD[:-1],
    GOOD + "x",
    GOOD.upper(),
    " " + GOOD[1:],
    "*",
    "null",
    "undefined",
)


async def odd_keys(scale: Scale) -> Evidence:
    async with world() as made:
        made.reconcile = False
        await with_keys(made, gateway_key("good", GOOD))
        odd = []
        for key in ODD_KEYS:
            for headers in (bearer(key), (("x-api-key", key),), (("x-goog-api-key", key),)):
                answer, _ = await raw(made.port, request("openai", "openai", "odd", headers=headers))
                if status_of(answer) not in (400, 401, 431):
                    odd.append(f"{key[:30]!r}: {status_of(answer)}")
        megabyte, _ = await raw(made.port, request("openai", "openai", "odd", headers=bearer("a" * 1_000_000)))
        if status_of(megabyte) not in (400, 401, 431):
            odd.append(f"a key of a megabyte: {status_of(megabyte)}")
        made.facts["odd"] = odd
        made.facts["timing_t"] = round(abs(await _timing(made, scale.n(1500, 100_000))), 2)
        made.inc.ledger.clear()
        return await made.finish()


async def _timing(made: World, pairs: int) -> float:
    """Welch's t between the times of a wrong key that begins like a good one and of one that does not."""
    near, far = GOOD[:-1] + "X", "X" * len(GOOD)
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    times: dict[str, list[float]] = {near: [], far: []}
    data = {key: request("openai", "openai", "t", headers=bearer(key), close=False) for key in times}
    for number in range(pairs):
        for key in (near, far) if number % 2 else (far, near):
            begun = time.perf_counter()
            writer.write(data[key])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            times[key].append(time.perf_counter() - begun)
    writer.close()
    # The slowest tenth is the machine's noise, and would hide a difference rather than make one.
    kept = [sorted(values)[: int(len(values) * 0.9)] for values in times.values()]
    spread = sum(statistics.variance(values) / len(values) for values in kept) ** 0.5
    return (statistics.fmean(kept[0]) - statistics.fmean(kept[1])) / spread


def judge_odd_keys(evidence: Evidence) -> list[str]:
    return list(evidence.facts["odd"]) + at_most(evidence, "timing_t", 4.5)


async def revoked(scale: Scale) -> Evidence:
    async with world(workers=2) as made:
        made.reconcile = False
        accepted = 0
        slowest = 0.0
        for _ in range(scale.n(4, 40)):
            await with_keys(made, gateway_key("good", GOOD), gateway_key("old", REVOKED), workers=2)
            before = await made.ask(headers=bearer(REVOKED), counted=False)
            made.facts["valid_before"] = before.outcome
            slowest = max(slowest, await with_keys(made, gateway_key("good", GOOD), workers=2))
            for saw in await made.many(12, lambda i: made.ask(headers=bearer(REVOKED), counted=False)):
                accepted += saw.status == 200
        made.facts["accepted_after"] = accepted
        made.facts["effective_max_ms"] = round(1000 * slowest)
        return await made.finish()


def judge_revoked(evidence: Evidence) -> list[str]:
    found = none_of(evidence, "accepted_after") + in_time(evidence, "effective_max_ms", 1000)
    return found if evidence.facts["valid_before"] == "ok" else [*found, "the key was not accepted before"]


async def narrow_key(scale: Scale) -> Evidence:
    """A key for one workload asks for others, by every way there is to name one, and for what only admins may do."""
    async with world() as made:
        made.reconcile = False
        await with_keys(made, gateway_key("narrow", NARROW, ("anthropic",)))
        escalations = []
        key = bearer(NARROW)
        for dialect in DIALECTS:
            for headers in (key, (*key, ("x-understudy-workload", "openai"))):
                saw = await made.ask(dialect, headers=headers, counted=False)
                allowed = dialect == "anthropic" and headers == key
                if (saw.outcome == "ok") != allowed or (not allowed and saw.status not in (400, 403, 404)):
                    escalations.append(f"{dialect} {headers[1:]}: {saw.status}")
        listed, _ = await raw(
            made.port,
            b"GET /v1/models HTTP/1.1\r\nhost: g\r\nconnection: close\r\nauthorization: Bearer %s\r\n\r\n"
            % NARROW.encode(),
        )
        if b'"openai"' in listed.partition(b"\r\n\r\n")[2]:
            escalations.append("the model list names workloads the key may not use")
        for path in ("/admin", "/admin/keys", "/v1/keys", "/key/generate", "/rollback", "/v1/upgrade", "/metrics"):
            head = f"POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {NARROW}\r\nconnection: close\r\n"
            answer, _ = await raw(made.port, head.encode() + b"content-length: 2\r\n\r\n{}")
            if status_of(answer) < 400:
                escalations.append(f"POST {path}: {status_of(answer)}")
        made.facts["escalations"] = escalations
        return await made.finish()


def judge_narrow_key(evidence: Evidence) -> list[str]:
    return list(evidence.facts["escalations"])


def _plant_escalation(evidence: Evidence) -> None:
    evidence.facts["escalations"] = [*evidence.facts["escalations"], "openai (): 200"]


async def forged_upstream(scale: Scale) -> Evidence:
    async with world() as made, FaultProvider() as evil:
        made.reconcile = False
        url = evil.base_url
        names = (
            "x-understudy-upstream",
            "x-portkey-custom-host",
            "x-litellm-api-base",
            "x-forwarded-host",
            "x-base-url",
        )
        for name in names:
            await made.ask(headers=((name, url),), counted=False)
        for field in ("api_base", "base_url", "custom_llm_provider", "model_list", "fallbacks", "extra_body", "proxy"):
            value: Any = [{"api_base": url}] if field in ("model_list", "fallbacks") else url
            await made.ask(counted=False, **{field: value})
        for model in (url, f"openai@{url}", "openai#@evil", "../openai", f"http://127.0.0.1:{evil.port}/x", "evil:80"):
            await made.ask(workload=model, counted=False)
        body = json.dumps(body_of("openai", "openai", "#x# x", stream=False)).encode()
        for target in (
            f"{url}/chat/completions",
            f"//127.0.0.1:{evil.port}/v1/chat/completions",
            f"@127.0.0.1:{evil.port}/",
        ):
            for host in ("gateway", f"127.0.0.1:{evil.port}"):
                head = f"POST {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
                await raw(made.port, head.encode() + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        model_path = f"/v1beta/models/x@127.0.0.1:{evil.port}:generateContent"
        await raw(
            made.port,
            f"POST {model_path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}".encode(),
        )
        for status in (301, 302, 307, 308):
            made.inc.become("inc", f"f/{status};to={url}/chat/completions")
            await made.ask(counted=False)
        made.facts["connections_to_evil"] = len(evil.lines)
        made.facts["wrong_host_header"] = sum(
            call.headers.get("host") != f"127.0.0.1:{made.inc.port}" for call in made.inc.ledger
        )
        return await made.finish()


def judge_forged_upstream(evidence: Evidence) -> list[str]:
    return none_of(evidence, "connections_to_evil") + none_of(evidence, "wrong_host_header")


FAULTS_FOR_SECRETS = (
    "f/ok",
    "f/401",
    "f/500;html",
    "f/rst@pre",
    "f/eof@2",
    "f/silent",
    "f/bad-json@1",
    "f/302;to=http://x/",
)


async def secret_sinks(scale: Scale) -> Evidence:
    """Random secrets in every place that has one; then every sink is searched for them."""
    inc_key, cand_key, caller = (f"sk-canary-{secrets.token_hex(12)}" for _ in range(3))
    async with world(begin=False) as made:
        providers = {
            name: replace(p, api_key="", api_key_env="CHAOS_INC_KEY" if name.startswith("inc") else "CHAOS_CAND_KEY")
            for name, p in made.routing.providers.items()
        }
        made.publish(providers=providers, keys=(gateway_key("caller", caller),))
        await made.start(environment={"CHAOS_INC_KEY": inc_key, "CHAOS_CAND_KEY": cand_key}, deadlines=scale.deadlines)
        for fault in FAULTS_FOR_SECRETS:
            made.inc.become("inc", fault)
            for dialect in DIALECTS:
                await made.ask(dialect, headers=bearer(caller))
        await made.ask(headers=bearer(caller), body=b"{" + caller.encode(), counted=False)
        await raw(made.port, request("openai", "openai", "x", headers=(*bearer(caller), ("bad name", "1"))))
        arguments = Path(f"/proc/{made.pid}/cmdline").read_bytes()
        made.facts["keys_sent_to_provider"] = sum(inc_key in str(call.headers) for call in made.inc.ledger)
        evidence = await made.finish()
        sinks = {
            str(path.relative_to(made.folder)): path.read_bytes() for path in made.folder.rglob("*") if path.is_file()
        }
        sinks["arguments"] = arguments
        sinks["answers"] = b"".join(saw.payload + str(saw.headers).encode() for saw in made.saw)
        hits = [
            f"{name}: {which}"
            for name, data in sinks.items()
            for which, key in (("incumbent's key", inc_key), ("candidate's key", cand_key), ("caller's key", caller))
            if key.encode() in data
        ]
        # The malformed body that was the key itself is the caller's own content, and is no exchange.
        evidence.facts["hits"] = hits
        evidence.facts["sinks"] = len(sinks)
        return evidence


def judge_secret_sinks(evidence: Evidence) -> list[str]:
    found = [f"a secret is in {hit}" for hit in evidence.facts["hits"]]
    return found if evidence.facts["keys_sent_to_provider"] else [*found, "no call carried the provider's key: vacuous"]


def _plant_hit(evidence: Evidence) -> None:
    evidence.facts["hits"] = [*evidence.facts["hits"], "gateway.log: incumbent's key"]


async def keys_to_hosts(scale: Scale) -> Evidence:
    async with world() as made:
        for share in (0.0, 1.0):
            made.publish(share=share)
            await made.applied(made.epoch)
            for dialect in DIALECTS:
                for headers in (
                    (),
                    bearer("callers-own"),
                    (("x-api-key", "callers-own"),),
                    (("api-key", "callers-own"),),
                ):
                    await made.ask(dialect, headers=headers)
        made.cand.become("cand", "f/rst@pre")
        for dialect in DIALECTS:
            await made.ask(dialect)
        wrong = 0
        for role, other, provider in (("inc", "cand", made.inc), ("cand", "inc", made.cand)):
            for call in provider.ledger:
                told = str(call.headers)
                wrong += f"secret-{role}" not in told or f"secret-{other}" in told or "callers-own" in told
        made.facts["mis_sent"] = wrong
        return await made.finish()


def judge_keys_to_hosts(evidence: Evidence) -> list[str]:
    return none_of(evidence, "mis_sent") + only(evidence, "ok")


async def open_door(scale: Scale) -> Evidence:
    async with world(begin=False) as made:
        made.reconcile = False
        started = []
        for host in ("0.0.0.0", "::", "", "192.0.2.1"):
            command = [sys.executable, "-m", "understudy", "gateway", "--table", str(made.table), "--port", "0"]
            command += ["--segments", str(made.segments), "--workers", "1", "--host", host or "0", "--json"]
            with (
                (made.folder / "refused.log").open("w+") as log,
                subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=log, text=True, env=made.environment()
                ) as process,
            ):
                assert process.stdout is not None
                if any('"port"' in line for line in process.stdout):  # the line of one that serves
                    process.terminate()
                    started.append(f"--host {host!r} without keys: it serves")
                elif process.wait() != 2 or "Traceback" in Path(log.name).read_text():
                    started.append(f"--host {host!r}: exit {process.returncode}, {Path(log.name).read_text()[-200:]!r}")
        made.facts["started"] = started
        return await made.finish()


def judge_open_door(evidence: Evidence) -> list[str]:
    return list(evidence.facts["started"])


def _plant_started(evidence: Evidence) -> None:
    evidence.facts["started"] = [*evidence.facts["started"], "--host 0.0.0.0 without keys: it serves"]


async def greed(scale: Scale) -> Evidence:
    """One key asks for everything at once; another asks now and then and must not notice."""
    # The provider takes longer over an answer than a slow machine takes to have sent all the requests.
    async with world(deadlines={"headers_s": 15.0, "first_token_s": 15.0}) as made:
        made.reconcile = False
        await with_keys(made, gateway_key("greedy", NARROW), gateway_key("honest", GOOD))
        made.inc.become("inc", "f/slow-hdr=3")
        greedy = [
            asyncio.create_task(made.ask(headers=bearer(NARROW), counted=False, patience=20))
            for _ in range(scale.n(400, 2000))
        ]
        await asyncio.sleep(0.5)
        honest = await made.many(10, lambda i: made.ask(headers=bearer(GOOD), patience=20))
        limited = sum(saw.status == 429 for saw in await asyncio.gather(*greedy))
        made.facts["limited"] = limited
        made.facts["honest_failed"] = sum(saw.outcome != "ok" for saw in honest)
        return await made.finish()


def judge_greed(evidence: Evidence) -> list[str]:
    found = none_of(evidence, "honest_failed")
    return (
        found
        if evidence.facts["limited"]
        else [*found, "a key may ask for as much as it likes: no 429 for 400 at once"]
    )


ROWS = [
    Row(
        81,
        "every path, method and credential without a right",
        "no answer but the probes",
        auth_matrix,
        judge_auth_matrix,
        _plant_admitted,
    ),
    Row(
        82,
        "keys as attacks, keys almost right",
        "refused, in the same time",
        odd_keys,
        judge_odd_keys,
        plant_fact("timing_t", 40.0),
    ),
    Row(
        83,
        "a key revoked under load",
        "refused as soon as effective",
        revoked,
        judge_revoked,
        plant_fact("accepted_after", 3),
    ),
    Row(
        84,
        "a narrow key asks for more",
        "refused, and not told what else there is",
        narrow_key,
        judge_narrow_key,
        _plant_escalation,
    ),
    Row(
        88,
        "callers who name the upstream",
        "no connection outside the table, no redirect followed",
        forged_upstream,
        judge_forged_upstream,
        plant_fact("connections_to_evil", 1),
    ),
    Row(
        89,
        "secrets in logs, ledgers, errors, arguments",
        "in none of them",
        secret_sinks,
        judge_secret_sinks,
        _plant_hit,
    ),
    Row(
        90,
        "keys of providers and callers",
        "each to its own host only",
        keys_to_hosts,
        judge_keys_to_hosts,
        plant_fact("mis_sent", 1),
    ),
    Row(91, "listening to everybody without keys", "refused to start", open_door, judge_open_door, _plant_started),
    Row(
        92,
        "one key asks for everything at once",
        "limited; others do not notice",
        greed,
        judge_greed,
        plant_fact("honest_failed", 4),
    ),
]
