"""What models and people wrote cannot become markup of the page or of the short form, nor end the data within it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from understudy.pack import markdown, page
from understudy.pack.blocks import Cell, Drawing, Facts, Grid, Head, Laid, Prompt, Said, Section
from understudy.pack.drawing import Range, Step, exposure, ranges

HOSTILE = '</script><img src=x onerror="alert(1)"> | `a` [b](http://c) \n# d <!-- e -->'
EVERYTHING = Section(
    "all",
    HOSTILE,
    [
        Said(HOSTILE, "bad"),
        Facts([(HOSTILE, Cell(HOSTILE, "good")), ("b", HOSTILE)]),
        Grid(HOSTILE, (HOSTILE, "n >"), [[HOSTILE, "1"]]),
        Head(HOSTILE),
        Laid([("removed", HOSTILE), ("added", "```"), ("gap", "(2 unchanged lines)")]),
        Prompt(HOSTILE, HOSTILE),
        Drawing(ranges([Range(HOSTILE, -1.0, 0.0, 1.0, "good")], " pt"), HOSTILE),
        Drawing(exposure([Step(1.0, 0.5, HOSTILE)], 0.0, 2.0, (HOSTILE, "end")), "steps"),
    ],
)


class Seen(HTMLParser):
    """The elements of a page, and the addresses they name."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_the_page_has_no_markup_but_its_own() -> None:
    """No element, handler or address comes out of a text; the data is the one script element and is never run."""
    data = json.dumps({"why": HOSTILE})
    whole = page.opening(HOSTILE, HOSTILE, [EVERYTHING]) + page.section(EVERYTHING) + page.closing(data)
    seen = Seen()
    seen.feed(whole)
    assert "img" not in seen.tags and not seen.handlers
    assert seen.addresses == ["#all"]
    assert re.findall(r"<script[^>]*>", whole) == ['<script type="application/json" id="pack">']
    inside = whole.split('id="pack">\n')[1].split("</script>")[0]
    assert json.loads(inside) == {"why": HOSTILE}
    assert "default-src &#x27;none&#x27;" in whole
    style = whole.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|//", style)


def test_the_short_form_has_no_markup_but_its_own() -> None:
    """A text cannot make a tag, a link or a new row, and a prompt cannot end its fence."""
    short = markdown.section(EVERYTHING)
    fence = "````diff"
    assert fence in short
    outside = re.sub(r"````diff.*?````(?=\n)", "", short, flags=re.S)
    assert not re.search(r"(?<!\\)<|(?<!\\)\[b", outside)
    table = [line for line in outside.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in table) and len(table) == 3


def test_a_section_without_anything_in_short_is_left_out() -> None:
    assert markdown.section(Section("a", "A", [], [Said("only on the page")])) == ""


def test_steps_are_drawn_where_they_are() -> None:
    """Half of the time at a quarter of the users: the line rises in the middle, to a quarter of the height."""
    drawn = exposure([Step(5.0, 0.25, "x")], 0.0, 10.0, ("a", "b"))
    points = re.search(r'polyline class="line" points="([^"]+)"', drawn)
    assert points is not None
    places = [tuple(map(float, pair.split(","))) for pair in points.group(1).split()]
    left, right = places[0][0], places[-1][0]
    assert [x for x, _ in places] == [left, (left + right) / 2, (left + right) / 2, right]
    assert places[0][1] == 150.0 and places[-1][1] == 150.0 - 0.25 * 136
