"""One gateway worker with short deadlines: minutes of waiting become fractions of a second. Nothing else differs.

Takes the worker's own arguments, and `CHAOS_LIMITS` from the environment: JSON with `deadlines` and `limits`.
"""

from __future__ import annotations

import json
import os
import sys

from understudy.gateway import worker
from understudy.gateway.core import Gateway
from understudy.gateway.limits import Limits
from understudy.upstream.deadlines import Deadlines


class ShortWorker(worker.Worker):
    def __init__(self, settings: worker.Settings) -> None:
        super().__init__(settings)
        given = json.loads(os.environ["CHAOS_LIMITS"])
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
