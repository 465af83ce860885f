"""Takes identifiers of people and secrets out of text before any of it reaches a disk.

It finds what has a form: addresses, numbers with check digits, keys, tokens. Names and stories have none: where those
must not be kept, `content: off` is the setting. Strings inside JSON are looked at one by one and unescaped, JSON
inside strings (the arguments of tool calls) as well, and so is text in base64. Binary base64 (pictures, sound) cannot
be looked into and is replaced whole.

A text must be given whole: what arrived in pieces is joined first, so an identifier split between two pieces is one.
For the same reason what is too long to be kept is cut behind the redaction: see `limit`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from understudy.core.pattern import compiled

KEPT_FIELDS = frozenset(
    {
        "cachedContent",
        "contents",
        "frequency_penalty",
        "function_call",
        "functions",
        "generationConfig",
        "generation_config",
        "input",
        "instructions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "model",
        "n",
        "output_config",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "safetySettings",
        "seed",
        "service_tier",
        "stop",
        "stop_sequences",
        "stream",
        "stream_options",
        "system",
        "systemInstruction",
        "system_instruction",
        "temperature",
        "text",
        "thinking",
        "toolConfig",
        "tool_choice",
        "tool_config",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "truncation",
        "verbosity",
    }
)
"""Fields of a request body that describe the work. All others (`user`, `metadata`, ...) are left out."""

CUT_MARGIN = 16 * 1024
"""Characters read beyond what is kept of a long text, and thrown away again: an identifier that the cut goes through is
seen whole, or its beginning is among them."""
_WHOLE = 4 * 1024 * 1024
"""Bytes of a body that are looked through in order to keep a part of it; nothing is kept of a longer one."""
_DEPTH = 6
"""How many layers of JSON in strings and of base64 are opened."""
_BINARY_KEPT = 192
"""Base64 that is no text and is shorter than this is taken for an identifier of the provider's, and kept."""


class Detector(NamedTuple):
    """A form to look for. `holds` rules out what only looks like it."""

    name: str
    pattern: str
    holds: Callable[[str], bool] = lambda _: True


def _digits(text: str) -> list[int]:
    return [int(c) for c in text if c in "0123456789"]


def _luhn(text: str) -> bool:
    digits = _digits(text)
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    compact = "".join(c for c in text if c.isalnum())
    number = "".join(str(int(c, 36)) for c in compact[4:] + compact[:4])
    return 15 <= len(compact) <= 34 and int(number) % 97 == 1


def _octets(text: str) -> bool:
    return all(int(part) < 256 for part in text.split("."))


def _phone(text: str) -> bool:
    return 8 <= len(_digits(text)) <= 15


_GAP = r"[ \x{a0}\x{202f}-]"
"""What people put between the groups of a number."""
_LOCAL = r"[^\s@\"'`<>()\[\]{},;:\\/=&?]+"
_DOMAIN = r"[^\s@\"'`<>()\[\]{},;:\\/=&?.!%]+"
DETECTORS = (
    Detector("private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)"),
    Detector("email", rf"{_LOCAL}(?:@|%40){_DOMAIN}(?:\.{_DOMAIN})+"),
    Detector("token", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    Detector("token", r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{16,}"),
    Detector(
        "key",
        r"\b(?:(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
        r"|glpat-[A-Za-z0-9_-]{16,}|x(?:ox[abeprs]|app)-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}"
        r"|(?:hf|gsk|r8|npm|fw|shpat|dop_v1)_[A-Za-z0-9]{20,}|(?:xai|nvapi|pplx)-[A-Za-z0-9_-]{20,}"
        r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})",
    ),
    Detector(
        "password",
        r"(?i:\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;]{4,}",
    ),
    Detector("password", r"://[^\s/:@]{1,64}:[^\s/@]{1,128}@"),
    Detector("card", rf"\b\d(?:{_GAP}?\d){{12,18}}\b", _luhn),
    Detector(
        "account", rf"(?i:\b[A-Z]{{2}}\d{{2}}(?:{_GAP}?[A-Z0-9]{{4}}){{2,7}}(?:{_GAP}?[A-Z0-9]{{1,4}})?\b)", _iban
    ),
    Detector("social security number", r"\b\d{3}-\d{2}-\d{4}\b"),
    Detector(
        "phone",
        r"(?:\+|\b00)\d[\d ()./\x{a0}\x{202f}-]{6,20}\d\b|(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b",
        _phone,
    ),
    Detector("address", r"\b(?:\d{1,3}\.){3}\d{1,3}\b", _octets),
    Detector(
        "address", r"\b[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){4,7}\b|\b(?:[0-9A-Fa-f]{1,4}:){2,6}:[0-9A-Fa-f]{1,4}\b"
    ),
)
_CUT_EMAIL = Detector("email", rf"{_LOCAL}(?:@|%40)[^\s@]*\z")
"""The beginning of an address at the end of a text: where a copy was cut short."""

_BASE64 = r"(?:[A-Za-z0-9+/]{60,76}\r?\n)+[A-Za-z0-9+/]*={0,2}|[A-Za-z0-9+/_-]{20,}={0,2}"
_ESCAPE = r"\\u[0-9a-fA-F]{4}|\\/"


