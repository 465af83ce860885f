"""How a simulated model behaves: every planted fault is one field, off by default, and each can be switched alone."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TONES = ("warm", "cold")
JSON_FORMS = ("valid", "single_quotes", "fenced", "broken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The defaults are a model without faults that answers at once. Shares lie between 0 and 1.

    Draws that concern the text depend on (seed, model, prompt) only; draws that concern a call (errors, hanging,
    latency) also on how many calls the model has had.
    """

    length: float = 1.0
    """Part of the answer's body that is written; below 1 answers get shorter."""
    tone: str = "warm"
    """"warm", or "cold": no greeting by kindness, no sympathy, curt sentences."""
    voice: str = ""
    """Models of one voice choose the same words for a prompt, as versions of one model mostly do; "": its own."""
    closing: bool = True
    """False leaves the closing line out."""
    json: str = "valid"
    """What JSON answers look like: "valid", "single_quotes", "fenced" (in a code fence), "broken" (cut off)."""

    wrong_slice: str = ""
    """The kind of ticket that gets a wrong resolution; "*" for every kind."""
    wrong_share: float = 1.0
    """How many of that kind's prompts."""
    wrong_unless: str = ""
    """A sentence that makes it right again when the system prompt contains it: what re-tuning has to find. Of several,
    with | between them, each makes an equal part of the wrong prompts right."""
    wrong_by_wording: bool = False
    """Which prompts go wrong depends on the wording of the system prompt too: a search can have luck with one."""
    proposes: str = ""
    """What it can think of when it is asked to improve a prompt: sentences with | between them, one added at a time."""
    refusal_share: float = 0.0

    latency_s: float = 0.0
    """Median seconds to the last byte."""
    latency_spread: float = 0.0
    """Standard deviation of the logarithm of the latency."""
    first_content: float = 0.3
    """Part of the latency until a stream shows its first content."""
    tail_share: float = 0.0
    """How many calls take `tail_s` longer: a fat p99."""
    tail_s: float = 0.0

    error_share: float = 0.0
    error_status: int = 500
    hang_share: float = 0.0
    """How many calls are never answered."""

    tokens_per_word: float = 1.3
    """What the model's tokenizer makes of a word; a higher value costs more for the same text."""
    reasoning_tokens: int = 0
    """Billed as output and never shown. The caller's effort scales it."""
    reasoning_s_per_token: float = 0.0
    """The latency that thinking brings."""

    served_model: str = ""
    """The model the answer names, where it is another than was asked for: a provider that moves an alias."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field, its value and what it may be."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and not 0 <= value <= 1:
                raise ValueError(f"{field.name} is {value!r}; a share lies between 0 and 1")
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{field.name} is {value!r}; it cannot be negative")
        if self.tone not in TONES:
            raise ValueError(f"tone is {self.tone!r}; known tones: {', '.join(TONES)}")
        if self.json not in JSON_FORMS:
            raise ValueError(f"json is {self.json!r}; known forms: {', '.join(JSON_FORMS)}")

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """This behaviour with some fields replaced.

        Raises ValueError for a field that does not exist, with the nearest name, and for a value of another type.
        """
        known = {field.name: field.default for field in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise ValueError(f"a behaviour has no field {name!r}; the nearest is {near!r}")
            default = known[name]
            wanted = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
                raise ValueError(f"{name} is {value!r}; it must be of type {type(default).__name__}")
        return dataclasses.replace(self, **changes)
