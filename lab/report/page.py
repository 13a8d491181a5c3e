"""The report as one self-contained HTML page: nothing is fetched, and it reads without its script."""

import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Final

from fencepost.plan import PlanSummary
from lab.history import Probe
from lab.invariants import CHECKED
from lab.invariants.violation import counted
from lab.report.availability import availability_chart
from lab.report.figures import figures
from lab.report.judged import Judged
from lab.report.lanes import ProbesOf, Window, endpoint_chart
from lab.report.story import first_loss, refused_stale
from lab.report.svg import escaped, tag
from lab.report.verdict import sentence
from lab.report.zoom import zoom

MAX_VIOLATIONS: Final = 40
HATCH: Final = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs><pattern id="hatch" width="8" '
    'height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2" height="8" '
    'class="outage-line"></rect></pattern></defs></svg>'
)
"""The pattern that every chart shades outages with; colour alone would not do for everybody."""


def page(modes: Mapping[str, Judged], *, command: str) -> str:
    """Return the page.

    Args:
        modes: mode to its run, in the order in which they are shown.
        command: what to type to see the same again.
    """
    probes = {mode: _by_endpoint(judged.history.probes) for mode, judged in modes.items()}
    end_s = max(judged.seconds for judged in modes.values())
    body = (
        _header(modes),
        tag("section", tag("h2", "What customers felt"), availability_chart(modes, end_s)),
        tag("section", tag("h2", "Figures"), _figures(modes)),
        *_stories(modes, probes),
        _endpoints(modes, probes, end_s),
        _violations(modes),
        _reproduce(modes, command),
    )
    return (
        "<!DOCTYPE html>\n"
        + tag("html", tag("head", *_head(modes)), tag("body", HATCH, tag("main", *body), _script()), lang="en")
        + "\n"
    )


def _head(modes: Mapping[str, Judged]) -> Iterable[str]:
    title = "fencepost compare: " + " and ".join(modes)
    style = (files("lab.report") / "page.css").read_text("utf-8")
    yield '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    yield tag("title", escaped(title)) + tag("style", style)


def _script() -> str:
    return tag("script", (files("lab.report") / "page.js").read_text("utf-8"))


def _header(modes: Mapping[str, Judged]) -> str:
    run = next(iter(modes.values())).history.run
    cards = (
        tag("p", escaped(sentence(mode, judged)), class_=f"card {'bad' if judged.violations else 'good'}")
        for mode, judged in modes.items()
    )
    about = f"seed {run.seed}, network profile {run.profile}, {run.duration_s:g} s of changes in each mode"
    words = (
        "The same region, the same world and the same network, run once with each protocol. "
        "Delays, contention and the rate of plans alone decide what happens; nothing is scripted."
    )
    return tag("header", tag("h1", "fencepost"), tag("p", escaped(about), class_="about"), tag("p", words), *cards)


def _figures(modes: Mapping[str, Judged]) -> str:
    columns = {mode: figures(judged.result) for mode, judged in modes.items()}
    head = tag("tr", tag("th", ""), *(tag("th", escaped(mode), scope="col") for mode in columns))
    rows = (
        tag(
            "tr",
            tag("th", escaped(row[0].label), scope="row"),
            *(tag("td", escaped(cell.text), class_="bad" if cell.is_bad else "fine") for cell in row),
        )
        for row in zip(*columns.values(), strict=True)
    )
    return tag("table", tag("thead", head), tag("tbody", *rows))


def _stories(modes: Mapping[str, Judged], probes: ProbesOf) -> Iterable[str]:
    """Return how each mode lost its first endpoint, and what zones answered to stale plans."""
    for mode, judged in modes.items():
        if story := first_loss(judged):
            seconds = judged.history.run.seconds
            items = (
                tag(
                    "li",
                    tag("span", f"{seconds(moment.at_us):.3f} s", class_="when"),
                    " ",
                    escaped(moment.text),
                    class_="bad" if moment.is_bad else "fine",
                )
                for moment in story.moments
            )
            title = f"How {mode} lost {story.endpoint}"
            yield tag("section", tag("h2", escaped(title)), zoom(story, mode, judged, probes), tag("ol", *items))
        if refused := refused_stale(judged):
            items = (
                tag(
                    "li",
                    tag("span", f"{judged.history.run.seconds(at_us):.3f} s", class_="when"),
                    " ",
                    escaped(f"{zone} {text}"),
                )
                for at_us, zone, text in refused
            )
            total = judged.result.stale_attempts_refused
            title = f"What stale plans meet in {mode} ({len(refused)} of {counted(total, 'refusal')})"
            yield tag("section", tag("h2", escaped(title)), tag("ul", *items))


def _endpoints(modes: Mapping[str, Judged], probes: ProbesOf, end_s: float) -> str:
    lost = {v.endpoint for judged in modes.values() for v in judged.violations if v.invariant == "I1"}
    every = {name for judged in modes.values() for name in judged.timelines}
    names = sorted(every, key=lambda name: (name not in lost, name))
    window = Window(0.0, end_s, 0.0, max(1, *(_last(judged.history.plans) for judged in modes.values())))
    words = (
        "Each line is the plan that the endpoint's root shows; the dashed one is what the planner had published. "
        "Endpoints that were lost come first. Red, hatched: the root answers no address. "
        "The strip below is what the canary was answered."
    )
    keys = "".join(
        tag("span", tag("i", class_=f"key {kind}"), text)
        for kind, text in (
            ("stale", "stale flip"),
            ("cut", "live tree deleted"),
            ("outage", "no address"),
            ("answer good", "answers with addresses"),
            ("answer empty", "empty answers"),
            ("answer silent", "no answer"),
        )
    )
    charts = (tag("h3", escaped(name)) + endpoint_chart(name, modes, window, probes) for name in names)
    return tag("section", tag("h2", "Every endpoint"), tag("p", words), tag("p", keys, class_="legend"), *charts)


def _last(plans: tuple[PlanSummary, ...]) -> int:
    return plans[-1].generation if plans else 1


def _violations(modes: Mapping[str, Judged]) -> str:
    rows = [
        tag("tr", *(tag("td", escaped(cell)) for cell in (mode, found.invariant, found.endpoint, found.detail)))
        for mode, judged in modes.items()
        for found in judged.violations[:MAX_VIOLATIONS]
    ]
    if not rows:
        return tag("section", tag("h2", "Violations"), tag("p", f"None, of {CHECKED}, in any mode."))
    more = {m: n for m, j in modes.items() if (n := len(j.violations) - MAX_VIOLATIONS) > 0}
    rest = "".join(
        tag("p", escaped(f"{mode}: {count} more; fencepost check lists all.")) for mode, count in more.items()
    )
    table = tag("table", tag("tbody", *rows), class_="violations")
    return tag("section", tag("h2", "Violations"), tag("div", table, class_="scroll"), rest)


def _reproduce(modes: Mapping[str, Judged], command: str) -> str:
    parameters: Mapping[str, Any] = next(iter(modes.values())).history.run.parameters
    rows = (
        tag("tr", tag("th", escaped(key), scope="row"), tag("td", escaped(_shown(value))))
        for key, value in sorted(parameters.items())
    )
    table = tag("table", tag("tbody", *rows), class_="parameters") if parameters else ""
    return tag("section", tag("h2", "See it again"), tag("pre", escaped(command)), table)


def _shown(value: Any) -> str:
    return shlex.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _by_endpoint(probes: Iterable[Probe]) -> dict[str, list[Probe]]:
    found: dict[str, list[Probe]] = {}
    for probe in probes:
        found.setdefault(probe.endpoint, []).append(probe)
    return found