class Redactor:
    """patterns: more forms to take out, by name, as RE2. fields: fields of a request body kept beside the usual ones.

    Raises UsageError for a pattern that RE2 does not take, and for one that finds something in every text.
    """

    def __init__(self, patterns: Mapping[str, str] | None = None, *, fields: Sequence[str] = ()) -> None:
        own = [Detector(name, pattern) for name, pattern in (patterns or {}).items()]
        self._detectors = [(d, compiled(d.pattern)) for d in (*own, *DETECTORS, _CUT_EMAIL)]
        self._base64 = compiled(_BASE64)
        self._escape = compiled(_ESCAPE)
        forms = "|".join(f"(?:{d.pattern})" for d, _ in self._detectors)
        self._any = compiled(f"{forms}|{_BASE64}|{_ESCAPE}")
        """One pass over a text tells that there is nothing to do, which is the usual case."""
        self._fields = KEPT_FIELDS | frozenset(fields)

    def __call__(self, text: str) -> str:
        return self.text(text)

    def text(self, text: str, limit: int | None = None) -> str:
        """The text without identifiers; JSON stays JSON. Text in which nothing is found comes back as it was.

        limit: characters kept at most; what is cut off takes with it whatever the cut went through.
        """
        if limit is None or len(text) <= limit:
            return self._text(_writable(text), _DEPTH)
        return self._text(_writable(text[: limit + CUT_MARGIN]), _DEPTH)[:-CUT_MARGIN][:limit]

    def body(self, body: bytes, limit: int | None = None) -> bytes:
        """A request body without identifiers and without the fields that are not known to describe the work.

        One that is no JSON object is redacted as text. limit: bytes kept at most, as in `text`.
        """
        short = limit is None or len(body) <= limit
        if not short and len(body) > _WHOLE:
            return b""
        text = body.decode("utf-8", "replace")
        parsed = _parsed(text)
        if not isinstance(parsed, dict):
            return self.text(text, limit).encode("utf-8", "replace")
        if limit is not None and not short:
            kept, _ = self._part({key: value for key, value in parsed.items() if key in self._fields}, limit)
            return msgspec.json.encode(kept)[:limit]
        if self._fields.issuperset(parsed) and not self._any.search(text):
            return body
        kept = {key: value for key, value in parsed.items() if key in self._fields}
        redacted = self._value(kept, _DEPTH)
        return body if redacted == parsed else msgspec.json.encode(redacted)

    def _text(self, text: str, depth: int) -> str:
        if not self._any.search(text):
            return text
        if depth > 0 and text.lstrip()[:1] in ("{", "["):
            parsed = _parsed(text)
            if parsed is not None:
                redacted = self._value(parsed, depth - 1)
                return text if redacted == parsed else json.dumps(redacted, ensure_ascii=False)
        # In text that is no whole JSON, escapes of plain characters would hide what they spell.
        text = self._escape.sub(lambda found: _unescaped(found.group()), text)
        for detector, pattern in self._detectors:
            text = pattern.sub(lambda found, d=detector: _replaced(found.group(), d), text)
        return str(self._base64.sub(lambda found: self._decoded(found.group(), depth), text))

    def _value(self, value: Any, depth: int) -> Any:
        """Every string in a JSON value, keys included."""
        if isinstance(value, str):
            return self._text(value, depth)
        if isinstance(value, dict):
            return {self._text(key, 0): self._value(item, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, depth) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**12:
            found = self._text(str(value), 0)
            return value if found == str(value) else found
        return value

    def _part(self, value: Any, room: int) -> tuple[Any, int]:
        """As `_value`, of as much as there is room for; returns the room that is left. Whole strings are looked at."""
        if isinstance(value, str):
            return self.text(value, room), max(0, room - len(value))
        if isinstance(value, dict):
            made: dict[str, Any] = {}
            for key, item in value.items():
                if room <= 0:
                    break
                made[self._text(key, 0)], room = self._part(item, room - len(key))
            return made, room
        if isinstance(value, list):
            items: list[Any] = []
            for item in value:
                if room <= 0:
                    break
                part, room = self._part(item, room - 1)
                items.append(part)
            return items, room
        return self._value(value, _DEPTH), room - 1

    def _decoded(self, blob: str, depth: int) -> str:
        """A run of base64 characters: kept, unless it holds text with identifiers or is a longer binary."""
        compact = blob.replace("\r", "").replace("\n", "").rstrip("=").replace("-", "+").replace("_", "/")
        if depth <= 0:
            return blob
        if len(compact) % 4 == 1:  # cut in the middle of a group
            compact = compact[:-1]
        try:
            data = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
        except (binascii.Error, ValueError):
            return blob
        try:
            inner = data.decode()
        except UnicodeDecodeError:
            if len(compact) >= _BINARY_KEPT:
                return f"[redacted {len(data)} bytes]"
            inner = data.decode("latin-1")
        for read in {inner, inner.replace("\0", "")}:  # the second is what text in UTF-16 spells
            if self._text(read, depth - 1) != read:
                return "[redacted base64]"
        return blob


def _writable(text: str) -> str:
    """Without lone surrogates, which RE2 does not take."""
    return text.encode("utf-8", "replace").decode()


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def _replaced(found: str, detector: Detector) -> str:
    return f"[redacted {detector.name}]" if detector.holds(found) else found


def _unescaped(escape: str) -> str:
    character = escape[1:] if escape == "\\/" else chr(int(escape[2:], 16))
    return character if character.isprintable() and character not in '"\\' else escape
