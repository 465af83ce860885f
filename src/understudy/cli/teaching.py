"""What the help of each command teaches by: its examples, and the words that stand for values in its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperArgument

VALUES = {
    "accept": "MODEL",
    "at": "TIME",
    "by": "NAME",
    "name": "NAME",
    "calls": "N",
    "candidate": "VARIANT",
    "concurrency": "N",
    "config": "FILE",
    "deadline": "DAY",
    "every": "SECONDS",
    "examples": "N",
    "exclude": "PATTERN",
    "exchange": "ID",
    "folder": "FOLDER",
    "form": "FORM",
    "format_": "FORMAT",
    "host": "ADDRESS",
    "icc": "PART",
    "ignore": "CODES",
    "incumbent": "VARIANT",
    "keep": "TABLE=TIME",
    "key": "KEY",
    "limit": "N",
    "latency_scale": "FACTOR",
    "more": "FILE",
    "n": "N",
    "owner": "NAME",
    "port": "PORT",
    "prompt_work": "DAYS",
    "reason": "TEXT",
    "recordings": "FILE",
    "reflect_with": "MODEL",
    "repeats": "N",
    "seal": "SEAL",
    "requests": "N",
    "seed": "SEED",
    "segments": "FOLDER",
    "select": "CODES",
    "since": "TIME",
    "slice_": "SLICE",
    "subject": "SUBJECT",
    "suite": "FILE",
    "table": "FILE",
    "target": "TARGET",
    "timeout": "SECONDS",
    "tls_cert": "FILE",
    "tls_key": "FILE",
    "to": "FILE",
    "today": "DAY",
    "unit": "UNIT",
    "until": "TIME",
    "upgrade": "ID",
    "usd": "USD",
    "user": "UNIT",
    "verify": "FILE",
    "users": "N",
    "wait": "SECONDS",
    "watch": "SECONDS",
    "why": "TEXT",
    "within": "DAYS",
    "workers": "N",
    "workload": "WORKLOAD",
}
"""What is shown for the value of a parameter, by the parameter's name; one word for one thing in every command."""

OF_ONE = {"lint": {"paths": "FILE"}, "suite from-ledger": {"by": "KEY"}}
"""Where a command means something else by a name than the others do."""

