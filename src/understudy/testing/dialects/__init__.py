"""How providers are spoken to, written anew and apart from `understudy.wires`, and as strict as the real ones."""

from __future__ import annotations

import re

from understudy.testing.dialects.anthropic import Anthropic
from understudy.testing.dialects.base import Asked, Call, Dialect, Said, Script, Tool, Turn, Unreadable
from understudy.testing.dialects.gemini import Gemini
from understudy.testing.dialects.openai import OpenAI
from understudy.testing.dialects.responses import Responses

OPENAI, RESPONSES, ANTHROPIC, GEMINI = OpenAI(), Responses(), Anthropic(), Gemini()
DIALECTS: dict[str, Dialect] = {d.name: d for d in (OPENAI, RESPONSES, ANTHROPIC, GEMINI)}

_PATHS: dict[str, Dialect] = {
    "/v1/chat/completions": OPENAI,
    "/v1/responses": RESPONSES,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": ANTHROPIC,
}
_GEMINI_PATH = re.compile(r"/v1(beta)?/models/[^/:]+:(generateContent|streamGenerateContent|countTokens)")

__all__ = [
    "ANTHROPIC",
    "DIALECTS",
    "GEMINI",
    "OPENAI",
    "RESPONSES",
    "Asked",
    "Call",
    "Dialect",
    "Said",
    "Script",
    "Tool",
    "Turn",
    "Unreadable",
    "dialect_at",
]


def dialect_at(path: str) -> Dialect | None:
    """The dialect spoken at a path, None where nobody answers there."""
    return _PATHS.get(path) or (GEMINI if _GEMINI_PATH.fullmatch(path) else None)
