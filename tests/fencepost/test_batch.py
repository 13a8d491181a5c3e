"""A batch's arithmetic."""

from contextvars import copy_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencepost.batch import (
    LIMITS,
    REASONS,
    ChangeBatch,
    Limits,
    create,
    delete,
    failed_change,
    limit_failures,
    size_of,
    swap,
)
from fencepost.batch import upsert as put
from fencepost.records import RecordSet, alias, decode, encode, txt

ZONE = "dynamodb.us-east-1.fencepost.test."
TWO = RecordSet(ZONE, "A", 5, ("127.1.0.1", "127.1.0.22"))


@pytest.mark.parametrize(
    ("change", "elements", "characters"),
    [
        (create(TWO), 2, 19),
        (delete(TWO), 2, 19),
        (put(TWO), 4, 38),
        (create(alias(ZONE, "A", ZONE)), 1, 0),
        (put(alias(ZONE, "A", ZONE)), 2, 0),
    ],
)
def test_change_counts_values_and_their_characters_twice_for_upsert(change, elements, characters):
    """Source: Route 53 quotas, ResourceRecord elements and characters; an alias counts as one element."""
    assert size_of([change]) == (elements, characters)


def test_limits_exceeded_together_are_told_together():
    """A batch that is too long and too large says both."""
    changes = tuple(put(txt(f"r{n}.{ZONE}", "x" * 40)) for n in range(600))

    failures = limit_failures(ChangeBatch(ZONE, changes))
    assert [(f.index, f.reason) for f in failures] == [(-1, "elements_limit"), (-1, "characters_limit")]


def test_smaller_limits_hold_for_who_has_set_them_alone():
    """A simulated zone may take less than Route 53 does; the refusal says how much."""
    batch = ChangeBatch(ZONE, (put(TWO), create(TWO)))

    def limited():
        LIMITS.set(Limits(elements=5, characters=50))
        return limit_failures(batch)

    failures = copy_context().run(limited)

    assert [f.text for f in failures] == [
        "Number of records limit of 5 exceeded.",
        "Number of characters limit of 50 exceeded.",
    ]
    assert limit_failures(batch) == ()


def test_swap_is_delete_of_existing_then_create():
    """Compare-and-swap in the zone's own terms."""
    first, second = txt(ZONE, "1"), txt(ZONE, "2")

    assert swap(None, first) == (create(first),)
    assert swap(first, second) == (delete(first), create(second))


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_has_words_without_gaps(reason):
    """Every reason can be told of any change."""
    failure = failed_change(ZONE, 3, create(TWO), reason, "problem")

    assert (failure.index, failure.reason, failure.name, failure.type) == (3, reason, ZONE, "A")
    assert "{" not in failure.text


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        RecordSet, st.text(), st.text(), st.none() | st.integers(0, 2**31), st.lists(st.text()).map(tuple),
        st.none() | st.text(), st.none() | st.integers(0, 255), st.none() | st.text(),
    )
)  # fmt: skip
def test_record_set_decoded_is_what_was_encoded_on_one_line(record_set):
    """The canonical text is exact, and never breaks the history's lines."""
    text = encode(record_set)

    assert decode(text) == record_set
    assert b"\n" not in text
