"""Spark, on a cluster or within this process: reads the data files as Parquet.

Options: `master` (local[*] by default) and any setting of Spark by its own name (`spark.executor.memory`). A lake in an
object store is read by the connector that the cluster brings (hadoop-aws for s3a://); none is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from understudy.core.errors import CannotMeasure
from understudy.ledger.choice import SPARK
from understudy.ledger.engines.base import as_declared, ibis_schema, missing_extra, unreadable
from understudy.ledger.lake import Lake, Table

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

LOCAL = {
    "spark.ui.showConsoleProgress": "false",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",  # 200 is for clusters
    "spark.sql.catalogImplementation": "in-memory",
}
ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",  # a workload named 007 is text
    "spark.sql.files.ignoreMissingFiles": "false",
}


class Spark:
    """A session. Raises UsageError where pyspark is not installed, CannotMeasure where no session comes up."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        try:
            import ibis.backends.pyspark
            import pyspark.errors
            from py4j.protocol import Py4JError
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise missing_extra(SPARK, error) from error
        self._errors = (pyspark.errors.PySparkException, Py4JError, OSError)
        options = dict(lake.choice.options)
        master = options.pop("master", "local[*]")
        builder = SparkSession.builder.appName("understudy ledger").master(master)
        settings = {**(LOCAL if master.startswith("local") else {}), **options, **ALWAYS}
        for key, value in settings.items():
            builder = builder.config(key, value)
        try:
            # One engine a process, and names of its own in it for each connection.
            self._session = builder.getOrCreate().newSession()
            self._session.sparkContext.setLogLevel("ERROR")
        except self._errors as error:
            failed = unreadable(lake, error)
            raise CannotMeasure(
                failed.message, remedy="Spark needs Java 17 or newer (java on the PATH, or JAVA_HOME), and its master"
            ) from error
        self._backend = ibis.backends.pyspark.Backend.from_connection(self._session)

    def bind(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        from ibis.backends.pyspark.datatypes import PySparkSchema

        structure = PySparkSchema.from_ibis(ibis_schema(table))
        try:
            if files:
                reader = self._session.read.option("basePath", for_hadoop(self._lake.uri(table))).schema(structure)
                frame = reader.parquet(*map(for_hadoop, files))
            else:
                frame = self._session.createDataFrame([], structure)
            frame.createOrReplaceTempView(name)
        except self._errors as error:
            raise unreadable(self._lake, error) from error
        return self._backend.table(name)

    def run(self, expression: ir.Table) -> pa.Table:
        try:
            found = self._session.sql(self._backend.compile(expression)).toArrow()
        except self._errors as error:
            raise unreadable(self._lake, error) from error
        return as_declared(found, expression)

    def close(self) -> None:
        """The session is the process's: others may be using it, and it ends with the process."""


def for_hadoop(address: str) -> str:
    """An address as Hadoop's file systems name it."""
    return "s3a://" + address.removeprefix("s3://") if address.startswith("s3://") else address
