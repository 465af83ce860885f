"""Keeps what searches decided: the split, the search under way, what it found; read back for `tune` and --resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from understudy.core.evidence import ALL_SLICES, Finding
from understudy.core.playbook import Outcome, Verdict
from understudy.evals import sealed
from understudy.tuning.proof import Proof
from understudy.tuning.split import Part

FORMAT = 1
SPLIT, PROOFS, RESULTS = "split.json", "proofs.jsonl", "results"
FINDING = "tuning"
"""The kind of the finding that a search files with an upgrade."""


class Report(NamedTuple):
    """What a search found: the document that is kept and printed, and its proof where there was one."""

    document: dict[str, Any]
    proof: Proof | None

    @property
    def verdict(self) -> Verdict:
        """A search that found no better prompt has failed; it needs no proof for that."""
        return self.proof.verdict if self.proof else Verdict.FAIL

    @property
    def outcome(self) -> Outcome:
        if self.proof:
            return self.proof.outcome
        return Outcome.RETUNE if self.document["ended"] == "budget" else Outcome.STOP

    @property
    def sentence(self) -> str:
        """What was found, in a sentence or two."""
        document = self.document
        gap = document["gap"]
        tried = f"{document['proposals']} proposals, {document['asked']:,} questions"
        name = document["candidate"]["name"]
        if self.proof is None:
            why = "the budget ended" if document["ended"] == "budget" else "a plateau"
            return f"No prompt brought {name} nearer to the bar: {why} after {tried}."
        closed = f"The search closed {_share(gap)} of the gap on the cases it chose by ({tried})."
        lost = f" Must-pass cases lost: {', '.join(self.proof.lost[:5])}." if self.proof.lost else ""
        return f"{closed} Proof: {self.proof.result.comparison.sentence}{lost}"

    @property
    def findings(self) -> list[Finding]:
        """What is filed with the upgrade: what was found, and what the new model wanted."""
        document = self.document
        wanted = " ".join(document["wanted"])
        words = f" In the words of {document['words_by']}: {document['words']}" if document["words"] else ""
        figures = {"questions": float(document["asked"]), "gap_before": document["gap"]["before"]}
        figures |= {"gap_after": document["gap"]["after"]}
        return [Finding(FINDING, ALL_SLICES, f"{self.sentence} {wanted}{words}", figures)]

    def as_dict(self) -> dict[str, Any]:
        """Stable JSON: fields are added, never renamed."""
        proof = self.proof
        return {
            "format": FORMAT,
            "verdict": str(self.verdict),
            "outcome": str(self.outcome),
            "sentence": self.sentence,
            **self.document,
            "proof": None
            if proof is None
            else {
                "number": proof.number,
                "alpha": proof.alpha,
                "lost_must_pass": list(proof.lost),
                **proof.result.as_dict(),
            },
        }


def folder_of(evals: Path, workload: str) -> Path:
    return evals / workload / "tuning"


def begin(folder: Path, id: str, started: float, settings: Mapping[str, Any]) -> None:
    """Note that a search is under way, so that --resume finds it; one that has ended is under way again, and what it
    found before stands until it has ended again. Raises DataCorrupt where its file was edited or cut.
    """
    path = folder / RESULTS / f"{id}.json"
    _write(path, {**_before(path), "format": FORMAT, "id": id, "started_at": started, "finished_at": None, **settings})


def save(folder: Path, report: Report) -> Path:
    """Keep what a search found in the place of the note that it is under way, and which prompts it found before."""
    path = folder / RESULTS / f"{report.document['id']}.json"
    _write(path, {**report.as_dict(), "tuned_before": sorted(_fingerprints(_before(path)))})
    return path


def _before(path: Path) -> dict[str, Any]:
    return _read(path) if path.exists() else {}


def _fingerprints(search: Mapping[str, Any]) -> set[str]:
    """Of every variant that this search ever made."""
    return {*search.get("tuned_before", ()), *([search["tuned"]["fingerprint"]] if search.get("tuned") else [])}


def searches(folder: Path) -> list[dict[str, Any]]:
    """All searches of a workload, the latest begun last. Raises DataCorrupt for a file that was edited or cut."""
    found = [_read(path) for path in (folder / RESULTS).glob("*.json")]
    return sorted(found, key=lambda each: (each["started_at"], each["id"]))


def tuned(folder: Path) -> frozenset[str]:
    """The fingerprints of all variants that a search made. Raises DataCorrupt as `searches` does."""
    return frozenset().union(*map(_fingerprints, searches(folder)))


def load_split(folder: Path) -> dict[str, Part]:
    """The parts of all questions that ever were in a suite. Raises DataCorrupt where the file was edited or cut."""
    path = folder / SPLIT
    return {name: Part(part) for name, part in _read(path)["parts"].items()} if path.exists() else {}


def save_split(folder: Path, parts: Mapping[str, Part]) -> None:
    _write(folder / SPLIT, {"format": FORMAT, "parts": {name: str(part) for name, part in sorted(parts.items())}})


def _share(gap: Mapping[str, float]) -> str:
    before = gap["before"]
    return f"{100 * (before - gap['after']) / before:.0f} %" if before > 0 else "all"


def _read(path: Path) -> dict[str, Any]:
    remedy = "delete it: the same search, from answers that are kept, writes it anew"
    if path.name == SPLIT:
        remedy = "restore it from a copy: without it nobody knows which cases a search has seen"
    return sealed.read(path, FORMAT, remedy=remedy)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    remedy = "make room or check the permissions, then go on with --resume: the answers are kept"
    sealed.write(path, document, remedy=remedy)
