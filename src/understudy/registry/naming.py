"""Decides what a model's name promises: one snapshot for as long as it lives, or whatever is served today.

The rules are those of the providers' own pages, named with each answer. A date in a name is a hint, not the rule:
Claude's ids from 4.6 on and Gemini's stable ids from 2.5 on carry none and are pinned all the same. A name that no
rule covers is unknown, which is neither fine nor a finding. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class Promise(StrEnum):
    """What a name promises."""

    EXACT = "exact"
    ALIAS = "alias"
    UNKNOWN = "unknown"


class Naming(NamedTuple):
    """What a name promises, by which scheme, why, what to write instead, and where the rule is written."""

    promise: Promise
    scheme: str
    """Whose rule it is; "" where none covers the name."""
    reason: str
    remedy: str = ""
    source: str = ""
    preview: bool = False
    """Whether the provider may withdraw it at short notice."""
    malformed: bool = False
    """Whether the provider says that no model has such a name."""


OPENAI = "https://developers.openai.com/api/docs/deprecations"
CLAUDE = "https://platform.claude.com/docs/en/about-claude/models/model-ids-and-versions"
GEMINI = "https://ai.google.dev/gemini-api/docs/deprecations"
VERTEX = "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versioning"
MISTRAL = "https://docs.mistral.ai/inference/model-lifecycle"
BEDROCK = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html"
AZURE = "https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/working-with-models"
DEEPSEEK = "https://api-docs.deepseek.com/updates"
OPENROUTER = "https://openrouter.ai/docs/guides/routing/model-variants/overview"

DAY = r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
COMPACT = r"20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
PINNED_CLAUDE = (4, 6)
"""From this generation on a Claude id without a date is the snapshot."""
PINNED_GEMINI = (2, 5)
"""From this generation on a stable Gemini id without a number is the snapshot."""
DECLARE = "ask the provider, and say what it answers under `models:` in understudy.yaml"


def classify(model: str, platform: str = "") -> Naming:
    """What this name promises where `platform`, a cloud or "", serves it: on Azure a deployment's name says nothing."""
    if platform.startswith("azure") or model.startswith("azure/"):
        return Naming(
            Promise.UNKNOWN,
            "azure",
            "the name of a deployment says nothing of the version behind it, which Azure may move",
            "set a version and NoAutoUpgrade on the deployment, then declare the name under `models:`",
            AZURE,
        )
    if model == "openrouter/auto":
        return _alias("openrouter", "the router chooses a model for each request", "name a model", OPENROUTER)
    bare = unrouted(model)
    for rule in _RULES:
        found = rule(bare)
        if found is not None:
            return found
    return _by_form(bare)


_ROUTES = (
    "openrouter/", "litellm_proxy/", "vertex_ai/", "vertex/", "bedrock/", "bedrock_converse/", "converse/", "gemini/",
    "models/", "publishers/google/models/", "publishers/anthropic/models/", "openai/", "anthropic/", "google/",
    "mistral/", "mistralai/", "deepseek/", "openai:", "anthropic:", "google-gla:", "google-vertex:", "bedrock:",
    "mistral:", "deepseek:", "google_genai:",
)  # fmt: skip
_RESOURCE = re.compile(r"projects/[^/]+/locations/[^/]+/(?=publishers/)|arn:aws[\w-]*:bedrock:[^/]*/")


def unrouted(model: str) -> str:
    """The name as its maker spells it, without the words that libraries and routers put before it."""
    bare = _RESOURCE.sub("", model.strip(), count=1)
    while True:
        route = next((each for each in _ROUTES if bare.startswith(each) and len(bare) > len(each)), "")
        if not route:
            return bare
        bare = bare[len(route) :]


def _exact(scheme: str, reason: str, source: str, *, preview: bool = False) -> Naming:
    remedy = "have a candidate ready: a preview may go at short notice" if preview else ""
    return Naming(Promise.EXACT, scheme, reason, remedy, source, preview)


def _alias(scheme: str, reason: str, remedy: str, source: str) -> Naming:
    return Naming(Promise.ALIAS, scheme, reason, remedy, source)


