"""Which core is whose: the proxy has one to itself, provider and load share the other."""

import os

_cores = sorted(os.sched_getaffinity(0))
PROXY_CORE = _cores[0]
LOAD_CORE = _cores[-1]
