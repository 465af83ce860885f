"""From understudy.yaml to a lake: the address, what reaches the store, the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.config.project import FILE, Project, open_project
from understudy.core.errors import ConfigError
from understudy.ledger.choice import Choice
from understudy.ledger.stores import lake_of

TEXT = """
providers:
  here: {wire: openai, base_url: http://127.0.0.1:9/v1}
workloads:
  reply: {incumbent: old, variants: {old: {provider: here, model: m-1}}}
"""


def project(folder: Path, ledger: str, **environment: str) -> Project:
    (folder / FILE).write_text(TEXT + ledger)
    return open_project(folder / FILE, environment)


def test_without_a_word_it_is_a_folder_and_duckdb(tmp_path: Path) -> None:
    """Below the state folder, or where it is said to be, relative to the file."""
    lake = lake_of(project(tmp_path, ""))
    assert (lake.where, lake.options, lake.choice) == (str(tmp_path / ".understudy" / "lake"), {}, Choice())
    assert lake.is_local
    assert lake_of(project(tmp_path, "ledger: {lake: data/lake}")).where == str(tmp_path / "data" / "lake")


def test_s3_options_are_those_of_the_object_store(tmp_path: Path) -> None:
    """Secrets come from the environment at the moment of opening; commits are conditional in every case."""
    text = """
ledger:
  lake: s3://bucket/some/prefix
  storage:
    endpoint: http://127.0.0.1:9000
    access_key: ${STORE_KEY}
    secret_key: ${STORE_SECRET}
"""
    made = project(tmp_path, text, STORE_KEY="key-1", STORE_SECRET="secret-2")
    lake = lake_of(made)
    assert lake.where == "s3://bucket/some/prefix"
    assert not lake.is_local
    assert lake.options == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key-1",
        "AWS_SECRET_ACCESS_KEY": "secret-2",
        "AWS_ALLOW_HTTP": "true",
        "AWS_CONDITIONAL_PUT": "etag",
    }
    assert "secret-2" not in repr(made.config)
    with pytest.raises(ConfigError, match="STORE_SECRET is not set"):
        lake_of(project(tmp_path, text, STORE_KEY="key-1"))
    plain = lake_of(project(tmp_path, "ledger: {lake: 's3://bucket', storage: {region: eu-north-1}}"))
    assert plain.options == {"AWS_REGION": "eu-north-1", "AWS_CONDITIONAL_PUT": "etag"}


def test_google_and_azure_options(tmp_path: Path) -> None:
    """Names as the object store library has them; no server of either was asked here."""
    google = project(tmp_path, "ledger: {lake: 'gs://bucket/p', storage: {service_account: keys/sa.json}}")
    assert lake_of(google).options == {"GOOGLE_SERVICE_ACCOUNT": str(tmp_path / "keys" / "sa.json")}
    text = "ledger: {lake: 'az://container/p', storage: {account: acme, account_key: '${AZ}', sas_token: '${SAS}'}}"
    assert lake_of(project(tmp_path, text, AZ="k", SAS="t")).options == {
        "AZURE_STORAGE_ACCOUNT_NAME": "acme",
        "AZURE_STORAGE_ACCOUNT_KEY": "k",
        "AZURE_STORAGE_SAS_TOKEN": "t",
    }


def test_engines_get_their_own_options(tmp_path: Path) -> None:
    """The password from the environment; settings of Spark by their own names."""
    text = "ledger: {engine: clickhouse, clickhouse: {url: 'https://ch:8443', user: u, password: '${CH}'}}"
    assert lake_of(project(tmp_path, text, CH="pw")).choice == Choice(
        "clickhouse", {"url": "https://ch:8443", "user": "u", "password": "pw", "database": "default"}
    )
    text = "ledger: {engine: spark, spark: {master: 'spark://h:7077', settings: {spark.hadoop.x: '${S}'}}}"
    assert lake_of(project(tmp_path, text, S="v")).choice == Choice(
        "spark", {"master": "spark://h:7077", "spark.hadoop.x": "v"}
    )


@pytest.mark.parametrize(
    ("ledger", "place", "said"),
    [
        ("{lake: 'ftp://x/y'}", "6:16", "cannot lie at 'ftp://x/y'"),
        ("{lake: 's3://'}", "6:16", "cannot lie at 's3://'"),
        ("{lake: 's3://b', storage: {account: a}}", "6:45", "storage.account means nothing to a lake at s3://"),
        ("{storage: {region: r}}", "6:28", "storage.region means nothing to a lake in a folder"),
        ("{lake: 's3://b', storage: {access_key: k}}", "6:35", "one of access_key and secret_key"),
        ("{engine: clickhouse}", "6:18", "needs the address of a ClickHouse"),
        (
            "{engine: clickhouse, lake: 'gs://b', clickhouse: {url: 'https://h'}}",
            "6:18",
            "reads folders and s3:// lakes",
        ),
        ("{engine: oracle}", "6:18", "oracle"),
        ("{engine: clickhouse, clickhouse: {url: 'tcp://h'}}", "6:48", "url"),
    ],
)
def test_what_cannot_work_is_refused_at_its_place(tmp_path: Path, ledger: str, place: str, said: str) -> None:
    """Line and column, the value, and what to write instead."""
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, f"ledger: {ledger}\n")
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.remedy
    assert f"{problem.where.line}:{problem.where.column}" == place


def test_secrets_in_the_clear_and_open_lines_are_worth_a_word(tmp_path: Path) -> None:
    """A warning each, at its place; none for this machine."""
    text = """ledger:
  lake: s3://b
  storage: {endpoint: http://store.example, access_key: abc, secret_key: "${S}"}
  engine: clickhouse
  clickhouse: {url: http://127.0.0.1:8123}
"""
    made = project(tmp_path, text, S="x")
    found = {(p.where.line, p.message) for p in made.warnings() if p.message.startswith("ledger.")}
    assert found == {
        (8, "ledger.storage.access_key stands in the file in the clear"),
        (8, "ledger.storage.endpoint is reached without encryption: prompts can be read on the way"),
    }