_OPENAI_NAME = re.compile(
    r"(?P<base>gpt-(?:\d+(?:\.\d+)?o?)(?:-[a-z0-9]+)*?|o[1-9](?:-[a-z]+)*?|chatgpt-(?:\d+o?|image)(?:-mini)?"
    r"|computer-use-preview|codex-mini)"
    rf"(?:-(?P<tail>{DAY}|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:-(?:vision-)?preview)?|latest))?"
)
_OPENAI_LINES = frozenset(
    [
        *(
            "mini",
            "nano",
            "pro",
            "turbo",
            "codex",
            "chat",
            "max",
            "audio",
            "realtime",
            "search",
            "preview",
            "transcribe",
        ),
        *("tts", "deep", "research", "instruct", "16k", "32k", "vision", "diarize", "image"),
    ]
)
_FINE_TUNED = re.compile(r"ft:(?P<base>[a-z0-9.-]+):[^:\s]*:[^:\s]*:[A-Za-z0-9]+(:ckpt-step-\d+)?")


def _openai(name: str) -> Naming | None:
    tuned = _FINE_TUNED.fullmatch(name)
    if tuned is not None:
        return _exact("openai", "a fine-tuned model keeps its weights; it is shut down with its base", OPENAI)
    found = _OPENAI_NAME.fullmatch(name)
    if found is None or name.startswith("gpt-oss"):
        return None
    base, tail = found["base"], found["tail"]
    preview = "preview" in name
    if tail == "latest":
        return _alias("openai", "-latest is moved to each new snapshot", f"write {base}-YYYY-MM-DD", OPENAI)
    if tail:
        return _exact("openai", "the date names one snapshot", OPENAI, preview=preview)
    words = base.split("-")[2 if base.startswith("gpt-") else 1 :]
    if all(word in _OPENAI_LINES for word in words) or base.startswith(("chatgpt-", "codex-", "computer-use")):
        return _alias(
            "openai",
            "a name without a date points to the snapshot that OpenAI chooses, and is moved",
            f"write the snapshot: {base}-YYYY-MM-DD",
            OPENAI,
        )
    return Naming(Promise.UNKNOWN, "openai", "OpenAI's pages do not say whether this name may move", DECLARE, OPENAI)


_CLAUDE_NEW = re.compile(
    rf"claude-(?P<line>[a-z]+)-(?P<major>\d)(?:[-.](?P<minor>\d{{1,2}}))?(?:[-@](?P<tail>{COMPACT}|latest|default))?"
)
_CLAUDE_OLD = re.compile(
    rf"claude-3(?:[-.](?P<minor>[57]))?-(?P<line>sonnet|haiku|opus)(?:-v2)?(?:[-@](?P<tail>{COMPACT}|latest|default))?"
)
_CLAUDE_FIRST = re.compile(r"claude-(?:instant-)?v?(?P<version>\d(?:\.\d)?)(?:-100k)?")
_CLAUDE_FAMILY = re.compile(r"claude-(?:opus|sonnet|haiku|fable|mythos)-latest")


def _claude(name: str) -> Naming | None:
    if _CLAUDE_FAMILY.fullmatch(name):
        return _alias("anthropic", "-latest is moved to each new model", "write the model's own id", CLAUDE)
    first = _CLAUDE_FIRST.fullmatch(name)
    if first is not None:
        if "." in first["version"]:
            return _exact("anthropic", "the number names one version", CLAUDE)
        return _alias("anthropic", "a major version alone is moved", "write the model's full id", CLAUDE)
    found = _CLAUDE_NEW.fullmatch(name) or _CLAUDE_OLD.fullmatch(name)
    if found is None:
        return None
    tail = found["tail"]
    if tail in ("latest", "default"):
        dated = "claude-sonnet-4-5@20250929" if "@" in name else "claude-sonnet-4-5-20250929"
        return _alias("anthropic", f"{tail} is moved to each new snapshot", f"write the id, like {dated}", CLAUDE)
    if tail:
        return _exact("anthropic", "the date names one snapshot", CLAUDE)
    groups = found.groupdict()
    version = (int(groups.get("major") or 3), int(groups["minor"] or 0))
    if version >= PINNED_CLAUDE:
        return _exact("anthropic", "from 4.6 on a Claude id without a date is the snapshot itself", CLAUDE)
    return _alias(
        "anthropic",
        "before 4.6 a Claude name without a date is an alias that is moved",
        f"write the snapshot: {name.replace('.', '-')}-YYYYMMDD",
        CLAUDE,
    )


