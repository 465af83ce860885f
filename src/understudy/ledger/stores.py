"""Opens the lake that a project configures: where it lies, how its store is reached, which engine reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from understudy.config.lakes import LedgerSection
from understudy.config.project import Project
from understudy.ledger.choice import CLICKHOUSE, SPARK, Choice
from understudy.ledger.lake import Lake


def lake_of(project: Project) -> Lake:
    """The project's lake; nothing is reached by this. Raises ConfigError for a secret whose variable is not set."""
    section = project.ledger()
    where: str | Path = section.lake if "://" in section.lake else project.paths.lake
    return Lake(where, options=storage_options(section, project.root), choice=choice(section))


def choice(section: LedgerSection) -> Choice:
    """The engine and its options."""
    match section.engine:
        case engine if engine == CLICKHOUSE:
            return Choice(engine, section.clickhouse.model_dump())
        case engine if engine == SPARK:
            return Choice(engine, {"master": section.spark.master, **section.spark.settings})
        case engine:
            return Choice(engine)


def storage_options(section: LedgerSection, root: Path) -> dict[str, str]:
    """What deltalake is told to reach the store, under the names of its object store library.

    A commit to S3 puts its line of the log under the condition that nobody has yet: two committers cannot both be the
    same version. Google's and Azure's stores refuse a second one by themselves.
    """
    storage = section.storage
    scheme = section.lake.partition("://")[0] if "://" in section.lake else ""
    match scheme:
        case "s3":
            endpoint = storage.endpoint
            named = {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_REGION": storage.region or ("us-east-1" if endpoint else ""),
                "AWS_ACCESS_KEY_ID": storage.access_key,
                "AWS_SECRET_ACCESS_KEY": storage.secret_key,
                "AWS_SESSION_TOKEN": storage.session_token,
                "AWS_ALLOW_HTTP": "true" if endpoint.startswith("http://") else "",
                "AWS_CONDITIONAL_PUT": "etag",
            }
        case "gs":
            account = storage.service_account
            named = {"GOOGLE_SERVICE_ACCOUNT": str(root / account) if account else ""}
        case "az":
            named = {
                "AZURE_STORAGE_ACCOUNT_NAME": storage.account,
                "AZURE_STORAGE_ACCOUNT_KEY": storage.account_key,
                "AZURE_STORAGE_SAS_TOKEN": storage.sas_token,
            }
        case _:
            named = {}
    return _given(named)


def _given(named: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in named.items() if value}
