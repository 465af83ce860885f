"""What model names promise, by the providers' own rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.registry.naming import Promise, classify, unrouted

EXACT, ALIAS, UNKNOWN = Promise.EXACT, Promise.ALIAS, Promise.UNKNOWN

TABLE = [
    # OpenAI: a date, or the older MMDD, names a snapshot; everything else is moved
    ("gpt-4-0125-preview", EXACT, "openai"),
    ("gpt-4o-2024-08-06", EXACT, "openai"),
    ("gpt-3.5-turbo-16k-0613", EXACT, "openai"),
    ("ft:gpt-4o-2024-08-06:acme::abc123", EXACT, "openai"),
    ("gpt-4o", ALIAS, "openai"),
    ("gpt-5-codex", ALIAS, "openai"),
    ("o3-mini", ALIAS, "openai"),
    ("chatgpt-4o-latest", ALIAS, "openai"),
    ("gpt-5.6", ALIAS, "openai"),
    ("gpt-5.6-sol", UNKNOWN, "openai"),
    # Anthropic: dated before 4.6, dateless and pinned from then on (C4)
    ("claude-3-5-sonnet-20241022", EXACT, "anthropic"),
    ("claude-sonnet-4-6", EXACT, "anthropic"),
    ("claude-opus-5", EXACT, "anthropic"),
    ("claude-2.1", EXACT, "anthropic"),
    ("claude-sonnet-4-5", ALIAS, "anthropic"),
    ("claude-opus-4-1", ALIAS, "anthropic"),
    ("claude-opus-4", ALIAS, "anthropic"),
    ("claude-3-5-sonnet-latest", ALIAS, "anthropic"),
    # Vertex
    ("claude-sonnet-4-5@20250929", EXACT, "anthropic"),
    ("claude-sonnet-4-5@default", ALIAS, "anthropic"),
    ("publishers/google/models/gemini-2.0-flash-001", EXACT, "google"),
    # Google: numbered before 2.5, dateless and pinned from then on (C4)
    ("gemini-1.5-pro-002", EXACT, "google"),
    ("gemini-2.5-pro", EXACT, "google"),
    ("models/gemini-2.5-flash", EXACT, "google"),
    ("gemini-2.5-pro-preview-05-06", EXACT, "google"),
    ("gemini-1.5-pro", ALIAS, "google"),
    ("gemini-flash-latest", ALIAS, "google"),
    ("gemini-2.5-flash-latest", ALIAS, "google"),
    ("gemini-3-pro-preview", UNKNOWN, "google"),
    ("gemini-2.0-flash-exp", UNKNOWN, "google"),
    # Mistral
    ("mistral-large-2411", EXACT, "mistral"),
    ("mistral-small-3.1-24b-instruct-2503", EXACT, "mistral"),
    ("mistral-large-latest", ALIAS, "mistral"),
    ("mistral-medium-3", ALIAS, "mistral"),
    ("labs-mistral-x", ALIAS, "mistral"),
    # Bedrock: the suffix was dropped from Sonnet 4.6 on, and Opus 4.6 was the last with -v1 (C5)
    ("anthropic.claude-3-5-sonnet-20241022-v2:0", EXACT, "bedrock"),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", EXACT, "bedrock"),
    ("anthropic.claude-sonnet-4-6", EXACT, "bedrock"),
    ("anthropic.claude-opus-4-6-v1", EXACT, "bedrock"),
    ("anthropic.claude-v2:1", EXACT, "bedrock"),
    ("amazon.nova-pro-v1:0", EXACT, "bedrock"),
    ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6", EXACT, "bedrock"),
    ("anthropic.claude-sonnet-4-6-v1:0", UNKNOWN, "bedrock"),
    ("anthropic.claude-opus-4-6", UNKNOWN, "bedrock"),
    # Azure, OpenRouter, open weights
    ("azure/gpt-4o-2024-08-06", UNKNOWN, "azure"),
    ("openrouter/auto", ALIAS, "openrouter"),
    ("openai/gpt-4o:nitro", ALIAS, "openai"),
    ("anthropic/claude-sonnet-4.6", EXACT, "anthropic"),
    ("meta-llama/Llama-3.1-8B-Instruct", UNKNOWN, "weights"),
    ("meta-llama/Llama-3.1-8B@0123abc", EXACT, "weights"),
    ("meta-llama/Llama-3.1-8B@main", ALIAS, "weights"),
    ("llama3.1:latest", ALIAS, "weights"),
    ("deepseek-chat", ALIAS, "deepseek"),
    # nobody's rule
    ("small-1-2025-03-01", EXACT, ""),
    ("our-model-latest", ALIAS, ""),
    ("our-model", UNKNOWN, ""),
    ("auto", UNKNOWN, ""),
    ("default", UNKNOWN, ""),
]


@pytest.mark.parametrize(("name", "promise", "scheme"), TABLE)
def test_a_name_promises_what_its_provider_says(name: str, promise: Promise, scheme: str) -> None:
    found = classify(name)
    assert (found.promise, found.scheme) == (promise, scheme)
    assert found.reason
    assert found.remedy or promise is EXACT
    assert found.source.startswith("https://") or scheme in ("", "weights")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("anthropic.claude-sonnet-4-6-v1:0", "write anthropic.claude-sonnet-4-6"),
        ("eu.anthropic.claude-opus-4-6", "write eu.anthropic.claude-opus-4-6-v1"),
    ],
)
def test_a_bedrock_id_that_cannot_exist_is_told_from_one_that_is_unknown(name: str, right: str) -> None:
    found = classify(name)
    assert found.malformed
    assert found.remedy == right
    assert not classify(right.removeprefix("write ")).malformed


def test_a_deployment_of_azure_says_nothing_by_its_name() -> None:
    assert classify("gpt-4o-2024-08-06").promise is EXACT
    assert classify("gpt-4o-2024-08-06", "azure").promise is UNKNOWN


LINES = st.sampled_from(["opus", "sonnet", "haiku", "fable"])
ROUTES = st.sampled_from(
    ["", "anthropic/", "openrouter/anthropic/", "vertex_ai/", "projects/p/locations/l/publishers/anthropic/models/"]
)


@given(line=LINES, major=st.integers(4, 9), minor=st.none() | st.integers(0, 12), route=ROUTES)
def test_claude_is_pinned_without_a_date_exactly_from_4_6_on(
    line: str, major: int, minor: int | None, route: str
) -> None:
    name = f"claude-{line}-{major}" + ("" if minor is None else f"-{minor}")
    wanted = EXACT if (major, minor or 0) >= (4, 6) else ALIAS
    assert classify(route + name).promise is wanted
    assert classify(f"{name}-20250929").promise is EXACT


@given(st.text(max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    found = classify(text)
    assert found.reason
    assert unrouted(unrouted(text)) == unrouted(text)


@given(name=st.sampled_from([name for name, _, scheme in TABLE if scheme not in ("", "azure")]), route=ROUTES)
def test_what_a_router_puts_before_a_name_changes_nothing(name: str, route: str) -> None:
    if not name.startswith(("arn:", "openrouter/auto")):
        assert classify(route + name)[:2] == classify(name)[:2]
