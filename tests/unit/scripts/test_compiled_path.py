"""What may be compiled: mypyc drops, refuses or mistakes some of what Python allows, and says so only when it runs."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src"


def _listed() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, str] = module.COMPILED
    return found


HARMLESS = {"len", "find", "rindex"}
COMPILED = {f"understudy.{folder}.{name}" for folder, names in _listed().items() for name in names.split()}


def _path(module: str) -> Path:
    return SOURCE / f"{module.replace('.', '/')}.py"


def keywords(source: str) -> Iterator[str]:
    """Classes that tell their metaclass something by keywords: compiled, they would lose it without a word."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.keywords:
            yield node.name


def heirs(source: str) -> Iterator[str]:
    """Classes of a module that is not compiled which inherit from one of a module that is: they cannot be made."""
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in COMPILED
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in names for b in node.bases):
            yield node.name


def bounds(source: str) -> Iterator[str]:
    """Slices whose bounds call something: compiled, what is called may be called twice."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Slice):
            for bound in ast.walk(node):
                if isinstance(bound, ast.Call) and ast.unparse(bound.func).rpartition(".")[2] not in HARMLESS:
                    yield ast.unparse(bound)


def narrowed(source: str) -> Iterator[str]:
    """Attributes that were None further up in a function and are read again, though a call may have set them between:
    compiled, they are taken for None still, and anything else raises TypeError.
    """
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        said = [node for node in ast.walk(function) if isinstance(node, ast.Attribute)]
        stored = {ast.unparse(node) for node in said if isinstance(node.ctx, ast.Store)}
        for node in ast.walk(function):
            if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue):
                for name in set(_none_where_false(node.test)) - stored:
                    yield from (
                        f"{function.name}: {name}"
                        for later in said
                        if ast.unparse(later) == name and later.lineno > (node.end_lineno or 0)
                    )


def _none_where_false(test: ast.expr) -> Iterator[str]:
    match test:
        case ast.BoolOp(op=ast.Or(), values=values):
            for value in values:
                yield from _none_where_false(value)
        case ast.Compare(left=ast.Attribute() as left, ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            yield ast.unparse(left)


@pytest.mark.parametrize("module", sorted(COMPILED))
def test_no_compiled_module_has_what_changes_its_meaning(module: str) -> None:
    source = _path(module).read_text()
    assert [*keywords(source), *bounds(source), *narrowed(source)] == []


def test_no_class_inherits_from_a_compiled_one() -> None:
    others = [p for p in SOURCE.rglob("*.py") if ".".join(p.relative_to(SOURCE).with_suffix("").parts) not in COMPILED]
    assert len(others) > 100
    assert {str(path): found for path in others if (found := list(heirs(path.read_text())))} == {}


def test_both_are_seen_where_they_are() -> None:
    assert list(keywords("class A(Struct, frozen=True): pass\nclass B(Struct): pass")) == ["A"]
    assert list(bounds("view = view[os.write(fd, view) :]\nraw = raw[: raw.find(b'x')]")) == ["os.write(fd, view)"]
    source = "def f(self):\n if self.a is not None or self.b:\n  return\n self.g()\n self.h(self.a is None)"
    assert list(narrowed(source)) == ["f: self.a"]
    source = "from understudy.upstream.wheel import Timed, Wheel\nclass A(Timed): pass\nclass B(list): pass"
    assert list(heirs(source)) == ["A"]
