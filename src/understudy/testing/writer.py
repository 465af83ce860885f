"""Writes the answers of a simulated model: replies to support tickets, or JSON where that was asked for. Pure.

A reply has a greeting, sympathy, the resolution (what a suite checks), some sentences of advice, and a closing line.
Which wording is used depends on (seed, model or its voice, prompt): an answer is the same on every machine and run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.testing.behaviour import Behaviour
from understudy.testing.dialects import Asked


class Kind(NamedTuple):
    """A kind of ticket: the words that give it away, and the sentences of its answer."""

    words: tuple[str, ...]
    resolution: str
    wrong: str
    advice: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "refund": Kind(
        ("refund", "charged", "money back"),
        "Your refund is on its way and reaches your account within 5 business days.",
        "We do not give refunds for this order.",
        (
            "It goes back to the card you paid with.",
            "You will get an e-mail as soon as the bank confirms it.",
            "Nothing needs to be sent back to us.",
        ),
    ),
    "delivery": Kind(
        ("delivery", "parcel", "shipped", "package", "arrive"),
        "Your parcel is with the carrier and arrives within 2 working days.",
        "Your parcel was delivered last week.",
        (
            "The tracking link in your order page shows where it is.",
            "The carrier rings once and then leaves a card.",
            "If it has not come by then, write to us and we send another.",
        ),
    ),
    "account": Kind(
        ("password", "log in", "login", "locked", "account"),
        "We have sent you a link to set a new password; it is valid for 30 minutes.",
        "Please tell us your password so that we can check it.",
        (
            "Have a look in the spam folder too.",
            "The old password stops working as soon as the new one is set.",
            "We recommend to switch two-factor login on afterwards.",
        ),
    ),
    "billing": Kind(
        ("invoice", "bill", "tax", "vat"),
        "The corrected invoice is attached and replaces the earlier one.",
        "The corrected reminder is attached and replaces the earlier one.",
        (
            "You also find it in your account under documents.",
            "The amount due stays the same.",
            "Your accountant may need the new number.",
        ),
    ),
    "cancellation": Kind(
        ("cancel", "subscription", "terminate"),
        "Your subscription ends with the current month and nothing more will be charged.",
        "Your subscription was renewed for another year.",
        (
            "Until then everything works as before.",
            "Your data can be exported for 90 days.",
            "You can come back at any time with the same account.",
        ),
    ),
    "complaint": Kind(
        ("complaint", "complain", "manager", "unacceptable", "lawyer"),
        "I have passed this on to the team lead, who will call you today.",
        "There is nothing more we can do about it.",
        (
            "Please keep your phone at hand.",
            "The number of your case is in the subject line.",
            "We have noted everything you wrote.",
        ),
    ),
    "technical": Kind(
        ("error", "crash", "bug", "broken", "slow"),
        "Please restart the app and install update 4.2, which repairs this.",
        "This works as designed.",
        (
            "The update takes about two minutes.",
            "Your settings stay as they are.",
            "If it happens again, send us the log from the help menu.",
        ),
    ),
}
OTHER = "technical"
"""What a ticket is that none of the words give away."""

GREETINGS = ("Hello, and thank you for writing to us.", "Hi there, thanks for getting in touch.")
SYMPATHY = ("I am sorry for the trouble this has caused you.", "I understand how annoying this is.")
CLOSING = "Kind regards, your support team"
COLD = "Noted."
REFUSAL = "I'm sorry, but I can't help with that."

_TAG = re.compile(r"\A\s*\[(\w+)\]")
_ORDER = re.compile(r"\b(?:order|case|ticket)\s*(?:no\.?|number|#)?\s*(\d{3,})\b", re.IGNORECASE)
_FENCED = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TOLD = re.compile(r'told "([^"]+)"')
_JSON_WORD = re.compile(r"\bJSON\b")


def kind_of(prompt: str) -> str:
    """The kind of a ticket: the tag in brackets it begins with, or the first kind one of whose words it contains."""
    tag = _TAG.match(prompt)
    if tag and tag[1].lower() in KINDS:
        return tag[1].lower()
    lower = prompt.lower()
    return next((name for name, kind in KINDS.items() if any(word in lower for word in kind.words)), OTHER)


def draw(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    raw = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(raw, "big") / 2**64


def write(asked: Asked, behaviour: Behaviour, seed: int) -> str:
    """The text of the answer."""
    prompt = asked.last_user
    if behaviour.proposes and _FENCED.search(prompt):
        return propose(asked.model, prompt, behaviour, seed)
    if behaviour.proposes and (told := _TOLD.findall(prompt)):
        return f"It has to be told in so many words: {' '.join(told)}"
    if draw(seed, "refuse", asked.model, prompt) < behaviour.refusal_share:
        return REFUSAL
    text = reply(asked.model, prompt, asked.system, behaviour, seed)
    if asked.schema is not None or _JSON_WORD.search(asked.system) or _JSON_WORD.search(prompt):
        return as_json(text, kind_of(prompt), asked.schema or {}, behaviour.json)
    return text


def reply(model: str, prompt: str, system: str, behaviour: Behaviour, seed: int) -> str:
    """A reply to a support ticket."""
    name = kind_of(prompt)
    kind = KINDS[name]
    style = int(draw(seed, "style", behaviour.voice or model, prompt) * 1_000_000)
    wrong = is_wrong(name, model, prompt, system, behaviour, seed)
    body = [kind.wrong if wrong else kind.resolution, *kind.advice[: 1 + style % len(kind.advice)]]
    order = _ORDER.search(prompt)
    if order:
        body.insert(0, f"I have looked at {order[0].lower()}.")
    kept = max(1, round(len(body) * behaviour.length))
    # The resolution is kept however short the answer gets: shorter is not the same as wrong.
    if kept < len(body):
        body = body[1 if order else 0 :][:kept]
    if behaviour.tone == "cold":
        lines = [COLD, *body]
    else:
        lines = [GREETINGS[style % 2], SYMPATHY[style // 2 % 2], *body]
    if behaviour.closing:
        lines.append(CLOSING)
    return " ".join(lines)


def is_wrong(name: str, model: str, prompt: str, system: str, behaviour: Behaviour, seed: int) -> bool:
    """Whether the planted fault on a slice hits this prompt; the sentence of `wrong_unless` prevents it."""
    if behaviour.wrong_slice not in (name, "*"):
        return False
    cures = behaviour.wrong_unless.split("|")
    cure = cures[int(draw(seed, "cure", model, prompt) * len(cures))]
    if cure and cure in system:
        return False
    wording = (system,) if behaviour.wrong_by_wording else ()
    return draw(seed, "wrong", model, prompt, *wording) < behaviour.wrong_share


def propose(model: str, request: str, behaviour: Behaviour, seed: int) -> str:
    """A prompt like the first one in the request, between lines of three backticks, with one more of its sentences."""
    found = _FENCED.search(request)
    old = found[1].strip() if found else ""
    new = [sentence for sentence in behaviour.proposes.split("|") if sentence not in old]
    added = [new[int(draw(seed, "propose", model, request) * len(new))]] if new else []
    return "\n".join(["A rule is missing.", "```", *([old] if old else []), *added, "```"])


def as_json(text: str, kind: str, schema: Mapping[str, Any], form: str) -> str:
    """A JSON answer that carries a text, in one of the forms that models get wrong."""
    value = fill(schema, text, kind) if schema.get("properties") else {"kind": kind, "reply": text, "resolved": True}
    match form:
        case "single_quotes":
            return str(value)
        case "fenced":
            return f"```json\n{json.dumps(value)}\n```"
        case "broken":
            return json.dumps(value)[:-2]
        case _:
            return json.dumps(value)


def fill(schema: Mapping[str, Any], text: str, kind: str, definitions: Mapping[str, Any] | None = None) -> Any:
    """A value that satisfies a JSON schema: `kind` where a property is named so, else the text, else the simplest.

    `definitions` are the `$defs` of the whole schema, which `$ref` points into.
    """
    known: Mapping[str, Any] = schema.get("$defs") or definitions or {}
    if "$ref" in schema:
        return fill(known[schema["$ref"].rpartition("/")[2]], text, kind, known)
    if schema.get("anyOf"):
        return fill(schema["anyOf"][0], text, kind, known)
    if schema.get("enum"):
        options = list(schema["enum"])
        return kind if kind in options else options[0]
    declared = schema.get("type")
    match declared[0] if isinstance(declared, list) and declared else declared:
        case "object":
            properties: Mapping[str, Any] = schema.get("properties") or {}
            return {name: fill(sub, kind if name == "kind" else text, kind, known) for name, sub in properties.items()}
        case "array":
            return [fill(schema.get("items") or {"type": "string"}, text, kind, known)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text
