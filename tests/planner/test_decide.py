"""What a decision holds back because no region could want it."""

from fencepost.plan import Content, Target
from planner.each import wrong_of
from planner.mend import mended

NAME = "a.test."


def test_content_with_many_problems_names_three_and_counts_the_rest():
    """One sentence for a person on call and for an event, not one for each of 500 load balancers."""
    value = Content(5, tuple(Target(f"lb-{n}", "A", f"127.1.0.{n}", 300) for n in range(1, 10)))

    assert wrong_of({NAME: value}, {NAME: value}) == {}
    assert wrong_of({NAME: value}, {})[NAME] == (
        "a.test. stays as the last plan has it: a.test.: load balancer lb-1 has weight 300, outside 0 to 255; "
        "a.test.: load balancer lb-2 has weight 300, outside 0 to 255; "
        "a.test.: load balancer lb-3 has weight 300, outside 0 to 255 and 6 more; correct the region file"
    )


def test_content_that_is_well_is_mended_to_itself():
    """Or a plan would be published for nothing; in a malformed one the first of each kind counts."""
    well = Content(5, (Target("lb-1", "A", "127.1.0.1", 0), Target("lb-1", "AAAA", "::1", 255)))
    twice = (Target("lb-1", "A", "127.1.0.2", 9), Target("lb-2", "A", "127.1.0.1", 9), Target("lb-3", "A", "::3", -1))

    assert mended(well) == well
    assert mended(Content(5, (*well.targets, *twice))).targets == (*well.targets, Target("lb-3", "A", "::3", 0))
