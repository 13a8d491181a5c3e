"""A story as one self-contained page: a lane for each process and each zone, a row for each step, nothing fetched."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Final

import msgspec

from lab.invariants import Violation
from lab.report.svg import escaped, tag
from lab.simulation.lanes import LEGEND, Lanes
from lab.simulation.story import Moment, Story
from lab.simulation.told import broken_words, healing_words, scenario_words

MOST_STEPS: Final = 150
"""So many steps are drawn, the last ones; a page is to be read, and `--json` has them all."""


def page(story: Story, *, command: str) -> str:
    """Return the page; `command` is what to type to see the same again."""
    body = (
        _header(story),
        _steps(story),
        *_healing(story),
        _violations(story.violations),
        _again(story, command),
    )
    style = "".join((files(room) / "page.css").read_text("utf-8") for room in ("lab.report", "lab.simulation"))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", escaped(f"fencepost: {broken_words(story.violations)}")),
        tag("style", style),
    )
    return (
        "<!DOCTYPE html>\n"
        + tag("html", tag("head", *head), tag("body", Lanes.DEFINITIONS, tag("main", *body)), lang="en")
        + "\n"
    )


def _header(story: Story) -> str:
    words = (
        "The shipped enactors, adapters and scripts ran in one process; what is below is all that was chosen: whose "
        "call is executed next, and what it meets. Time goes on only where somebody waits."
    )
    bad = bool(story.violations)
    card = tag("p", escaped(f"{broken_words(story.violations)} in {story.in_brief}"), class_=_card(bad=bad))
    return tag(
        "header",
        tag("h1", "fencepost"),
        tag("p", escaped(f"{scenario_words(story.scenario)}, seed {story.scenario.seed}"), class_="about"),
        tag("p", words),
        card,
    )


def _card(*, bad: bool) -> str:
    return f"card {'bad' if bad else 'good'}"


def _steps(story: Story) -> str:
    lanes = Lanes(story)
    rows = [(moment, lanes.row(moment)) for moment in story.moments]
    hidden = len(rows) - MOST_STEPS
    left_out = tag("p", f"The first {hidden} steps are left out; they are in the JSON file.") if hidden > 0 else ""
    names = tag("div", *(tag("span", escaped(name)) for name in lanes.names), class_="lanes names")
    head = tag("div", tag("span", ""), names, tag("span", ""), class_="step head")
    body = (_row(moment, drawn) for moment, drawn in rows[-MOST_STEPS:])
    legend = "".join(tag("span", drawn, escaped(words)) for drawn, words in LEGEND)
    return tag(
        "section",
        tag("h2", "How it happened"),
        tag("p", legend, class_="legend"),
        left_out,
        tag("div", head, *body, class_="steps", style=f"--lanes:{len(lanes.names)}"),
    )


def _row(moment: Moment, drawn: str) -> str:
    trouble = " trouble" if moment.refused or moment.fault else ""
    parts = [
        tag("p", tag("b", escaped(moment.who)), " ", escaped(moment.text), class_=f"what{trouble}"),
        *((tag("p", escaped(f"{moment.zone} {moment.holding.text}"), class_="held"),) if moment.holding else ()),
        *(_violation(violation) for violation in moment.violations),
    ]
    number = tag("span", str(moment.number), tag("small", f"{moment.at_s:.1f} s"), class_="number")
    broken = " broken" if moment.violations else ""
    return tag(
        "div", number, tag("div", drawn, class_="lanes"), tag("div", *parts), class_="step" + broken, id=_id(moment)
    )


def _id(moment: Moment) -> str:
    return f"step-{moment.number}"


def _violation(found: Violation) -> str:
    return tag("p", tag("b", found.invariant), " ", escaped(found.detail), class_="violation")


def _healing(story: Story) -> Iterator[str]:
    healing = story.healing
    if healing is None:
        return
    card = tag("p", escaped(healing_words(healing)), class_=_card(bad=bool(healing.pending)))
    notes = (
        tag(
            "li",
            tag("span", f"{note.at_s:.1f} s", class_="when"),
            " ",
            tag("b", escaped(", ".join(note.who))),
            " ",
            escaped(note.text + (f" ({note.times} times)" if note.times > 1 else "")),
        )
        for note in healing.notes
    )
    silent = (tag("li", escaped(f"{zone} answers nothing."), class_="bad") for zone in healing.silent)
    yield tag("section", tag("h2", "Left in peace"), card, tag("ol", *notes, *silent))


def _violations(violations: Sequence[Violation]) -> str:
    if not violations:
        return ""
    rows = (
        tag("tr", *(tag("td", escaped(cell)) for cell in (found.invariant, found.endpoint, found.detail)))
        for found in violations
    )
    table = tag("table", tag("tbody", *rows), class_="violations told")
    return tag("section", tag("h2", "Violations"), tag("div", table, class_="scroll"))


def _again(story: Story, command: str) -> str:
    given = msgspec.to_builtins(story.scenario)
    rows: Iterable[str] = (
        tag("tr", tag("th", escaped(key), scope="row"), tag("td", escaped(str(value))))
        for key, value in sorted(given.items())
    )
    words = tag("p", escaped(f"It comes out the same each time: digest {story.digest}."))
    table = tag("table", tag("tbody", *rows), class_="parameters")
    return tag("section", tag("h2", "See it again"), tag("pre", escaped(command)), words, table)
