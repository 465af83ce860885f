"""The shape of the ledger's section: where the tables lie, how their store is reached, who answers questions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

STORAGE_SECRETS = ("access_key", "secret_key", "session_token", "account_key", "sas_token")
SECTION = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
"""Of every section of the file: unknown keys are refused, values are frozen."""


class Model(BaseModel):
    """Base of the sections here."""

    model_config = SECTION


class StorageSection(Model):
    """How an object store is reached; what is left out comes from the machine: its role, the store's own variables."""

    endpoint: str = Field(default="", pattern=r"^(https?://[^@/?#\s]+)?$")
    """S3: address of a store that is not Amazon's."""
    region: str = ""
    """S3: region of the bucket."""
    access_key: str = ""
    """S3: write ${NAME}."""
    secret_key: str = ""
    """S3: write ${NAME}."""
    session_token: str = ""
    """S3: write ${NAME}."""
    service_account: str = ""
    """Google: path of the JSON file of a service account, relative to this file."""
    account: str = ""
    """Azure: name of the storage account."""
    account_key: str = ""
    """Azure: write ${NAME}."""
    sas_token: str = ""
    """Azure: write ${NAME}."""


class ClickHouseSection(Model):
    """The ClickHouse that answers queries with `engine: clickhouse`; it creates nothing there."""

    url: str = Field(default="", pattern="^(https?://[^@/?#]+|chdb://memory)?$")
    """https://HOST:8443, or chdb://memory for the engine within the asking process (pip install chdb)."""
    user: str = "default"
    """Who asks."""
    password: str = ""
    """Write ${NAME}."""
    database: str = "default"
    """A database that the user may use."""


class SparkSection(Model):
    """The Spark that answers queries with `engine: spark`."""

    master: str = Field(default="local[*]", min_length=1)
    """Where the work is done: local[*] is this process."""
    settings: dict[str, str] = {}
    """Settings of Spark by their own names (spark.executor.memory: 4g); for a secret write ${NAME}."""


class LedgerSection(Model):
    """Where the ledger's tables lie and which engine answers questions about them; segments stay on the machine."""

    lake: str = ""
    """A folder, relative to this file, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX; below `state`
    if left out.
    """
    storage: StorageSection = StorageSection()
    """How the object store is reached."""
    engine: Literal["duckdb", "clickhouse", "spark"] = "duckdb"
    """Who answers; quantiles of clickhouse are approximate."""
    clickhouse: ClickHouseSection = ClickHouseSection()
    """For engine clickhouse."""
    spark: SparkSection = SparkSection()
    """For engine spark."""
