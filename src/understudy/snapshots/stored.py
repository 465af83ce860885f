"""The text of a snapshot file: an answer so written that editors, Git and hooks leave it whole, and what made it.

An answer may hold anything; a file in version control may not. So each line of the answer is a line of the file,
and what cannot be seen or would not survive (a carriage return, an escape sequence, white space at the end of a line)
is written as an escape that begins with a backslash; a backslash of the answer is doubled.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from unicodedata import category

FORMAT = "understudy snapshot 1"
_CALLS = "\\--- tool calls"
_ANSWER = "\\--- answer"
"""No line of an escaped answer looks like these: `\\-` is no escape."""
_HELD = "\\_"
"""Stands for nothing and holds white space, or the last empty line, in its place."""
_ESCAPE = re.compile(r"\\(?:(\\)|(_)|(r)|u\{([0-9a-f]{1,6})\})")
_NAMES = ("label", "test", "model", "variant", "fingerprint", "asked", "finish", "made")


class Broken(ValueError):
    """A snapshot file that cannot be read; the message says where and why."""


class Said(NamedTuple):
    """What is compared: the text of an answer, and its tool calls as canonical JSON of [{"name", "arguments"}]."""

    text: str
    tool_calls: str = ""


def said(text: str, tool_calls: str = "") -> Said:
    """What is compared of an answer, its calls in the one form that a file gives back."""
    return Said(text, _canonical(json.loads(tool_calls)) if tool_calls else "")


class Snapshot(NamedTuple):
    """An answer and what made it. Only `said` is compared; the rest explains a difference."""

    said: Said
    label: str
    """Whose answer it is, as files and tests are named."""
    test: str
    """Name of the test in full, without the label: a file name may be too short for it."""
    model: str = ""
    variant: str = ""
    fingerprint: str = ""
    """Of the variant: another one means that prompt, parameters or effort have changed since."""
    asked: str = ""
    """A hash of the question, "" where the answer came from the product's own code."""
    finish: str = ""
    made: str = ""
    """The day, as 2026-01-31."""


def escaped(text: str) -> str:
    """The text as a file holds it and a terminal may show it; `unescaped` gives it back, whatever it is."""
    lines = text.split("\n")
    made = [_line(line) for line in lines]
    made[-1] = made[-1] or _HELD
    return "\n".join(made)


def unescaped(text: str) -> str:
    """What `escaped` was given. Raises Broken for a backslash that begins no escape."""
    whole: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if "\\" not in line:
            whole.append(line)
            continue
        rest = _ESCAPE.sub("", line)
        if "\\" in rest:
            raise Broken(f"line {number} of the answer has a backslash that begins no escape; write \\\\ for one")
        whole.append(_ESCAPE.sub(_meant, line))
    return "\n".join(whole)


def shown(said: Said) -> str:
    """The answer alone, without what made it: the text that a review reads. Ends with a new line."""
    calls = _calls(said.tool_calls)
    return "\n".join([escaped(said.text), *([_CALLS, *calls] if calls else [])]) + "\n"


def encode(snapshot: Snapshot) -> str:
    """The whole file."""
    values = ((name, getattr(snapshot, name)) for name in _NAMES)
    head = [FORMAT, *(f"{name}: {_line(value.replace(chr(10), ' '))}" for name, value in values if value), _ANSWER]
    return "\n".join(head) + "\n" + shown(snapshot.said)


def decode(text: str) -> Snapshot:
    """Read a file back; line ends that Git changed are no change. Raises Broken where it is none of ours."""
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    head, found, body = text.partition(f"\n{_ANSWER}\n")
    first, *rest = head.split("\n")
    if first != FORMAT or not found:
        raise Broken(f"the file does not begin with `{FORMAT}` and a line `{_ANSWER}`")
    values: dict[str, str] = {}
    for number, line in enumerate(rest, 2):
        name, colon, value = line.partition(": ")
        if not colon or name not in _NAMES:
            raise Broken(f"line {number} is none of {', '.join(_NAMES)}")
        values[name] = unescaped(value)
    for name in ("label", "test"):
        if name not in values:
            raise Broken(f"the file does not say its {name}")
    return Snapshot(read(body), **values)


def read(body: str) -> Said:
    """What `shown` was given. Raises Broken."""
    body = body.replace("\r\n", "\n").removesuffix("\n")
    written, found, calls = f"\n{body}".partition(f"\n{_CALLS}\n")
    lines = calls.split("\n") if found else []
    try:
        listed = [json.loads(unescaped(line)) for line in lines if line]
    except ValueError as error:
        raise Broken(f"a tool call is no JSON: {error}") from None
    return Said(unescaped(written[1:]), _canonical(listed) if listed else "")


def _calls(tool_calls: str) -> list[str]:
    """One line a call."""
    return [_line(_canonical(call)) for call in (json.loads(tool_calls) if tool_calls else [])]


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _line(line: str) -> str:
    made = "".join(map(_character, line))
    return made + _HELD if made[-1:].isspace() else made


def _character(one: str) -> str:
    if one == "\\":
        return "\\\\"
    if one == "\r":
        return "\\r"
    # Joiners are part of emoji and of several scripts; what else formats cannot be seen, and can reorder what is.
    hidden = category(one) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} and one not in {"\t", "\u200c", "\u200d"}
    return f"\\u{{{ord(one):x}}}" if hidden else one


def _meant(found: re.Match[str]) -> str:
    slash, held, carriage, code = found.groups()
    if slash:
        return "\\"
    if held:
        return ""
    if carriage:
        return "\r"
    if int(code, 16) > 0x10FFFF:
        raise Broken(f"there is no character {code}")
    return chr(int(code, 16))
