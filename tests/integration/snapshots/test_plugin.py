"""The pytest plugin as its users run it: pytest in pytest, on the example project, with answers over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from _pytest.pytester import SysModulesSnapshot

# Imported here once, or each inner run would import them anew.
from understudy.config import starter
from understudy.config.project import open_project
from understudy.pytest_plugin import Tally
from understudy.snapshots.stage import without

pytest_plugins = ["pytester"]
# An inner run finds the plugin imported by the outer one.
pytestmark = pytest.mark.filterwarnings("ignore:Module already imported:pytest.PytestAssertRewriteWarning")

PLUGINS = ("-p", "xdist", "-p", "syrupy", "-p", "understudy.pytest_plugin")
OLD, NEW = "small-1-2025-03-01", "small-2-2026-02-10"
HOSE = "The hose of order G-1002 leaks. I want my money back."
TESTS = f"""
import pytest

def test_hose(understudy, model_snapshot):
    assert understudy.ask({HOSE!r}) == model_snapshot

class TestDelivery:
    @pytest.mark.parametrize("order", ["G-2001", "G-2006"])
    def test_when(self, understudy, model_snapshot, order):
        assert understudy.ask(f"QUESTION {{order}}") == model_snapshot
""".replace(
    'f"QUESTION {order}"',
    '{"G-2001": "When does order G-2001 arrive?"}.get(order, "Is order G-2006 coming in one parcel or two?")',
)
Run = Callable[..., pytest.RunResult]


class Project:
    """The example of `init` with three tests, and what is stored beside them."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.root = pytester, pytester.path
        starter.write(self.root)
        open_project(self.root / "understudy.yaml")  # what that imports would be imported anew in each inner run
        (self.root / "tests").mkdir()
        self.tests = self.root / "tests" / "test_replies.py"
        self.tests.write_text(TESTS)
        self.stored = self.root / "tests" / "__snapshots__" / "test_replies"
        self.recordings = self.root / "recordings" / "replies.jsonl"

    def run(self, *arguments: str, recorded: bool = True) -> pytest.RunResult:
        source = ["--understudy-recordings", str(self.recordings)] if recorded else []
        return self.pytester.runpytest_inprocess(*PLUGINS, *source, *arguments, "tests")

    def says(self, model: str, question: str, change: Callable[[str], str]) -> None:
        """From now on a model says something else."""
        rows = [json.loads(line) for line in self.recordings.read_text().splitlines()]
        for row in rows:
            if (row["model"], row["prompt"]) == (model, question):
                row["output"] = change(row["output"])
        self.recordings.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.stored.glob("*")} if self.stored.is_dir() else {}

    def file(self, model: str = OLD) -> Path:
        return self.stored / f"test_hose[{model}].model-answer"


