"""The plain install has no control store and no lake: commands that need them say which install has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFIG = """
providers: {p: {wire: openai, base_url: "http://127.0.0.1:9/v1"}}
workloads: {w: {incumbent: a, variants: {a: {provider: p, model: m}}}}
"""


def test_a_command_that_needs_more_than_the_plain_install_says_so(tmp_path: Path) -> None:
    """No module name in a traceback: what is missing, and the pip line that brings it."""
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    program = (
        "import sys; sys.modules['sqlalchemy'] = None; sys.argv = ['understudy', 'upgrade', 'status']\n"
        "from understudy.cli.main import run; run()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "this command needs sqlalchemy" in done.stderr
    assert "pip install 'understudy[all]'" in done.stderr


def test_the_way_back_needs_no_more_than_the_plain_install(tmp_path: Path) -> None:
    """`rollback --local` works where only a gateway is installed."""
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    left_out = ("sqlalchemy", "deltalake", "duckdb", "ibis", "pyarrow", "httpx2", "numpy", "genai_prices")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({left_out!r}))\n"
        "sys.argv = ['understudy', 'rollback', 'w', '--local']\n"
        "from understudy.cli.main import run; run()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / ".understudy" / "routing" / "rollback.w").exists()


def test_pins_are_looked_after_with_the_plain_install_alone(tmp_path: Path) -> None:
    """The linter, the list of models and the plan need nothing that only the whole install has."""
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text('MODEL = "gpt-4o"\n')
    (tmp_path / ".understudy").mkdir()
    (tmp_path / ".understudy" / "control.db").write_bytes(b"")
    program = (
        "import sys\n"
        "for name in ('sqlalchemy', 'duckdb', 'ibis', 'deltalake', 'pyarrow', 'genai_prices', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "from typer.testing import CliRunner\n"
        "from understudy.cli.main import app\n"
        "for words in (['lint'], ['models'], ['plan', 'w', '--deadline', '2030-01-01']):\n"
        "    done = CliRunner().invoke(app, words)\n"
        "    print(words[0], done.exit_code, done.exception)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["lint 1 1", "models 1 1", "plan 0 None"], done.stdout + done.stderr
