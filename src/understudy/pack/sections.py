"""Puts the document of a pack into the sections of a page, in the order in which somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.canonical import canonical_json
from understudy.core.lasting import lasting
from understudy.core.playbook import Stage
from understudy.evals.figures import change
from understudy.pack import evidence
from understudy.pack.blocks import (
    Cell,
    Drawing,
    Facts,
    Grid,
    Head,
    Laid,
    Prompt,
    Said,
    Section,
    Tone,
    moment,
    number,
    percent,
    spoken,
)
from understudy.pack.drawing import Step, exposure

Found = Mapping[str, Any]


def title(pack: Found) -> str:
    """What the pack is of, in a line."""
    upgrade = pack["upgrade"]
    return f"{upgrade['workload']}: {upgrade['incumbent']['name']} to {upgrade['candidate']['name']}"


def sections(pack: Found) -> list[Section]:
    """All of them; one that has nothing says so."""
    return [
        _summary(pack),
        _missing(pack),
        _change(pack),
        evidence.regress(pack),
        _retune(pack),
        evidence.shadow(pack),
        evidence.canary(pack),
        evidence.soak(pack),
        _exposure(pack),
        _rollback(pack),
        _acceptance(pack),
        evidence.agreement(pack),
        _price(pack),
        _served(pack),
        _journal(pack),
        _integrity(pack),
    ]


def _summary(pack: Found) -> Section:
    upgrade = pack["upgrade"]
    tone: Tone = "good" if upgrade["stage"] == Stage.DONE else "bad" if upgrade["over"] else "open"
    if upgrade["over"]:
        ended = f"{spoken(upgrade['stage'])} on {moment(upgrade['ended_at'])} by {upgrade['ended_by']}"
        said = f"{ended}: {upgrade['ended_why']}" if upgrade["ended_why"] else ended
    else:
        said = f"under way, in stage {upgrade['stage']}" + (", paused" if upgrade["paused"] else "")
    rows: list[tuple[str, str | Cell]] = [
        ("how it ended" if upgrade["over"] else "where it stands", Cell(said, tone)),
        ("workload", upgrade["workload"] + (f", owned by {upgrade['owner']}" if upgrade["owner"] else "")),
        ("upgrade", upgrade["id"]),
        ("begun", f"{moment(upgrade['started_at'])} by {upgrade['started_by']}; lasted {lasting(upgrade['lasted_s'])}"),
        ("why", upgrade["why"] or Cell("no reason was given", "open")),
        ("most users at once", percent(max((c["share"] for c in pack["exposure"]), default=0.0))),
        ("profile", upgrade["profile"] + _gives_up(upgrade)),
    ]
    deadline = upgrade.get("deadline")
    rows.append(("deadline", deadline if deadline else Cell("none is recorded for the incumbent", "open")))
    if upgrade["others"]:
        rows.append(("other upgrades", ", ".join(upgrade["others"])))
    rows.append(("integrity", _in_order(pack)))
    return Section("summary", "In short", [Facts(rows)])


def _gives_up(upgrade: Found) -> str:
    return f", which gives up {'; '.join(upgrade['gives_up'])}" if upgrade["gives_up"] else ""


def _in_order(pack: Found) -> Cell:
    found = pack["integrity"]
    if found["in_order"] and found["ledger"] is not None:
        return Cell(f"{found['events']} events follow from each other; every record is accounted for", "good")
    if found["in_order"]:
        return Cell(f"{found['events']} events follow from each other; the ledger could not be read", "open")
    return Cell("not in order: see Integrity", "bad")


def _missing(pack: Found) -> Section:
    section = Section("missing", "What is missing")
    if not pack["missing"]:
        section.brief.append(Said("Nothing: every part of the evidence is here.", "good"))
    else:
        section.brief.append(Facts([(one["part"], Cell(one["what"], "open")) for one in pack["missing"]]))
    return section


def _change(pack: Found) -> Section:
    changed = pack["change"]
    section = Section("change", "What was changed")
    rows: list[list[str | Cell]] = []
    for name in ("name", "provider", "model", "params", "reasoning", "fingerprint"):
        old, new = (_written(changed[side][name]) for side in ("incumbent", "candidate"))
        rows.append([name, old, Cell(new, "open") if new != old else new])
    pins = [(changed[side]["pin"] or {}).get("why", "") for side in ("incumbent", "candidate")]
    if any(pins):
        rows.append(["pinned because", *(pin or "-" for pin in pins)])
    section.brief.append(Grid("", ("", "incumbent", "candidate"), rows))
    difference = changed["difference"]
    section.brief.append(Said(f"Why this variant: {difference['why'] or 'not recorded'}"))
    if difference["prompt"]:
        section.brief.append(Laid([(line["kind"], line["text"]) for line in difference["prompt"]]))
    else:
        section.brief.append(Said("Both have the same system prompt, word for word."))
    for side in ("incumbent", "candidate"):
        text = changed[side]["system_prompt"] or "(none)"
        section.full.append(Prompt(f"system prompt of the {side}, {changed[side]['name']}", text))
    return section


def _written(value: Any) -> str:
    if value in (None, {}, ""):
        return "-"
    return value if isinstance(value, str) else canonical_json(value).decode()


def _retune(pack: Found) -> Section:
    section = Section("retune", "Stage 2, prompt re-tuning")
    if not pack["change"]["retuned"]:
        section.brief.append(Said("The candidate was not exchanged during the upgrade.", "quiet"))
    for one in pack["change"]["retuned"]:
        section.brief.append(Head(f"{one['before']} to {one['after']}, {moment(one['at'])} by {one['by']}"))
        section.brief.append(Said(f"What the new one wanted that the old did not: {one['why'] or 'not recorded'}"))
        if one["settings"]:
            settings = [(s["setting"], f"{_written(s['before'])} to {_written(s['after'])}") for s in one["settings"]]
            section.brief.append(Facts(settings))
        if one["prompt"]:
            section.brief.append(Laid([(line["kind"], line["text"]) for line in one["prompt"]]))
    return section


def _exposure(pack: Found) -> Section:
    upgrade, changes = pack["upgrade"], pack["exposure"]
    section = Section("exposure", "Who was given the candidate, over time")
    end = upgrade["ended_at"] or pack["made_at"]
    steps = [
        Step(c["at"], 0.0 if c["event"] in ("rolled_back", "aborted", "blocked") else c["share"], _change_label(c))
        for c in changes
    ]
    ends = (moment(upgrade["started_at"]), moment(end))
    said = "; ".join(step.label for step in steps) or "nobody was ever given the candidate"
    section.full.append(Drawing(exposure(steps, upgrade["started_at"], end, ends), said))
    rows: list[list[str | Cell]] = []
    for c in changes:
        effect = "-" if c["effective_s"] is None else f"{1000 * c['effective_s']:,.0f} ms"
        share = percent(c["share"])
        rows.append([moment(c["at"]), spoken(c["event"]), share, c["by"], c["why"], str(c["epoch"]), effect])
    columns = ("UTC", "event", "share >", "by", "why", "epoch >", "every worker after >")
    section.full.append(Grid("", columns, rows) if rows else Said("Nobody was ever given the candidate.", "quiet"))
    return section


def _change_label(found: Found) -> str:
    return f"{moment(found['at'])} {spoken(found['event'])} {percent(found['share'])}"


def _rollback(pack: Found) -> Section:
    section = Section("rollback", "The way back")
    went = pack["rollback"]["went"]
    if went:
        rows: list[tuple[str, str | Cell]] = [
            (
                "rolled back",
                Cell(f"{moment(went['at'])} by {went['by']} ({spoken(went['trigger'] or 'unknown')})", "bad"),
            ),
            ("why", went["why"]),
        ]
        if went["effective_s"] is not None:
            rows.append(("every worker after", lasting(went["effective_s"])))
        if went["last_candidate_at"] is not None:
            late = went["last_candidate_at"] - went["at"]
            word = "after" if late > 0 else "before"
            rows.append(("last answer of the candidate", f"begun {lasting(abs(late))} {word} the decision"))
        section.brief.append(Facts(rows))
    drills = pack["rollback"]["drills"]
    if drills:
        lines: list[list[str | Cell]] = []
        for d in drills:
            late = ", ".join(d["waiting"] or ()) or "none"
            lines.append([moment(d["at"]), d["by"], lasting(d["seconds"]), str(d["workers"]), late, d["why"] or "-"])
        columns = ("UTC", "by", "every worker after >", "workers >", "late", "why")
        section.brief.append(Grid("drills", columns, lines))
    else:
        section.brief.append(Said("No drill of a rollback was held during the upgrade.", "open"))
    return section


def _acceptance(pack: Found) -> Section:
    section = Section("acceptance", "What people accepted and signed")
    found = pack["acceptance"]
    rows: list[list[str | Cell]] = []
    for one in found["waivers"]:
        until = f"waiver until {moment(one['expires_at'])}"
        void = Cell(one["void"], "open") if one["void"] else Cell("in force", "good")
        rows.append([moment(one["at"]), one["subject"], one["stage"], until, one["owner"], one["reason"] or "-", void])
    for one in found["approvals"]:
        void = Cell(one["void"], "open") if one["void"] else Cell("signed", "good")
        rows.append(
            [moment(one["at"]), one["subject"], one["stage"], "sign-off", one["by"], one["reason"] or "-", void]
        )
    columns = ("UTC", "slice", "stage", "what", "who", "reason", "")
    section.brief.append(Grid("", columns, rows) if rows else Said("No waiver and no sign-off was given.", "quiet"))
    for finding in pack["findings"]:
        where = f"{finding['slice']}: " if finding["slice"] else ""
        section.full.append(Said(f"Noted in the journal: {where}{finding['sentence']}", "open"))
    return section


def _price(pack: Found) -> Section:
    section = Section("price", "Price, before and after")
    price = pack["price"]
    if price is None or not price["months"]:
        section.brief.append(Said("There was no traffic to project a month from.", "open"))
    else:
        before = next((m["usd"] for m in price["months"] if m["variant"] == pack["change"]["incumbent"]["name"]), None)
        rows: list[list[str | Cell]] = []
        for m in price["months"]:
            usd = Cell("unknown", "open") if m["usd"] is None else f"{m['usd']:,.2f}"
            ratio = m["usd"] / before if before and m["usd"] is not None else None
            each = "-" if m["usd_per_exchange"] is None else f"{1000 * m['usd_per_exchange']:.4f}"
            tokens = [number(m[f"{which}_tokens"]) for which in ("input", "output", "reasoning")]
            known = f"{m['priced']:,} of {m['seen']:,}"
            rows.append([m["variant"], usd, change(ratio) if ratio else "-", each, *tokens, known])
        columns = (
            "variant",
            "US$ a month >",
            "change >",
            "US$ per 1,000 >",
            "tokens in >",
            "out >",
            "thought >",
            "priced >",
        )
        section.brief.append(Grid("all traffic of a month, at the rate since the upgrade began", columns, rows))
    if price is not None and price["eval"] is not None and price["eval"]["ratio"] is not None:
        section.brief.append(Said(f"In the eval the price of an answer changed by {change(price['eval']['ratio'])}."))
    return section


def _served(pack: Found) -> Section:
    section = Section("served", "Who was served what, when")
    served = pack["served"]
    if served is None:
        section.full.append(Said("The ledger has no answers of this upgrade.", "open"))
        return section
    rows: list[list[str | Cell]] = []
    for s in served["spans"]:
        stage = f"{s['stage']} {s['step'] + 1}" if s["step"] >= 0 else s["stage"] or "-"
        row = [moment(s["first_at"]), moment(s["last_at"]), stage, s["arm"], s["served_variant"], s["model_served"]]
        rows.append([*row, f"{s['exchanges']:,}", f"{s['masked']:,}"])
    columns = ("from, UTC", "to", "stage", "arm", "variant", "model", "answers >", "masked >")
    section.full.append(Grid("answers to users, from the ledger", columns, rows))
    counted: list[list[str | Cell]] = []
    for c in served["counts"]:
        stage = f"{c['stage']} {c['step'] + 1}" if c["step"] >= 0 else c["stage"] or "-"
        row = [stage, c["role"], c["arm"]]
        counted.append([*row, *(f"{c[name]:,}" for name in ("exchanges", "units", "errors", "masked"))])
    heads = ("stage", "role", "arm", "exchanges >", "users >", "errors >", "masked >")
    section.full.append(Grid("how many users, without their names", heads, counted))
    section.full.append(_by_slice(served))
    return section


def _by_slice(served: Found) -> Grid:
    rows: list[list[str | Cell]] = []
    for s in served["slices"]:
        usd = "-" if s["cost_usd"] is None or not s["priced"] else f"{1000 * s['cost_usd'] / s['priced']:.4f}"
        times = [number(s[name], ".3g") for name in ("latency_mean_s", "latency_p50_s", "latency_p99_s")]
        rows.append([s["slice"] or "all traffic", s["arm"], f"{s['exchanges']:,}", f"{s['errors']:,}", *times, usd])
    columns = ("slice", "arm", "answers >", "errors >", "mean s >", "p50 s >", "p99 s >", "US$ per 1,000 >")
    return Grid("as they were served, by slice", columns, rows)


def _journal(pack: Found) -> Section:
    rows: list[list[str | Cell]] = [
        [str(e["seq"]), moment(e["at"]), spoken(e["kind"]), e["by"], e["why"] or "-", str(e["epoch"]), e["hash"][:12]]
        for e in pack["journal"]["events"]
    ]
    columns = ("", "UTC", "event", "by", "why", "epoch >", "hash")
    return Section("journal", "Every event", [], [Grid("", columns, rows)])


def _integrity(pack: Found) -> Section:
    found = pack["integrity"]
    section = Section("integrity", "Integrity")
    rows: list[tuple[str, str | Cell]] = [
        ("journal", Cell(f"{found['events']} events, each continuing the one before", "good")),
        ("last hash", found["head"]),
        ("evidence", f"{found['evidence']} documents, each found by the hash that its decision names"),
    ]
    if found["broken"]:
        rows[0] = ("journal", Cell("; ".join(found["broken"]), "bad"))
    if found["evidence_changed"]:
        rows[2] = ("evidence", Cell(f"changed since: {', '.join(found['evidence_changed'])}", "bad"))
    if found["elsewhere"]:
        rows.append(
            ("other upgrades", Cell(f"{found['elsewhere']} of their events are not as they were decided", "bad"))
        )
    rows.append(("copies", f"the ledger has a copy of {found['copied']} decisions of all upgrades"))
    ledger = found["ledger"]
    if ledger is None:
        rows.append(("records", Cell("the ledger could not be read", "open")))
    else:
        lost = ", ".join(f"{count:,} {spoken(why)}" for why, count in ledger["lost"].items()) or "none"
        said = f"{ledger['given']:,} numbers given out, {ledger['committed']:,} in the lake; counted as lost: {lost}; "
        bad = ", ".join(f"{ledger[name]:,} {name}" for name in ("uncounted", "duplicates", "damaged"))
        rows.append(("records", Cell(said + bad, "good" if ledger["in_order"] else "bad")))
    rows.append(("made", f"{moment(pack['made_at'])} by {pack['made_by']}"))
    section.brief.append(Facts(rows))
    how = "`understudy report --verify FILE` says whether a byte of this file was changed since, and in which part."
    section.full.append(Said(how.replace("`", ""), "quiet"))
    return section
