"""Secrets that can be recognised wherever they turn up, and a search for them in everything a project writes."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet
import re2

from understudy.ledger.reading import BootReader, boots

CUSTOMER = "CUST-[0-9]{8}"
"""A pattern of the project's own."""


def _with_check(digits: str) -> str:
    """The digits with the one behind them that makes them a card number (ISO/IEC 7812-1, Annex B)."""
    for check in "0123456789":
        total = 0
        for place, digit in enumerate(reversed(digits + check)):
            value = int(digit) * (2 if place % 2 else 1)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return digits + check
    raise AssertionError(digits)


def _iban(account: str) -> str:
    """A German account number with its two check digits (ISO 13616)."""
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


class Planted:
    """The secrets of one place, each with a core that is nobody else's."""

    def __init__(self, place: int) -> None:
        n = f"{place:04d}"
        word = "".join(chr(ord("a") + int(d)) for d in n)
        card = _with_check(f"41111111{place:07d}")
        claims = base64.urlsafe_b64encode(json.dumps({"sub": f"person-{word}-{n}"}).encode()).decode().rstrip("=")
        self.email = f"jo.{word}q{n}@mail-{word}z{n}.example.org"
        self.forms = {
            "email": self.email,
            "phone": f"+49 30 7{place:07d}",
            "card": " ".join((card[:4], card[4:8], card[8:12], card[12:])),
            "account": _iban(f"37040044{place:010d}"),
            "anthropic key": f"sk-ant-api03-{word}{n}AbCdEfGhIjKlMnOpQrStUv",
            "openai key": f"sk-proj-{n}{word}AbCdEfGhIjKlMnOpQrStUv",
            "google key": f"AIzaSy{word}{n}AbCdEfGhIjKlMnOpQrStUvWxYz0",
            "cloud key": f"AKIA{n}{word.upper()}IOSFODNN"[:20].ljust(20, "X"),
            "web token": f"eyJhbGciOiJIUzI1NiJ9.{claims}.sIg{word}{n}NaTuRe",
            "address": f"10.{place // 200 + 1}.{place % 200 + 1}.77",
            "password": f"password=pw{word}{n}x",
            "own": f"CUST-{place:08d}",
        }

    @property
    def text(self) -> str:
        return "Dear Jo, " + ", or ".join(self.forms.values()) + ", thank you."

    def needles(self) -> dict[str, list[str]]:
        """What may not be found of each form: the whole, without its spaces, and parts that are enough to know it."""
        found = {name: [form, form.replace(" ", "")] for name, form in self.forms.items()}
        local, domain = self.email.split("@")
        found["email"] += [local, domain, self.email.replace("@", "%40")]
        found["password"] += [self.forms["password"].removeprefix("password=")]
        found["web token"] += self.forms["web token"].split(".")[1:]
        return {name: sorted(set(each)) for name, each in found.items()}


def spellings(needle: str) -> Iterator[bytes]:
    """A needle as files may hold it: plain, escaped, in UTF-16, percent-encoded, and in base64 wherever it begins."""
    yield needle.encode()
    yield json.dumps(needle)[1:-1].encode()
    yield needle.encode("utf-16-le")
    yield needle.encode("utf-16-be")
    yield quote(needle, safe="").encode()
    yield needle.encode().hex().encode()
    for spelt in (needle.encode(), needle.encode("utf-16-le")):
        for shift in range(3):
            # The characters at both ends depend on what stands beside the needle.
            packed = base64.b64encode(b"\0" * shift + spelt).decode().rstrip("=")
            core = packed[(shift * 8 + 5) // 6 : len(packed) - (1 if (shift + len(spelt)) % 3 else 0)]
            if len(core) >= 6:
                yield core.encode()
                yield core.replace("+", "-").replace("/", "_").encode()


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder as it is, and what is packed in it: records, columns, compressed text."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield path, data
        if path.suffix == ".parquet":
            yield path, _spelt(pyarrow.parquet.read_table(path, partitioning=None).to_pylist())
        elif path.suffix == ".gz":
            yield path, gzip.decompress(data)
        elif path.suffix == ".db":
            with sqlite3.connect(path) as opened:
                yield path, "\n".join(opened.iterdump()).encode()
    for segments in {path.parent for path in folder.rglob("*.seg")}:
        for boot in boots(segments):
            for row in BootReader(segments, boot).read().rows:
                yield segments, _spelt(row.record)


def _spelt(value: Any) -> bytes:
    return repr(value).encode("utf-8", "replace")


def hits(folder: Path, planted: Iterable[tuple[str, Planted]]) -> list[str]:
    """ "place form in file" for each secret of which something is left anywhere."""
    wanted: dict[bytes, str] = {}
    for place, secrets in planted:
        for form, needles in secrets.needles().items():
            for needle in needles:
                for spelling in spellings(needle):
                    wanted[spelling] = f"{place}: {form}"
    options = re2.Options()
    options.max_mem = 1 << 30
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    search = re2.compile(b"|".join(re2.escape(each) for each in wanted), options)  # one pass over everything
    found: set[str] = set()
    for path, data in contents(folder):
        for match in search.finditer(data):
            found.add(f"{wanted[match.group()]} in {path.relative_to(folder)}")
    return sorted(found)
