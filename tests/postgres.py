"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, run by somebody without privileges."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

REQUIRED = "POSTGRES_REQUIRED"
"""Set in this variable, a missing server is an error and no reason to skip."""
USER, PASSWORD = "understudy", "p@ss/w:rd#1"
"""Who the tests are. The password holds what an address has to escape."""
FAST = ("fsync=off", "full_page_writes=off", "max_connections=60")
"""For tests that lose no server: what the disk holds does not matter."""


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


def _unprivileged() -> dict[str, Any]:
    """How a process of the server is started: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    try:
        who = pwd.getpwnam("postgres")
    except KeyError:
        who = pwd.getpwnam("nobody")
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": ()}


class Cluster:
    """A running server with any number of databases, which `stop` ends for good."""

    def __init__(self, bin_: Path, settings: Sequence[str] = FAST) -> None:
        self._bin = bin_
        self._as = _unprivileged()
        self._numbers = count(1)
        # In memory, where others' disks do not keep us waiting; and short, as a socket's path has 107 characters.
        memory = Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-pg-", dir=memory if roomy else None))
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self.data = self.folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self._as:
            os.chown(secret, self._as["user"], self._as["group"])
        self._run(
            "initdb", "-D", self.data, "-U", USER, "-N", "-E", "UTF8", "--no-locale", "--pwfile", secret,
            "--auth-local=trust", "--auth-host=scram-sha-256",
        )  # fmt: skip
        listen = ("listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.folder}")
        with (self.data / "postgresql.conf").open("a") as file:
            for line in (*listen, *settings):
                name, value = line.split("=", 1)
                file.write(f"{name} = '{value}'\n")
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-s", "-l", self.folder / "log", "start")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is as if it was killed."""
        self._run("pg_ctl", "-D", self.data, "-w", "-s", "-m", mode, "stop")

    def remove(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def sql(self, database: str, statement: str) -> str:
        """What a statement gives, as text."""
        return self._run(
            "psql", "-h", self.folder, "-p", str(self.port), "-U", USER, "-d", database, "-v", "ON_ERROR_STOP=1",
            "-AtXqc", statement,
        )  # fmt: skip

    def database(self) -> str:
        """A new, empty database; its name."""
        name = f"store{next(self._numbers)}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        """The address over TCP, with the password in it."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: object) -> str:
        done = subprocess.run(
            [str(self._bin / program), *map(str, arguments)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # The server goes on with what it is given: a pipe would never end.
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
            check=False,
            **self._as,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stdout.decode(errors='replace')}")
        return done.stdout.decode().strip()
