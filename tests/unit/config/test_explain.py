"""What does not fit the schema is said in plain sentences, each at its place."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from understudy.config.environment import expand, reference
from understudy.config.explain import keys_of, nearest, suggest, validate
from understudy.config.load import parse_yaml
from understudy.config.schema import Config, Seconds, Share
from understudy.core.errors import ConfigError, Problem

GOOD = """
providers:
  p: {wire: openai, base_url: https://h/v1}
workloads:
  w:
    incumbent: a
    variants:
      a: {provider: p, model: m}
"""


def problems(text: str, model: type[BaseModel] = Config) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        validate(parse_yaml(text, "f.yaml"), model)
    return caught.value.problems


def one(text: str, model: type[BaseModel] = Config) -> tuple[str, str, str]:
    found = problems(text, model)
    assert len(found) == 1, found
    return str(found[0].where), found[0].message, found[0].remedy


def with_(addition: str) -> str:
    """The good file with lines added to its workload, which begin at line 9."""
    return GOOD.rstrip() + "\n" + addition


def test_the_good_file_is_good() -> None:
    """The file that the other tests spoil has no fault of its own."""
    assert validate(parse_yaml(GOOD, "f.yaml"), Config).workloads["w"].variants["a"].model == "m"


@pytest.mark.parametrize(
    ("addition", "where", "message", "remedy"),
    [
        ("    shadw: {}", "9:5", "shadw is no key of workloads.w", "did you mean shadow?"),
        ("    zzz: 1", "9:5", "zzz is no key of workloads.w", "there is canary, content, conversation"),
        ("    unit: header:x", "9:11", 'workloads.w.unit is "header:x", and a list', "write [header:x]"),
        ("    unit: [x-user]", "9:12", "workloads.w.unit[0]: 'x-user' is no source", "header:x-user or body:x-user"),
        ("    unit: [header:Cookie]", "9:12", "workloads.w.unit[0]: header:Cookie carries a secret", "an id"),
        ("    owner: 4", "9:12", "workloads.w.owner is the number 4, and text is expected", 'in quotes: "4"'),
        ("    owner: true", "9:12", "workloads.w.owner is true, and text is expected", 'in quotes: "true"'),
        ("    owner:", "9:11", "workloads.w.owner is empty, and text is expected", "write a value, or remove the key"),
        ("    content: redactd", "9:14", 'is "redactd", it can be full, redacted or off', "did you mean redacted?"),
        ("    shadow: {sample: 120%}", "9:22", "'120%' is outside 0% to 100%", "like 5%"),
        ("    shadow: {min: soon}", "9:19", "'soon' is no duration", "like 24h or 1d12h"),
        ("    shadow: {min: -5}", "9:19", "-5 is less than no time", "like 24h or 1d12h"),
        ("    shadow: {max_in_flight: 1.5}", "9:29", "is the number 1.5, and a whole number", "without a fraction"),
        ("    shadow: {max_in_flight: 0}", "9:29", "is the number 0, a number above 0 is allowed", "above 0"),
        ("    shadow: {budget: 5}", "9:22", "is the number 5, and `key: value` lines", "below it, indented"),
        ("    canary: {ladder: [{share: 5%}]}", "9:23", "workloads.w.canary.ladder[0] has no hold", "add hold: ..."),
        ("    gates: {quality: {margin: 2 points}}", "9:31", "'2 points' is no margin", "2pt (absolute points)"),
        ("    gates: {quality: {marign: 2pt}}", "9:23", "marign is no key of workloads.w.gates.quality", "margin?"),
        ("    gates: {critcal: [a]}", "9:22", "workloads.w.gates.critcal is a list", "did you mean critical?"),
        ("    gates: {quality: {critical: maybe}}", "9:33", 'is "maybe", and true or false', "write true or false"),
        ("gateway: {port: 70000}", "9:17", "gateway.port is the number 70000, at most 65535", "at most 65535"),
        ("gateway: {limits: {body: lots}}", "9:26", "gateway.limits.body: 'lots' is no size", "like 32MiB"),
        ("gateway: {limits: {headers: 2GiB}}", "9:29", "'2GiB' is outside 1KiB to 1GiB", "like 32MiB"),
        ("gateway: {keys: [{name: a, concurrent: 0}]}", "9:40", "is the number 0, at least 1", "at least 1"),
        ("gateway: {keys: [{name: a, requests_per_minut: 9}]}", "9:28", "is no key of", "requests_per_minute?"),
        ("    passthrough: [v1/files]", "9:19", "'v1/files' is no path of an API", "like /v1/files"),
        ("    passthrough: ['/v1/']", "9:19", "'/v1/' is no path of an API", "'*' for all"),
        ("prices: {m: {input: 0, output: 1}}", "9:21", "prices.m.input is the number 0, a number above 0", "above 0"),
        ("  W_1: {}", "9:3", "'W_1' is no name for a workload", "lower-case letters"),
    ],
)
def test_each_mistake_has_its_sentence(addition: str, where: str, message: str, remedy: str) -> None:
    """One mistake is one problem (or the first of what hangs on it), with place, value and remedy."""
    found = problems(with_(addition))[0]
    assert str(found.where) == f"f.yaml:{where}"
    assert message in found.message
    assert remedy in found.remedy


def test_a_misspelt_key_is_not_also_a_missing_one() -> None:
    """`modle: x` is one mistake, not two."""
    assert one(GOOD.replace("model: m", "modle: m")) == (
        "f.yaml:8:24",
        "modle is no key of workloads.w.variants.a",
        "did you mean model?",
    )


def test_a_missing_key_is_placed_at_its_section() -> None:
    """There is no line to point at, so the section's key is pointed at."""
    assert one(GOOD.replace(", model: m", "")) == (
        "f.yaml:8:7",
        "workloads.w.variants.a has no model",
        "add model: ... below it",
    )


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    """A file with four mistakes is corrected in one go."""
    text = GOOD.replace("openai", "opnai").replace("incumbent: a", "owner: 1")
    found = problems(text + "    unit: 3\nstat: x\n")
    assert [p.where.line for p in found] == [3, 5, 6, 9, 10]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://h", "this is no http address"),
        ("https://", "this is no http address"),
        ("https://me:pw@h/v1", "the address of h carries credentials"),
        ("https://h/v1?key=pw", "the address of h has a query, a fragment or a space"),
        ("https://h:99999/", "this is no address"),
    ],
)
def test_an_address_is_refused_without_repeating_its_secret(url: str, message: str) -> None:
    """A base_url is http(s) without credentials; the password in it does not reach the message."""
    where, said, remedy = one(GOOD.replace("https://h/v1", url))
    assert where == "f.yaml:3:31"
    assert message in said
    assert "pw" not in said + remedy


