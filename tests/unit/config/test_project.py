"""A project: understudy.yaml with its prompts, what must agree in it, and what it hands out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from understudy.assign.pseudonym import pseudonym
from understudy.config import starter
from understudy.config.project import FILE, Project, find, open_project
from understudy.core.errors import ConfigError, Refused, UsageError
from understudy.core.playbook import DAY, PROFILES
from understudy.core.routing import Privacy, RoutingTable, decode, encode
from understudy.core.variant import Reasoning
from understudy.wires.compat import never_carried

TEXT = """
providers:
  anthropic: {wire: anthropic, base_url: https://api.anthropic.com/, api_key: ${ANTHROPIC_API_KEY}}
  here: {wire: openai, base_url: http://127.0.0.1:9/v1, api_key: plain}
workloads:
  reply-drafting:
    slice_by: {ticket: header:X-Ticket-Type}
    incumbent: old
    variants:
      old: {provider: anthropic, model: m-1, system_prompt: prompts/v1.md, params: {temperature: 0.6}}
      new: {provider: here, model: m-2, system_prompt: "text: Be brief.", reasoning: {effort: low}}
      bare: {provider: here, model: m-2, reasoning: {}}
    suites: [suites/reply.yaml]
    gates: {critical: [escalations, ticket=refund]}
gateway:
  keys:
    - {name: app, key: ${APP_KEY}}
    - {name: job, sha256: %s, workloads: [reply-drafting]}
""" % ("a" * 64)


def project(folder: Path, text: str = TEXT, **environment: str) -> Project:
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "suites").mkdir(exist_ok=True)
    (folder / "prompts" / "v1.md").write_bytes(b"\xef\xbb\xbfYou answer.\r\n\r\nKindly.\r\n\r\n")
    (folder / "suites" / "reply.yaml").write_text("suite: reply\n")
    (folder / FILE).write_text(text)
    return open_project(folder / FILE, environment)


def complaints(folder: Path, *changes: tuple[str, str]) -> list[tuple[str, str, str]]:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(ConfigError) as caught:
        project(folder, text)
    return [(f"{p.where.line}:{p.where.column}", p.message, p.remedy) for p in caught.value.problems]


def test_variants_carry_the_text_of_their_prompts(tmp_path: Path) -> None:
    """A path is read, line ends and trailing space do not count; `text:` is taken as it stands; none is none."""
    variants = project(tmp_path).variants("reply-drafting")
    assert variants["old"].system_prompt == "You answer.\n\nKindly."
    assert variants["new"].system_prompt == "Be brief."
    assert variants["bare"].system_prompt == ""
    assert variants["old"].params == {"temperature": 0.6}
    assert variants["new"].reasoning == Reasoning(effort="low")
    assert variants["bare"].reasoning is None
    assert len({v.fingerprint for v in variants.values()}) == 3


def test_the_routing_table_gets_names_of_variables_and_no_secrets(tmp_path: Path) -> None:
    """A key from the environment is carried by name, an app's key as its hash, and the secret is in no byte of it."""
    made = project(tmp_path, ANTHROPIC_API_KEY="sk-canary-1", APP_KEY="app-canary-2")
    providers = made.providers()
    assert providers["anthropic"].api_key_env == "ANTHROPIC_API_KEY"
    assert providers["anthropic"].base_url == "https://api.anthropic.com"
    assert (providers["here"].api_key, providers["here"].api_key_env) == ("plain", "")
    keys = made.gateway_keys()
    assert [(k.name, k.hash, k.workloads) for k in keys] == [
        ("app", hashlib.sha256(b"app-canary-2").hexdigest(), ("*",)),
        ("job", "a" * 64, ("reply-drafting",)),
    ]
    data = encode(RoutingTable("g", 1, 0.0, {}, providers, keys))
    assert b"canary" not in data
    assert decode(json.loads(data)).providers["anthropic"].api_key_env == "ANTHROPIC_API_KEY"


def test_what_may_not_be_written_down_reaches_the_routing_table(tmp_path: Path) -> None:
    """Patterns, fields and the name of the key, never the key; a user is looked for under both names."""
    privacy = "privacy:\n  patterns: {own: 'C-[0-9]+'}\n  fields: [style]\n  unit_key: ${UNIT_KEY}\n"
    made = project(tmp_path, TEXT + privacy, UNIT_KEY="canary-3")
    data = encode(RoutingTable("g", 1, 0.0, {}, {}, privacy=made.privacy()))
    assert b"canary" not in data
    found = decode(json.loads(data)).privacy
    assert found == Privacy({"own": "C-[0-9]+"}, ("style",), "", "UNIT_KEY")
    assert made.kept_as("u-1") == ("u-1", pseudonym("u-1", b"canary-3"))
    changed = project(tmp_path, TEXT + privacy, UNIT_KEY="canary-4, canary-3")
    assert changed.kept_as("u-1") == ("u-1", pseudonym("u-1", b"canary-4"), pseudonym("u-1", b"canary-3"))
    with pytest.raises(ConfigError, match="UNIT_KEY is not set"):
        project(tmp_path, TEXT + privacy).kept_as("u-1")
    assert project(tmp_path, TEXT).kept_as("") == ()


def test_limits_that_are_written_reach_the_routing_table_and_no_others(tmp_path: Path) -> None:
    """Sizes, times and counts in the units of the table; what is not written is the gateway's own affair."""
    assert project(tmp_path, APP_KEY="k").gateway_limits() == {}
    limits = "gateway:\n  limits: {body: 1.5MiB, headers: 16384, concurrent: 9, idle: 2m}\n"
    text = TEXT.replace("gateway:\n", limits).replace(
        "name: app,", "name: app, requests_per_minute: 90, concurrent: 4,"
    )
    made = project(tmp_path, text, APP_KEY="k")
    assert made.gateway_limits() == {"body": 1_572_864, "head": 16_384, "key_requests": 9, "idle_s": 120.0}
    assert [(k.requests_per_minute, k.concurrent) for k in made.gateway_keys()] == [(90, 4), (None, None)]


def test_a_key_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    """Opening needs no secrets; asking for one whose variable is not set says which to set, and where it is named."""
    made = project(tmp_path)
    assert made.provider_key("here") == "plain"
    with pytest.raises(ConfigError, match=r"understudy\.yaml:3:79: the environment variable ANTHROPIC_API_KEY"):
        made.provider_key("anthropic")
    with pytest.raises(ConfigError, match="APP_KEY is not set"):
        made.gateway_keys()
    with pytest.raises(UsageError, match="there is no provider 'antropic'"):
        made.provider_key("antropic")
    assert project(tmp_path, ANTHROPIC_API_KEY="k").provider_key("anthropic") == "k"


def test_a_profile_takes_the_workload_s_own_durations(tmp_path: Path) -> None:
    """What is not written comes from the named profile; the rung before all traffic never widens."""
    own = """    policy: gradual
    shadow: {min: 3d}
    canary: {ladder: [{share: 1%, hold: 36h}, {share: 100%, hold: 0}], lease: 90s, cycle: 7d}
    soak: {retain: 60d}
    incumbent: old"""
    made = project(tmp_path, TEXT.replace("    incumbent: old", own)).profile("reply-drafting")
    assert (made.shadow_min_s, made.shadow_max_s) == (3 * DAY, 14 * DAY)
    assert [(s.share, s.hold_s, s.widen) for s in made.ladder] == [(10_000, 1.5 * DAY, 1.0), (1_000_000, 0, 1.0)]
    assert (made.lease_s, made.cycle_s, made.soak_s, made.retain_s) == (90, 7 * DAY, 14 * DAY, 60 * DAY)
    assert made.min_units == PROFILES["gradual"].min_units
    assert project(tmp_path).profile("reply-drafting") == PROFILES["interactive"]


def test_paths_lie_below_the_state_folder(tmp_path: Path) -> None:
    """State is kept beside the file, or where `state` says, and reading creates nothing."""
    paths = project(tmp_path).paths
    assert paths.table == tmp_path / ".understudy" / "routing" / "table.json"
    assert all(path.is_relative_to(paths.state) for path in paths)
    assert not paths.state.exists()
    moved = project(tmp_path, TEXT + f"state: {tmp_path / 'elsewhere'}\n").paths
    assert moved.store == tmp_path / "elsewhere" / "control.db"


def test_the_control_store_is_a_file_or_a_database(tmp_path: Path) -> None:
    """Nothing written is a file below `state`; an address in a variable may hold a password, and none is ever shown."""
    assert project(tmp_path).store().file == tmp_path / ".understudy" / "control.db"
    bare = project(tmp_path, TEXT + "store: postgresql://ada@db.example:6432/under?sslmode=require\n").store()
    assert (bare.file, bare.shown) == (None, "postgresql://ada@db.example:6432/under")
    named = TEXT + "store: ${STORE}\n"
    found = project(tmp_path, named, STORE="postgres://ada:p%40ss@[::1]/under").store()
    assert (found.url, found.shown) == ("postgres://ada:p%40ss@[::1]/under", "postgresql://ada@[::1]/under")
    assert "p%40ss" not in repr(found)
    socket = project(tmp_path, named, STORE="postgresql:///under?host=/run/postgresql").store()
    assert socket.shown == "postgresql:///under?host=/run/postgresql"
    at = f"understudy\\.yaml:{place(named, '${STORE}')}: "
    with pytest.raises(ConfigError, match=f"{at}the environment variable STORE is not set"):
        project(tmp_path, named).store()
    for wrong in (
        "mysql://ada@db/under",
        "postgresql://ada:sec@ret@db/under",
        "postgresql://ada:sec/ret@db/under",
        "db",
    ):
        with pytest.raises(
            ConfigError, match=rf"{at}.*none of a PostgreSQL database \(in the variable STORE\)"
        ) as error:
            project(tmp_path, named, STORE=wrong).store()
        assert "sec" not in str(error.value)


def test_a_store_that_one_machine_alone_could_judge_is_warned_of(tmp_path: Path) -> None:
    """Several machines and a ledger below the state of each: said before the gates wait for data that is elsewhere."""
    store = "store: postgresql://ada@db/under\n"
    said = [warning.message for warning in project(tmp_path, TEXT + store).warnings()]
    assert any("judged by one ledger" in each for each in said)
    shared = project(tmp_path, TEXT + store + "ledger: {lake: s3://bucket/lake}\n").warnings()
    assert not any("judged by one ledger" in each.message for each in shared)


def place(text: str, token: str) -> str:
    """Line and column of the only place where the token stands."""
    before, _, after = text.partition(token)
    assert token not in after
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("incumbent: old", "incumbent: odl", ("odl", "has no variant 'odl' to be its incumbent", "mean old?")),
        (
            "{provider: anthropic",
            "{provider: antropic",
            ("antropic", "names the provider 'antropic'", "mean anthropic?"),
        ),
        ("v1.md", "v2.md", ("prompts/v2.md", "the prompt file 'prompts/v2.md' does not exist", "after `text:`")),
        (
            "prompts/v1.md",
            "You answer.",
            ("You answer.", "the prompt file 'You answer.' does not exist", "after `text:`"),
        ),
        (
            "gateway:\n",
            "store: mysql://ada@db/under\ngateway:\n",
            ("mysql://", "none of a PostgreSQL database", "write postgresql://USER@HOST:PORT/DATABASE"),
        ),
        (
            "gateway:\n",
            "store: postgresql://ada:secret@db/under\ngateway:\n",
            ("postgresql://", "holds a password, in the clear", "write store: ${NAME}"),
        ),
        ("prompts/v1.md", "prompts", ("prompts,", "the prompt file 'prompts' does not exist", "after `text:`")),
        (
            "suites/reply",
            "suites/rely",
            ("suites/rely", "the suite 'suites/rely.yaml' does not exist", "check the path"),
        ),
        ("ticket=refund", "tickt=refund", ("tickt=refund", "the slice 'tickt=refund' needs 'tickt'", "mean ticket?")),
        ("[escalations,", "['a=',", ("'a='", "'a=' is no name of a slice", "key=value")),
        (
            "    incumbent: old",
            "    policy: interactve\n    incumbent: old",
            ("interactve", "no policy 'interactve'", "interactive?"),
        ),
        (
            "    incumbent: old",
            "    canary: {ladder: [{share: 5%, hold: 1d}, {share: 1%, hold: 1d}]}\n    incumbent: old",
            ("[{share", "the ladder goes 5%, 1%: it has to rise and to end at 100%", "order the rungs"),
        ),
        (
            "    incumbent: old",
            "    shadow: {min: 40d}\n    incumbent: old",
            ("40d", "shadow would last at least 40d and at most 28d", "min is the shorter one"),
        ),
        (
            "    incumbent: old",
            "    canary: {lease: 0s}\n    incumbent: old",
            ("0s", "canary.lease is no time at all", "write a duration"),
        ),
        (
            "params: {temperature: 0.6}",
            "params: {temperature: 0.6}, pin: {since: 2025-13-45}",
            ("2025-13-45", "'2025-13-45' is no day", "like 2025-09-02"),
        ),
        (
            "gates: {",
            "gates: {refusals: {margin: 2}, ",
            ("2}", "is 200 points: refusals lies between 0 and 1", "write 2pt"),
        ),
        ("gates: {", "gates: {tone: {margin: 1.5, source: 'grader:tone'}, ", ("1.5,", "is 150 points", "write 2pt")),
        ("gates: {", "gates: {'2 x': {}, ", ("{}, ", "'2 x' is no name for a metric", "begin with a letter")),
        (
            "temperature: 0.6",
            "stop: x",
            ("x}}", "param 'stop' is not known on the anthropic wire", "write stop_sequences"),
        ),
        (
            "reasoning: {effort: low}",
            "reasoning: {budget_tokens: 9000}",
            (
                "{budget_tokens",
                "a reasoning budget (9000 tokens) cannot be told on the openai wire",
                "choose an effort",
            ),
        ),
        (
            "gateway:\n",
            "gateway:\n  limits: {receive: 0s}\n",
            ("0s}", "gateway.limits.receive is no time at all", "write a duration"),
        ),
        ("key: ${APP_KEY}", "workloads: ['*']", ("{name: app", "the key of app needs either key or sha256", "${NAME}")),
        ("name: job", "name: app", ("app, sha256", "there are two keys named 'app'", "another name")),
        (
            "[reply-drafting]",
            "[reply-draftng]",
            ("reply-draftng]", "is for workload 'reply-draftng', which is not there", "mean reply-drafting?"),
        ),
        (
            "https://api.anthropic.com/,",
            "https://x, ca_file: no.pem,",
            ("no.pem", "the certificate file 'no.pem'", "path"),
        ),
    ],
)
def test_what_contradicts_itself_is_refused_at_its_place(
    tmp_path: Path, old: str, new: str, expected: tuple[str, str, str]
) -> None:
    """Names lead somewhere, files are there, durations make sense; else one problem with place and remedy."""
    found = complaints(tmp_path, (old, new))
    assert len(found) == 1, found
    where, message, remedy = found[0]
    assert where == place(TEXT.replace(old, new), expected[0])
    assert expected[1] in message
    assert expected[2] in remedy


