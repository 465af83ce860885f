"""How an app reaches its workload through the gateway: address, key and headers, for the official SDKs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from understudy.core.errors import UsageError

EXCHANGE = "x-understudy-exchange"
"""The header of an answer that names the exchange, for `feedback`."""
WORKLOAD = "x-understudy-workload"
ADDRESS, KEY = "UNDERSTUDY_GATEWAY", "UNDERSTUDY_GATEWAY_KEY"
_HEADER = "header:"
_UNUSED = "unused"
"""The official SDKs insist on a key; a gateway without keys does not look at it."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One workload behind one gateway; `gateway()` makes it of the project and the environment."""

    workload: str
    url: str
    """Without a path: http://127.0.0.1:8080."""
    key: str = field(default="", repr=False)
    """What the app presents, "" where the gateway has no keys."""
    unit: tuple[str, ...] = ("header:x-user-id",)
    """Where the workload reads its units, as in understudy.yaml."""
    conversation: tuple[str, ...] = ("header:x-conversation-id",)
    slice_by: Mapping[str, str] = field(default_factory=dict)

    def headers(
        self,
        *,
        unit: str | None = None,
        conversation: str | None = None,
        slices: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Headers of one request: who asks, in which conversation, and the slices it belongs to. None and "" are not
        sent.

        Raises UsageError for one that the workload does not read from a header, and for a value no header can hold.
        """
        made = {WORKLOAD: self.workload}
        for what, value, sources in (("unit", unit, self.unit), ("conversation", conversation, self.conversation)):
            if value is not None and value != "":
                made[_header(self.workload, what, sources)] = _checked(what, value)
        for name, value in (slices or {}).items():
            made[_header(self.workload, f"slice {name}", (self.slice_by.get(name, ""),))] = _checked(name, value)
        return made

    def openai(self, **whose: Any) -> dict[str, Any]:
        """`openai.OpenAI(**gateway.openai())`, the same for AsyncOpenAI. Arguments are those of `headers`."""
        return {"base_url": f"{self.url}/v1", "api_key": self.key or _UNUSED, "default_headers": self.headers(**whose)}

    def anthropic(self, **whose: Any) -> dict[str, Any]:
        """`anthropic.Anthropic(**gateway.anthropic())`, the same for AsyncAnthropic."""
        return {"base_url": self.url, "api_key": self.key or _UNUSED, "default_headers": self.headers(**whose)}

    def google(self, **whose: Any) -> dict[str, Any]:
        """`google.genai.Client(**gateway.google())`."""
        return {
            "api_key": self.key or _UNUSED,
            "http_options": {"base_url": self.url, "headers": self.headers(**whose)},
        }


def gateway(
    workload: str = "", *, url: str = "", key: str = "", environment: Mapping[str, str] | None = None
) -> Gateway:
    """The gateway of a workload.

    Address and key are those given, else $UNDERSTUDY_GATEWAY and $UNDERSTUDY_GATEWAY_KEY, else the address under
    `gateway:` in understudy.yaml. Without an understudy.yaml, workload and address must be given; the unit is then
    sent as x-user-id and the conversation as x-conversation-id.

    Raises UsageError for what is missing or unknown, ConfigError for what is wrong in understudy.yaml.
    """
    from understudy.config.project import VARIABLE, find
    from understudy.sdk.pins import project_of

    environment = os.environ if environment is None else environment
    url, key = url or environment.get(ADDRESS, ""), key or environment.get(KEY, "")
    try:
        find(None, environment)
    except UsageError as error:
        if environment.get(VARIABLE):
            raise
        if not workload or not url:
            remedy = f"give the workload and url= or ${ADDRESS}, or run where an understudy.yaml is"
            raise UsageError(error.message, remedy=remedy) from None
        return Gateway(_checked("workload", workload), _address(url), _sendable(key))
    project = project_of(environment)
    name = project.workload_of(workload)
    section, listens = project.workload(name), project.config.gateway
    if not url and not listens.port:
        raise UsageError("the gateway listens on a free port that nobody knows", remedy=f"export {ADDRESS}=http://...")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listens.host, listens.host)
    return Gateway(
        workload=name,
        url=_address(url or f"http://{host}:{listens.port}"),
        key=_sendable(key),
        unit=tuple(section.unit),
        conversation=tuple(section.conversation),
        slice_by=dict(section.slice_by),
    )


def _address(url: str) -> str:
    """Without a last slash, and without the /v1 that one SDK wants and the others do not."""
    try:
        parts = urlsplit(url)
        reachable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        whole = reachable and not parts.query and not parts.fragment
    except ValueError:  # a port beyond 65535, or half of an IPv6 address
        whole = False
    if not whole:
        raise UsageError(f"{url!r} is no address of a gateway", remedy="write it like http://127.0.0.1:8080")
    return url.rstrip("/").removesuffix("/v1")


def _header(workload: str, what: str, sources: tuple[str, ...]) -> str:
    for source in sources:
        if source.startswith(_HEADER):
            return source.removeprefix(_HEADER)
    read = ", ".join(filter(None, sources)) or "nowhere"
    raise UsageError(
        f"{workload} reads its {what} from no header ({read})",
        remedy="add a `header:` source in understudy.yaml, or send it in the body yourself",
    )


def _checked(what: str, value: str) -> str:
    if not isinstance(value, str):  # ids of databases are numbers, and apps are not all type-checked
        raise UsageError(f"the {what} {value!r} is no text", remedy="send str(...) of it")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"the {what} {value!r} cannot stand in a header", remedy="send an id of ASCII characters")
    return value


def _sendable(key: str) -> str:
    """The key as it is; what is wrong with one is said without it."""
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            "the key cannot stand in a header", remedy="look for a line end or a space of another kind in it"
        )
    return key