def test_a_secret_of_the_wrong_form_is_not_shown() -> None:
    """A key that is a number is refused and not repeated."""
    text = GOOD.replace("https://h/v1}", "https://h/v1, api_key: 123456}")
    assert one(text)[1] == "providers.p.api_key is (hidden), and text is expected"


def test_no_message_speaks_of_the_machinery() -> None:
    """Every kind of value in every place gives sentences without words of the validation library."""
    words = ("Input should", "valid dictionary", "instance", "pydantic", "string_type", "Field required", "Section")
    values = ("3", "1.5", "text", "true", "", "[1]", "[[]]", "{a: 1}", "{a: {b: 1}}", "-1", "''")
    keys = [*keys_of(Config, ("workloads", "w")), "model"]
    for key in keys:
        for value in values:
            text = with_(f"    {key}: {value}").replace(
                "    incumbent: a\n", "" if key == "incumbent" else "    incumbent: a\n"
            )
            text = text.replace("    variants:\n      a: {provider: p, model: m}\n", "") if key == "variants" else text
            try:
                validate(parse_yaml(text, "f.yaml"), Config)
            except ConfigError as error:
                said = str(error)
                assert not [word for word in words if word in said], said
                assert all(p.remedy for p in error.problems)


class Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["exact"]
    equals: str


class Short(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["short"]
    characters: int


class Other(BaseModel):
    graders: list[Annotated[Exact | Short, Field(discriminator="type")]] = []
    one: str | list[str] = ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "graders: [{type: exct}]",
            ("1:18", 'graders[0].type is "exct", it can be exact or short', "did you mean exact?"),
        ),
        ("graders: [{equals: x}]", ("1:11", "graders[0] has no type", "add type: ... below it")),
        ("graders: [{type: exact}]", ("1:11", "graders[0] has no equals", "add equals: ... below it")),
        (
            "graders: [{type: short, charcters: 3}]",
            ("1:25", "charcters is no key of graders[0]", "did you mean characters?"),
        ),
        (
            "graders: [3]",
            (
                "1:11",
                "graders[0] is the number 3, and `key: value` lines are expected",
                "write them below it, indented",
            ),
        ),
        ("one: {a: 1}", ("1:6", "one is a mapping, and text is expected", "write one value on the line of the key")),
    ],
)
def test_other_files_complain_alike(text: str, expected: tuple[str, str, str]) -> None:
    """Sections that come in several types, as graders do, are explained without the tags of the machinery."""
    where, message, remedy = one(text, Other)
    assert (where, message, remedy) == (f"f.yaml:{expected[0]}", *expected[1:])