_BEDROCK = re.compile(
    r"(?:(?:us|eu|apac|global|us-gov|jp|au|ca)\.)?"
    r"(?P<maker>anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai|qwen|stability|writer|twelvelabs|luma|xai)\."
    r"(?P<name>[a-z0-9][a-z0-9.-]*?)(?P<version>-v\d+(?::\d+(?::\d+k)?)?)?(?P<variant>:\d+k)?"
)


def bedrock_id(name: str) -> str:
    """The id of a model on Bedrock without the regions of an inference profile; "" where it is no such id."""
    found = _BEDROCK.fullmatch(name)
    return "" if found is None else name[found.start("maker") :]


def _bedrock(name: str) -> Naming | None:
    found = _BEDROCK.fullmatch(name)
    if found is None:
        return None
    maker, version = found["maker"], found["version"] or ""
    if maker == "anthropic":
        return _claude_on_bedrock(name, found["name"], version)
    if version:
        return _exact("bedrock", "a Bedrock id ends in its version", BEDROCK)
    return Naming(Promise.UNKNOWN, "bedrock", "this Bedrock id names no version", DECLARE, BEDROCK)


def _claude_on_bedrock(name: str, inner: str, version: str) -> Naming:
    found = _CLAUDE_NEW.fullmatch(inner)
    dated = re.search(COMPACT, inner)
    if found is not None and not dated:
        generation = (int(found["major"]), int(found["minor"] or 0))
        wanted = "-v1" if (found["line"], generation) == ("opus", (4, 6)) else ""
        if generation >= PINNED_CLAUDE:
            if version == wanted:
                return _exact("bedrock", "from 4.6 on a Claude id without a date is the snapshot itself", CLAUDE)
            right = name.removesuffix(version) + wanted
            return Naming(
                Promise.UNKNOWN,
                "bedrock",
                "Bedrock has no such id: the suffix was dropped from Claude Sonnet 4.6 on, and Opus 4.6 ends in -v1",
                f"write {right}",
                CLAUDE,
                malformed=True,
            )
    if dated and version:
        return _exact("bedrock", "date and version name one snapshot", CLAUDE)
    if version and inner in ("claude", "claude-instant"):
        return _exact("bedrock", "a Bedrock id ends in its version", BEDROCK)
    return Naming(
        Promise.UNKNOWN,
        "bedrock",
        "this Bedrock id lacks its date or version",
        "write the id of the model card",
        CLAUDE,
    )


_GEMINI = re.compile(
    r"gemini(?:-live)?-(?P<version>\d+(?:\.\d+)?)(?P<rest>(?:-[a-z0-9]+)*?)"
    r"(?P<tail>-\d{3}|-latest|-(?:preview|exp)(?:-\w+)*)?"
)


def _gemini(name: str) -> Naming | None:
    if name in ("gemini-pro", "gemini-pro-vision", "gemini-flash") or re.fullmatch(r"gemini(-[a-z]+)+-latest", name):
        return _alias("google", "a name without a version is moved to each new model", "write the stable id", VERTEX)
    found = _GEMINI.fullmatch(name)
    if found is None:
        return None
    tail, version = found["tail"] or "", tuple(int(part) for part in found["version"].split("."))
    if tail == "-latest":
        return _alias("google", "-latest is moved to each new release", "write the stable id", GEMINI)
    if re.fullmatch(r"-\d{3}", tail):
        return _exact("google", "the number names one stable version", VERTEX)
    if tail:
        if re.search(r"\d", tail):
            return _exact("google", "the date names one preview", GEMINI, preview=True)
        return Naming(
            Promise.UNKNOWN,
            "google",
            "a preview without a date: Google may replace it or withdraw it at short notice",
            "write a stable id before users depend on it",
            GEMINI,
            preview=True,
        )
    if version >= PINNED_GEMINI:
        return _exact("google", "from 2.5 on the stable id without a number is the snapshot itself", GEMINI)
    return _alias(
        "google",
        "before 2.5 a stable name without -001 is updated to each new version",
        f"write the version: {name}-001 or the like",
        VERTEX,
    )


_MISTRAL = re.compile(
    r"(?P<base>(?:labs-)?(?:open-)?(?:mistral|mixtral|ministral|codestral|magistral|devstral|pixtral|voxtral)"
    r"(?:-(?!latest$)[a-z0-9.]+)*?)"
    r"(?:-(?P<tail>2[3-9](?:0[1-9]|1[0-2])|latest))?"
)


