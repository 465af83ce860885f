"""Defects that can be planted in a real gateway worker, each the typical one of a row of the matrix.

Only `short_worker` calls this, and only where `CHAOS_BUG` names a defect: the product has no such switch. A defect
whose place in the gateway is gone fails loudly, so that a row cannot be thought tested by a defect that is not there.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools

from understudy.assign import choose
from understudy.core import routing
from understudy.gateway import copying, core, http, relay, router, session, table
from understudy.ledger import segments

Config = dict[str, dict[str, Any]]
"""The worker's `deadlines` and `limits`."""


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(former)` in the place of an attribute. Raises AttributeError where there is none to replace."""
    setattr(owner, name, make(getattr(owner, name)))


def _keeps_asking(_: Config) -> None:
    """A client that left is noted, and the provider goes on working for nobody."""
    from understudy.upstream.pool import Pool

    replace(Pool, "cancel", lambda former: lambda self, receiver: None)


def _patient(config: Config) -> None:
    """Deadlines far too long."""
    for name, more in (("headers_s", 2.5), ("first_token_s", 2.5), ("idle_s", 2.5), ("connect_s", 3.5)):
        config["deadlines"][name] = config["deadlines"].get(name, 0.0) + more


def _hasty(config: Config) -> None:
    """A first-token deadline that does not wait for models that think."""
    config["deadlines"].update(first_token_s=0.4)


def _no_fallback(_: Config) -> None:
    """The candidate's failure is the user's."""

    def give_up(former: Any) -> Any:
        def fall_back(self: Any, error: str) -> None:
            self._hold = False
            self._target.pool.cancel(self)
            self._finish_with_error(502, "candidate_failed", "the candidate failed", error)

        return fall_back

    replace(relay.Relay, "_fall_back", give_up)


def _invents_endings(_: Config) -> None:
    """A stream that broke off is completed for the provider, as a rival does."""

    def pretend(former: Any) -> Any:
        def break_off(self: Any, chunk: bytes, code: str, message: str) -> None:
            self._pass_on(chunk + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
            self._session.write(http.LAST_CHUNK if self._chunked else b"")

        return break_off

    replace(relay.Relay, "_break_off", pretend)


def altering(change: Callable[[bytes], bytes], *names: str) -> None:
    """Have `change` spoil what these steps of the relay pass on, and the chunks that leave as they came."""

    def spoil(former: Any) -> Any:
        return lambda self, chunk: former(self, change(chunk))

    def spoil_whole(former: Any) -> Any:
        def as_it_came(copy: Any, outbox: Any, transport: Any) -> Any:
            def pass_on(framed: bytes, start: int) -> None:
                copy.add(framed[start:-2])
                content = change(framed[start:-2])
                outbox.put(transport, b"%x\r\n%b\r\n" % (len(content), content))

            return pass_on

        return as_it_came

    for name in names:
        replace(relay.Relay, name, spoil)
    replace(relay, "_as_it_came", spoil_whole)


def _decodes_chunks(_: Config) -> None:
    """Every chunk is decoded by itself: a letter cut in two is two question marks."""
    altering(
        lambda chunk: chunk.decode("utf-8", "replace").encode().replace(b"\xef\xbf\xbd", b"?"), "_pass_on", "_pass_last"
    )


def _drops_unknown_events(_: Config) -> None:
    """What the gateway does not know it does not pass on."""
    altering(lambda chunk: chunk.replace(b"event: brand.new\n", b""), "_pass_on")


def _status_is_all(_: Config) -> None:
    """A 200 is a success, whatever it says."""
    replace(relay, "of_answer", lambda former: lambda status, *more, **named: "" if status < 300 else "status")


def _tries_again(_: Config) -> None:
    """A POST is sent once more, at once, and nobody counts it."""

    def again(former: Any) -> Any:
        def call(self: Any, target: Any) -> None:
            former(self, target)
            if self._attempts == 1:
                self._gateway.outbox.flush()  # it has left for good
                self._target.pool.cancel(self)
                former(self, target)
                self._attempts = 1

        return call

    replace(relay.Relay, "call", again)


def _passes_pages(_: Config) -> None:
    """A proxy's HTML page is passed on to an SDK."""

    def keep(former: Any) -> Any:
        def head(self: Any, status: int, headers: Any) -> None:
            former(self, status, headers)
            self._replace = False

        return head

    replace(relay.Relay, "head", keep)


def _takes_all(config: Config) -> None:
    """No limit to a body."""
    config["limits"].update(body=1 << 62)


def _keeps_copies(_: Config) -> None:
    """The copy of an answer grows with the answer."""
    hoard: list[bytes] = []

    def keep(former: Any) -> Any:
        def add(self: Any, chunk: bytes) -> None:
            hoard.append(bytes(chunk))
            former(self, chunk)

        return add

    replace(copying.Copy, "add", keep)


def _waits_for_requests(config: Config) -> None:
    """No deadline for the receipt of a request."""
    config["limits"].update(receipt_s=60.0, idle_s=60.0)


def _never_cuts_off(config: Config) -> None:
    """A client that does not read keeps its provider busy for as long as it likes."""
    config["limits"].update(write_s=60.0)


def _sends_again(_: Config) -> None:
    """A POST whose connection broke is sent once more, and nobody counts it."""

    def again(former: Any) -> Any:
        def failed(self: Any, failure: Any) -> None:
            if self._attempts > 1 or self._sent:
                self._attempts = 1
                former(self, failure)
                return
            self.call(self._target)

        return failed

    replace(relay.Relay, "failed", again)


def _gives_up(_: Config) -> None:
    """A kept connection that the provider had closed is the user's misfortune, and nothing is learned from it."""
    from understudy.upstream.connection import Connection
    from understudy.upstream.pool import Pool

    replace(Connection, "_send_again", lambda former: lambda self: None)
    replace(Pool, "aged", lambda former: lambda self, connection: None)


def _leaks(_: Config) -> None:
    """One file descriptor is lost with each connection."""

    def lose(former: Any) -> Any:
        def connection_made(self: Any, transport: Any) -> None:
            os.open(os.devnull, os.O_RDONLY)
            former(self, transport)

        return connection_made

    replace(session.Session, "connection_made", lose)


class _Lenient:
    """httptools as others run it: whatever two parsers could read differently is taken."""

    def __new__(cls, protocol: Any) -> Any:
        parser = httptools.HttpRequestParser(protocol)
        parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_keep_alive=True,
            lenient_transfer_encoding=True,
            lenient_version=True,
            lenient_data_after_close=True,
            lenient_optional_lf_after_cr=True,
            lenient_optional_cr_before_lf=True,
            lenient_optional_crlf_after_chunk=True,
            lenient_spaces_after_chunk_size=True,
        )
        return parser


class _LenientHttptools:
    """The module as `session` sees it, with the parser exchanged."""

    HttpRequestParser = _Lenient

    def __getattr__(self, name: str) -> Any:
        return getattr(httptools, name)


def _lenient(_: Config) -> None:
    """Two lengths, a length beside chunks, bare line feeds: all taken."""
    replace(session, "httptools", lambda former: _LenientHttptools())
    replace(session, "_ONCE", lambda former: ())


def _trusts_json(_: Config) -> None:
    """The standard library reads every body first; what it raises is nobody's business."""

    def careless(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            json.loads(body)
            return former(gateway, spot, headers, body)

        return route

    replace(session, "route", careless)


def _forwards_all(_: Config) -> None:
    """Every header of the caller goes on to the provider."""

    def all_of_them(former: Any) -> Any:
        framing = (b"host", b"content-length", b"transfer-encoding", b"connection")
        return lambda headers: b"".join(b"%b: %b\r\n" % (n, v) for n, v in headers.items() if n not in framing)

    replace(router, "forwarded", all_of_them)


def _blocks(_: Config) -> None:
    """Something counts the tokens of a big body on the loop."""

    def count(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            time.sleep(len(body) / 8_000_000 * 0.5)
            return former(gateway, spot, headers, body)

        return route

    replace(session, "route", count)


def _drops_fields(_: Config) -> None:
    """Bodies are read into a model of known fields and written anew."""

    def known_only(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            fields = json.loads(body)
            fields.pop("brand_new_field", None)
            return former(gateway, spot, headers, json.dumps(fields).encode())

        return route

    replace(session, "route", known_only)


def _takes_old_tables(_: Config) -> None:
    """Whatever table lies there is applied."""
    replace(table, "judge", lambda former: lambda current, new: "")


def _trusts_tables(_: Config) -> None:
    """A checksum is not looked at, nor what a table means."""

    def unchecked(former: Any) -> Any:
        def decode(data: Any) -> Any:
            body = {key: value for key, value in data.items() if key != "checksum"}
            return former({**body, "checksum": routing.digest(body)})

        return decode

    replace(table, "decode", unchecked)


def _no_lease(_: Config) -> None:
    """A canary goes on without its guard."""
    replace(choose, "_lapsed", lambda former: lambda route, now: False)


def _old_route(_: Config) -> None:
    """A deprecated path was forgotten when the key check was added, as at a rival."""

    def forgotten(former: Any) -> Any:
        def local(self: Any, method: bytes, url: bytes, *rest: Any) -> Any:
            if url.startswith(b"/v1/proxy/"):
                return router.Refusal(200, b"{}")
            return former(self, method, url, *rest)

        return local

    replace(session.Session, "_local", forgotten)


def _all_workloads(_: Config) -> None:
    """Whoever has a key has all of them."""
    replace(router, "allowed", lambda former: lambda key, workload: True)


def _logs_headers(_: Config) -> None:
    """A request is logged with its headers when it could not be answered."""

    def tell(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            sys.stderr.write(f"request {headers}\n")
            return former(gateway, spot, headers, body)

        return route

    replace(session, "route", tell)


def _drops_on_restart(_: Config) -> None:
    """A worker that ends takes what is under way along."""
    replace(session.Session, "drain", lambda former: lambda self: self.transport.abort())


def _never_respawns(_: Config) -> None:
    """A worker that died stays dead."""
    from understudy.gateway.supervisor import Supervisor

    replace(Supervisor, "_look_after", lambda former: lambda self: None)


def _acknowledges_unapplied(_: Config) -> None:
    """Every second table is acknowledged and not applied."""

    def lie(former: Any) -> Any:
        def attempt(self: Any, new: Any, now: float) -> Any:
            if new.epoch % 2 and self.current is not None:
                self.current = new
                return ""
            return former(self, new, now)

        return attempt

    replace(table.TableReader, "_try", lie)


def _asks_the_store(_: Config) -> None:
    """Every request looks into the control database."""

    def ask(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            store = Path(os.environ["CHAOS_FOLDER"]) / "control.db"
            try:
                with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=0.05) as connection:
                    connection.execute("SELECT * FROM t").fetchall()
            except sqlite3.Error as error:
                return router.refuse(spot.wire, 503, "store", str(error))
            return former(gateway, spot, headers, body)

        return route

    replace(session, "route", ask)


def _ignores_kill_files(_: Config) -> None:
    """Only the controller can roll back."""
    replace(table.TableReader, "_look_for_kill_files", lambda former: lambda self: None)


def _ready_reads_the_disk(_: Config) -> None:
    """Readiness hangs on something that requests do not need."""

    def look(former: Any) -> Any:
        def ready(self: Any) -> Any:
            file = Path(os.environ["CHAOS_FOLDER"]) / "routing" / "table.json"
            return former(self) if file.exists() and file.stat().st_size > 100 else router.Refusal(503, b"{}")

        return ready

    replace(session.Session, "_ready", look)


def _compares_letters(_: Config) -> None:
    """A key is compared letter by letter, so that its beginning can be found out."""

    def slowly(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            shown = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            alike = takewhile(lambda pair: pair[0] == pair[1], zip(shown, b"key-good-0123456789", strict=False))
            until = time.perf_counter() + 4e-6 * sum(1 for _ in alike)
            while time.perf_counter() < until:
                pass
            return former(gateway, spot, headers, body)

        return route

    replace(session, "route", slowly)


def _remembers_keys(_: Config) -> None:
    """A key that was good once stays good."""
    known: dict[str, Any] = {}

    def remember(former: Any) -> Any:
        def apply(self: Any, new: Any) -> None:
            former(self, new)
            known.update(self.snapshot.keys)
            self.snapshot.keys = known

        return apply

    replace(core.Gateway, "apply", remember)


def _believes_headers(_: Config) -> None:
    """A header of the caller names the host that is asked."""

    def believe(former: Any) -> Any:
        def route(gateway: Any, spot: Any, headers: Any, body: bytes) -> Any:
            host = headers.get(b"x-portkey-custom-host", b"").decode()
            if host:
                place = urlsplit(host)
                socket.create_connection((place.hostname, place.port)).close()
            return former(gateway, spot, headers, body)

        return route

    replace(session, "route", believe)


def _opens_the_door(_: Config) -> None:
    """Every address is taken for a loopback."""
    from understudy.cli import gateway

    replace(gateway, "_loopback", lambda former: lambda host: True)


def _needs_the_disk(_: Config) -> None:
    """A record that no disk takes is an error of the request."""

    def strict(former: Any) -> Any:
        def append(self: Any, record: Any) -> int:
            if not self.flush():
                raise OSError("the ledger cannot be written")
            return int(former(self, record))

        return append

    replace(segments.SegmentWriter, "append", strict)


def _waits_for_the_disk(_: Config) -> None:
    """Every record is on the disk before the next request is looked at."""

    def patient(former: Any) -> Any:
        def append(self: Any, record: Any) -> int:
            seq = int(former(self, record))
            self.flush()
            return seq

        return append

    replace(segments.SegmentWriter, "append", patient)


DEFECTS: dict[str, Callable[[Config], None]] = {
    name[1:]: defect
    for name, defect in list(globals().items())
    if name.startswith("_") and not name.startswith(("__", "_L")) and callable(defect)
}
"""Every function above, by its name without the underscore."""
