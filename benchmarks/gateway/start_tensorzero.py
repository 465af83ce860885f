"""Starts the HTTP gateway that the tensorzero package embeds, and writes its port to a file; runs until it is killed.

Run with the Python that has the package, not with the project's own. argv: configuration, file for the port.
"""

import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
Path(sys.argv[2]).write_text(str(urlsplit(gateway.base_url).port))
signal.pause()
