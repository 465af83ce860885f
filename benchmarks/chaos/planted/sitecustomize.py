"""Found first on the path of a gateway command that shall have a defect: plants it before anything else runs."""

from __future__ import annotations

import os
import traceback

if os.environ.get("CHAOS_BUG"):
    try:
        from benchmarks.chaos.sabotage import DEFECTS

        DEFECTS[os.environ["CHAOS_BUG"]]({"deadlines": {}, "limits": {}})
    except BaseException:
        # Python forgives what goes wrong here, and a gateway without its defect would be taken for one with it.
        traceback.print_exc()
        os._exit(97)