EXAMPLES: dict[str, Sequence[tuple[str, str]]] = {
    # command: (what for, what to type)
    "": (
        ("see three upgrades with live traffic, offline", "understudy demo"),
        ("write a commented example that runs as it is", "understudy init my-upgrade"),
        ("is small-2 as good as what serves now?", "understudy eval reply-drafting --candidate small-2"),
        ("serve, and carry an upgrade through its stages", "understudy up"),
        ("back to the incumbent, now", "understudy rollback reply-drafting"),
    ),
    "demo": (("keep the project and the evidence in a folder of your choice", "understudy demo --out /tmp/demo"),),
    "init": (("a new folder with everything to try it on", "understudy init my-upgrade"),),
    "check": (
        ("the project of this folder, or of one above it", "understudy check"),
        ("let an editor complete and explain the file", "understudy check --schema > understudy.schema.json"),
    ),
    "lint": (
        ("this folder and all below it", "understudy lint"),
        (
            "on the lines of a pull request, for what goes within half a year",
            "understudy lint src --format github --within 180",
        ),
        (
            "for code scanning, without old recordings",
            "understudy lint --format sarif --exclude 'tests/cassettes/' > lint.sarif",
        ),
    ),
    "models": (
        ("what has to be done, and by when?", "understudy models"),
        ("and how will it look at the end of the quarter?", "understudy models --today 2027-03-31"),
    ),
    "plan": (
        ("how long do the stages take?", "understudy plan reply-drafting"),
        ("what has to begin when, to be over in time?", "understudy plan reply-drafting --deadline 2026-12-11"),
        ("what can be told with the traffic that the ledger saw?", "understudy plan reply-drafting --gates"),
        (
            "and with traffic that is not there yet?",
            "understudy plan reply-drafting --gates --requests-per-day 20000 --users 4000",
        ),
        (
            "how often would 200 good and 200 bad canaries end wrongly?",
            "understudy plan reply-drafting --simulate 200 --requests-per-day 20000",
        ),
    ),
    "upgrade start": (("", 'understudy upgrade start reply-drafting --candidate small-2 --why "small-1 is retired"'),),
    "upgrade status": (
        ("once", "understudy upgrade status reply-drafting"),
        ("until it is over", "understudy upgrade status reply-drafting --watch"),
    ),
    "upgrade promote": (("", 'understudy upgrade promote reply-drafting --why "read 50 answers myself"'),),
    "upgrade pause": (("", 'understudy upgrade pause reply-drafting --why "sale weekend"'),),
    "upgrade resume": (("", "understudy upgrade resume reply-drafting"),),
    "upgrade abort": (("", 'understudy upgrade abort reply-drafting --why "the contract was extended"'),),
    "upgrade approve": (("", "understudy upgrade approve reply-drafting ticket=refund --by ana"),),
    "upgrade waive": (
        (
            "a slice that failed, for two weeks",
            'understudy upgrade waive reply-drafting delivery --owner ana --reason "wording only" --until 14d',
        ),
    ),
    "tune": (
        ("how did the prompt come about?", "understudy tune reply-drafting"),
        (
            "go on with a better one",
            'understudy tune reply-drafting --candidate small-2-tuned --why "told to name the order number"',
        ),
        (
            "let a model look for one, for at most 5 dollars",
            "understudy tune reply-drafting --search --candidate small-2 --reflect-with small-1 --usd 5",
        ),
        ("go on with a search that was stopped", "understudy tune reply-drafting --resume"),
    ),
    "shadow report": (
        ("what would users notice?", "understudy shadow report reply-drafting"),
        ("on one slice, with three pairs each", "understudy shadow report --slice ticket=refund --examples 3"),
    ),
    "rollback": (
        ("everybody gets the incumbent", 'understudy rollback reply-drafting --why "complaints about refunds"'),
        ("with controller and control store dead", "understudy rollback reply-drafting --local"),
        ("how long would it take?", "understudy rollback reply-drafting --drill"),
    ),
    "alerts test": (("is everybody reached?", "understudy alerts test"),),
    "alerts list": (("what was sent to whom?", "understudy alerts list"),),
    "alerts send": (("from a timer, in case that the controller is dead", "understudy alerts send"),),
    "dashboard": (
        ("on this machine, with a link that signs you in", "understudy dashboard"),
        ("on any free port", "understudy dashboard --port 0"),
        ("for others too, who are named under dashboard.users", "understudy dashboard --host 0.0.0.0"),
    ),
    "history": (
        ("who was served what, when and why", "understudy history reply-drafting"),
        ("every event, as data", "understudy history reply-drafting --all --json"),
    ),
    "who-served": (
        ("now", "understudy who-served --user user-17"),
        ("on a day a year ago", "understudy who-served --user user-17 --at 2026-03-01T09:30Z"),
    ),
    "report": (
        ("everything, as a page, as data and in short", "understudy report reply-drafting --out evidence"),
        ("the short form, for a pull request", "understudy report reply-drafting --format md > summary.md"),
        ("was anything changed since?", "understudy report --verify evidence/evidence.html"),
        ("could we upgrade safely, and go back?", "understudy report --audit"),
    ),
    "suite from-ledger": (
        (
            "100 cases, spread over the kinds of tickets",
            "understudy suite from-ledger reply-drafting --n 100 --by ticket",
        ),
        (
            "one finding, as a case of its own",
            "understudy suite from-ledger reply-drafting --exchange 0199f0c2-7a1e --to suites/found.yaml",
        ),
    ),
    "up": (("", "understudy up --port 8080 --workers 2"),),
    "follow": (
        ("on a machine with a gateway and no controller", "understudy follow"),
        ("where several machines have the same host name", "understudy follow --name gateway-2"),
    ),
    "controller": (
        ("beside a gateway and a committer that you run yourself", "understudy controller"),
        ("look and act once, from a timer", "understudy controller --once"),
    ),
    "ledger commit": (
        ("what waits, once", "understudy ledger commit"),
        ("go on for ever, every half second", "understudy ledger commit --watch 0.5"),
    ),
    "ledger verify": (("", "understudy ledger verify"),),
    "ledger cost": (("what a month costs with each variant", "understudy ledger cost reply-drafting"),),
    "ledger prices": (
        ("which prices are used, and from when?", "understudy ledger prices"),
        ("use a price that moved by more than half", "understudy ledger prices --accept small-2-2026-02-10"),
    ),
    "ledger erase": (("somebody asked to be forgotten", "understudy ledger erase --unit user-17"),),
    "ledger expire": (
        ("as `retention` of understudy.yaml says", "understudy ledger expire"),
        ("keep exchanges for 90 days, this once", "understudy ledger expire --keep exchanges=90d"),
    ),
    "ledger export": (
        ("everything kept of somebody", "understudy ledger export user-17.jsonl --unit user-17"),
        ("March, for another tool", "understudy ledger export march.parquet --since 2026-03-01 --until 2026-04-01"),
    ),
    "gateway": (
        ("as understudy.yaml says", "understudy gateway"),
        ("on all addresses, two workers", "understudy gateway --host 0.0.0.0 --port 8080 --workers 2"),
    ),
    "eval": (
        ("the workload's own suites", "understudy eval reply-drafting --candidate small-2"),
        ("one slice, one look", "understudy eval reply-drafting --candidate small-2 --slice refund --once"),
        (
            "how much of a difference is noise?",
            "understudy eval reply-drafting --candidate small-1 --incumbent small-1",
        ),
    ),
    "replay serve": (
        ("the answers of `understudy init`", "understudy replay serve -r recordings/replies.jsonl --port 9100"),
        ("as slow as they were", "understudy replay serve -r recordings/replies.jsonl --latency-scale 1"),
    ),
}


