"""What an exchange takes on disk: in the lake, in a PostgreSQL table and in a ClickHouse table, with the same rows.

    python -m benchmarks.ledger.sizes [--exchanges 1000000] [--markdown benchmarks/ledger/RESULTS.md]

PostgreSQL is the one that is installed, as a cluster that lives as long as the measurement; without one that line is
left out, and said. ClickHouse is chdb, without which its lines are left out. No table has an index beside what its
engine cannot do without (ClickHouse's sort key): what is compared is the rows.
"""

from __future__ import annotations

import argparse
import os
import platform
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake, Table, schema

KINDS = {
    "string": ("text", "String"),
    "double": ("double precision", "Float64"),
    "int64": ("bigint", "Int64"),
    "bool": ("boolean", "Bool"),
    "binary": ("bytea", "String"),
    "list<item: string>": ("text[]", "Array(String)"),
}

VOCABULARY, WORDS_EACH = 3_000, 40


def talk(found: Iterator[Exchange], rng: random.Random) -> Iterator[Exchange]:
    """The exchanges with content that compresses about as language does: common words are common, no text repeats."""
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(rng.choices(letters, k=rng.randrange(2, 10))) for _ in range(VOCABULARY)]
    weights = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
    for each in found:
        said = rng.choices(words, cum_weights=weights, k=WORDS_EACH)
        asked, answered = " ".join(said[: WORDS_EACH // 2]), " ".join(said[WORDS_EACH // 2 :])
        yield msgspec.structs.replace(each, request=asked.encode(), answer=answered)


def of_lake(lake: Lake) -> dict[str, int]:
    """Bytes of the data files of the newest version, as they were committed and compacted."""
    committed = _size(lake.files(Table.EXCHANGES))
    lake.compact(Table.EXCHANGES)
    return {"lake": committed, "lake, compacted": _size(lake.files(Table.EXCHANGES))}


def of_postgresql(lake: Lake, folder: Path) -> dict[str, int]:
    """Bytes of the table and what PostgreSQL keeps out of line; empty where there is no PostgreSQL."""
    bin_folder = postgresql()
    if bin_folder is None:
        print("no PostgreSQL is installed here (Debian: apt-get install postgresql): its line is left out")
        return {}
    columns = ", ".join(f'"{field.name}" {KINDS[str(field.type)][0]}' for field in schema(Table.EXCHANGES))
    with cluster(bin_folder, folder) as psql:
        psql(f"CREATE TABLE exchanges ({columns})")
        rows = folder / "rows.csv"
        selected = ", ".join(_as_csv(field.name, str(field.type)) for field in schema(Table.EXCHANGES))
        files = lake.files(Table.EXCHANGES)
        duckdb.sql(
            f"COPY (SELECT {selected} FROM read_parquet({files!r}, hive_partitioning=true, hive_types_autocast=false))"
            f" TO '{rows}' (FORMAT csv, HEADER false)"
        )
        with rows.open("rb") as file:
            psql("COPY exchanges FROM STDIN (FORMAT csv)", file)
        psql("VACUUM exchanges")
        count, size = psql("SELECT count(*), pg_table_size('exchanges') FROM exchanges").split("|")
        check_same(int(count), lake)
        return {"PostgreSQL": int(size)}


def of_clickhouse(lake: Lake, folder: Path) -> dict[str, int]:
    """Bytes of the merged parts, with ClickHouse's own compression and with the lake's; empty without chdb."""
    try:
        from chdb.session import Session
    except ImportError:
        print("chdb is not installed here (make bench-ledger installs it): ClickHouse's lines are left out")
        return {}
    fields = {field.name: KINDS[str(field.type)][1] for field in schema(Table.EXCHANGES)}
    nullable = {name for name in fields if name.endswith(("_s", "_tokens", "_usd")) or name.startswith("cost_")}
    found = {}
    session = Session(str(folder / "clickhouse"))
    try:
        for line, codec in (("ClickHouse", ""), ("ClickHouse, zstd", " CODEC(ZSTD(1))")):
            table = f"t{len(found)}"
            columns = ", ".join(
                f"`{name}` {f'Nullable({kind})' if name in nullable else kind}{codec}" for name, kind in fields.items()
            )
            session.query(f"CREATE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY (workload, started_at)")
            root = lake.uri(Table.EXCHANGES)
            names = ",".join(file.removeprefix(f"{root}/") for file in lake.files(Table.EXCHANGES))
            taken = ", ".join(
                f"extract(_path, '/{name}=([^/]*)/')" if name in ("day", "workload") else f"`{name}`" for name in fields
            )
            structure = ", ".join(
                f"`{name}` {kind if kind.startswith('Array') else f'Nullable({kind})'}"
                for name, kind in fields.items()
                if name not in ("day", "workload")
            )
            session.query(
                f"INSERT INTO {table} SELECT {taken} FROM file('{root}/{{{names}}}', 'Parquet', "
                f"'{structure}') SETTINGS use_hive_partitioning = 0"
            )
            session.query(f"OPTIMIZE TABLE {table} FINAL")
            asked = f"SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND table = '{table}'"
            count, size = str(session.query(asked, "TSV")).split()
            check_same(int(count), lake)
            found[line] = int(size)
    finally:
        session.close()
    return found


def beside(lake: Lake, folder: Path, count: int) -> dict[str, float]:
    """Bytes an exchange, by store."""
    found = of_lake(lake) | of_postgresql(lake, folder) | of_clickhouse(lake, folder)
    return {name: round(size / count, 1) for name, size in found.items()}


def postgresql() -> Path | None:
    """The folder of PostgreSQL's programs."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"))  # as Debian has it
    found = str(installed[-1]) if installed else shutil.which("psql")
    programs = Path(found).resolve().parent if found else None
    return programs if programs and (programs / "initdb").exists() else None


@contextmanager
def cluster(programs: Path, folder: Path) -> Iterator[Any]:
    """A cluster of its own, reached by a socket in its folder; gives a function that runs SQL. PostgreSQL refuses to be
    root, so root becomes the user `postgres` for it.
    """
    data = folder / "postgresql"
    data.mkdir(mode=0o700)
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        user = {"user": entry.pw_uid, "group": entry.pw_gid}
        os.chown(data, entry.pw_uid, entry.pw_gid)
        for parent in (folder, *folder.parents):
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o711)
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": data, **user}
    subprocess.run([programs / "initdb", "-D", data / "d", "-U", "bench", "-A", "trust", "--no-sync"], **quiet)
    settings = f"-k {data} -c listen_addresses='' -c fsync=off -c max_wal_size=4GB"
    control = [programs / "pg_ctl", "-D", data / "d", "-w", "-l", data / "log"]
    subprocess.run([*control, "-o", settings, "start"], **quiet)

    def psql(statement: str, stdin: Any = None) -> str:
        command = [programs / "psql", "-h", data, "-U", "bench", "-d", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*command, "-c", statement], stdin=stdin, stdout=subprocess.PIPE, text=True, check=True, cwd=data
        )
        return done.stdout.strip()

    try:
        yield psql
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


def _as_csv(name: str, kind: str) -> str:
    if kind == "binary":
        return f"'\\x' || hex(\"{name}\")"
    if kind.startswith("list"):
        return f"'{{' || array_to_string(list_transform(\"{name}\", lambda x: '\"' || x || '\"'), ',') || '}}'"
    return f'"{name}"'


def _size(files: list[str]) -> int:
    return sum(Path(file).stat().st_size for file in files)


def check_same(count: int, lake: Lake) -> None:
    ((expected,),) = duckdb.sql(f"SELECT count(*) FROM read_parquet({lake.files(Table.EXCHANGES)!r})").fetchall()
    if count != expected:
        raise SystemExit(f"{count} rows were loaded of {expected}: the comparison would be of different rows")


def page(found: dict[str, float], count: int, versions: str) -> str:
    """The results as a page."""
    least = found["lake"]
    lines = [
        "# The ledger: what was measured",
        "",
        "## Bytes an exchange on disk",
        "",
        f"{count:,} exchanges of a week: 50,000 users, {len(schema(Table.EXCHANGES))} columns, {WORDS_EACH} words of",
        f"content drawn by Zipf's law from {VOCABULARY:,}. The same rows in each; no index but ClickHouse's sort key.",
        "ClickHouse chooses its codec by the size of a part (in this version LZ4 for one of 38 MB, zstd level 3 for",
        "one of 71 MB); its second line has zstd level 1 throughout, as the lake.",
        "",
        "| store | bytes an exchange | times the lake |",
        "|---|---|---|",
        *(f"| {name} | {size:g} | {size / least:.2f} |" for name, size in found.items()),
        "",
        f"Measured with `python -m benchmarks.ledger.sizes --exchanges {count}` ({versions}).",
        "",
    ]
    return "\n".join(lines)


def versions() -> str:
    import deltalake

    said = [f"Python {platform.python_version()}", f"deltalake {deltalake.__version__}"]
    programs = postgresql()
    if programs is not None:
        done = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
        said.append(f"PostgreSQL {done.stdout.split()[2]}")
    try:
        import chdb

        said.append(f"ClickHouse {chdb.engine_version} by chdb {'.'.join(map(str, chdb.chdb_version))}")
    except (ImportError, AttributeError):
        pass
    return ", ".join(map(str, said))


def measured(count: int) -> dict[str, float]:
    """Bytes an exchange, by store, of so many exchanges."""
    from benchmarks.ledger.run import exchanges, fill

    with tempfile.TemporaryDirectory(prefix="understudy-sizes-") as name:
        folder = Path(name)
        rng = random.Random(2)
        fill(folder / "segments", talk(exchanges(count, rng), rng))
        lake = Lake(folder / "lake")
        with Committer(folder / "segments", lake) as committer:
            committer.run_once()
        return beside(lake, folder, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    found = measured(options.exchanges)
    text = page(found, options.exchanges, versions())
    sys.stdout.write(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
