"""Compiles the path of a request when a wheel is made: the same source at four fifths of the processor time.

mypyc turns the modules named below into one extension; their `.py` files stay beside it for readers and tracebacks.
Without a C compiler, or with UNDERSTUDY_COMPILE=0, the wheel is a plain one and does the same more slowly; with
UNDERSTUDY_COMPILE=1 whatever keeps it from being compiled is an error. An editable install is never compiled: what is
edited is what runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "UNDERSTUDY_COMPILE"
COMPILED = {
    "assign": "bucket choose source",
    "gateway": "ask breaker calling copying core exchange failing http identity limits meter mirror passing pins record"
    " relay router session snapshot",
    "ledger": "frames segments tally",
    "upstream": "ageing chunks client connection deadlines failure origin outbox pool wheel",
    "wires": "body openai_answer openai_chat",
}
"""What a request runs through, by folder. Not in it: modules that say by keywords of a class what msgspec makes of it,
which mypyc would drop, and classes that others inherit from, which only compiled ones could."""
COMPILER = """
import sys
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

work, *modules = sys.argv[1:]
quiet = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={work}/cache"]
made = mypycify([*quiet, *modules], opt_level="2", debug_level="0", target_dir=work, group_name="understudy")
build = build_ext(Distribution({"name": "understudy", "ext_modules": made}))
build.build_lib, build.build_temp = f"{work}/lib", f"{work}/temp"
build.ensure_finalized()
build.run()
"""


class CompileRequestPath(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the extension to a wheel that is not editable."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """mypyc, what it compiles with, and the libraries whose types it looks at."""
        if os.environ.get(SWITCH) == "0":
            return []
        return ["httptools>=0.9,<0.10", "msgspec>=0.22,<0.23", "mypy>=2.4,<2.5", "setuptools>=80", "uvloop>=0.23,<0.24"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get(SWITCH) == "0":
            return
        self._work = tempfile.TemporaryDirectory(prefix="understudy-compile-")
        self.app.display_info("compiling the path of a request; this takes half a minute")
        failure = _compile(Path(self.root) / "src", Path(self._work.name))
        if failure and os.environ.get(SWITCH) == "1":
            raise RuntimeError(f"{SWITCH}=1, and the path of a request could not be compiled: {failure}")
        if failure:
            self.app.display_warning(f"not compiled, so the gateway is slower: {failure}")
            return
        library = Path(self._work.name) / "lib"
        build_data["force_include"] |= {str(p): str(p.relative_to(library)) for p in library.rglob("*.so")}
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_work"):
            self._work.cleanup()


def _compile(source: Path, work: Path) -> str:
    """Put the extension below `work`/lib; returns what kept it from that, in a line, "" where nothing did."""
    modules = [f"understudy/{folder}/{name}.py" for folder, names in COMPILED.items() for name in names.split()]
    missing = [module for module in modules if not (source / module).is_file()]
    if missing:
        return f"there is no {', '.join(missing)}"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the headers of this Python are not installed (Python.h)"
    command = [sys.executable, "-c", COMPILER, str(work), *modules]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return "" if done.returncode == 0 else said[-1] if said else f"the compiler ended with {done.returncode}"