def test_durations_and_shares_are_in_the_units_of_the_code() -> None:
    """Durations become seconds, shares parts per million, margins parts of the metric's scale."""

    class Values(BaseModel):
        durations: list[Seconds]
        shares: list[Share]

    text = "durations: [90s, 1d12h, 250ms, 2w, 7]\nshares: [1%, 0.5%, 100%, 5]"
    values = validate(parse_yaml(text, "f"), Values)
    assert values.durations == [90, 129_600, 0.25, 1_209_600, 7]
    assert values.shares == [10_000, 5_000, 1_000_000, 50_000]
    gates = validate(
        parse_yaml(with_("    gates: {a: {margin: 2pt}, b: {margin: 10%}, c: {margin: 0.02}, d: {}}"), "f"), Config
    )
    found = {name: (g.absolute_margin, g.relative_margin) for name, g in gates.workloads["w"].gates.metrics.items()}
    assert found == {"a": (0.02, None), "b": (None, 0.1), "c": (0.02, None), "d": (None, None)}


def test_nearest_and_suggest() -> None:
    """A near name is suggested; where none is near, what there is is listed."""
    assert nearest("sonet", ["sonnet", "haiku"]) == "sonnet"
    assert nearest("qqq", ["sonnet"]) == ""
    assert suggest("qqq", ["b", "a"]) == "there is a, b"
    assert suggest("qqq", []) == "there is none yet"


def test_references_are_filled_in_and_secrets_keep_theirs() -> None:
    """${NAME} is replaced, whole or in part, `$${` stands for itself, and a key keeps the name of its variable."""
    text = """
providers:
  p: {wire: openai, base_url: "https://${HOST}/v1", api_key: ${KEY}}
gateway: {host: ${HOST}, keys: [{name: app, key: ${APP}}]}
why: "$${HOST} is ${HOST} and ${HOST}"
"""
    document, found = expand(parse_yaml(text, "f.yaml"), {"HOST": "h", "KEY": "secret"})
    assert found == []
    assert document.data["providers"]["p"] == {"wire": "openai", "base_url": "https://h/v1", "api_key": "${KEY}"}
    assert document.data["gateway"] == {"host": "h", "keys": [{"name": "app", "key": "${APP}"}]}
    assert document.data["why"] == "${HOST} is h and h"
    assert reference("${KEY}") == "KEY"
    assert reference("x${KEY}") == ""


def test_every_reference_that_cannot_be_filled_is_named() -> None:
    """An unset variable comes with the line that sets it; a mixture of text and secret is refused."""
    text = 'a: "${ONE}/${TWO}"\nb: ["${1x}"]\nproviders: {p: {api_key: "Bearer ${KEY}"}}\n'
    _, found = expand(parse_yaml(text, "f.yaml"), {})
    assert [(str(p.where), p.message, p.remedy) for _, p in found] == [
        ("f.yaml:1:4", "a: the environment variable ONE is not set", "export ONE=..."),
        ("f.yaml:1:4", "a: the environment variable TWO is not set", "export TWO=..."),
        ("f.yaml:2:5", "b[0]: ${1x} is no reference to a variable", "write ${NAME}, or $${ for a literal ${"),
        (
            "f.yaml:3:26",
            "providers.p.api_key: a secret may not mix text with ${...}",
            "write ${NAME} alone, and put the whole secret in the variable",
        ),
    ]


def test_what_came_from_the_environment_is_not_repeated() -> None:
    """A message about a value that was filled in shows the reference that stands in the file."""
    text = with_("    gates: {quality: {margin: ${M}}}\ngateway: {port: ${M}}")
    document, _ = expand(parse_yaml(text, "f.yaml"), {"M": "hunter2"})
    with pytest.raises(ConfigError) as caught:
        validate(document, Config)
    assert "hunter2" not in str(caught.value)
    assert [p.message for p in caught.value.problems] == [
        "workloads.w.gates.quality.margin: '${M}' is no margin",
        'gateway.port is "${M}", and a whole number is expected',
    ]


@pytest.mark.parametrize(
    ("section", "where", "message", "remedy"),
    [
        ("  patterns: {c: '(?=a)b'}", "10:17", "'(?=a)b' is no pattern: ", "no look-around"),
        ("  patterns: {c: 'a*'}", "10:17", "'a*' finds nothing at all, in every text", "like + for *"),
        ("  patterns: {c: 4}", "10:17", "4 is no pattern", "write a regular expression for RE2"),
        ("  patterns: {'a b': 'c'}", "10:14", "'a b' is no name for a pattern", "write letters, digits"),
        ("  feilds: [a]", "10:3", "feilds is no key of privacy", "did you mean fields?"),
    ],
)
def test_what_redaction_cannot_use_is_named(section: str, where: str, message: str, remedy: str) -> None:
    """Each pattern that RE2 does not take, at its place, before a gateway ever sees it."""
    at, said, do = one(GOOD.rstrip() + f"\nprivacy:\n{section}\n")
    assert at == f"f.yaml:{where}"
    assert message in said
    assert remedy in do


def test_less_than_a_day_is_no_retention() -> None:
    """Days are removed whole."""
    at, said, do = one(GOOD.rstrip() + "\nretention: {exchanges: 90d, scores: 2h}\n")
    assert at == "f.yaml:9:37"
    assert "2h is less than a day" in said
    assert "like 90d" in do
