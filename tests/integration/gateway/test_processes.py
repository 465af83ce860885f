from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

from understudy.core.errors import EXIT_USAGE, UsageError
from understudy.core.records import Exchange
from understudy.core.routing import GatewayKey, encode
from understudy.gateway.supervisor import Plan, Supervisor
from understudy.ledger.reading import BootReader, boots
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import ALL, Answer, GatewayProcess, call, chat, read_answer, route, table, until

BODY = json.dumps({"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()


async def quick(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(BODY, 200, b"content-type: application/json\r\n"))


@asynccontextmanager
async def ready(folder: Path, *arguments: str) -> AsyncIterator[GatewayProcess]:
    """Two workers before a provider that answers at once, both with the table of epoch 1."""
    async with (
        raw_server(quick) as provider,
        GatewayProcess(folder, table(provider.base_url), arguments=arguments) as gateway,
    ):
        await gateway.until_epoch(1)
        yield gateway


class Load:
    """Clients that ask one after another, each request on a connection of its own, until stopped.

    `pause_s` lies between two requests of a client.
    """

    def __init__(self, port: int, clients: int = 8, pause_s: float = 0.002) -> None:
        self._pause_s = pause_s
        self.answers: list[Answer] = []
        self.failed: list[OSError] = []
        self._port = port
        self._going = True
        self._tasks = [asyncio.create_task(self._ask(f"user-{n}")) for n in range(clients)]

    async def _ask(self, user: str) -> None:
        while self._going:
            try:
                self.answers.append(await call(self._port, chat(), headers={"x-user-id": user}))
            except OSError as error:
                self.failed.append(error)
            await asyncio.sleep(self._pause_s)

    async def stop(self) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)


@pytest.mark.slow
def test_a_killed_worker_costs_only_its_own_connections_and_comes_back(tmp_path: Path) -> None:
    """Under load with two workers, kill -9 of one fails at most the requests it held; a successor serves again."""

    async def main() -> None:
        async with ready(tmp_path) as gateway:
            load = Load(gateway.port)
            await until(lambda: len(load.answers) >= 50)
            killed = gateway.pids[0]
            os.kill(killed, signal.SIGKILL)
            await until(lambda: len(gateway.pids) == 2 and killed not in gateway.pids)
            back = len(load.answers)
            await until(lambda: len(load.answers) >= back + 50)
            await load.stop()
            assert len(load.failed) <= 8, load.failed  # no more than the clients there are
            assert all(answer.status == 200 and answer.complete for answer in load.answers)

    asyncio.run(main())


@pytest.mark.slow(20)
def test_a_worker_that_stands_still_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Under load, a stopped worker is noticed by its silence and replaced; what waited at its socket is answered."""

    async def main() -> None:
        async with ready(tmp_path) as gateway:
            load = Load(gateway.port, pause_s=0.02)  # for as long as it takes to notice
            await until(lambda: len(load.answers) >= 50)
            stopped, other = gateway.pids
            os.kill(stopped, signal.SIGSTOP)
            await until(lambda: len(gateway.pids) == 2 and stopped not in gateway.pids, 120)
            back = len(load.answers)
            await until(lambda: len(load.answers) >= back + 50)
            await load.stop()
            assert other in gateway.pids
            assert not Path(f"/proc/{stopped}").exists()
            assert len(load.failed) <= 8, load.failed  # no more than the clients there are
            assert all(answer.status == 200 and answer.complete for answer in load.answers)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            assert b"has stood still for" in gateway.errors

    asyncio.run(main())


@pytest.mark.slow
def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    """SIGHUP replaces every worker under load, twice, without one failed request, and every answer is on record."""

    async def main() -> None:
        async with ready(tmp_path) as gateway:
            load = Load(gateway.port)
            for _ in range(2):
                before = set(gateway.pids)
                gateway.signal(signal.SIGHUP)
                await until(lambda: len(pids := gateway.pids) == 2 and not before & set(pids), 60)  # noqa: B023
            await load.stop()
            assert load.failed == []
            assert all(answer.status == 200 and answer.complete for answer in load.answers)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            rows = [row for boot in boots(gateway.segments) for row in BootReader(gateway.segments, boot).read().rows]
            served = {row.record.exchange for row in rows if isinstance(row.record, Exchange)}
            assert {answer.headers["x-understudy-exchange"] for answer in load.answers} <= served

    asyncio.run(main())


@pytest.mark.slow
def test_sigterm_lets_what_is_under_way_end(tmp_path: Path) -> None:
    """A request in flight is answered after SIGTERM, with the word that the connection closes; then all is over."""

    async def main() -> None:
        drains = asyncio.Event()

        async def held(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await drains.wait()
            await quick(number, request, writer)

        async with (
            raw_server(held) as provider,
            GatewayProcess(tmp_path, table(provider.base_url)) as gateway,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            body = chat()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            await until(lambda: len(provider.requests) == 1)
            gateway.signal(signal.SIGTERM)
            await until(lambda: any(beat["draining"] for beat in gateway.heartbeats().values()))
            drains.set()
            answer = await read_answer(reader)
            assert (answer.status, answer.headers.get("connection")) == (200, "close")
            writer.close()
            assert await gateway.ended() == 0
            assert gateway.heartbeats() == {}
            with pytest.raises(OSError):
                await call(gateway.port, body)

    asyncio.run(main())


@pytest.mark.slow
def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    """No worker outlives a supervisor that was killed, so that the next one finds the port and the table its own."""

    async def main() -> None:
        async with ready(tmp_path) as gateway:
            pids = gateway.pids
            gateway.signal(signal.SIGKILL)
            await gateway.ended()
            await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    asyncio.run(main())


@pytest.mark.slow
def test_flips_are_acknowledged_and_kill_files_obeyed(tmp_path: Path) -> None:
    """No worker answers by an older table once both acknowledged; a kill file ends the exposure by itself."""

    async def main() -> None:
        async with (
            raw_server(quick) as provider,
            GatewayProcess(tmp_path, table(provider.base_url)) as gateway,
        ):
            await gateway.until_epoch(1)
            user = {"x-user-id": "u"}
            for epoch in range(2, 12):
                gateway.publish(table(provider.base_url, epoch=epoch, route=route(ALL if epoch % 2 else 0)))
                await gateway.until_epoch(epoch)
                for _ in range(4):
                    answer = await call(gateway.port, chat(), headers=user)
                    assert answer.headers["x-understudy-variant"] == ("new" if epoch % 2 else "old")
            (gateway.table_file.parent / "rollback.chat").touch()
            await until(lambda: all(beat["killed"] == ["chat"] for beat in gateway.heartbeats().values()))
            for _ in range(20):
                answer = await call(gateway.port, chat(), headers=user)
                assert answer.headers["x-understudy-variant"] == "old"
            gateway.table_file.write_bytes(encode(table(provider.base_url, epoch=99))[:-40])
            await until(lambda: all("kept epoch 11" in beat["status"] for beat in gateway.heartbeats().values()))
            assert (await call(gateway.port, chat(), headers=user)).status == 200

    asyncio.run(main())


@pytest.mark.slow
def test_metrics_of_all_workers_and_a_line_for_each_exchange(tmp_path: Path) -> None:
    """Whichever worker is asked, the sums over all of them are complete; the log has one line an exchange."""

    async def main() -> None:
        async with ready(tmp_path, "--log") as gateway:
            for number in range(30):
                assert (await call(gateway.port, chat(), headers={"x-user-id": f"u{number}"})).status == 200

            async def counted() -> float:
                got = await call(gateway.port, b"", path="/metrics", method="GET")
                lines = [
                    line for line in got.body.decode().splitlines() if line.startswith("understudy_requests_total")
                ]
                return sum(float(line.split()[-1]) for line in lines)

            async with asyncio.timeout(90):
                while {await counted() for _ in range(4)} != {30.0}:
                    await asyncio.sleep(0.1)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            logged = [json.loads(line) for line in gateway.errors.splitlines() if line.startswith(b"{")]
            assert len({line["exchange"] for line in logged}) == len(logged) == 30

    asyncio.run(main())


@pytest.mark.slow
def test_all_workers_count_a_key_together_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """Of 60 requests over two workers exactly as many pass as the key has a minute; after a restart still none does."""
    app = GatewayKey("app", sha256(b"app").hexdigest(), requests_per_minute=20)

    async def main() -> None:
        async with (
            raw_server(quick) as provider,
            GatewayProcess(tmp_path, table(provider.base_url, keys=[app])) as gateway,
        ):
            mine = {"authorization": "Bearer app"}
            start = asyncio.get_running_loop().time()
            statuses = [(await call(gateway.port, chat(), headers=mine)).status for _ in range(60)]
            late = int(asyncio.get_running_loop().time() - start) // 3 + 1  # one more every 3 s
            assert set(statuses) == {200, 429}
            assert 20 <= statuses.count(200) <= 20 + late
            before = set(gateway.pids)
            gateway.signal(signal.SIGHUP)
            await until(lambda: len(pids := gateway.pids) == 2 and not before & set(pids), 120)
            after = [(await call(gateway.port, chat(), headers=mine)).status for _ in range(20)]
            assert after.count(200) <= int(asyncio.get_running_loop().time() - start) // 3 + 1
            assert len(provider.requests) == statuses.count(200) + after.count(200)
            text = (await call(gateway.port, b"", path="/metrics", method="GET", headers=mine)).body.decode()
            assert 'understudy_refused_total{worker="' in text

    asyncio.run(main())


@pytest.mark.slow
def test_the_listener_speaks_tls(tmp_path: Path) -> None:
    """With a certificate the port takes TLS and nothing else, and waits for it as long as for a request."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def main() -> None:
        async with (
            raw_server(quick) as provider,
            GatewayProcess(
                tmp_path,
                table(provider.base_url, limits={"receipt_s": 3.0}),
                workers=1,
                arguments=["--tls-cert", str(tmp_path / "cert.pem")],
            ) as gateway,
        ):
            silent, silent_writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context)
            body = chat(stream=False)
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
            assert (await read_answer(reader)).status == 200
            writer.close()
            with pytest.raises(OSError):
                await call(gateway.port, body)
            assert await asyncio.wait_for(silent.read(), 30) == b""
            silent_writer.close()

    asyncio.run(main())


