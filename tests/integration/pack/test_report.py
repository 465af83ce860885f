"""`understudy report` on real stores: upgrades that ended, that run, and whose evidence is missing or was changed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from understudy.cli.main import app
from understudy.core.canonical import digest
from understudy.core.variant import Variant
from understudy.pack.files import verified, written
from understudy.pack.seal import FRAMES
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.store.sqlite import open_store

CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9"}
workloads:
  reply:
    owner: support
    incumbent: old
    variants:
      old: {provider: local, model: old-1, system_prompt: "text:Be brief."}
      new: {provider: local, model: new-1, system_prompt: "text:Be brief and kind.", why: "the old one is retired"}
"""
OLD = Variant("old", "local", "old-1", "Be brief.")
NEW = Variant("new", "local", "new-1", "Be brief and kind.")
BETTER = Variant("better", "local", "new-1", "Be brief, kind and exact.", {"temperature": 0.2})
GATE = {
    "metric": "quality", "slice": "", "kind": "mean", "verdict": "fail", "critical": False, "required": True,
    "estimate": -0.08, "low": -0.12, "high": -0.04, "tolerated": 0.02, "n": 900,
}  # fmt: skip
JUDGED = {"verdict": "fail", "sentence": "Quality loses.", "details": {"gates": [GATE], "binds": {"code": "0.1.0"}}}
Events = Iterable[tuple[Draft, dict[str, Any] | None]]


def plain(kind: Kind, by: str = "controller", why: str = "", **data: Any) -> tuple[Draft, None]:
    return Draft(kind, by, why, data), None


def decided(kind: Kind, document: dict[str, Any], **data: Any) -> tuple[Draft, dict[str, Any]]:
    """An event of the controller, with the evidence it names."""
    return Draft(kind, "controller", document["sentence"], {"evidence": digest(document), **data}), document


