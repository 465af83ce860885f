"""Reads languages with quoted texts by their tokens: those with // comments, JSON, and those with # comments. Pure.

Not parsers: a token decides by what stands right before and behind it whether it is used, compared, a type, or a key.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from understudy.registry.lint.reading import MARK, Comment, Lines, Literal, Reading, defaults

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)""",
    re.S,
)
_KNOWN = re.compile(
    r"(?:[=!]==?|\bcase|\b(?:from|import)|\brequire\(|(?<!\|)\|"
    r"|\.(?:startsWith|endsWith|includes|indexOf|replace|replaceAll|split|match|test|has|equals|contains|HasPrefix)\()"
    r"\s*$"
)
"""Before a text that is compared, imported, searched for, or one of the values of a type."""
_KNOWN_BEHIND = re.compile(r"\s*(?:[=!]==?|\|(?!\|))")
_KEY = re.compile(r"""([A-Za-z_$][\w$.-]*)["'`]?\]?\s*(?:\?\?=?|\|\|=?|[:=]|:=|=>|\(|,)\s*$""")
_MEMBERS = re.compile(
    r"\benum\s+\w+[^{;]*\{[^{}]*\}|\bnew Set\w*(?:<[^<>()]*>)?\(\s*\[[^\[\]]*\]"
    r"|\[[^\[\]]*\]\s*(?:as const\s*)?\)?\.(?:includes|indexOf|some|has)\("
    r"|(?<=[\w)\]])\[[^\[\]]*\]"
)
"""Enumerations, sets, lists that something is looked for in, and indices: knowledge of what there is."""
NEAR = 120
"""Characters before a text that are looked at."""


def read_c_like(text: str) -> Reading:
    """JavaScript, TypeScript, Go, Java, Rust, C# and their kin."""
    lines, literals, comments = Lines(text), list[Literal](), list[Comment]()
    members = [match.span() for match in _MEMBERS.finditer(text)]
    begins = [begin for begin, _ in members]
    for found in _TOKEN.finditer(text):
        if found["comment"]:
            if MARK in found["comment"]:
                comments.append(_comment(text, found["comment"], found.start(), lines))
            continue
        before = text[max(0, found.start() - NEAR) : found.start()]
        member = bisect_right(begins, found.start()) - 1
        within = member >= 0 and found.start() < members[member][1]
        if within or _KNOWN.search(before) or _KNOWN_BEHIND.match(text, found.end()) or _is_key(text, found, before):
            continue
        literals += _literal(found, before, lines)
    return Reading(literals, comments)


def read_json(text: str) -> Reading:
    """JSON, with the comments that some readers allow."""
    lines, literals, comments = Lines(text), list[Literal](), list[Comment]()
    for found in _TOKEN.finditer(text):
        if found["comment"]:
            if MARK in found["comment"]:
                comments.append(_comment(text, found["comment"], found.start(), lines))
        elif not re.compile(r"\s*:").match(text, found.end()):
            literals += _literal(found, text[max(0, found.start() - NEAR) : found.start()], lines)
    return Reading(literals, comments)


def _is_key(text: str, found: re.Match[str], before: str) -> bool:
    """Whether it names a member of an object: a table of what is known of models, not the use of one."""
    return text[found.end() : found.end() + 8].lstrip().startswith(":") and not before.rstrip().endswith("?")


def _literal(found: re.Match[str], before: str, lines: Lines) -> Iterator[Literal]:
    value = found["string"][1:-1]
    if value:
        line, column = lines.place(found.start() + 1)
        key = _KEY.search(before)
        yield Literal(value, line, column, key[1] if key else "")
        yield from defaults(value, line, column)


def _comment(text: str, comment: str, offset: int, lines: Lines) -> Comment:
    line, column = lines.place(offset)
    return Comment(comment, line, column, not text[text.rfind("\n", 0, offset) + 1 : offset].strip())


_HASHED = re.compile(
    r"""(?P<comment>(?:^|(?<=\s))(?:\#|//).*|^\s*;.*)"""
    r"""|(?P<string>"(?:[^"\\]|\\.)*"|'[^']*')"""
    r"""|(?P<default>\$\{\w+:?[-=][^{}$]*\})"""
    r"""|(?:(?P<key>[A-Za-z_][\w.-]*)\s*[=:]\s*|(?P<flag>--?[\w-]*model[\w-]*)[ =])(?P<word>[^\s"'#,;)\]}\[{($]+)"""
    r"""|^\s*(?:ENV|ARG)\s+(?P<variable>\w+)\s+(?P<set>[^\s"'$]+)"""
)


_HEADING = re.compile(r"\s*\[[^=]*\]\s*(#.*)?$")
"""A table of TOML or a section of INI: it names what follows."""


def read_hashed(text: str) -> Reading:
    """Shells, environment files, TOML, INI, Dockerfiles, Terraform: # comments, and values that need no quotes."""
    literals, comments = list[Literal](), list[Comment]()
    for number, line in enumerate(text.split("\n"), 1):
        if _HEADING.match(line):
            continue
        for found in _HASHED.finditer(line):
            if found["comment"]:
                if MARK in found["comment"]:
                    alone = not line[: found.start()].strip()
                    comments.append(Comment(found["comment"], number, found.start() + 1, alone))
                continue
            literals += _hashed(line, number, found)
    return Reading(literals, comments)


def _hashed(line: str, number: int, found: re.Match[str]) -> Iterator[Literal]:
    if found["default"]:
        yield from defaults(found["default"], number, found.start() + 1)
    elif found["word"]:
        yield Literal(found["word"], number, found.start("word") + 1, found["key"] or found["flag"])
    elif found["set"]:
        yield Literal(found["set"], number, found.start("set") + 1, found["variable"])
    elif found["string"]:
        before, behind = line[: found.start()], line[found.end() :].lstrip()
        if behind.startswith(("=", ":")) or _KNOWN.search(before):
            return
        key = _KEY.search(before) or re.search(r"(--?[\w-]*model[\w-]*)[ =]$|^\s*(?:ENV|ARG)\s+(\w+)\s+$", before)
        named = next((group for group in key.groups() if group), "") if key else ""
        value = found["string"][1:-1]
        yield Literal(value, number, found.start() + 2, named)
        yield from defaults(value, number, found.start() + 2)
