"""What is evaluated and served: provider + pinned model + system prompt + parameters + reasoning effort.

The fingerprint is a hash of all of these, so two values of the reasoning dial are two variants, and so are
two prompts for one model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from understudy.core.canonical import digest

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The reasoning dial: an effort word, a budget in tokens, or both where a provider takes both."""

    effort: str | None = None
    budget_tokens: int | None = None

    def as_dict(self) -> dict[str, Any]:
        given = {"effort": self.effort, "budget_tokens": self.budget_tokens}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing that can be served. `system_prompt` is the text itself, never a path; "" means none is added."""

    name: str
    provider: str
    model: str
    system_prompt: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    reasoning: Reasoning | None = None

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal characters; the name is left out, so renaming a variant does not change what it is."""
        return digest(
            {
                "provider": self.provider,
                "model": self.model,
                "system_prompt": self.system_prompt,
                "params": dict(self.params),
                "reasoning": self.reasoning.as_dict() if self.reasoning else None,
            }
        )[:16]

    def as_dict(self) -> dict[str, Any]:
        """The variant as the routing table and the evidence carry it; `from_dict` reads it back."""
        return {
            "name": self.name,
            "provider": self.provider,
            "model": self.model,
            "system_prompt": self.system_prompt,
            "params": dict(self.params),
            "reasoning": self.reasoning.as_dict() if self.reasoning else None,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Variant:
        """Read what `as_dict` wrote. Raises KeyError or TypeError where a field is missing or of another type."""
        reasoning = data.get("reasoning")
        return cls(
            name=data["name"],
            provider=data["provider"],
            model=data["model"],
            system_prompt=data.get("system_prompt", ""),
            params=dict(data.get("params") or {}),
            reasoning=Reasoning(**reasoning) if reasoning else None,
        )
