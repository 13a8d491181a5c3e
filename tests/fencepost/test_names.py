"""Names: what may be one, and what they tell."""

import pytest

from fencepost.errors import PlanInvalid
from fencepost.names import absolute, generation_of, manifest_name, order_key, top_label, tree_name

ZONE = "dynamodb.us-east-1.fencepost.test."


@pytest.mark.parametrize("text", ["DynamoDB.us-east-1.fencepost.test", "dynamodb.us-east-1.fencepost.test.", ZONE])
def test_absolute_gives_one_form_for_all_spellings(text):
    """Case and the trailing dot do not matter (RFC 1035 section 2.3.3)."""
    assert absolute(text) == ZONE


@pytest.mark.parametrize("text", ["a" * 63, "_lock.a", "123456789012.ddb", ".".join(["a" * 62] * 4)])
def test_absolute_at_the_limits_is_fine(text):
    """Labels of 63 and names of 253 characters are the longest (RFC 1035 section 2.3.4)."""
    assert absolute(text) == text + "."


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", ".a", "a" * 64, "-a.b", "a-.b", "a b", "a\n", "a\n.b", "*.a", "ü.a", ".".join(["a" * 63] * 4)],
)
def test_absolute_of_what_is_no_name_is_refused(text):
    """What is no name is told as it was written."""
    with pytest.raises(PlanInvalid, match="is not a DNS name") as caught:
        absolute(text)
    assert str(caught.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (f"a.{ZONE}", "a"),
        (f"b.a.{ZONE}", "a"),
        (f"_tree.plan-000001.{ZONE}", "plan-000001"),
        (ZONE, None),
        ("a.", None),
    ],
)
def test_top_label_is_the_one_next_to_the_zone(name, label):
    """However deep a name is; the zone itself has none, and what is elsewhere neither."""
    assert top_label(name, ZONE) == label


@pytest.mark.parametrize("generation", [0, 145, 999_999, 1_000_000, 123_456_789_012_345])
def test_generation_of_tree_and_manifest_is_their_plan(generation):
    """A tree's name says its plan, with more digits where six do not suffice; so do the names below it."""
    assert generation_of(tree_name(ZONE, generation), ZONE) == generation
    assert generation_of(manifest_name(ZONE, generation), ZONE) == generation


@pytest.mark.parametrize(
    "name",
    [ZONE, f"plan-145.{ZONE}", f"plan-000145x.{ZONE}", "plan-000145.other.", f"plan-000145.x.{ZONE}", f"_lock.{ZONE}",
     f"plan-٠٠٠١٤٥.{ZONE}", f"plan-000145\n.{ZONE}"],
)  # fmt: skip
def test_generation_of_other_names_is_none(name):
    """The cleaner never takes what is no tree for one."""
    assert generation_of(name, ZONE) is None


def test_order_key_puts_a_name_before_all_below_it():
    """A name is listed before its children, and those before its siblings, '-' and digits included."""
    names = [f"{label}{ZONE}" for label in ("", "a.", "x.a.", "a-b.", "a0.", "aa.", "b.")]

    assert sorted(set(names), key=lambda name: order_key(name, "A", None)) == names
