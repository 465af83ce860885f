"""An S3-compatible server on loopback: moto's, one request after the other, so that a condition of a request and what
it does are one.

    python object_store.py REQUESTS [meeting] [careless]

Prints its port, and appends a line of JSON for each request to the file REQUESTS. In a store for meeting a commit (a
new line of a Delta log) waits a moment for another one, so that writers who chose the same version do meet. A careless
store ignores conditions.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

MEETING_S = 0.3


class Noted:
    """Passes requests on and notes what was asked and answered."""

    def __init__(self, inner: Any, file: Path, *, meeting: bool, careless: bool) -> None:
        self.inner = inner
        self.careless = careless
        self.file = file.open("a", buffering=1)
        self.turn = Lock()
        self.meeting = Barrier(2) if meeting else None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.meeting and environ["REQUEST_METHOD"] == "PUT" and "/_delta_log/" in environ["PATH_INFO"]:
            try:
                self.meeting.wait(MEETING_S)
            except BrokenBarrierError:
                self.meeting.reset()
        if self.careless:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self.turn:
            return self.passed_on(environ, start_response)

    def passed_on(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def noting(status: str, headers: Any, *rest: Any) -> Any:
            said = {
                "method": environ["REQUEST_METHOD"],
                "path": environ["PATH_INFO"],
                "condition": environ.get("HTTP_IF_NONE_MATCH", ""),
                "status": int(status.split()[0]),
            }
            self.file.write(json.dumps(said) + "\n")
            return start_response(status, headers, *rest)

        return list(self.inner(environ, noting))


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    how = sys.argv[2:]
    app = Noted(
        DomainDispatcherApplication(create_backend_app),
        Path(sys.argv[1]),
        meeting="meeting" in how,
        careless="careless" in how,
    )
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