@pytest.fixture(autouse=True)
def _modules_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an inner run imports stays: a library that is imported twice does not know its own exceptions."""
    begin = SysModulesSnapshot.__init__
    stays = lambda name: not name.startswith(("test_", "conftest"))  # noqa: E731
    monkeypatch.setattr(SysModulesSnapshot, "__init__", lambda snapshot, preserve: begin(snapshot, stays))


@pytest.fixture
def project(_modules_stay: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # the inner run is nobody's worker
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # looking for plugins costs more than all else
    return Project(pytester)


def outcome(result: pytest.RunResult) -> tuple[int, int]:
    found = result.parseoutcomes()
    return found.get("passed", 0), found.get("failed", 0)


def test_from_nothing_to_a_changed_answer(project: Project) -> None:
    """No snapshot fails and writes nothing; an update writes it; the same answer passes and leaves every byte; another
    answer fails with both side by side; an update shows old against new in one file without what made it."""
    first = project.run()
    assert outcome(first) == (0, 3)
    first.stdout.fnmatch_lines(["*small-1-2025-03-01 has no snapshot here yet*", "*3 snapshots failed*"])
    assert project.files() == {}
    assert outcome(project.run("--snapshot-update")) == (3, 0)
    before = project.files()
    assert set(before) == {
        "test_hose.answer",
        "TestDelivery.test_when[G-2001].answer",
        "TestDelivery.test_when[G-2006].answer",
        f"test_hose[{OLD}].model-answer",
        f"TestDelivery.test_when[{OLD}-G-2001].model-answer",
        f"TestDelivery.test_when[{OLD}-G-2006].model-answer",
    }
    assert "variant: small-1\nfingerprint: " in before[f"test_hose[{OLD}].model-answer"]
    assert before["test_hose.answer"].startswith("Dear customer,") and "20" not in before["test_hose.answer"]
    project.file().write_text(project.file().read_text().replace("made: 2", "made: 1"))
    assert outcome(project.run("--snapshot-update")) == (3, 0)
    assert "made: 1" in project.file().read_text(), "what is the same is not written anew"

    project.says(OLD, HOSE, lambda said: said.replace("three working days", "about 9 weeks"))
    changed = project.run()
    assert outcome(changed) == (2, 1)
    changed.stdout.fnmatch_lines(
        [
            "*worrying: it says 9, which the old one did not*",
            "*- what changed -*",
            "WORRYING  similarity 0.9*",
            "stored * now",
            "*it takes three *| *it takes about 9",
            "failed: 1 worrying",
            "  test_hose [[]small-1-2025-03-01[]] worrying: it says 9*",
        ]
    )
    assert project.files()["test_hose.answer"] == before["test_hose.answer"]
    assert outcome(project.run("--snapshot-update")) == (3, 0)
    after = project.files()
    assert {name for name in after if after[name] != before[name]} == {"test_hose.answer", project.file().name}
    assert after["test_hose.answer"] == before["test_hose.answer"].replace("three working days", "about 9 weeks")


def test_a_model_has_its_own_snapshots(project: Project) -> None:
    """What one model said never satisfies another, is not unused while another is asked, and stays when it is updated;
    two models in one run are compared with their own."""
    project.run("--snapshot-update")
    mine = {name: text for name, text in project.files().items() if OLD in name}
    other = project.run("--model", NEW)
    assert outcome(other) == (0, 3)
    other.stdout.fnmatch_lines(["*beside what was last accepted: worrying: it says nothing of G-1002 any more*"])
    other.stdout.no_fnmatch_line("*unused*")

    planted = project.file(NEW)
    planted.write_text(project.file().read_text())
    misled = project.run("--model", NEW, "-k", "hose", "-vv")
    assert outcome(misled) == (0, 1)
    misled.stdout.fnmatch_lines([f"*holds what {OLD} said in test_hose, not {NEW} in test_hose*"])
    planted.unlink()

    assert outcome(project.run("--model", "small-2", "--snapshot-update")) == (3, 0)
    after = project.files()
    assert {name: after[name] for name in mine} == mine
    assert after["test_hose.answer"].startswith("Thank you for your message")
    both = project.run("--model", OLD, "--model", NEW, "--snapshot-update")
    assert outcome(both) == (6, 0)
    assert project.files() == after
    assert outcome(project.run()) == (3, 0)


def test_an_outage_is_no_snapshot(project: Project) -> None:
    """Where no answer comes tests fail, an update writes and removes nothing, and no tolerance helps."""
    project.run("--snapshot-update")
    before = project.files()
    file = project.root / "understudy.yaml"
    file.write_text(file.read_text().replace(":9100/", ":9/"))
    out = project.run("--snapshot-update", "--snapshot-warn-on-failure", recorded=False)
    assert outcome(out) == (0, 3)
    out.stdout.fnmatch_lines(["no answer to compare: connecting to provider local*", "  remedy: *", "no answer: 3"])
    assert project.files() == before
    unrecorded = project.run("--snapshot-update", "--model", NEW, "-k", "hose", "--understudy-recordings", "gone.jsonl")
    assert outcome(unrecorded) == (0, 1)
    assert project.files() == before
    project.says(OLD, HOSE, lambda _: " ")
    empty = project.run("--snapshot-update")
    assert outcome(empty) == (2, 1)
    empty.stdout.fnmatch_lines(["*answered with nothing*"])
    assert project.files() == before
    stopped = project.run("--snapshot-update", "-x")
    assert outcome(stopped) == (0, 1)
    assert project.files() == before


def test_the_keeper_of_snapshots_is_needed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above is no accident: with the keeper taken out, a failing test loses its snapshot in an update."""
    project.run("--snapshot-update")
    project.says(OLD, HOSE, lambda _: " ")
    monkeypatch.setattr(Tally, "pytest_runtest_logreport", lambda self, report: None)
    project.run("--snapshot-update")
    assert not project.file().exists()


