"""Which cloud an address or a name belongs to."""

from __future__ import annotations

import pytest

from understudy.registry.clouds import CLOUDS, MAKERS, by_address, by_name, page
from understudy.registry.lifetimes import public
from understudy.registry.naming import classify


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "bedrock"),
        ("bedrock-mantle.eu-west-1.api.aws", "bedrock"),
        ("vpce-0a1b.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "bedrock"),
        ("aws-external-anthropic.us-east-1.api.aws", ""),  # run by the maker, by the maker's dates
        ("s3.us-east-1.amazonaws.com", ""),
        ("ours.openai.azure.com", "azure"),
        ("OURS.services.ai.azure.com", "azure"),
        ("ours.openai.azure.us", "azure-gov"),
        ("aiplatform.googleapis.com", "vertex"),
        ("us-central1-aiplatform.googleapis.com", "vertex"),
        ("aiplatform.eu.rep.googleapis.com", "vertex"),
        ("generativelanguage.googleapis.com", ""),
        ("api.openai.com", ""),
        ("openai.azure.com.example.org", ""),
        ("127.0.0.1", ""),
        ("", ""),
    ],
)
def test_a_cloud_is_known_by_its_addresses(host: str, cloud: str) -> None:
    assert by_address(host) == cloud


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("anthropic.claude-opus-5", "bedrock"),
        ("global.openai.gpt-6-sol", "bedrock"),
        ("amazon.nova-pro-v1:0", "bedrock"),
        ("bedrock/ours", "bedrock"),
        ("claude-opus-4-1@20250805", "vertex"),
        ("publishers/google/models/gemini-2.5-pro", "vertex"),
        ("azure/chat-prod", "azure"),
        ("models/gemini-2.5-pro", ""),
        ("openrouter/anthropic/claude-opus-5", ""),
        ("anthropic/claude-opus-5", ""),
        ("meta-llama/Llama-3.1-8B@0123abc", ""),
        ("gpt-4o-2024-11-20", ""),
    ],
)
def test_a_cloud_is_known_by_names_that_are_sent_nowhere_else(name: str, cloud: str) -> None:
    assert by_name(name) == cloud


def test_there_is_a_page_to_look_at_for_every_cloud_and_every_maker_with_rows() -> None:
    assert {life.on for life in public().values()} <= {"", *CLOUDS}
    schemes = {classify(life.model).scheme for life in public().values() if not life.on}
    assert schemes == set(MAKERS)
    assert all(page("", scheme).startswith("https://") for scheme in schemes)
    assert page("bedrock", "anthropic") == CLOUDS["bedrock"].page
    assert page("", "") == ""