class _Argument(TyperArgument):
    """An argument shown by its word alone: `WORKLOAD`, in brackets where it may be left out."""

    def display_type_rich(self, ctx: Any) -> str | None:
        return None

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        word = self.display_name_raw if self.required else f"[{self.display_name_raw}]"
        return [word + ("..." if self.nargs != 1 else "")]


def teach(command: Any, path: str) -> None:
    """Put into a command, and into those below it, the words for values, whole one-line summaries, and the examples.

    `path` is what is typed after `understudy`: "upgrade start", or "" for the program itself.
    """
    for parameter in command.params:
        if not getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = OF_ONE.get(path, {}).get(parameter.name) or VALUES.get(parameter.name)
        if isinstance(parameter, TyperArgument):
            # Made by the library from a function's signature, which has no place to name another class.
            parameter.__class__ = _Argument
    said = command.help or ""
    command.short_help = " ".join(said.split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."
    command.help = with_examples(said, path)
    for name, below in getattr(command, "commands", {}).items():
        teach(below, f"{path} {name}".strip())


def with_examples(said: str, path: str) -> str:
    """The help text of a command with its examples behind it, where it has some."""
    if path not in EXAMPLES:
        return said
    return said.rstrip() + "\n\n\b\nExamples:\n" + "\n".join(_lines(EXAMPLES[path]))


def _lines(examples: Sequence[tuple[str, str]]) -> list[str]:
    """What for, as a comment, and below it what to type; a long command goes on in a second line."""
    lines: list[str] = []
    for what, command in examples:
        if what:
            lines.append(f"  # {what}")
        if len(command) > WIDTH:
            head, _, tail = command[:WIDTH].rpartition(" --")
            lines += [f"  {head} \\", f"      --{tail}{command[WIDTH:]}"]
        else:
            lines.append(f"  {command}")
    return lines


WIDTH = 74
"""What is left of 80 columns for a command, behind the indentation."""
