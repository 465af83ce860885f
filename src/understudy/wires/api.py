"""Where a dialect's API lies, and which of its paths only call a model. Pure.

A call that asks a model and keeps nothing is safe under anybody's key. Everything else (files, batches, stored things)
speaks of the provider's account, which several workloads may share.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

_PLAIN = re.compile(r"/[A-Za-z0-9_.~:@!$&'()*+,;=%/-]*")


class Api(NamedTuple):
    """Where a dialect's API begins, what of that its base_url holds already, and the calls that only call a model."""

    prefixes: tuple[str, ...]
    in_base_url: str
    model_calls: re.Pattern[str]

    def path(self, target: str) -> str | None:
        """The provider's path, below its base_url, for the target of a request; None where it is not of this API.

        None too for what could mean another path elsewhere: dot segments, encoded slashes, empty segments. A key in
        the query is the caller's own and stays here.
        """
        path, mark, query = target.partition("?")
        if not path.startswith(self.prefixes) or not _plain(path):
            return None
        kept = "&".join(part for part in query.split("&") if unquote(part.partition("=")[0]) != "key")
        return path.removeprefix(self.in_base_url) + (mark + kept if kept else "")

    def calls_a_model(self, method: str, target: str) -> bool:
        """Whether this request asks a model and has no effect beyond its answer."""
        return method == "POST" and self.model_calls.fullmatch(target.partition("?")[0]) is not None


def _plain(path: str) -> bool:
    segments = path.split("/")[1:]
    decoded = [unquote(segment) for segment in segments]
    return (
        _PLAIN.fullmatch(path) is not None
        and all(segments[:-1])
        and not any(each in (".", "..") or "/" in each or "\\" in each or not each.isprintable() for each in decoded)
    )
