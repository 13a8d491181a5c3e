"""What is said of the figures: only what the intervals bear."""

import msgspec
import pytest

from lab.odds.estimate import Tally
from lab.odds.findings import finding, findings, rows
from lab.odds.model import Setting
from lab.odds.page import page
from lab.odds.sweep import BY_NAME, SWEEPS, chosen, points, settings

BASE = Setting()
KEEP, PLANS = BY_NAME["keep"], BY_NAME["plans"]


def tallies_of(sweep, outages, hours=1.0):
    """Return tallies of a sweep's settings with so many outages each."""
    found = zip(points(sweep, BASE), outages, strict=True)
    return {point.setting: Tally(runs=1, outages=n, hours=hours, stale_flips=9 * n) for point, n in found}


def test_finding_of_rates_that_differ_names_the_ends_the_factor_and_what_it_means():
    """300 against 10 an hour: 30 times as many, and surely 14 times."""
    found = rows(KEEP, BASE, tallies_of(KEEP, (300, 200, 100, 40, 10)))

    text = finding(KEEP, found)

    assert "fewest outages at 40" in text
    assert "most at 3 (300 an hour" in text
    assert "about 30 times as many, 15 times at least" in text
    assert KEEP.falls in text


def test_finding_of_rates_that_rise_instead_says_so():
    """The meaning follows the figures, not what was expected of them."""
    text = finding(KEEP, rows(KEEP, BASE, tallies_of(KEEP, (10, 40, 100, 200, 300))))

    assert KEEP.rises in text
    assert KEEP.falls not in text


def test_finding_of_intervals_that_overlap_says_nothing_but_that():
    """12 against 8 an hour is chance."""
    text = finding(KEEP, rows(KEEP, BASE, tallies_of(KEEP, (12, 9, 10, 9, 8))))

    assert "the intervals overlap, so that nothing can be said" in text
    assert KEEP.falls not in text


def test_finding_without_any_outage_gives_the_bound_and_no_factor_to_nothing():
    """None in an hour is fewer than 3 an hour, so 300 are 89 times as many at least."""
    text = finding(KEEP, rows(KEEP, BASE, tallies_of(KEEP, (300, 200, 100, 40, 0))))

    assert "none in 1 h, so fewer than 3 an hour" in text
    assert "89 times at least" in text
    assert "about" not in text


def test_finding_where_nothing_ever_happened_gives_the_bound_of_all_together():
    """Five hours without any outage are fewer than 0.6 an hour; there are no ends to compare."""
    text = finding(KEEP, rows(KEEP, BASE, tallies_of(KEEP, (0, 0, 0, 0, 0))))

    assert text == "no outage at any of them; all together none in 5 h, so fewer than 0.6 an hour."


@pytest.mark.parametrize(
    ("outages", "says"),
    [
        ((420, 255, 94, 25, 4, 0), "extrapolated, not seen"),
        ((400, 390, 380, 60, 50, 40), "do not fall off exponentially"),
        ((40, 20, 0, 0, 0, 0), "too few plan rates with outages"),
    ],
)
def test_findings_beyond_what_was_run_are_said_only_if_a_law_holds(outages, says):
    """Counts that follow the law are extrapolated and marked so; others are not."""
    said = list(findings([PLANS], BASE, tallies_of(PLANS, outages)))

    assert [text for text in said if text.startswith("beyond")] == [text for text in said if says in text]
    assert sum(says in text for text in said) == 1


def test_law_of_the_plan_rates_is_checked_by_what_is_kept():
    """Keeping 40 plans at 10 a second makes a plan old after 4 s, as keeping 10 at 2.5 a second does."""
    tallies = tallies_of(PLANS, (420, 255, 94, 25, 4, 0)) | tallies_of(KEEP, (300, 250, 255, 94, 9))

    (said,) = [text for text in findings([PLANS, KEEP], BASE, tallies) if text.startswith("checked by keep")]

    assert said.endswith("at 40 (9 an hour, 4.1 to 17).")


def test_findings_of_nothing_run_say_so():
    """An interruption at once leaves a sentence, not an error."""
    assert list(findings(SWEEPS, BASE, {})) == ["Nothing was run for long enough to say anything."]


def test_settings_of_all_sweeps_are_each_run_once_with_the_base_among_them():
    """The base is a row of every table, and is run once for all of them."""
    found = settings(SWEEPS, BASE)

    assert len(found) == len(set(found)) == 1 + sum(len(sweep.values) - 1 for sweep in SWEEPS)
    assert found[0] == BASE


def test_sweep_around_a_value_of_its_own_has_it_in_its_place():
    """A base of 7 plans a second stands between 10 and 5."""
    base = msgspec.structs.replace(BASE, plans_per_s=7.0)

    assert [point.value for point in points(PLANS, base)] == [20.0, 10.0, 7.0, 5.0, 3.0, 2.0, 1.0]


def test_page_shows_every_sweep_and_fetches_nothing():
    """One file with a plot and a table for each parameter."""
    tallies = tallies_of(KEEP, (300, 200, 100, 40, 0)) | tallies_of(PLANS, (300, 100, 50, 8, 1, 0))

    text = page(chosen("keep,plans"), BASE, tallies, said=("a < b",), command="fencepost odds")

    assert text.count("<figure>") == 2
    assert "a &lt; b" in text
    assert [word for word in ("src=", "href=", "url(http", "@import") if word in text] == []