def test_a_variant_that_cannot_serve_the_app_s_dialect_is_refused_at_its_place(tmp_path: Path) -> None:
    """The app speaks as the incumbent's provider does; thoughts that it would have to send back do not get through."""
    changes = ("incumbent: old", "incumbent: new"), ("params: {temperature: 0.6}", "reasoning: {budget_tokens: 2000}")
    ((where, message, remedy),) = complaints(tmp_path, *changes)
    assert where == "10:87"
    assert "which the openai wire cannot carry" in message
    assert remedy == "set an effort instead"
    project(tmp_path, TEXT.replace(*changes[1]))  # where the incumbent speaks it too, so does the app


def test_what_is_lost_between_two_dialects_is_said_at_the_variant(tmp_path: Path) -> None:
    """One warning for each variant of another dialect than the incumbent's, with how much and an excerpt."""
    found = [p for p in project(tmp_path, APP_KEY="k", ANTHROPIC_API_KEY="k").warnings() if "carried" in p.message]
    assert [(p.where.line, p.where.column) for p in found] == [(11, 23), (12, 24)]
    lost = len(never_carried("anthropic", "openai"))
    assert found[0].message.startswith(
        f"{lost} things that can be said on the anthropic wire are not carried over to new"
    )
    assert "top_k" in found[0].message
    assert "translation.md" in found[0].remedy