def test_unused(project: Project) -> None:
    """A test that is gone leaves a snapshot that fails the run, and an update removes it with what stood beside it;
    another extension of syrupy in the same folder removes none of ours."""
    project.run("--snapshot-update")
    project.run("--snapshot-update", "--model", NEW)
    project.tests.write_text(TESTS.partition("class")[0] + "\ndef test_other(snapshot):\n    assert 1 == snapshot\n")
    unused = project.run("--snapshot-update-new-only")
    assert unused.ret != 0
    unused.stdout.fnmatch_lines(["*2 snapshots unused*"])
    project.run("--snapshot-update")
    assert f"TestDelivery.test_when[{OLD}-G-2001].model-answer" not in project.files()
    assert f"TestDelivery.test_when[{NEW}-G-2001].model-answer" in project.files(), "that model was not asked"
    assert "TestDelivery.test_when[G-2001].answer" in project.files()
    project.run("--snapshot-update", "--model", NEW)
    assert set(project.files()) == {"test_hose.answer", project.file(OLD).name, project.file(NEW).name}
    project.tests.write_text("def test_other(snapshot):\n    assert 1 == snapshot\n")
    assert outcome(project.run("--snapshot-update")) == (1, 0)
    assert len(project.files()) == 3, "nobody asked a model: nothing is known of what is unused"


@pytest.mark.parametrize("damaged", [b"", b"understudy snapshot 1\nlabel: a\n", b"\xff\xfe\0", b"<<<<<<< ours\n"])
def test_a_damaged_snapshot_is_named_and_an_update_writes_it_anew(project: Project, damaged: bytes) -> None:
    assert outcome(project.run("--snapshot-update", "-k", "hose")) == (1, 0)
    (file,) = project.stored.glob("test_hose*.model-answer")
    whole = file.read_bytes()
    file.write_bytes(damaged)
    failed = project.run("-k", "hose")
    assert outcome(failed) == (0, 1)
    failed.stdout.fnmatch_lines(["*Broken: *.model-answer: *restore it, or run with --snapshot-update"])
    assert outcome(project.run("--snapshot-warn-on-failure", "-k", "hose")) == (0, 1)
    assert outcome(project.run("--snapshot-update", "-k", "hose")) == (1, 0)
    assert file.read_bytes() == whole


