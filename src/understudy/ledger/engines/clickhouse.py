"""ClickHouse, a server or within this process (chdb): reads the data files with its table functions.

Nothing is created there: each query names the files it reads. Options: `url` (http, https, or chdb://memory), `user`,
`password`, `database`. A lake in a folder must lie where the server may read files, under the same path; one in an
S3-compatible store is reached by the server itself, with the keys of the lake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from understudy.core.errors import CannotMeasure, UsageError
from understudy.ledger.choice import CLICKHOUSE
from understudy.ledger.engines.base import as_declared, ibis_schema, missing_extra, unreadable
from understudy.ledger.lake import PARTITIONS, Lake, Table

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

IN_PROCESS = "chdb"
SETTINGS: Mapping[str, Any] = {
    "join_use_nulls": 1,  # an exchange without a partner has nulls beside it, as elsewhere, and no zeros
    "aggregate_functions_null_for_empty": 1,  # a sum of nothing is null
    "use_hive_partitioning": 0,  # partition values would be guessed as dates and numbers
    "output_format_arrow_string_as_string": 0,  # text and bytes are one type there: which it is, we know
    "max_query_size": 64 * 1024 * 1024,  # a query names all its files
    "max_ast_elements": 1_000_000,
    "max_expanded_ast_elements": 1_000_000,
    "glob_expansion_max_elements": 1_000_000,
}


class ClickHouse:
    """A connection by clickhouse-connect. Raises UsageError where it is not installed or does not take the options."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        if not lake.is_local and not lake.where.startswith("s3://"):
            raise UsageError(
                f"ClickHouse reads lakes in a folder or at s3://, and this one is {lake.where}",
                remedy="use engine: duckdb or spark, or keep the lake in an S3-compatible store",
            )
        try:
            import clickhouse_connect
            import ibis.backends.clickhouse
        except ImportError as error:
            raise missing_extra(CLICKHOUSE, error) from error
        self._errors = (clickhouse_connect.driver.exceptions.ClickHouseError, OSError)
        try:
            client = clickhouse_connect.get_client(**connection(lake.choice.options), settings=dict(SETTINGS))
        except ImportError as error:
            raise missing_extra(CLICKHOUSE, error) from error
        except self._errors as error:
            failed = unreadable(lake, error)
            raise CannotMeasure(
                failed.message, remedy="check url, user and password under ledger.clickhouse"
            ) from error
        self._client = client
        self._backend = ibis.backends.clickhouse.Backend.from_connection(client)

    def bind(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        wanted = ibis_schema(table)
        kinds = self._backend.compiler.type_mapper
        structure = ", ".join(
            f"`{n}` {kinds.to_string(kind)}" for n, kind in wanted.items() if n not in PARTITIONS[table]
        )
        if not files:
            columns = ", ".join([structure, *(f"`{n}` String" for n in PARTITIONS[table])])
            return self._backend.sql(f"SELECT * FROM null('{columns}')", schema=wanted)
        columns = ", ".join(
            f"decodeURLComponent(extract(_path, '/{n}=([^/]*)/')) AS `{n}`" if n in PARTITIONS[table] else f"`{n}`"
            for n in wanted
        )
        if self._lake.is_local:
            self._all_there(files)
            source = f"file({quoted(together(self._lake.uri(table), files))}, 'Parquet', {quoted(structure)})"
        else:
            where = together(self._lake.uri(table), files)
            arguments = [s3_url(where, self._lake.options), *keys(self._lake.options), "Parquet", structure]
            source = f"s3({', '.join(map(quoted, arguments))})"
        return self._backend.sql(f"SELECT {columns} FROM {source}", schema=wanted)

    def _all_there(self, files: Sequence[str]) -> None:
        """Several files are named by one pattern, and a pattern passes over what is not there."""
        for file in files:
            if not Path(file.removeprefix("file://")).is_file():
                raise unreadable(self._lake, f"the file {file} is not there")

    def run(self, expression: ir.Table) -> pa.Table:
        try:
            # Not by Ibis, which would have text of bytes: a request need not be any.
            found = self._client.query_arrow(self._backend.compile(expression))
        except self._errors as error:
            raise unreadable(self._lake, error) from error
        return as_declared(found, expression)

    def close(self) -> None:
        self._backend.disconnect()


def connection(options: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `clickhouse_connect.get_client`. Raises UsageError for an address that is none."""
    parts = urlsplit(options.get("url", ""))
    if parts.scheme == IN_PROCESS:
        return {"interface": IN_PROCESS}
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            "the ledger's engine clickhouse has no address of a server",
            remedy="write ledger.clickhouse.url: https://HOST:8443, or chdb://memory for the engine in this process",
        )
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": parts.port or (8443 if parts.scheme == "https" else 8123),
        "username": options.get("user", "default"),
        "password": options.get("password", ""),
        "database": options.get("database", "default"),
        "query_limit": 0,
    }


def together(root: str, files: Sequence[str]) -> str:
    """One path for all files of a table: what differs stands in braces behind what they share."""
    names = [file.removeprefix("file://").removeprefix(f"{root.removeprefix('file://')}/") for file in files]
    rest = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
    return f"{root.removeprefix('file://')}/{rest}"


def s3_url(where: str, options: Mapping[str, str]) -> str:
    """The http address of what lies at s3://BUCKET/KEY."""
    bucket, _, key = where.removeprefix("s3://").partition("/")
    endpoint = options.get("AWS_ENDPOINT_URL", "").rstrip("/")
    if endpoint:
        return f"{endpoint}/{bucket}/{key}"
    return f"https://{bucket}.s3.{options.get('AWS_REGION', 'us-east-1')}.amazonaws.com/{key}"


def keys(options: Mapping[str, str]) -> list[str]:
    """Access key, secret and session token as the table function takes them; none where the server has its own."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    found = [options.get(name, "") for name in names]
    return [each for each in found if each] if found[0] else []


def quoted(text: str) -> str:
    """Text as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
