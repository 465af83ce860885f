"""The verbs, and the module each one lives in. A verb's module is imported only when the verb is used, so that
`understudy --help` stays fast."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer.core import TyperCommand, TyperGroup

from understudy import __version__
from understudy.cli.mistakes import mistake, nearest
from understudy.cli.output import fail
from understudy.cli.teaching import teach, with_examples
from understudy.core.errors import CannotMeasure, UnderstudyError, UsageError

VERBS: dict[str, tuple[str, str, str]] = {
    # verb: (module, what it is for, what it does)
    "demo": ("understudy.cli.demo", "Begin", "Watch three upgrades with live traffic, offline, in under a minute."),
    "init": ("understudy.cli.init", "Begin", "Write a commented example project."),
    "check": ("understudy.cli.check", "Begin", "Check the configuration and show what it says."),
    "lint": ("understudy.cli.lint", "Begin", "Find names of models that float, go or are gone, in any tree."),
    "models": ("understudy.cli.models", "Begin", "Which models are pinned, when they go, and what to do by when."),
    "eval": ("understudy.cli.eval", "Upgrade", "Stage 1: compare a candidate with the incumbent, per slice."),
    "plan": ("understudy.cli.plan", "Upgrade", "How long an upgrade takes, if it is in time, what its gates can tell."),
    "upgrade": ("understudy.cli.upgrade", "Upgrade", "Begin an upgrade, see where it stands, promote, pause, waive."),
    "tune": ("understudy.cli.tune", "Upgrade", "Stage 2: a better prompt, by hand or searched for; or give up."),
    "rollback": ("understudy.cli.rollback", "Upgrade", "Serve everybody the incumbent, now; or rehearse it."),
    "up": ("understudy.cli.up", "Serve", "Run gateway, committer, controller and dashboard here."),
    "gateway": ("understudy.cli.gateway", "Serve", "Serve live traffic by the routing table."),
    "follow": ("understudy.cli.follow", "Serve", "Keep this machine's gateways in step with a shared store."),
    "controller": ("understudy.cli.controller", "Serve", "Carry upgrades: observe, decide, publish, roll back."),
    "alerts": ("understudy.cli.alerts", "Serve", "Who is told what cannot wait: test it, see what was sent."),
    "dashboard": ("understudy.cli.dashboard", "Serve", "Pages to look, approve and roll back; control API."),
    "history": ("understudy.cli.history", "Evidence", "Which variant served when, and why."),
    "who-served": ("understudy.cli.who_served", "Evidence", "Which variant answered a user, and why that one."),
    "shadow": ("understudy.cli.shadow", "Evidence", "What paired live answers say about a candidate."),
    "report": (
        "understudy.cli.report",
        "Evidence",
        "The evidence of one upgrade in one file; and whether it was changed.",
    ),
    "ledger": ("understudy.cli.ledger", "Evidence", "The log of exchanges: commit, verify, cost, erase, export."),
    "suite": ("understudy.cli.suite", "Evidence", "Eval cases from live traffic."),
    "replay": ("understudy.cli.replay", "Providers", "Serve recorded answers as a provider."),
}
"""Every module has an `app: typer.Typer`; one command in it makes a plain verb, several make sub-verbs."""

HELP = """Change the model behind a running product without its users noticing.

An upgrade goes through five stages, each of which can stop it: regression eval, prompt re-tuning, shadow, canary, soak.

Exit codes: 0 pass, 1 a gate failed or a finding exists, 2 usage or configuration, 3 could not measure.
"""
WORD = 12
"""Columns for a verb in the list of all of them."""


class Defect(CannotMeasure):
    """Something that should not have happened: our mistake, not the user's."""


