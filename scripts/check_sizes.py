"""House limits: no module above 600 lines, no function above 80, every module says what it is in its first line."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MODULE_LINES = 600
FUNCTION_LINES = 80


def problems(root: Path) -> list[str]:
    found: list[str] = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text()
        tree = ast.parse(text)
        lines = text.count("\n")
        if lines > MODULE_LINES:
            found.append(f"{path}: {lines} lines, the limit is {MODULE_LINES}")
        if text.strip() and not ast.get_docstring(tree):
            found.append(f"{path}: no docstring saying what the module decides or does")
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > FUNCTION_LINES:
                    found.append(f"{path}:{node.lineno}: {node.name} has {size} lines, the limit is {FUNCTION_LINES}")
    return found


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("src"))
    print("\n".join(found))
    sys.exit(1 if found else 0)
