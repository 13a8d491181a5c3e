"""The report: table, JSON document, and the page that people look at."""

import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.report import document, headline, judge, page, table
from lab.report.availability import shares
from lab.report.figures import figures, percent
from lab.report.sampling import Sample, strip, thin
from lab.report.story import first_loss
from lab.report.svg import Axis, step_path, tag

LIMIT_BYTES = 2_000_000
LOST = "dynamodb.us-east-1.fencepost.test."
VOID = {"meta"}


class WellFormed(HTMLParser):
    """Fails on a tag that is not closed in order; keeps every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, name, attributes):
        self.seen.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def classes(self, name):
        return [attributes.get("class") for found, attributes in self.seen if found == name]


def parsed(text):
    parser = WellFormed()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def modes(long_run):
    """A comparison in which buggy loses one endpoint after 5 of 12 seconds."""
    buggy = long_run("buggy", lost={LOST: 5.0}, duration_s=12.0, plans_per_s=10.0)
    fixed = long_run("fixed", lost={}, duration_s=12.0, plans_per_s=10.0)
    return {
        "buggy": judge(buggy, convergence_bound_s=2.0),
        "fixed": judge(fixed, convergence_bound_s=2.0),
    }


@pytest.fixture(scope="module")
def text(modes):
    return page(modes, command="fencepost compare --seed 7")


def test_page_is_well_formed_and_fetches_nothing(text):
    """One file is the whole report: no address, no import, no link to anything outside."""
    seen = parsed(text).seen

    assert "http" not in text
    assert "@import" not in text
    assert {"link", "img", "iframe", "object"}.isdisjoint({name for name, _ in seen})
    assert not [attributes for _, attributes in seen if {"src", "href", "xlink:href"} & attributes.keys()]
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch"}


def test_page_of_a_minute_at_fifty_plans_a_second_is_small(long_run):
    """However much was recorded, the page stays under 2 MB."""
    runs = {
        "buggy": long_run("buggy", lost={LOST: 30.0}, duration_s=60.0, plans_per_s=50.0),
        "fixed": long_run("fixed", lost={}, duration_s=60.0, plans_per_s=50.0),
    }

    text = page({mode: judge(run, convergence_bound_s=2.0) for mode, run in runs.items()}, command="fencepost compare")

    assert len(text.encode()) < LIMIT_BYTES
    parsed(text)


def test_page_shows_the_loss_in_the_mode_that_had_it_and_in_no_other(modes, text):
    """Each sign of the incident is there, and the fixed lane of the same endpoint has none of them."""
    lanes = re.findall(r'<g class="lane (\w+)">(.*?)</g>', text.split("<h2>Every endpoint</h2>")[1], re.DOTALL)

    signs = ('class="outage"', 'class="mark stale"', 'class="mark cut"', 'class="root dead"', 'class="answer empty"')
    assert [mode for mode, _ in lanes] == ["buggy", "fixed"] * 4
    assert all(sign in lanes[0][1] for sign in signs)
    assert not any(sign in lane for _, lane in lanes[1:] for sign in signs)
    assert "to the end" in lanes[0][1]


def test_page_puts_lost_endpoints_first_and_all_modes_on_one_time_axis(text):
    """Who looks for one second sees the endpoint that was lost, and the same instant in both lanes."""
    part = text.split("<h2>Every endpoint</h2>")[1]
    charts = [a for name, a in parsed(part.split("</section>")[0]).seen if a.get("class") == "chart"]

    assert re.findall("<h3>(.*?)</h3>", part)[0] == LOST
    assert len({(chart["data-start"], chart["data-end"]) for chart in charts}) == 1


def test_page_of_unequal_runs_draws_each_to_its_own_end(long_run):
    """What was not recorded is not drawn: a mode that settled early has an end, not a straight line."""
    runs = {
        mode: long_run(mode, lost={}, duration_s=s, plans_per_s=5.0) for mode, s in (("buggy", 12.0), ("fixed", 6.0))
    }

    text = page({mode: judge(run, convergence_bound_s=2.0) for mode, run in runs.items()}, command="")

    lane = re.findall(r'<g class="lane fixed">(.*?)</g>', text)[0]
    half = 118 + (1200 - 118 - 12) / 2
    ends = [float(end) for end in re.findall(r"H([\d.]+)\"", lane)]
    ends += [
        float(x) + float(width) for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', lane)
    ]
    assert ends == pytest.approx([half] * 5, abs=1.0), "published, root, plot, strip and its one span"


def test_page_names_seed_command_parameters_and_violations(text):
    """Enough on the page to see the same again."""
    assert "seed 7, network profile accelerated" in text
    assert "fencepost compare --seed 7" in text
    assert "plan_rate" in text
    assert "use1-az1-enactor deleted 2 record sets of plan-" in text


def test_page_escapes_what_processes_wrote(modes):
    """A reason is a text, whatever is in it."""
    evil = {"event": "enactor.flip_refused", "timestamp": "2026-10-14T18:00:00Z", "stale": True, "reason": "<script>x"}
    judged = modes["fixed"]._replace(history=msgspec.structs.replace(modes["fixed"].history, events=(evil,)))

    text = page({"fixed": judged}, command="a && b")

    assert "&lt;script&gt;x" in text
    assert "<script>x" not in text
    assert "a &amp;&amp; b" in text


def test_page_of_an_empty_run_is_a_page(kit, script):
    """A run that was stopped at once has little to show, and shows it."""
    empty = judge(kit.history_of(script()), convergence_bound_s=1.0)

    text = page({"fixed": empty, "buggy": judge(kit.history_of(), convergence_bound_s=1.0)}, command="")

    parsed(text)
    assert "This run had no customers." in text
    assert "None, of I1 to I7 and I9, in any mode." in text


def test_story_of_the_incident_tells_its_steps_in_order(incident, kit):
    """The story is made of commits and logs, and reads as the incident does."""
    zone, _ = incident(6)
    events = (
        {"event": "enactor.pass_started", "process": "use1-az1-enactor", "generation": 110, "timestamp": at(kit, 0.04)},
        *(
            {
                "event": "enactor.lock_missed",
                "process": "use1-az1-enactor",
                "zone": kit.zone,
                "timestamp": at(kit, 0.05),
            }
            for _ in range(3)
        ),
        {
            "event": "enactor.flip_refused",
            "process": "use1-az2-enactor",
            "zone": kit.zone,
            "generation": 146,
            "reason": "target was not found",
            "timestamp": at(kit, 10.03),
        },
    )
    probes = (kit.probe(1.0, "127.1.0.1"), kit.probe(10.02))

    story = first_loss(judge(kit.history_of(zone, events=events, probes=probes), convergence_bound_s=5.0))

    assert story is not None
    assert [moment.text for moment in story.moments] == [
        "use1-az1-enactor takes plan 110 and makes its one check: nothing newer is live.",
        "use1-az1-enactor has lost this endpoint's lock 3 times and waits on, its check long past.",
        "use1-az2-enactor installs plan 145 meanwhile.",
        "use1-az1-enactor gets its turn and flips the root back from plan 145 to plan 110.",
        "use1-az2-enactor cleans up by age and deletes tree 110, the live one. The root points at nothing.",
        "DNS answers NOERROR without an address: an empty answer, no error.",
        "use1-az2-enactor tries plan 146, and the zone refuses: target was not found",
        "End: 1.0 s without an address, and 1 flip to newer plans refused. It does not heal.",
    ]


def at(kit, after_s):
    return datetime.fromtimestamp(kit.start_us / 1e6 + after_s, UTC).isoformat()


def test_story_after_a_repair_ends_with_it(incident, kit):
    """What came back is said to be back."""
    zone, _ = incident(7)

    story = first_loss(judge(kit.history_of(zone), convergence_bound_s=50.0))

    assert story is not None
    assert story.moments[-1].text == "The endpoint has addresses again."


def test_story_of_a_run_without_loss_is_none(modes):
    """Nothing lost, nothing to tell."""
    assert first_loss(modes["fixed"]) is None


def test_headline_says_who_lost_what(modes):
    """The sentence that people will repeat."""
    assert headline(modes) == (
        "buggy lost 1 of 4 endpoints, the first after 5.5 s; 1 never came back. "
        "fixed kept all 4 endpoints answering and broke no invariant."
    )


def test_headline_of_a_violation_without_loss_names_it(script, kit):
    """A broken invariant is told even where no customer noticed."""
    zone = script()
    for generation in (1, 2):
        zone.install("use1-az1-enactor", generation, kit.contents())
    zone.flip("use1-az1-enactor", 1)

    judged = judge(kit.history_of(zone), convergence_bound_s=1.0)

    assert (
        headline({"fixed": judged}) == "fixed kept all 1 endpoints answering, but broke I2 \N{MULTIPLICATION SIGN} 1."
    )


def test_table_shows_both_modes_the_violations_and_the_verdict(modes):
    """What a person sees who has only a terminal."""
    console = Console(file=io.StringIO(), width=160, force_terminal=True)

    console.print(table(modes))

    shown = console.file.getvalue()
    assert re.search(r"endpoints emptied[^\n]*\x1b\[1;31m *1[^\n]* 0 ", shown)
    assert "buggy lost 1 of 4 endpoints" in shown
    assert "buggy  I4" in shown
    assert "fixed  I" not in shown


def test_document_has_the_designed_shape(modes):
    """Programs read this: seed, profile, duration, parameters, and each mode's figures."""
    made = msgspec.json.decode(msgspec.json.encode(document(modes)))

    assert set(made) == {"seed", "profile", "duration_s", "parameters", "modes"}
    assert (made["seed"], made["profile"], made["duration_s"]) == (7, "accelerated", 12.0)
    assert made["modes"]["buggy"]["endpoints_emptied"] == 1
    assert made["modes"]["fixed"]["violations"] == []