def _mistral(name: str) -> Naming | None:
    found = _MISTRAL.fullmatch(name)
    if found is None:
        return None
    if name.startswith("labs-"):
        return _alias("mistral", "labs- models are updated without a word", "write a dated id, like NAME-2508", MISTRAL)
    if found["tail"] == "latest":
        return _alias("mistral", "-latest is moved to each new release", f"write {found['base']}-YYMM", MISTRAL)
    if found["tail"]:
        return _exact("mistral", "year and month name one release", MISTRAL)
    if re.fullmatch(
        r"(mistral|ministral|codestral|magistral|devstral|pixtral|voxtral)-(tiny|small|medium|large)", name
    ):
        return _alias("mistral", "a name without year and month is an alias", f"write {name}-YYMM", MISTRAL)
    if re.fullmatch(r"(mistral|magistral|devstral)-(small|medium|large)-\d(\.\d)?", name):
        return _alias("mistral", "a major version alone is an alias that is moved", "write a dated id", MISTRAL)
    return None


def _deepseek(name: str) -> Naming | None:
    if name not in ("deepseek-chat", "deepseek-reasoner"):
        return None
    return _alias("deepseek", "DeepSeek moved this name to each new version", "name a version", DEEPSEEK)


_ROUTED = re.compile(r"(?P<base>[\w.-]+/[\w.-]+|[\w.-]+):(?P<variant>nitro|floor|free|exacto|online|extended|batch)")


def _openrouter(name: str) -> Naming | None:
    found = _ROUTED.fullmatch(name)
    if found is None:
        return None
    inner = classify(found["base"])
    if inner.promise is Promise.ALIAS:
        return inner
    if found["variant"] in ("nitro", "floor", "exacto"):
        return inner  # these choose among hosts, not among models
    return Naming(
        Promise.UNKNOWN,
        "openrouter",
        f":{found['variant']} is an entry of its own in the catalogue",
        DECLARE,
        OPENROUTER,
    )


_WEIGHTS = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")
_TAGGED = re.compile(r"(?P<name>[a-z][a-z0-9._-]*(?:/[a-z0-9._-]+)?):(?P<tag>[A-Za-z0-9._-]+)")
_OPEN = re.compile(
    r"(code)?llama|qwen|deepseek|gemma|phi-?\d|mi[sx]tral|gpt-oss|kimi|glm|falcon|olmo|yi-|nomic|starcoder",
    re.IGNORECASE,
)
WEIGHTS_REMEDY = "name the commit of the weights: revision=, or NAME@COMMIT"


def _weights(name: str) -> Naming | None:
    """Open weights, by repository and revision or by tag."""
    if _DIGEST.fullmatch(name):
        return _exact("weights", "a digest names these bytes", "")
    tagged = _TAGGED.fullmatch(name)
    if tagged is not None and _OPEN.search(tagged["name"]):
        if tagged["tag"] == "latest":
            return _alias("weights", "the tag latest is moved", "name the digest: NAME@sha256:...", "")
        return Naming(Promise.UNKNOWN, "weights", "a tag can be moved", "name the digest: NAME@sha256:...", "")
    found = _WEIGHTS.fullmatch(name)
    if found is None or not _OPEN.search(name):
        return None
    revision = found["revision"] or ""
    if re.fullmatch(r"[0-9a-f]{7,40}", revision):
        return _exact("weights", "the commit names these weights", "")
    if revision in ("main", "master"):
        return _alias("weights", f"the branch {revision} is moved", WEIGHTS_REMEDY, "")
    said = "a tag or branch can be moved" if revision else "a repository without a revision may change its weights"
    return Naming(Promise.UNKNOWN, "weights", said, WEIGHTS_REMEDY, "")


_RULES: tuple[Callable[[str], Naming | None], ...] = (
    _openrouter, _openai, _bedrock, _claude, _gemini, _mistral, _deepseek, _weights,
)  # fmt: skip


def _by_form(name: str) -> Naming:
    """What the form of a name says where no provider's rule covers it."""
    if re.search(r"[-_:@/]latest$|@default$", name) or name == "latest":
        return _alias("", "the name says that it is moved", "write the exact version", "")
    if re.search(rf"[-_@.]({DAY}|{COMPACT})(-|$)", name):
        return _exact("", "it carries a date; nothing else is known of this provider's names", "")
    return Naming(Promise.UNKNOWN, "", "no rule for names of this form is known", DECLARE, "")
