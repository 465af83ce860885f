"""One gateway worker with short deadlines: minutes of waiting become fractions of a second. Nothing else differs.

Takes the worker's own arguments, and from the environment `CHAOS_LIMITS`, JSON with `deadlines` and `limits`, and
`CHAOS_BUG`, the name of a defect to plant, "" for none.
"""

from __future__ import annotations

import json
import os
import sys

from benchmarks.chaos.sabotage import DEFECTS

from understudy.gateway import worker
from understudy.gateway.core import Gateway
from understudy.gateway.limits import Limits
from understudy.upstream.deadlines import Deadlines


class ShortWorker(worker.Worker):
    def __init__(self, settings: worker.Settings) -> None:
        super().__init__(settings)
        given = json.loads(os.environ["CHAOS_LIMITS"])
        if os.environ["CHAOS_BUG"]:
            DEFECTS[os.environ["CHAOS_BUG"]](given)
        former = self.gateway
        self.gateway = Gateway(
            former.append,
            redact=former.redact,
            pins=former.pins,
            limits=Limits(**given["limits"]),
            deadlines=Deadlines(**given["deadlines"]),
        )


if __name__ == "__main__":
    worker.Worker = ShortWorker  # type: ignore[misc]
    sys.exit(worker.main())
