"""Makes `benchmarks` importable: the matrix is one thing, run small here and whole by `make chaos`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