def test_figures_of_a_good_run_alarm_nobody(modes):
    """Red is for what is bad; a stale flip refused is good news."""
    labels = {figure.label for figure in figures(modes["buggy"].result) if figure.is_bad}

    assert {"endpoints emptied", "availability", "stale flips committed", "live trees deleted"} <= labels
    assert "stale flips refused by the zone" not in labels
    assert {f.label for f in figures(modes["fixed"].result) if f.is_bad} <= {"changes that never went live"}


@pytest.mark.parametrize(("share", "expected"), [(None, "-"), (1.0, "100 %"), (0.99999, "99.999 %"), (0.5, "50.000 %")])
def test_percent_never_rounds_a_failure_away(share, expected):
    """One lost request in a hundred thousand is not 100 %."""
    assert percent(share) == expected


def test_shares_counts_by_the_second_in_which_a_request_began(kit):
    """A second without requests has no share."""
    run = kit.history_of().run
    requests = [kit.request(0.1), kit.request(0.9, ok=False), kit.request(2.5)]

    assert shares(run, requests) == [Sample(0.5, 0.5), Sample(2.5, 1.0)]


SAMPLES = st.lists(st.tuples(st.floats(0, 60), st.integers(0, 999)), max_size=200).map(
    lambda found: [Sample(*item) for item in sorted(found)]
)