class Verbs(TyperGroup):
    """Lists verbs from the table and imports a verb's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the one-line help, for listings; `resolve_command` gives the real thing."""
        if cmd_name not in VERBS:
            return None
        _, panel, summary = VERBS[cmd_name]
        return TyperCommand(cmd_name, help=summary, rich_help_panel=panel)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs by what they are for."""
        for panel in dict.fromkeys(panel for _, panel, _ in VERBS.values()):
            with formatter.section(panel):
                formatter.write_dl(
                    [(verb, said) for verb, (_, there, said) in VERBS.items() if there == panel], WORD, 2
                )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in VERBS and not args[0].startswith("-"):
            meant = nearest(args[0], commands())
            raise UsageError(f"there is no command {args[0]!r}", remedy=meant or "`understudy --help` lists them")
        name, command, rest = super().resolve_command(ctx, args)
        return (name, verb(name), rest) if name in VERBS else (name, command, rest)


def verb(name: str) -> Any:
    """The command of a verb, with its sub-verbs, as the library of the command line has it."""
    module = importlib.import_module(VERBS[name][0])
    module.app.rich_markup_mode = None  # one look for the help of every verb
    module.app._add_completion = False
    command = typer.main.get_command(module.app)
    command.name = name
    teach(command, name)
    return command


def commands() -> list[str]:
    """What may be typed after `understudy`: verbs, and behind them their sub-verbs."""
    return [*VERBS, *(f"{name} {below}" for name in VERBS for below in getattr(verb(name), "commands", {}))]


app = typer.Typer(
    cls=Verbs,
    help=with_examples(HELP, ""),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


COMPILED = "understudy__mypyc"
"""The extension that a wheel has where it was made with a C compiler; see hatch_build.py."""


def _version(value: bool) -> None:
    if value:
        request_path = "" if find_spec(COMPILED) else "not "
        sys.stdout.write(f"understudy {__version__} (the path of a request is {request_path}compiled)\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options before the verb."""


TRACEBACK = "UNDERSTUDY_TRACEBACK"
"""Set this variable to see where a defect of ours happened."""


def run() -> NoReturn:
    """Run the command line and leave with its exit code; what went wrong is said in the form that was asked for."""
    _open_what_is_closed()
    try:
        code = app(prog_name="understudy", standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except ClickException as error:
        fail(mistake(error), as_json="--json" in sys.argv)
    except UnderstudyError as error:
        fail(error, as_json="--json" in sys.argv)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "understudy":
            raise
        fail(
            UsageError(
                f"this command needs {error.name}, which is not installed here",
                remedy="a control store of several machines needs it: pip install 'understudy[postgres]'"
                if error.name == "asyncpg"
                else "install everything for one machine: pip install 'understudy[all]'",
            ),
            as_json="--json" in sys.argv,
        )
    except OSError as error:
        if os.environ.get(TRACEBACK):
            raise
        fail(_disk(error), as_json="--json" in sys.argv)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        fail(
            Defect(_what_happened(error), remedy=f"report it with what {TRACEBACK}=1 shows"),
            as_json="--json" in sys.argv,
        )
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Where a shell closed standard output or error (`>&-`) nobody wants to read them: that is no defect, and nothing
    that is opened later may take their place.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


_REMEDIES = {
    errno.ENOSPC: "make room, then run this again",
    errno.EDQUOT: "make room, then run this again",
    errno.EACCES: "check who may write there",
    errno.EPERM: "check who may write there",
    errno.EROFS: "name a folder that can be written: `state:` in understudy.yaml",
    errno.EEXIST: "a file is where a folder has to be: move it away",
    errno.ENOTDIR: "a file is where a folder has to be: move it away",
    errno.ENOENT: "it is not there and could not be made: check the path, or name another place",
    errno.EISDIR: "a folder is where a file has to be: name a file, or move the folder away",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "a link on the way there leads to itself: name another place",
}


def _disk(error: OSError) -> CannotMeasure:
    """What the operating system refused, of which file."""
    which = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, f"report it with what {TRACEBACK}=1 shows")
    return CannotMeasure(f"{which}{error.strerror or error}", remedy=remedy)


def _what_happened(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a defect of understudy: unexpected {type(error).__name__}{where}: {error}"
