"""Reads Python by its syntax tree: what is used as a value, not what is documented, annotated, compared or looked up.

A name in a docstring, a comment, a type, an enumeration, a set, a key of a table, an index or a comparison is knowledge
of a model; a name that is assigned, passed or returned is the use of one. Pure.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator

from understudy.registry.lint.reading import LONGEST, MARK, Comment, Literal, Reading

TESTS_OF_TEXT = frozenset((
    "startswith", "endswith", "replace", "removeprefix", "removesuffix", "split", "rsplit", "partition",
    "rpartition", "find", "rfind", "index", "rindex", "count", "strip", "lstrip", "rstrip", "match", "search",
    "fullmatch", "compile", "sub",
))  # fmt: skip
"""Functions whose arguments are looked for in names, not used as one."""
LOADERS = frozenset(
    ["from_pretrained", "snapshot_download", "hf_hub_download", "pipeline", "SentenceTransformer", "CrossEncoder"]
)
"""Functions that load weights by the name of a repository."""
NAMES = frozenset(("model", "repo_id", "pretrained_model_name_or_path", "model_name_or_path"))


def read_python(text: str) -> Reading:
    """Raises SyntaxError or ValueError where this is no Python of the running version."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # its own lines, also those within the text of a notebook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape in somebody's string is not for us to say
        tree = ast.parse(text)
    lines = text.split("\n")
    walk = _Walk()
    walk.children(tree, "")
    found = [_placed(literal, lines) for literal in walk.found if len(literal.value) <= LONGEST]
    return Reading(found, list(_comments(text)) if MARK in text else [])


def _placed(literal: Literal, lines: list[str]) -> Literal:
    """The syntax tree counts bytes from 0 and begins at the quote; people count characters."""
    line = lines[literal.line - 1]
    column = len(line.encode()[: literal.column].decode(errors="replace"))
    at = line.find(literal.value, column)
    return literal._replace(column=(at if at >= 0 else column) + 1)


def _comments(text: str) -> Iterator[Comment]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except tokenize.TokenError as error:
        raise ValueError(str(error)) from error
    for token in tokens:
        if token.type == tokenize.COMMENT and MARK in token.string:
            line, column = token.start
            yield Comment(token.string, line, column + 1, not token.line[:column].strip())


class _Walk:
    """Goes down a tree with the name of what a value is given to, and keeps the values in `found`."""

    def __init__(self) -> None:
        self.found: list[Literal] = []

    def down(self, node: ast.AST, key: str) -> None:
        match node:
            case ast.Constant():
                self.constant(node, key)
            case ast.Name() | ast.expr_context():
                return
            case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.Compare() | ast.MatchValue() | ast.Set():
                self.inner(node, key)
            case ast.Call(func=ast.Name(id="set" | "frozenset"), args=[ast.Tuple() | ast.List() as members]):
                self.inner(members, key)
            case ast.ClassDef(bases=bases) if any(_last(base).endswith("Enum") for base in bases):
                for statement in node.body:
                    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                        self.down(statement, "")
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self.function(node)
            case ast.AnnAssign(target=target, value=value):
                if value is not None and _last(node.annotation) != "TypeAlias":
                    self.down(value, _last(target))
            case ast.Assign(targets=targets, value=value):
                self.down(value, " ".join(_last(target) for target in targets))
            case ast.Subscript(value=value):
                if not _last(value).endswith("Literal"):
                    self.inner(node, key)
            case ast.Dict(keys=keys, values=values):
                for each, value in zip(keys, values, strict=True):
                    named = each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else key
                    if not (isinstance(value, ast.Constant) and value.value == key):  # {NAME: {"name": NAME, ...}}
                        self.down(value, named)
            case ast.Call():
                self.call(node)
            case _:
                self.children(node, key)

    def constant(self, node: ast.Constant, key: str, *, weights: bool = False) -> None:
        if isinstance(node.value, str) and node.value:
            self.found.append(Literal(node.value, node.lineno, node.col_offset, key, weights))

    def children(self, node: ast.AST, key: str) -> None:
        for child in ast.iter_child_nodes(node):
            self.down(child, key)

    def inner(self, node: ast.AST, key: str) -> None:
        """Calls within a comparison, a set or a formatted text use values; its own members do not."""
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.Constant, ast.Tuple, ast.List, ast.Set)):
                self.down(child, key)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        plain = [*arguments.posonlyargs, *arguments.args]
        given = plain[len(plain) - len(arguments.defaults) :]
        pairs = [*zip(given, arguments.defaults, strict=True)]
        pairs += [(arg, value) for arg, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value]
        for argument, value in pairs:
            self.down(value, argument.arg)
        if isinstance(node, ast.Lambda):
            self.down(node.body, "")
            return
        for each in (*node.decorator_list, *node.body):
            self.down(each, "")

    def call(self, node: ast.Call) -> None:
        name = _last(node.func)
        self.down(node.func, "")
        if name in TESTS_OF_TEXT:
            return
        loads = name in LOADERS and not any(each.arg in ("revision", None) for each in node.keywords)
        key = name
        for number, argument in enumerate(node.args):
            if isinstance(argument, ast.Constant):
                self.constant(argument, key, weights=loads and number == (1 if name == "pipeline" else 0))
                if number == 0 and isinstance(argument.value, str):
                    key = f"{name} {argument.value}"  # os.environ.get("LLM_MODEL", "gpt-4o")
            else:
                self.down(argument, key)
        for keyword in node.keywords:
            if isinstance(keyword.value, ast.Constant):
                self.constant(keyword.value, keyword.arg or name, weights=loads and keyword.arg in NAMES)
            else:
                self.down(keyword.value, keyword.arg or name)


def _last(node: ast.AST) -> str:
    """The last name of a dotted one, or the text of a subscript with one."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return ""
