"""The routing table: what is written can be read, and nothing else can."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.canonical import digest
from understudy.core.errors import DataCorrupt
from understudy.core.routing import (
    GatewayKey,
    Provider,
    Route,
    RoutingTable,
    Shadow,
    WorkloadRoute,
    decode,
    encode,
)
from understudy.core.variant import Variant

TABLE = RoutingTable(
    generation="g1",
    epoch=7,
    issued_at=1_700_000_000.5,
    workloads={
        "drafts": WorkloadRoute(
            name="drafts",
            incumbent="old",
            variants={"old": Variant("old", "p", "m-1", "Answer."), "new": Variant("new", "p", "m-2")},
            unit=("header:x-user-id", "body:user"),
            slice_by={"ticket": "header:x-ticket-type"},
            route=Route("u1", "new", "canary", 0, 10_000, "salt", 1_700_000_600.0, Shadow(1_000_000, 64, 50.0)),
        )
    },
    providers={"p": Provider("p", "openai", "http://127.0.0.1:9/v1", api_key_env="KEY")},
    keys=(GatewayKey("app", "ab" * 32),),
)


def test_a_table_survives_its_written_form() -> None:
    """decode(encode(t)) is t."""
    assert decode(json.loads(encode(TABLE))) == TABLE


def test_what_a_later_version_adds_is_left_aside() -> None:
    """Fields are only ever added to format 1, anywhere, so a table that has more of them is read all the same."""
    data = json.loads(encode(TABLE))
    drafts = data["workloads"]["drafts"]
    for place in (
        data,
        data["providers"]["p"],
        drafts,
        drafts["upgrade"],
        drafts["upgrade"]["shadow"],
        data["keys"][0],
    ):
        place["of_next_year"] = {"x": 1}
    data.pop("checksum")
    assert decode({**data, "checksum": digest(data)}) == TABLE


def test_limits_are_there_where_they_are_set_and_only_there() -> None:
    """They survive the written form; without them the bytes name none; a limit that is none is refused."""
    key = replace(TABLE.keys[0], requests_per_minute=60, concurrent=4)
    limited = replace(TABLE, keys=(key,), limits={"body": 4096, "idle_s": 1.5})
    assert decode(json.loads(encode(limited))) == limited
    assert not any(word in encode(TABLE) for word in (b"requests_per_minute", b"concurrent", b"limits"))
    for wrong in (0, -1, True, "9"):
        bad = json.loads(encode(replace(TABLE, limits={"body": wrong})))  # type: ignore[dict-item]
        with pytest.raises(DataCorrupt, match="is no limit"):
            decode(bad)


@settings(derandomize=True, max_examples=200)
@given(st.data())
def test_no_cut_table_is_accepted(data: st.DataObject) -> None:
    """A prefix of the file is either no JSON at all or refused."""
    whole = encode(TABLE)
    cut = whole[: data.draw(st.integers(0, len(whole) - 3))]
    with pytest.raises((DataCorrupt, ValueError, AttributeError)):
        decode(json.loads(cut))


@settings(derandomize=True, max_examples=300)
@given(st.data())
def test_no_flipped_bit_goes_unseen(data: st.DataObject) -> None:
    """Any changed byte breaks the JSON or the checksum, or leaves the meaning as it was."""
    whole = bytearray(encode(TABLE))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = decode(json.loads(bytes(whole)))
    except (DataCorrupt, ValueError):
        return
    assert read == TABLE


DRAFTS = TABLE.workloads["drafts"]
NOBODYS = {"old": Variant("old", "nobody", "m"), "new": Variant("new", "p", "m")}


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (replace(DRAFTS, incumbent="gone"), "routes to variant 'gone'"),
        (replace(DRAFTS, variants=NOBODYS), "names provider 'nobody'"),
        (replace(DRAFTS, route=replace(DRAFTS.route, share=1_000_001)), "1000001 parts per million"),
        (replace(DRAFTS, route=replace(DRAFTS.route, candidate="x")), "routes to variant 'x'"),
    ],
)
def test_a_well_formed_table_that_cannot_serve_is_refused(broken: WorkloadRoute, named: str) -> None:
    """Names that lead nowhere and impossible shares are found before anything is applied."""
    table = replace(TABLE, workloads={"drafts": broken})
    with pytest.raises(DataCorrupt, match=named):
        decode(json.loads(encode(table)))


def test_another_format_is_refused_with_the_remedy() -> None:
    """A newer table is kept out, with what to do."""
    data = json.loads(encode(TABLE))
    data["format"] = 2
    with pytest.raises(DataCorrupt) as caught:
        decode(data)
    assert "format 2" in caught.value.message
    assert caught.value.remedy


def test_a_key_never_shows_in_a_repr() -> None:
    """A provider's secret stays out of logs."""
    assert "s3cret" not in repr(Provider("p", "openai", "http://x", api_key="s3cret"))