BEGUN: list[tuple[Draft, dict[str, Any] | None]] = [
    plain(Kind.OPENED),
    plain(Kind.EVALUATED, why="fell short", id="e1", binding="e1", outcome="retune", failed=["refund"],
          critical=[], summary="fell short", needed=[], document="evals/reply/results/none.json"),
]  # fmt: skip
EXPOSED: list[tuple[Draft, dict[str, Any] | None]] = [
    *BEGUN,
    plain(Kind.WAIVED, "ana", "wording <b>only</b>", subject="refund", owner="ana", expires_at=20_000.0),
    plain(Kind.APPROVED, "leo", "read fifty", subject="ticket=refund"),
    plain(Kind.CLEARED),
    plain(Kind.CLOCK_STARTED),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def journaled(folder: Path, events: Events, name: str = "reply-1") -> None:
    """An upgrade with these events, an hour apart, in the project's own control store."""

    async def write() -> None:
        store = await open_store(folder / ".understudy" / "control.db")
        data = {"workload": "reply", "incumbent": OLD.as_dict(), "candidate": NEW.as_dict()}
        data |= {"salt": "s", "profile": "interactive"}
        seen = (await store.read()).epoch
        state = await store.begin(seen, name, Draft(Kind.STARTED, "ada", "<script>cheaper</script>", data), 1.0)
        for hour, (draft, document) in enumerate(events, start=1):
            moved = draft
            if draft.kind in (Kind.EXPOSED, Kind.ROLLED_BACK):
                moved = Draft(draft.kind, draft.by, draft.why, {**draft.data, "judged": state.clock})
            state = await store.append(state.epoch, name, [moved], 3_600.0 * hour, evidence=document)
        await store.close()

    asyncio.run(write())


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def shown(pack: dict[str, Any]) -> str:
    return written(pack, "html")[0].decode()


def lacking(pack: dict[str, Any]) -> dict[str, str]:
    return {one["part"]: one["what"] for one in pack["missing"]}


def test_an_upgrade_that_was_rolled_back(folder: Path) -> None:
    """The gates it was judged by are in it, under the hash the journal names; who waived and signed, and why."""
    rolled = decided(Kind.ROLLED_BACK, JUDGED, trigger="gate")
    journaled(folder, [*EXPOSED, plain(Kind.EXPOSED, share=10_000), rolled])
    pack = json.loads(run("reply", "--json"))
    (rung,) = [visit for visit in pack["stages"] if visit["stage"] == "canary"]
    assert rung["ended"]["document"] == JUDGED and rung["ended"]["evidence"] == digest(JUDGED)
    assert [(w["owner"], w["reason"], w["void"]) for w in pack["acceptance"]["waivers"]] == [
        ("ana", "wording <b>only</b>", "expired")
    ]
    assert [a["by"] for a in pack["acceptance"]["approvals"]] == ["leo"]
    assert pack["rollback"]["went"]["trigger"] == "gate"
    assert [line["text"] for line in pack["change"]["difference"]["prompt"]] == ["Be brief.", "Be brief and kind."]
    assert pack["change"]["difference"]["why"] == "the old one is retired"
    assert pack["integrity"]["in_order"]
    assert {"regress", "served", "price", "shadow", "agreement", "rollback"} <= set(lacking(pack))


@pytest.mark.parametrize(
    ("events", "stage", "missing"),
    [
        ([], "draft", "upgrade"),
        (BEGUN, "regress", "upgrade"),
        ([*EXPOSED, plain(Kind.EXPOSED, share=10_000)], "canary", "canary at 1 %"),
        ([*BEGUN, plain(Kind.BLOCKED, why="nothing helps")], "blocked", "canary"),
        ([*BEGUN, plain(Kind.ABORTED, "ada", "not now")], "aborted", "soak"),
    ],
)
def test_upgrades_at_every_point(folder: Path, events: Events, stage: str, missing: str) -> None:
    """Running, blocked or stopped: each has a page that says where it stands, and what is missing."""
    journaled(folder, events)
    pack = json.loads(run("reply", "--json"))
    assert pack["upgrade"]["stage"] == stage
    assert missing in lacking(pack)
    page = shown(pack)
    assert "What is missing" in page and "<script>cheaper" not in page and "&lt;script&gt;cheaper" in page
    for section in ("change", "regress", "shadow", "canary", "soak", "exposure", "rollback", "acceptance", "price"):
        inside = page.split(f'<section id="{section}">')[1].split("</section>")[0]
        assert len(inside.split("</h2>")[1].strip()) > 20, f"section {section} is blank"


def test_a_candidate_that_was_exchanged(folder: Path) -> None:
    """Every re-tuning is there with both prompts, and what was accepted of the former candidate is void."""
    switched = plain(Kind.SWITCHED, "eve", "wants to be told to be exact", candidate=BETTER.as_dict())
    journaled(folder, [*EXPOSED[:3], switched])
    pack = json.loads(run("reply", "--json"))
    (retuned,) = pack["change"]["retuned"]
    assert (retuned["before"], retuned["after"], retuned["why"]) == ("new", "better", "wants to be told to be exact")
    assert retuned["settings"] == [{"setting": "params.temperature", "before": None, "after": 0.2}]
    assert pack["acceptance"]["waivers"][0]["void"] == "given for another candidate"
    assert [visit["candidate"] for visit in pack["stages"]] == ["new"]


def test_evidence_that_was_not_kept_is_named(folder: Path) -> None:
    """A decision of a version that kept only the hash: the rung says so and is not left blank."""
    rolled, _ = decided(Kind.ROLLED_BACK, JUDGED, trigger="gate")
    journaled(folder, [*EXPOSED, plain(Kind.EXPOSED, share=10_000), (rolled, None)])
    pack = json.loads(run("reply", "--json"))
    assert "was not kept" in lacking(pack)["canary at 1 %"]
    assert "their evidence was not kept" in shown(pack)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE events SET by = 'nobody' WHERE kind = 'waived'", "was changed after it was decided"),
        ("DELETE FROM events WHERE kind = 'approved'", "is missing"),
        ("UPDATE evidence SET document = replace(document, '-0.08', '0.08')", digest(JUDGED)),
    ],
)
def test_a_store_that_was_edited_is_a_finding(folder: Path, statement: str, said: str) -> None:
    """Exit code 1, and the pack says what was changed; it is made all the same."""
    rolled = decided(Kind.ROLLED_BACK, JUDGED, trigger="gate")
    journaled(folder, [*EXPOSED, plain(Kind.EXPOSED, share=10_000), rolled])
    with sqlite3.connect(folder / ".understudy" / "control.db") as raw:
        assert raw.execute(statement).rowcount == 1
    raw.close()
    pack = json.loads(run("reply", "--json", code=1))
    assert any(said in text for text in [*pack["integrity"]["broken"], *pack["integrity"]["evidence_changed"]])
    assert "not in order" in shown(pack)


def test_files_are_written_and_verified(folder: Path) -> None:
    """All three forms are as they were made; a changed byte of any part is exit code 1 and names the part."""
    rolled = decided(Kind.ROLLED_BACK, JUDGED, trigger="gate")
    journaled(folder, [*EXPOSED, plain(Kind.EXPOSED, share=10_000), rolled])
    made = json.loads(run("reply", "--out", "pack", "--json"))
    assert sorted(path.name for path in (folder / "pack").iterdir()) == sorted(
        ["evidence.html", "evidence.json", "evidence.md"]
    )
    assert "is as it was made" in run("--verify", "pack")
    for one in made["files"]:
        run("--verify", one["file"], "--seal", one["seal"])
        run("--verify", one["file"], "--seal", "0" * 64, code=1)
        _each_part(Path(one["file"]))
    assert json.loads((folder / "pack" / "evidence.json").read_text())["upgrade"]["id"] == "reply-1"


