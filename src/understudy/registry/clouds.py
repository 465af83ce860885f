"""Knows the clouds that serve others' models by dates of their own: their addresses, their names, their pages. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from understudy.registry.naming import bedrock_id, unrouted


class Cloud(NamedTuple):
    """A cloud with dates of its own."""

    title: str
    host: re.Pattern[str]
    page: str
    """Where its dates are written."""


CLOUDS: dict[str, Cloud] = {
    "azure": Cloud(
        "Azure",
        re.compile(r".+\.(?:openai|cognitiveservices|services\.ai|models\.ai|inference\.ai)\.azure\.com"),
        "https://learn.microsoft.com/en-us/azure/foundry/openai/concepts/model-retirement-schedule",
    ),
    "azure-gov": Cloud(
        "Azure Government",
        re.compile(r".+\.(?:openai|cognitiveservices|services\.ai)\.azure\.us"),
        "https://learn.microsoft.com/en-us/azure/foundry/openai/concepts/model-retirement-schedule-gov",
    ),
    "bedrock": Cloud(
        "Amazon Bedrock",
        re.compile(
            r"(?:.+\.)?bedrock-(?:runtime|mantle)(?:-fips)?\.[a-z0-9-]+\.(?:(?:vpce\.)?amazonaws\.com|api\.aws)"
        ),
        "https://docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html",
    ),
    "vertex": Cloud(
        "Google Cloud",
        re.compile(r"(?:[a-z0-9-]+-)?aiplatform(?:\.[a-z0-9-]+\.rep|-[a-z0-9]+\.p)?\.googleapis\.com"),
        "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/model-versions",
    ),
}
"""By the word that rows of lifetimes.json have under `on`."""

MAKERS: dict[str, str] = {
    "anthropic": "https://platform.claude.com/docs/en/about-claude/model-deprecations",
    "deepseek": "https://api-docs.deepseek.com/updates",
    "google": "https://ai.google.dev/gemini-api/docs/deprecations",
    "mistral": "https://docs.mistral.ai/models",
    "openai": "https://developers.openai.com/api/docs/deprecations",
}
"""Where the makers' own dates are written, by the scheme of their names."""

_ROUTED = {
    "azure": ("azure/", "azure_ai/"),
    "bedrock": ("bedrock/", "bedrock_converse/", "converse/", "bedrock:", "arn:aws"),
    "vertex": ("vertex_ai/", "vertex/", "google-vertex:", "publishers/", "projects/"),
}
"""How names begin that libraries send to a cloud."""


def by_address(host: str) -> str:
    """The cloud that answers at a host name, "" where it is none of them."""
    return next((key for key, cloud in CLOUDS.items() if cloud.host.fullmatch(host.lower())), "")


def by_name(model: str) -> str:
    """The cloud that only such a name is sent to, "" where the name does not tell."""
    name = model.strip()
    routed = next((key for key, begins in _ROUTED.items() if name.startswith(begins)), "")
    if routed:
        return routed
    if bedrock_id(name):
        return "bedrock"
    return "vertex" if re.fullmatch(r"claude-[a-z0-9-]+@(?:\d{8}|default)", name) else ""


def spellings(model: str, on: str) -> tuple[str, ...]:
    """How a model may stand in a row of a cloud, or of its maker for "": as written, then without what names no model.

    A Bedrock id may begin with the regions of an inference profile. Claude's rows on Azure and Google Cloud carry no
    date, since each of its names there has one snapshot.
    """
    name = unrouted(model)
    if on == "bedrock":
        return (bedrock_id(name) or name,)
    if on == "vertex":
        return name, name.replace("@", "-"), name.partition("@")[0]  # asked for as NAME@DATE, answers as NAME-DATE
    if on == "azure" and name.startswith("claude-"):
        return name, re.sub(r"-20\d{6}$", "", name)
    return (name,)


def page(on: str, scheme: str) -> str:
    """Where to look for a date: the page of the cloud, else that of the maker by the scheme of the name, else ""."""
    return CLOUDS[on].page if on else MAKERS.get(scheme, "")
