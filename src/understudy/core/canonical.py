"""One byte form for a value, so that equal values have equal hashes on every machine and version.

Canonical JSON here: keys sorted, no spaces, UTF-8, no NaN or infinity, floats as Python's shortest form.
"""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> bytes:
    """The canonical bytes of a JSON value. Raises ValueError for NaN, infinity and lone surrogates."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """SHA-256 of the canonical bytes, 64 hexadecimal characters."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