def _each_part(file: Path) -> None:
    """Flip a byte in the middle of every part and of the manifest."""
    content = file.read_bytes()
    frame = FRAMES[file.suffix[1:]]
    at = content.rfind(frame.before)
    manifest = json.loads(content[at + len(frame.before) : len(content) - len(frame.after)])
    place = 0
    for name, length, _ in manifest["parts"]:
        if length:
            flipped = bytearray(content)
            flipped[place + length // 2] ^= 1
            assert f"part {name} was changed" in verified(bytes(flipped)).changed
        place += length
    for place in range(at, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 1
        assert verified(bytes(flipped)).changed
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    file.write_bytes(flipped)
    run("--verify", str(file), code=1)
    file.write_bytes(content)


def test_a_forger_who_seals_anew_is_found_by_the_chain(folder: Path) -> None:
    """Whoever changes a name and makes a new manifest has to forge the journal's hashes too."""
    journaled(folder, BEGUN)
    pack = json.loads(run("reply", "--json"))
    forgeries: list[Callable[[dict[str, Any]], None]] = [
        lambda p: p["journal"]["events"][0].update(by="somebody else"),
        lambda p: p["journal"]["events"].pop(),
        lambda p: p["journal"].update(evidence={"0" * 64: {"at": 1.0, "document": {}}}),
        lambda p: p["journal"]["events"][1].update(hash="0" * 64),
    ]
    for kind in ("html", "json"):
        assert not verified(written(pack, kind)[0]).changed
        for forge in forgeries:
            forged = json.loads(json.dumps(pack))
            forge(forged)
            assert verified(written(forged, kind)[0]).changed


def test_what_cannot_be_reported(folder: Path) -> None:
    """No upgrade yet is 3; unknown names, files and forms are 2, with what there is."""
    assert "no upgrade yet" in json.loads(run("reply", "--json", code=3))["message"]
    journaled(folder, BEGUN)
    assert "reply-1" in json.loads(run("reply", "--upgrade", "x", "--json", code=2))["remedy"]
    run("repli", "--json", code=2)
    run("reply", "--out", "pack.pdf", "--json", code=2)
    run("reply", "--out", "pack.md", "--format", "html", "--json", code=2)
    run("--verify", "nowhere", "--json", code=2)
    run("--seal", "0" * 64, "--json", code=2)
    (folder / "note.txt").write_text("no pack")
    run("--verify", "note.txt", code=1)


def test_a_workload_that_is_no_longer_configured(folder: Path) -> None:
    """A year later the workload may be gone; its evidence is still told."""
    journaled(folder, BEGUN)
    (folder / "understudy.yaml").write_text(CONFIG.replace("  reply:", "  other:"))
    pack = json.loads(run("reply", "--json"))
    assert not pack["upgrade"]["still_configured"] and pack["upgrade"]["stage"] == "regress"


def test_the_self_audit(folder: Path) -> None:
    """Gaps are exit code 1, each with its remedy; a drill that was journaled closes its own; nothing is written."""
    journaled(folder, [*EXPOSED, plain(Kind.EXPOSED, share=10_000)])
    before = {path.name for path in folder.iterdir()}
    (found,) = json.loads(run("--audit", "--probe", "--json", code=1))["workloads"]
    checks = {one["name"]: one for one in found["checks"]}
    assert checks["upgrading without an eval suite"]["verdict"] == "gap"
    assert "old does not answer" in checks["what we go back to answers"]["seen"]
    assert checks["rehearsed in the last week"]["verdict"] == "gap"
    assert {path.name for path in folder.iterdir()} == before
    shown_text = " ".join(run("reply", "--audit", code=1).split())
    assert "do: understudy rollback reply --drill" in shown_text

    async def drilled() -> None:
        store = await open_store(folder / ".understudy" / "control.db")
        data = {"seconds": 0.2, "workers": 2, "waiting": []}
        await store.append((await store.read()).epoch, "reply-1", [Draft(Kind.DRILLED, "ana", "", data)], time.time())
        await store.close()

    asyncio.run(drilled())
    (found,) = json.loads(run("reply", "--audit", "--json", code=1))["workloads"]
    checks = {one["name"]: one["verdict"] for one in found["checks"]}
    assert (checks["rehearsed in the last week"], checks["a rollback that is a deployment"]) == ("ok", "ok")
    run("repli", "--audit", code=2)
    run("reply", "--probe", code=2)