@given(samples=SAMPLES, columns=st.integers(1, 50))
def test_thin_keeps_extremes_and_ends_and_bounds_the_count(samples, columns):
    """Whatever is left out, the highest, the lowest, the first and the last stay."""
    kept = thin(samples, columns, 60.0)

    assert len(kept) <= 4 * (columns + 1)
    assert [sample for sample in samples if sample in kept] == kept or len(set(samples)) < len(samples)
    if samples:
        assert (kept[0], kept[-1]) == (samples[0], samples[-1])
        assert max(s.value for s in kept) == max(s.value for s in samples)
        assert min(s.value for s in kept) == min(s.value for s in samples)


@given(seen=st.lists(st.tuples(st.floats(0, 60), st.sampled_from(("bad", "good"))), max_size=100).map(sorted))
def test_strip_covers_without_overlap_and_never_hides_the_worst(seen):
    """One empty answer among many good ones in a column is drawn as empty."""
    spans = strip(seen, 20, 60.0, ("bad", "good"))

    assert all(before.end_s == after.start_s for before, after in pairwise(spans))
    assert ("bad" in {label for _, label in seen}) == ("bad" in {span.label for span in spans})


def test_strip_of_steady_answers_is_one_span_to_the_end():
    """No gaps where a column happens to have no probe."""
    (span,) = strip([(0.0, "good"), (10.0, "good"), (59.0, "good")], 100, 60.0, ("bad", "good"))

    assert (span.start_s, span.end_s) == (0.0, 60.0)


def test_step_path_holds_each_value_until_the_next():
    """A root shows a plan until it shows another one."""
    axis = Axis(0, 10, 0, 100)

    assert step_path([Sample(1, 2), Sample(3, 5)], axis, axis, 10) == "M10 20H30V50H100"


def test_axis_ticks_are_round_and_inside():
    """People read 0, 5, 10."""
    assert Axis(0, 45, 0, 100).ticks() == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    assert Axis(12.3, 14.1, 0, 100).ticks(10) == pytest.approx([12.4, 12.6, 12.8, 13.0, 13.2, 13.4, 13.6, 13.8, 14.0])


def test_tag_escapes_attributes():
    """An attribute cannot end early."""
    assert tag("a", title='"<', x=1.0, class_="k") == '<a title="&quot;&lt;" x="1" class="k"></a>'