@pytest.mark.slow
def test_a_breaker_opens_in_every_worker_and_outlives_a_kill(tmp_path: Path) -> None:
    """What one worker found out the others know at once, and a killed worker's successor too; no user fails."""

    async def broken(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"{}", 500, b"content-type: application/json\r\n"))

    async def main() -> None:
        async with (
            raw_server(quick) as old,
            raw_server(broken) as new,
            GatewayProcess(tmp_path, table(old.base_url, new.base_url, route=route(ALL)), workers=3) as gateway,
        ):
            await gateway.until_epoch(1)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            body = chat(user="u")
            for _ in range(6):  # on one connection: one worker finds out
                head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
                assert (await read_answer(reader)).status == 200
            writer.close()
            assert len(new.requests) == 5
            await until(lambda: all(beat["breakers"] == ["chat"] for beat in gateway.heartbeats().values()))
            before = gateway.pids
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not set(gateway.pids) & set(before))
            for number in range(20):
                assert (await call(gateway.port, chat(), headers={"x-user-id": f"u{number}"})).status == 200
            assert len(new.requests) == 5

    asyncio.run(main())


def understudy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "understudy", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_missing_table_is_a_usage_error(tmp_path: Path) -> None:
    """The message names the file and what writes it."""
    done = understudy("--table", str(tmp_path / "table.json"), "--port", "0")
    assert done.returncode == EXIT_USAGE
    assert "table.json" in done.stderr
    assert "controller" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    """A cut file does not start a gateway."""
    file = tmp_path / "table.json"
    file.write_bytes(encode(table("http://127.0.0.1:1/v1"))[:-9])
    done = understudy("--table", str(file), "--port", "0", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"] == "DataCorrupt"


def test_it_refuses_to_be_open_to_the_network(tmp_path: Path) -> None:
    """Beyond loopback there must be keys."""
    file = tmp_path / "table.json"
    file.write_bytes(encode(table("http://127.0.0.1:1/v1")))
    done = understudy("--table", str(file), "--port", "0", "--host", "0.0.0.0")
    assert done.returncode == EXIT_USAGE
    assert "keys" in done.stderr


def test_two_gateways_of_different_projects_never_share_a_port() -> None:
    """The sockets of one gateway's workers may share it, and would share its clients with another's just so."""
    plan = Plan(Path("table.json"), Path("segments"), "127.0.0.1", 0, workers=2, exposed=False)
    first = Supervisor(plan)
    try:
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{first.port}"):
            Supervisor(replace(plan, port=first.port))
    finally:
        first._end()


def test_a_supervisor_outlives_a_system_that_gives_no_process(capfd: pytest.CaptureFixture[str]) -> None:
    """The worker that could not be started again is tried later; the others are not ended with it."""
    plan = Plan(Path("table.json"), Path("segments"), "127.0.0.1", 0, workers=1, exposed=False)
    supervisor = Supervisor(plan)
    (seat,) = supervisor._seats
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        supervisor._look_after()
        supervisor._restart_in_turn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        supervisor._end()
    assert seat.process is None
    assert seat.start_after > time.monotonic()
    assert capfd.readouterr().err.count("cannot be started now: Too many open files") == 2


def test_a_taken_port_is_a_usage_error(tmp_path: Path) -> None:
    """The message names the address."""
    import socket

    file = tmp_path / "table.json"
    file.write_bytes(encode(table("http://127.0.0.1:1/v1")))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = understudy("--table", str(file), "--port", port)
    assert done.returncode == EXIT_USAGE
    assert port in done.stderr


def test_a_provider_key_that_is_not_in_the_environment_is_named(tmp_path: Path) -> None:
    """A worker that cannot serve the table says which variable it wants, and never starts serving nothing."""
    file = tmp_path / "routing" / "table.json"
    file.parent.mkdir()
    extra = {"p-old": {"api_key": "", "api_key_env": "NO_SUCH_KEY_HERE"}}
    file.write_bytes(encode(table("http://127.0.0.1:1/v1", providers=extra)))
    done = understudy("--table", str(file), "--port", "0", "--workers", "1")
    assert done.returncode == 3
    assert "NO_SUCH_KEY_HERE" in done.stderr
