"""The image of a zone: what commits do to it, and that a listing with commits in between converges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencepost import records
from fencepost.batch import Change, create, delete, upsert
from fencepost.feed import FeedPage
from fencepost.records import RecordSet
from fencepost.stores import Actor, Commit, Position
from resolver.zone import AT_ONCE, ZoneImage, image_of

ZONE = "z.test."


def address(name: str, value: str, identifier: str | None = None) -> RecordSet:
    return records.address(f"{name}.{ZONE}", "A", value, ttl=5, set_identifier=identifier, weight=identifier and 1)


def contents(image: ZoneImage) -> list[RecordSet]:
    return sorted(image.record_sets(), key=lambda record_set: record_set.order)


def test_apply_create_upsert_delete_gives_the_next_state() -> None:
    """A commit's changes are carried out in order, and the image's serial is the commit's."""
    image = ZoneImage(ZONE, 3, [address("a", "127.0.0.1"), address("b", "127.0.0.2")])
    changes = (delete(address("a", "127.0.0.1")), upsert(address("b", "127.0.0.9")), create(address("c", "127.0.0.3")))

    after = image.apply(Commit(ZONE, 4, 0, Actor("x"), None, "", changes))

    assert after.serial == 4
    assert contents(after) == [address("b", "127.0.0.9"), address("c", "127.0.0.3")]


def test_apply_delete_and_create_of_one_record_set_replaces_it() -> None:
    """DELETE of the exact value followed by CREATE, as every lock and fence change has it, leaves the second value."""
    image = ZoneImage(ZONE, 1, [records.txt(f"_lock.{ZONE}", "a 1")])
    changes = (delete(records.txt(f"_lock.{ZONE}", "a 1")), create(records.txt(f"_lock.{ZONE}", "b 2")))

    after = image.apply(Commit(ZONE, 2, 0, Actor("x"), None, "", changes))

    assert contents(after) == [records.txt(f"_lock.{ZONE}", "b 2")]


def test_apply_hands_its_tables_on_so_that_cost_follows_the_batch() -> None:
    """No table is copied: applying one change to a large zone costs what it costs in a small one."""
    image = ZoneImage(ZONE, 1, [address("tree", "127.0.0.1", f"lb-{n}") for n in range(1000)])
    table, leaves = image._table, image.sets(f"tree.{ZONE}", "A")

    after = image.apply(Commit(ZONE, 2, 0, Actor("x"), None, "", (create(address("a", "127.0.0.2")),)))

    assert after._table is table
    assert after.sets(f"tree.{ZONE}", "A") is leaves


def test_apply_of_a_long_commit_looks_between_its_parts_and_is_one_commit_all_the_same() -> None:
    """Three parts have two looks between them; meanwhile there is no image to be asked, and afterwards all is there."""
    image, looks = ZoneImage(ZONE, 1, [address("tree", "127.0.0.1", "lb-0")]), 0
    sets = [address("tree", f"127.0.1.{number}", f"lb-{number}") for number in range(2 * AT_ONCE)]
    changes = (delete(address("tree", "127.0.0.1", "lb-0")), *map(create, sets))

    def look() -> None:
        nonlocal looks
        looks += 1
        with pytest.raises(AssertionError, match="used up"):
            image.sets(f"tree.{ZONE}", "A")

    after = image.apply(Commit(ZONE, 2, 0, Actor("x"), None, "", changes), look)

    assert looks == 2
    assert contents(after) == sorted(sets, key=lambda record_set: record_set.order)


def test_image_used_up_by_apply_refuses_further_questions() -> None:
    """Whoever kept the image before a commit learns that it is no state of the zone any more."""
    image = ZoneImage(ZONE, 1, [])
    image.apply(Commit(ZONE, 2, 0, Actor("x"), None, "", ()))

    with pytest.raises(AssertionError, match="used up"):
        image.sets(ZONE, "A")
    with pytest.raises(AssertionError, match="used up"):
        image.exists(ZONE)


def test_apply_of_a_later_commit_than_the_next_is_refused() -> None:
    """An image never jumps: a gap is the follower's business."""
    with pytest.raises(AssertionError, match="does not follow"):
        ZoneImage(ZONE, 1, []).apply(Commit(ZONE, 3, 0, Actor("x"), None, "", ()))


def test_exists_empty_non_terminal_is_there_until_what_is_below_goes() -> None:
    """A name without records but with names below it exists (RFC 4592 section 2.2.2); it goes with the last of them."""
    below = [address("a.b.c", "127.0.0.1"), address("d.b.c", "127.0.0.2")]
    image = ZoneImage(ZONE, 1, below)
    assert image.exists(f"b.c.{ZONE}")
    assert image.exists(f"c.{ZONE}")

    image = image.apply(Commit(ZONE, 2, 0, Actor("x"), None, "", (delete(below[0]),)))
    assert image.exists(f"b.c.{ZONE}")
    assert not image.exists(f"a.b.c.{ZONE}")

    image = image.apply(Commit(ZONE, 3, 0, Actor("x"), None, "", (delete(below[1]),)))
    assert not image.exists(f"c.{ZONE}")


KEYS = [(name, identifier) for name in ("a", "b", "x.b") for identifier in (None, "one", "two")]


@st.composite
def fuzzy_listings(draw: st.DrawFn) -> tuple[list[list[RecordSet]], list[Commit], list[FeedPage]]:
    """Return the states of a zone from serial 1 on, the commits between them, and a listing taken meanwhile."""
    states: list[dict] = [{}]
    commits: list[Commit] = []
    for serial in range(2, draw(st.integers(1, 12)) + 2):
        state = dict(states[-1])
        changes: list[Change] = []
        for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)):
            if key in state and draw(st.booleans()):
                changes.append(delete(state.pop(key)))
            else:
                known = key in state
                state[key] = address(key[0], f"127.0.{serial}.{len(changes)}", key[1])
                changes.append((upsert if known else create)(state[key]))
        states.append(state)
        commits.append(Commit(ZONE, serial, serial, Actor("x"), None, "", tuple(changes)))
    listed = [sorted(state.values(), key=lambda record_set: record_set.order) for state in states]
    pages: list[FeedPage] = []
    serial, after = draw(st.integers(1, len(states))), ""
    while True:
        rest = [record_set for record_set in listed[serial - 1] if record_set.order > after]
        shown = tuple(rest[: draw(st.integers(1, 3))])
        pages.append(FeedPage(Position(serial, serial), shown))
        if len(shown) == len(rest):
            return listed, commits, pages
        after = shown[-1].order
        serial = draw(st.integers(serial, len(states)))


@settings(max_examples=500)
@given(fuzzy_listings())
def test_image_of_a_listing_with_commits_in_between_converges(case) -> None:
    """Replaying from the first page's serial gives the true zone at every serial from the last page's on."""
    listed, commits, pages = case
    image = image_of(ZONE, pages)
    assert image.serial == pages[0].head.serial

    for commit in commits:
        if commit.serial <= image.serial:
            continue
        if image.serial >= pages[-1].head.serial:
            assert contents(image) == listed[image.serial - 1]
        image = image.apply(commit)

    assert contents(image) == listed[-1]
    names = {record_set.name for record_set in listed[-1]}
    assert all(image.exists(name) for name in names)
    assert image.exists(f"x.b.{ZONE}") == (f"x.b.{ZONE}" in names)
