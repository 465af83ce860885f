"""`understudy report`: the evidence of one upgrade in one file, for whoever asks a year later."""

from __future__ import annotations

import asyncio
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.output import counted, errors_shown, out, plain, print_json, progress, spoken
from understudy.core.errors import EXIT_FINDING, CannotMeasure, UsageError

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.pack.facts import Stored
    from understudy.pack.seal import Checked

app = typer.Typer(add_completion=False)


class Form(StrEnum):
    """In which form the evidence is written."""

    HTML = "html"
    JSON = "json"
    MD = "md"


@app.command()
def report(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    upgrade: Annotated[str, typer.Option("--upgrade", help="Id of an earlier upgrade; the latest if left out.")] = "",
    to: Annotated[
        Path | None, typer.Option("--out", help="A folder for all three forms, or one file: .html, .json or .md.")
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="One form alone, html, json or md; printed where no --out says where it goes."),
    ] = None,
    examples: Annotated[
        int,
        typer.Option("--examples", min=0, max=3, help="Answers beside each finding, as models and users wrote them."),
    ] = 0,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Say whether this file, or a file of this folder, was changed.")
    ] = None,
    seal: Annotated[
        str, typer.Option("--seal", help="With --verify: the seal that was printed when it was made.")
    ] = "",
    audit: Annotated[
        bool, typer.Option("--audit", help="Grade how WORKLOAD, or each one, is upgraded, and whether it can go back.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="With --audit: ask what a rollback goes back to for a word.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the evidence of one upgrade: what was changed, why and by whom, what every stage saw, who accepted what,
    who was served what when, and whether all of it is still as it was decided.

    The page needs nothing but itself. Every part is sealed by its hash; --verify finds the part that was changed.

    --audit writes nothing: it holds configuration and journals against the eight ways in which a swap fails, and
    against the list of what a rollback needs.

    Exit code 1 where the journal, the evidence or the ledger is not in order, a file was changed, or the audit found a
    gap; 3 where there was no upgrade yet.
    """
    with errors_shown(as_json):
        if verify is not None or audit:
            of_a_pack = {"--out": to is not None, "--format": form is not None, "--upgrade": bool(upgrade)}
            of_a_pack |= {"--examples": examples > 0, "--audit": verify is not None and audit}
            if surplus := ", ".join(option for option, given in of_a_pack.items() if given):
                asked = "--verify" if verify is not None else "--audit"
                raise UsageError(f"{asked} writes nothing, and excludes {surplus}", remedy=f"leave {surplus} out")
        if verify is not None:
            in_order = _verify(verify, seal, as_json)
        elif audit:
            from understudy.cli.audit_view import audited

            in_order = audited(config, workload, probe=probe, as_json=as_json)
        elif probe:
            raise UsageError("--probe is a part of the audit", remedy="write --audit --probe")
        elif seal:
            raise UsageError("--seal says what a file is held against", remedy="name the file with --verify")
        else:
            in_order = _write(config, workload, upgrade, to, form, examples, as_json)
    if not in_order:
        sys.exit(EXIT_FINDING)


def _write(
    config: Path | None,
    name: str | None,
    upgrade: str,
    to: Path | None,
    form: Form | None,
    examples: int,
    as_json: bool,
) -> bool:
    """Gather and write; whether the evidence is in order."""
    from understudy.config.project import open_project
    from understudy.pack.facts import document
    from understudy.wiring import audited

    project = open_project(config)
    found = asyncio.run(_stored(project, name, upgrade))
    with progress("comparing pairs", None) as advance:
        pack = document(project, found, audited(project), time.time(), examples, advance)
    if to is None and form is not None:
        _print_form(pack, form)
    elif as_json and to is None:
        print_json(pack)
    else:
        made = _files(pack, to or Path(f"evidence-{found.state.id}"), form)
        if as_json:
            print_json({"upgrade": found.state.id, "files": made, "missing": pack["missing"], **_order(pack)})
        else:
            _print_made(pack, made)
    return bool(pack["integrity"]["in_order"])


async def _stored(project: Project, name: str | None, upgrade: str) -> Stored:
    from understudy.pack.facts import stored
    from understudy.wiring import control_there

    async with control_there(project) as opened:
        if opened is None:
            begin = "begin one with `understudy upgrade start WORKLOAD --candidate VARIANT`"
            raise CannotMeasure("there was no upgrade yet", remedy=begin)
        # A workload may be long gone from the configuration, and its upgrades are still asked for.
        past = {state.workload for state in await opened.store.upgrades()} if name else set()
        workload = name if name in past else one_workload(project, name)
        return await stored(opened.store, str(workload), upgrade)


def _order(pack: dict[str, Any]) -> dict[str, Any]:
    found = pack["integrity"]
    return {"in_order": found["in_order"], "broken": [*found["broken"], *found["evidence_changed"]]}


def _print_form(pack: dict[str, Any], form: Form) -> None:
    from understudy.pack.files import written

    sys.stdout.write(written(pack, form)[0].decode())
    sys.stdout.flush()


def _files(pack: dict[str, Any], to: Path, form: Form | None) -> list[dict[str, str]]:
    """Write each form, whole or not at all; what was written, with its seal."""
    from understudy.pack.files import FILES, written

    kind = to.suffix.removeprefix(".")
    if kind in FILES:
        if form is not None and form != kind:
            raise UsageError(
                f"--out {to} is no place for {form}", remedy=f"name a file that ends in .{form}, or a folder"
            )
        wanted = {kind: to}
    elif to.suffix and not to.is_dir():
        raise UsageError(
            f"--out {to}: there is no form {to.suffix}", remedy="name a folder, or a .html, .json or .md file"
        )
    else:
        wanted = {name: to / file for name, file in FILES.items() if form in (None, name)}
    made = []
    for name, path in wanted.items():
        content, seal = written(pack, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_bytes(content)
        temporary.replace(path)
        made.append({"file": str(path), "seal": seal})
    return made


def _print_made(pack: dict[str, Any], made: list[dict[str, str]]) -> None:
    console, upgrade = out(), pack["upgrade"]
    console.print(plain(f"{upgrade['workload']}, upgrade {upgrade['id']}: {spoken(upgrade['stage'])}"), style="bold")
    for one in made:
        console.print(plain(one["file"]), markup=False)
        console.print(f"  seal {one['seal']}", style="dim")
    if pack["missing"]:
        console.print(f"{counted(len(pack['missing']), 'part')} of the evidence missing:")
        for one in pack["missing"]:
            console.print(plain(f"  {one['part']}: {one['what']}"), markup=False)
    for sentence in _order(pack)["broken"]:
        console.print(plain(sentence), style="bold red", markup=False)
    if pack["integrity"]["in_order"]:
        console.print(
            "keep a seal elsewhere: `understudy report --verify FILE --seal SEAL` proves that nothing was changed"
        )


def _verify(path: Path, seal: str, as_json: bool) -> bool:
    """Say of each file whether it is as it was made."""
    checked = {str(file): _checked(file, seal) for file in _packs(path, seal)}
    document = [
        {"file": name, "seal": one.seal, "parts": one.parts, "changed": list(one.changed)}
        for name, one in checked.items()
    ]
    if as_json:
        print_json({"in_order": not any(one.changed for one in checked.values()), "files": document})
        return not any(one.changed for one in checked.values())
    console = out()
    for name, one in checked.items():
        if one.changed:
            said = "was changed" if one.parts else "is no pack that was left as it was made"
            console.print(plain(f"{name} {said}"), style="bold red", markup=False)
        else:
            console.print(plain(f"{name} is as it was made: {one.parts} parts"), style="green", markup=False)
            console.print(f"  seal {one.seal}", style="dim")
        for sentence in one.changed:
            console.print(plain(f"  {sentence}"), markup=False)
    return not any(one.changed for one in checked.values())


def _packs(path: Path, seal: str) -> list[Path]:
    """The file, or those of the folder. Raises UsageError where there is none."""
    from understudy.pack.files import FILES

    if path.is_file():
        return [path]
    found = [path / name for name in FILES.values() if (path / name).is_file()]
    if not found:
        raise UsageError(f"{path} is no file, and no folder with evidence", remedy=f"name {', '.join(FILES.values())}")
    if seal and len(found) > 1:
        raise UsageError("every file has a seal of its own", remedy="name the one file that the seal is of")
    return found


def _checked(file: Path, seal: str) -> Checked:
    from understudy.pack.files import verified

    return verified(file.read_bytes(), seal)
