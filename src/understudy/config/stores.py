"""The address of a control store that several machines share: what may be written, and what may be shown of it."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, WithJsonSchema

from understudy.config.durations import Wrong

FORM = "postgresql://USER@HOST:PORT/DATABASE"
IN_A_VARIABLE = "write store: ${NAME}, and put the whole address into that variable; or set PGPASSWORD"


def without_password(url: str) -> str:
    """What messages may say of the address of a database.

    Raises Wrong where it is none; its words hold no part of the address, which may be a secret.
    """
    parts = _parts(url)
    user = f"{parts.username}@" if parts.username else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    socket = parse_qs(parts.query).get("host", [""])[0]
    return f"postgresql://{user}{host}{port}{parts.path}" + (f"?host={socket}" if socket else "")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # A password with an unescaped @, / or # would be cut there, and its rest be shown as host or database.
        one = parts.netloc.count("@") <= 1 and parts.port != 0 and not parts.fragment
        named = re.fullmatch(r"/[^/\s]+", parts.path) is not None
        parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        one = named = False
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in {"postgresql", "postgres"} or not one or not named:
        raise Wrong(
            "the address of the control store is none of a PostgreSQL database",
            f"write {FORM}, with %40, %2F and %23 for @, / and # within a password; "
            "without `store` it is a file below `state`",
        )
    return parts


def _written(value: str) -> str:
    """What stands in the file: nothing, a reference, or an address without a password."""
    if not value or value.startswith("${"):
        return value
    parts = _parts(value)
    if parts.password or "password" in parse_qs(parts.query):
        raise Wrong("the address of the control store holds a password, in the clear", IN_A_VARIABLE)
    return value


StoreUrl = Annotated[
    str, AfterValidator(_written), WithJsonSchema({"type": "string", "pattern": r"^(\$\{.+\}|postgres(ql)?://.+)?$"})
]
