"""Found first on the path of a gateway command that shall have a defect: plants it before anything else runs."""

from __future__ import annotations

import os

if os.environ.get("CHAOS_BUG"):
    from benchmarks.chaos.sabotage import DEFECTS

    DEFECTS[os.environ["CHAOS_BUG"]]({"deadlines": {}, "limits": {}})
