"""Encrypts what people and models wrote before it is appended, and opens it again for whoever has the key.

AES-256-GCM with a nonce of its own for each field, bound to exchange and field, so that a field moved elsewhere does
not open. Keys come from the environment variable UNDERSTUDY_LEDGER_KEY: 32 bytes in base64, several with commas in
between; the first seals, all open, so a key can be changed without losing what an older one sealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from understudy.core.errors import DataCorrupt, UsageError
from understudy.core.records import Exchange

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE = "UNDERSTUDY_LEDGER_KEY"
KEY_BYTES = 32
_NONCE = 12
_KEY_ID = 4
MARK = "sealed1:"
_MARK_BYTES = MARK.encode()


class Seal:
    """keys: of 32 bytes each; the first seals. Raises UsageError for none or another length."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise UsageError(
                f"{VARIABLE} holds keys of {sorted({len(key) for key in keys})} bytes, {KEY_BYTES} are needed",
                remedy="make one with: python3 -c 'import os,base64;print(base64.b64encode(os.urandom(32)).decode())'",
            )
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise UsageError(
                f"{VARIABLE} is set, but the package `cryptography` is not installed",
                remedy="install understudy[all], or unset the variable to keep content unencrypted",
            ) from error
        self._ciphers: dict[bytes, AESGCM] = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0])

    def seal(self, exchange: Exchange) -> Exchange:
        """The exchange with request, answer and tool calls encrypted; empty fields stay empty."""
        return msgspec.structs.replace(
            exchange,
            request=self._close(exchange, "request", exchange.request),
            answer=self._close(exchange, "answer", exchange.answer.encode()).decode(),
            tool_calls=self._close(exchange, "tool_calls", exchange.tool_calls.encode()).decode(),
        )

    def open(self, exchange: str, field: str, sealed: bytes) -> bytes:
        """What was sealed in a field of an exchange. Raises DataCorrupt where no key opens it."""
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(sealed[len(_MARK_BYTES) :], validate=True)
            cipher = self._ciphers[data[:_KEY_ID]]
            nonce = data[_KEY_ID : _KEY_ID + _NONCE]
            return cipher.decrypt(nonce, data[_KEY_ID + _NONCE :], _bound(exchange, field))
        except (binascii.Error, KeyError, InvalidTag, ValueError) as error:
            raise DataCorrupt(
                f"the {field} of exchange {exchange} does not open with the keys in {VARIABLE}",
                remedy="add the key it was sealed with, behind the present one and a comma",
            ) from error

    def _close(self, exchange: Exchange, field: str, data: bytes) -> bytes:
        if not data:
            return b""
        nonce = os.urandom(_NONCE)
        closed = self._ciphers[self._first].encrypt(nonce, data, _bound(exchange.exchange, field))
        return _MARK_BYTES + base64.b64encode(self._first + nonce + closed)


def configured(environment: Mapping[str, str] = os.environ) -> Seal | None:
    """The seal that the environment asks for; None where content is kept as it is. Raises UsageError."""
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        return Seal([base64.b64decode(part.strip(), validate=True) for part in text.split(",")])
    except binascii.Error as error:
        raise UsageError(f"{VARIABLE} is no base64", remedy="write each key as base64 of 32 random bytes") from error


def opened(seal: Seal | None, exchange: str, field: str, value: bytes) -> bytes:
    """A field as it was written, whether or not it is sealed. Raises UsageError where the key is not there."""
    if not value.startswith(_MARK_BYTES):
        return value
    if seal is None:
        raise UsageError(
            f"the content of exchange {exchange} is encrypted",
            remedy=f"set {VARIABLE} to the key the gateways use",
        )
    return seal.open(exchange, field, value)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"understudy-ledger-key" + key).digest()[:_KEY_ID]


def _bound(exchange: str, field: str) -> bytes:
    return f"{exchange}\x00{field}".encode()
