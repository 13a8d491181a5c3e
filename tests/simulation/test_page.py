"""The page of a story: self-contained, whole, and small."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from lab.simulation.choice import Choice, Fault
from lab.simulation.page import MOST_STEPS, page
from lab.simulation.saved import load
from lab.simulation.scenario import Scenario
from lab.simulation.timeline import tell

OUTAGE = load(Path(__file__).parent / "outage.json")


@pytest.fixture(scope="module")
def outage():
    """The outage, told."""
    return tell(OUTAGE.scenario, OUTAGE.choices, frozenset(OUTAGE.wanted))


class Balanced(HTMLParser):
    """Checks that every element is closed where it should be."""

    VOID = frozenset({"meta"})

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = ""

    def handle_starttag(self, tag, *_):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parsed(text):
    """Return the page's text; fails if its elements do not close."""
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser.text


def test_page_has_every_step_and_every_violation(outage):
    """What the time line tells, the page tells."""
    text = parsed(page(outage, command="fencepost replay outage.json"))

    for moment in outage.moments:
        assert moment.text in text
    for violation in outage.violations:
        assert violation.detail in text
    assert f"I1, I2, I3, I4, I5 broken in {outage.in_brief}" in text
    assert "fencepost replay outage.json" in text


def test_page_fetches_nothing_and_is_small(outage):
    """It can be sent to somebody and opened anywhere."""
    text = page(outage, command="")

    assert re.findall(r"(?:src|href)=|https?://|@import|<script", text) == []
    assert len(text.encode()) < 200_000


def test_page_has_a_lane_for_each_process_and_zone(outage):
    """Who acts, and on what, is to be seen without reading."""
    names = re.search(r'<div class="lanes names">(.*?)</div>', page(outage, command=""))[1]

    assert re.findall(r"<span>(.*?)</span>", names) == ["publisher", "plans", "enactor-1", "enactor-2", "a.test."]


def test_page_marks_the_deleted_tree_and_the_lane_that_falls_silent(outage):
    """The last step has the cross with the tree's generation, and the zone's lane changes there."""
    *_, last = re.findall(r'<div class="step[^>]*id="step-\d+">.*?</svg>', page(outage, command=""), re.DOTALL)

    assert 'class="cut">\N{MULTIPLICATION SIGN}1<' in last
    assert 'class="zone live"' in last
    assert 'class="zone silent"' in last


def test_page_escapes_what_comes_from_outside(outage):
    """A command's text is text."""
    text = page(outage, command="fencepost replay '<b>&.json'")

    assert "&lt;b&gt;&amp;.json" in text


def test_page_of_a_long_schedule_shows_its_end_and_stays_small():
    """Of a schedule that was not shrunk the last steps are drawn, and how many are left out is said."""
    scenario = Scenario(mode="buggy", enactors=3, endpoints=3, generations=1)
    looks = [
        Choice(f"enactor-{number}", what, Fault.ERROR)
        for _ in range(60)
        for number in (1, 2, 3)
        for what in ("read_plan plans", "timer")
    ]
    choices = [
        choice if choice.what != "timer" else msgspec.structs.replace(choice, fault=Fault.NONE) for choice in looks
    ]
    story = tell(scenario, choices, frozenset({"I1"}))

    text = page(story, command="")

    assert len(story.moments) > MOST_STEPS
    assert f"The first {len(story.moments) - MOST_STEPS} steps are left out" in parsed(text)
    assert len(text.encode()) < 200_000