def test_tolerance(project: Project) -> None:
    """--snapshot-tolerate lets acceptable differences pass and no worrying one; --snapshot-warn-on-failure both, but no
    missing snapshot. What passed is listed."""
    assert outcome(project.run("--snapshot-warn-on-failure")) == (0, 3)
    project.run("--snapshot-update")
    project.says(OLD, HOSE, lambda said: said.replace("thank you for writing", "thank you for mailing"))
    assert outcome(project.run()) == (2, 1)
    tolerated = project.run("--snapshot-tolerate")
    assert outcome(tolerated) == (3, 0)
    tolerated.stdout.fnmatch_lines(["let pass: 1 acceptable", "  test_hose * acceptable: other words for the same"])
    project.says(OLD, HOSE, lambda said: said.replace("order G-1002", "your order"))
    assert outcome(project.run("--snapshot-tolerate")) == (2, 1)
    warned = project.run("--snapshot-warn-on-failure")
    assert (outcome(warned), warned.ret) == ((3, 0), 0)
    warned.stdout.fnmatch_lines(["let pass: 1 worrying"])


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A webhook at a secret path, and the texts it got."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            right = self.path == "/services/T0/s3cr3t" and self.headers["content-type"] == "application/json"
            got.append(body["text"])
            self.send_response(200 if right else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing is logged."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/services/T0/s3cr3t", got
        server.shutdown()
        thread.join()


def test_report(project: Project, webhook: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary goes to the webhook; its address never shows; a report that is refused fails the run."""
    url, got = webhook
    project.run("--snapshot-update")
    project.says(OLD, HOSE, lambda said: said.replace("order G-1002", "<!channel> & your order"))
    monkeypatch.setenv("SLACK_WEBHOOK_URL", url)
    result = project.run("--snapshot-warn-on-failure", "--report-to", "slack")
    assert (result.ret, outcome(result)) == (0, (3, 0))
    assert got[0].splitlines()[:2] == ["model snapshots: 3 answers compared, 0 tests failed", "let pass: 1 worrying"]
    assert "<!" not in got[0]
    monkeypatch.setenv("HOOK", f"{url}-of-another-day")
    refused = project.run("--snapshot-warn-on-failure", "--report-to", "env:HOOK")
    assert refused.ret == 1
    refused.stdout.fnmatch_lines(["NOT REPORTED: the webhook at 127.0.0.1 refused the report: status 404"])
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/s3cr3t")
    away = project.run("--snapshot-warn-on-failure", "--report-to", "env:HOOK")
    away.stdout.fnmatch_lines(["NOT REPORTED: the report did not reach the webhook at 127.0.0.1: ConnectError"])
    assert (len(got), away.ret) == (2, 1)
    broken = project.run("--report-to", "slack", "--model", "nobody")
    assert broken.ret == 2
    assert got[-1].splitlines()[1] == "the run did not come to its end (exit status 2)"
    wrong = project.run("--report-to", url)
    unset = project.run("--report-to", "env:NOWHERE")
    assert (wrong.ret, unset.ret) == (4, 4)
    wrong.stderr.fnmatch_lines(["*takes `slack` or `env:NAME`*"])
    unset.stderr.fnmatch_lines(["*the environment variable NOWHERE is not set*"])
    for one in (result, refused, away, wrong):
        assert "s3cr3t" not in one.stdout.str() + one.stderr.str()


def test_text_of_the_product_itself(project: Project) -> None:
    """A text from the product's own code is kept whole whatever is in it, several in one test too; nothing else is."""
    project.tests.write_text(
        "ODD = 'a\\r\\n\\x1b[31mred \\u202e \\n\\n' + 'x' * 5000\n"
        "def test_own(understudy, model_snapshot):\n"
        "    assert ODD + understudy.model == model_snapshot\n"
        "    assert 'second' == model_snapshot\n"
        "    assert 'third' == model_snapshot(name='by name')\n"
        "def test_number(model_snapshot):\n    assert 3 == model_snapshot\n"
    )
    assert outcome(project.run("--snapshot-update")) == (1, 1)
    again = project.run("-k", "own")
    assert outcome(again) == (1, 0)
    assert len([name for name in project.files() if name.endswith(".answer")]) == 3
    project.tests.write_text(project.tests.read_text().replace("[31m", "[32m"))
    changed = project.run("-k", "own")
    assert outcome(changed) == (0, 1)
    assert "\x1b[32m" not in changed.stdout.str()


def test_an_option_of_the_same_name(project: Project) -> None:
    """A test suite with a --model of its own keeps it; ours has its long name."""
    (project.root / "conftest.py").write_text(
        "import pytest\ndef pytest_addoption(parser):\n    parser.addoption('--model', default='theirs')\n"
        "@pytest.fixture\ndef model(request):\n    return request.config.getoption('--model')\n"
    )
    project.tests.write_text(
        "def test_theirs(model, understudy):\n    assert (model, understudy.variant) == ('mine', 'small-2')\n"
    )
    assert outcome(project.run("--model", "mine", "--understudy-model", "small-2")) == (1, 0)


def test_two_workloads(project: Project) -> None:
    """A test says which workload it asks, where there are two; one that has none of the models is skipped and keeps its
    snapshots; of two variants with one model neither is guessed."""
    file = project.root / "understudy.yaml"
    whole = file.read_text()
    begin, end = whole.index("  reply-drafting:"), whole.index("# US dollars")
    other = whole[begin:end].replace("reply-drafting", "triage").replace("small-2-2026-02-10", "small-1-2025-03-01")
    file.write_text(whole[:end] + other + whole[end:])
    assert "2 workloads" in project.run().stdout.str()
    project.tests.write_text(
        f"import pytest\n@pytest.mark.understudy('reply-drafting')\ndef test_a(understudy, model_snapshot):\n"
        f"    assert understudy.ask({HOSE!r}) == model_snapshot\n"
        f"@pytest.mark.understudy('triage')\ndef test_b(understudy, model_snapshot):\n"
        f"    assert understudy.ask({HOSE!r}) == model_snapshot\n"
    )
    assert outcome(project.run("--snapshot-update")) == (2, 0)
    assert f"test_b[{OLD}@small-1].model-answer" in project.files()
    before = project.files()
    only = project.run("--model", NEW, "--snapshot-update", "-rs")
    assert only.parseoutcomes() == {"passed": 1, "skipped": 1}
    only.stdout.fnmatch_lines(["*the workload triage has none of the models*"])
    assert set(before) < set(project.files())
    unsure = project.run("--model", OLD)
    unsure.stdout.fnmatch_lines([f"*2 variants of triage have the model {OLD}: small-1, small-2*"])


def test_what_is_wrong_is_said_without_a_traceback(project: Project) -> None:
    """An unknown model, no project, no plugin syrupy: what, and what to do."""
    unknown = project.run("--model", "small-3")
    unknown.stdout.fnmatch_lines(["*understudy: *understudy.yaml has no variant and no model 'small-3'", "*small-2?"])
    assert "Traceback" not in unknown.stdout.str() and "pytest_plugin.py" not in unknown.stdout.str()
    bare = project.run("-p", "no:syrupy")
    bare.stdout.fnmatch_lines(["*need the plugin syrupy*"])
    (project.root / "understudy.yaml").unlink()
    lost = project.run()
    lost.stdout.fnmatch_lines(["*understudy: no understudy.yaml in*", "*understudy init*"])


@pytest.mark.slow(8)
def test_with_workers_of_xdist(
    project: Project, webhook: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes write, compare, report and clean up as one does, also when an answer is missing in one of them."""
    url, got = webhook
    project.run("--snapshot-update")
    before = project.files()
    project.says(OLD, HOSE, lambda _: "")
    project.says(OLD, "When does order G-2001 arrive?", lambda said: said.replace("G-2001", "it"))
    monkeypatch.setenv("SLACK_WEBHOOK_URL", url)
    project.file().with_name("TestDelivery.test_when[small-1-2025-03-01-G-2006].model-answer").unlink()
    result = project.run("-n", "2", "--snapshot-update", "--report-to", "slack")
    assert outcome(result) == (2, 1)
    after = project.files()
    assert set(after) == set(before)
    assert after[project.file().name] == before[project.file().name]
    assert got[0].splitlines()[0] == "model snapshots: 2 answers compared, 1 tests failed"
    assert "updated: 1 worrying" in got[0] and "no answer: 1" in got[0]


def test_who_does_not_use_it_imports_nothing() -> None:
    """The plugin alone brings in neither the configuration, nor the client, nor syrupy."""
    said = subprocess.run(
        [sys.executable, "-c", "import sys, understudy.pytest_plugin; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {name for name in said if name.startswith("understudy")} == {"understudy", "understudy.pytest_plugin"}
    assert not {"pydantic", "ruamel.yaml", "syrupy", "httpx2", "msgspec", "rapidfuzz"} & set(said)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("test_a[m]", "test_a"),
        ("test_a[m-x]", "test_a[x]"),
        ("test_a[x-m]", "test_a[x]"),
        ("test_a[x-m-y]", "test_a[x-y]"),
        ("test_a[m-m]", "test_a[m]"),
        ("T.test_a[m-[x]]", "T.test_a[[x]]"),
    ],
)
def test_a_name_without_its_model(name: str, bare: str) -> None:
    assert without(name, "m") == bare