def test_problems_of_all_kinds_come_together(tmp_path: Path) -> None:
    """Unset variables, missing files and contradictions are reported in one go, in the order of the file."""
    found = complaints(tmp_path, ("incumbent: old", "incumbent: odl"), ("m-1", "${MODEL}"), ("v1.md", "v2.md"))
    assert [where for where, _, _ in found] == ["8:16", "10:41", "10:66"]


def test_a_prompt_that_is_no_text_is_placed_where_it_is_named(tmp_path: Path) -> None:
    """A prompt file in another encoding is refused with the byte's place in that file."""
    project(tmp_path)
    (tmp_path / "prompts" / "v1.md").write_bytes(b"You\nreply \xe9\n")
    with pytest.raises(ConfigError, match=r"v1\.md:2:7: byte 0xe9 is not UTF-8"):
        open_project(tmp_path / FILE, {})


def test_unknown_workloads_and_variants_suggest_the_nearest(tmp_path: Path) -> None:
    """A mistyped name on the command line is answered with the right one."""
    made = project(tmp_path)
    with pytest.raises(UsageError, match="no workload 'reply-draftng'") as caught:
        made.variants("reply-draftng")
    assert caught.value.remedy == "did you mean reply-drafting?"
    with pytest.raises(UsageError) as caught:
        made.variant("reply-drafting", "nw")
    assert caught.value.remedy == "did you mean new?"


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config first, then $UNDERSTUDY_CONFIG, then the working folder and the folders above it."""
    (tmp_path / FILE).touch()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "other.yaml").touch()
    monkeypatch.chdir(inner)
    assert find(None, {}) == tmp_path / FILE
    assert find(Path("other.yaml"), {"UNDERSTUDY_CONFIG": "x"}) == inner / "other.yaml"
    assert find(None, {"UNDERSTUDY_CONFIG": str(tmp_path)}) == tmp_path / FILE
    with pytest.raises(UsageError, match=r"none\.yaml, named by --config, does not exist"):
        find(Path("none.yaml"), {})
    (inner / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty, named by --config, has no understudy\.yaml in it"):
        find(Path("empty"), {})
    with pytest.raises(UsageError, match=r"none\.yaml, named by \$UNDERSTUDY_CONFIG, does not exist"):
        find(None, {"UNDERSTUDY_CONFIG": "none.yaml"})
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="the working folder does not exist any more"):
        find(None, {})
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match=r"no understudy\.yaml in /"):
        find(None, {})


ONE_WIRE = TEXT.replace("here: {wire: openai", "here: {wire: anthropic")
"""Between two dialects there is always something lost, which is a warning of its own."""


def warned(folder: Path, *changes: tuple[str, str], **environment: str) -> list[str]:
    text = ONE_WIRE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return [p.message for p in project(folder, text, **environment).warnings()]


def test_warnings_name_what_will_surprise_somebody(tmp_path: Path) -> None:
    """Each doubtful thing is one warning, and a sound file has none."""
    sound = {"ANTHROPIC_API_KEY": "k", "APP_KEY": "k"}
    clear = ("api_key: plain}", "api_key: ${ANTHROPIC_API_KEY}}")
    assert warned(tmp_path, clear, **sound) == []
    assert warned(tmp_path, **sound) == ["the key of here stands in the file in the clear"]
    assert warned(tmp_path, clear, APP_KEY="k")[0].startswith("ANTHROPIC_API_KEY is not set here")
    for old, new, said in (
        ("    suites: [suites/reply.yaml]\n", "", "reply-drafting has no suite"),
        ("http://127.0.0.1:9", "http://example.test", "here is called without encryption"),
        ("gateway:\n", "gateway:\n  host: 0.0.0.0\n", ""),
        ("    incumbent", "    unit: []\n    incumbent", "reply-drafting has no unit"),
        ("    incumbent", "    shadow: {sample: 10%}\n    incumbent", "reply-drafting copies 10% to shadow"),
        (
            "model: m-2, reasoning: {}",
            "model: m-2, system_prompt: 'text: Be brief.', reasoning: {effort: low}",
            "variants new and bare are the same",
        ),
        ("key: ${APP_KEY}", "key: in-the-clear", "the key of app stands in the file in the clear"),
        (
            "workloads:\n  reply",
            "  spare: {wire: openai, base_url: https://h}\nworkloads:\n  reply",
            "no variant uses the provider spare",
        ),
    ):
        found = warned(tmp_path, clear, (old, new), **sound)
        assert [message.startswith(said) for message in found] == ([True] if said else []), (said, found)
    keyless = ONE_WIRE[: ONE_WIRE.index("gateway:")].replace(*clear) + "gateway: {host: 0.0.0.0}\n"
    assert [p.message for p in project(tmp_path, keyless, **sound).warnings()] == [
        "gateways on 0.0.0.0 would serve anybody who can reach them"
    ]


def test_the_example_is_a_project_without_warnings(tmp_path: Path) -> None:
    """What `init` writes is accepted as it is, and no word of it is written over anything."""
    written = starter.write(tmp_path / "new" / "folder")
    made = open_project(tmp_path / "new" / "folder", {})
    assert set(written) >= {FILE, starter.SCHEMA_FILE, "prompts/reply.md", "suites/reply.yaml"}
    assert made.warnings() == []
    with pytest.raises(Refused, match=r"already has prompts/reply\.md"):
        starter.write(tmp_path / "new" / "folder")


def test_init_writes_nothing_where_one_file_is_there(tmp_path: Path) -> None:
    """A folder with one of the files is left as it was."""
    (tmp_path / FILE).write_text("mine")
    with pytest.raises(Refused, match=r"already has understudy\.yaml"):
        starter.write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).read_text() == "mine"


def test_the_schema_describes_every_key() -> None:
    """Editors show a sentence for each section, and the schema refuses unknown keys as the reader does."""
    made = starter.schema()
    sections: dict[str, Any] = {**made["$defs"], "Config": made}
    assert {"WorkloadSection", "VariantSection", "GateSection", "Config"} <= set(sections)
    for name, section in sections.items():
        assert section.get("description"), name
        if name != "GatesSection":
            assert section["additionalProperties"] is False, name
