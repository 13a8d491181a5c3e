"""Who follows lets others look at what they wait for, between two pieces of work, and only when all is right."""

import random

import dns.message
import pytest

from fencepost.batch import ChangeBatch, create, upsert
from fencepost.network import LinkSpec
from fencepost.records import txt
from resolver.answer import reply
from resolver.follow import Follower
from resolver.hot import HotTable
from resolver.message import Transport
from resolver.track import AT_ONCE, COMMIT_COST
from resolver.zone import AT_ONCE as PART

ZONE = "dynamodb.us-east-1.fencepost.test."
QUERY = dns.message.make_query(f"n.{ZONE}", "TXT", id=7).to_wire()


class Looking:
    """Prepared answers of what is followed, which are compared, whenever there is a look, with the last whole state."""

    def __init__(self) -> None:
        self.follower: Follower | None = None
        self.table: HotTable | None = None
        self.expected: bytes | None = None
        self.texts: list[bytes] = []

    def changed(self, zone, image, commits) -> None:
        assert self.table is not None
        assert self.follower is not None
        self.table.changed(zone, image, commits, self.look)
        expected = reply(self.follower.images, QUERY, Transport.UDP, random.Random(1))
        assert expected is not None
        self.expected = expected.wire

    def look(self) -> None:
        if self.table is None or self.expected is None:
            return
        answer = self.table.reply(QUERY)
        assert answer == self.expected
        self.texts.append(answer[-2:])


@pytest.fixture
async def looking(redis_url, follow, clock):
    """A zone that is followed with a propagation of 10 s, and what looks."""
    found = Looking()
    propagation = LinkSpec(median_s=10.0, p99_s=10.0)
    followed = follow(redis_url, propagation=propagation, clock=clock, changed=found.changed, look=found.look)
    found.table = HotTable(followed.follower.images, random.Random(1))
    found.follower = followed.follower
    await followed.make_zone()
    await followed.put("0")
    await followed.follower.tick()
    found.followed = followed
    return found


async def take(looking: Looking, commits: int) -> None:
    """Have some commits made, and put in line for their time."""
    for number in range(1, commits + 1):
        await looking.followed.put(str(number))
    while looking.follower.pending(ZONE) < commits:
        await looking.follower.tick()


async def test_release_looks_before_and_behind_each_commit_and_before_each_event(looking, clock) -> None:
    """What is answered at each look is of one state: of the commit before until all of the next is there."""
    await take(looking, 6)
    clock.now_s += 20
    per_release = AT_ONCE // (COMMIT_COST + 1) + 1
    looked = []

    while looking.follower.pending(ZONE):
        looking.texts.clear()
        looking.follower.release()
        looked.append([bytes(text)[-1:].decode() for text in looking.texts])

    assert looked[:2] == [[*"0001", *"1112"], [*"2223", *"3334"]]
    assert {len(texts) for texts in looked} == {4 * per_release}


async def test_release_of_a_long_commit_looks_between_its_parts_and_shows_none_of_it_before_all_is_there(
    looking, clock
) -> None:
    """Its first change is the one that is asked for: at each look in its midst the answer is the one before."""
    others = [txt(f"x{number}.{ZONE}", "x") for number in range(3 * PART)]
    long = ChangeBatch(ZONE, (upsert(txt(f"n.{ZONE}", "1")), *map(create, others)))
    await looking.followed.store.change(long)
    while not looking.follower.pending(ZONE):
        await looking.follower.tick()
    clock.now_s += 20
    looking.texts.clear()

    looking.follower.release()

    assert "".join(bytes(text)[-1:].decode() for text in looking.texts) == "0" + 3 * "0" + "00" + "1"


async def test_commits_that_a_reload_has_made_visible_are_not_looked_for(looking, clock) -> None:
    """What is left in line of commits that became part of a zone read whole costs no look, and goes when it is due."""
    await take(looking, 9)
    track = looking.follower._tracks[ZONE]
    track.reload = "it is said so"
    looking.follower._to_load[ZONE] = None
    await looking.follower.tick()
    assert (looking.follower.pending(ZONE), looking.followed.served()) == (0, "9")
    looking.texts.clear()
    clock.now_s += 20

    assert looking.follower.release() is None
    assert not looking.texts


async def test_reading_on_looks_before_it_asks_and_before_each_zone(looking) -> None:
    """To ask for commits, and to put them in line, is work like any other."""
    await looking.followed.put("1")
    looking.follower._to_read[ZONE] = None
    looking.texts.clear()

    await looking.follower._read_on()

    assert looking.follower.pending(ZONE) == 1
    assert [bytes(text)[-1:] for text in looking.texts] == [b"0", b"0"]
