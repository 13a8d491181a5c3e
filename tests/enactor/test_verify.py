"""A tree is read back, and resolved at a real server over UDP, before it goes live."""

import asyncio
from collections.abc import AsyncIterator

import dns.message
import dns.rcode
import dns.rrset
import pytest

from fencepost.batch import create, delete
from fencepost.names import tree_name
from fencepost.plan import digest, short
from fencepost.records import RecordKey, address

ZONE = "b.test."


class NameServer(asyncio.DatagramProtocol):
    """Answers from the real zone, or as it is told to.

    Attributes:
        behind: so many queries get NXDOMAIN at first, as before a commit is propagated.
        lies: answers every address query with this instead.
        silent: gives no answer at all.
        manifest: answers every query for a manifest with this instead.
        asked: the queries so far.
        askers: the sockets that they came from.
    """

    def __init__(self, world) -> None:
        self.world, self.behind, self.lies, self.silent = world, 0, None, False
        self.manifest: str | None = None
        self.asked: list[tuple[str, str]] = []
        self.askers: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, addr) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(dns.message.from_wire(data), addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query, addr) -> None:
        name, kind = query.question[0].name.to_text(), query.question[0].rdtype.name
        self.asked.append((name, kind))
        self.askers.add(addr)
        found = [r for r in (await self.world.records(ZONE)).values() if (r.name, r.type) == (name, kind)]
        values = [value for r in found[:1] for value in r.values]
        if self.lies and kind != "TXT":
            values = [self.lies]
        if self.manifest and kind == "TXT":
            values = [f'"{self.manifest}"']
        if self.silent:
            return
        answer = dns.message.make_response(query)
        if self.behind > 0 or not values:
            self.behind -= 1
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            answer.answer.append(dns.rrset.from_text(name, 1, "IN", kind, *values))
        self.transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def server(world) -> AsyncIterator[NameServer]:
    """A name server on a free port of loopback."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(world), local_addr=("127.0.0.1", 0))
    yield server
    transport.close()


async def test_tree_is_asked_for_under_its_own_name_until_it_is_answered_and_then_goes_live(world, server):
    """Manifest and each address type are asked for, again and again while the commit is on its way."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    server.behind = 4
    await world.publish(b=world.targets(3, kinds=("A", "AAAA")))

    await world.install(enactor, most=1)

    name = tree_name(ZONE, 1)
    assert server.asked == [(f"_tree.{name}", "TXT")] * 5 + [(name, "A"), (name, "AAAA")]
    assert len(server.askers) == 1, "a socket that stays open over the pauses"
    assert await world.root(ZONE) == name
    assert world.clock.now_s >= 0.001 + 0.002 + 0.004 + 0.008


async def test_tree_that_is_answered_otherwise_for_too_long_does_not_go_live(world, server):
    """The endpoint keeps what it has, held with the reason; it is tried again, and goes live when it is right."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    await world.publish(b=world.targets(3))
    await world.install(enactor)
    server.lies = "10.6.6.6"
    await world.publish(b=world.targets(3, weight=2))

    outcome = await enactor.tick()

    (told,) = enactor.saw("enactor.tree_rejected", ZONE)
    assert "is answered with 10.6.6.6, which is no address of the plan's" in told.reason
    assert told.reason in outcome.held[ZONE]
    assert await world.root(ZONE) == tree_name(ZONE, 1)
    server.lies = None
    await world.clock.sleep(1)
    await world.install(enactor, most=1)
    assert await world.root(ZONE) == tree_name(ZONE, 2)


async def test_tree_that_is_answered_otherwise_goes_live_without_the_tree_check(world, server):
    """What the guard is worth: nobody asks."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port, without="tree-check")
    server.lies = "10.6.6.6"
    await world.publish(b=world.targets(3))

    await world.install(enactor, most=1)

    assert server.asked == []


async def test_resolver_that_is_out_does_not_stop_a_plan(world, server):
    """No answer says nothing about the tree: what was read back suffices, and the next tree waits for one look only."""
    await world.add_zones(ZONE)
    server.transport.close()
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    for weight in (1, 2):
        await world.publish(b=world.targets(3, weight=weight))
        await world.install(enactor, most=1)

    assert [event.generation for event in enactor.saw("enactor.tree_unresolved", ZONE)] == [1, 2]
    assert world.clock.now_s < 0.1


async def test_resolver_that_is_behind_delays_the_first_plan_only_until_it_has_caught_up(world, server):
    """It lost its store and serves its last good state: that vetoes nothing, and is not waited out for each tree.

    When it knows the tree that it owed, it is waited for and believed again.
    """
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port, verify_wait_s=5)
    server.behind, took_s = 10**6, []
    for weight in (1, 2, 3):
        await world.publish(b=world.targets(3, weight=weight))
        begun_s = world.clock.now_s
        await world.install(enactor, most=1)
        took_s.append(world.clock.now_s - begun_s)

    told = enactor.saw("enactor.tree_unresolved", ZONE)
    assert [event.generation for event in told] == [1, 2, 3]
    assert "its manifest is answered as nothing, not 1/1" in told[0].reason
    assert not enactor.saw("enactor.tree_rejected")
    assert 5 <= took_s[0] < 6
    assert took_s[1:] == [0.0, 0.0]

    server.behind, server.asked = 0, []
    await world.publish(b=world.targets(3, weight=4))
    await world.install(enactor, most=1)
    assert server.asked[0] == (f"_tree.{tree_name(ZONE, 1)}", "TXT")
    assert len(enactor.saw("enactor.tree_unresolved", ZONE)) == 3
    server.lies = "10.6.6.6"
    await world.publish(b=world.targets(3, weight=5))
    await enactor.tick()
    assert enactor.saw("enactor.tree_rejected", ZONE)


@pytest.mark.parametrize(("manifest", "live"), [("0/1 {digest}", True), ("1/1 12345678", False), ("nonsense", False)])
async def test_manifest_that_is_answered_is_late_or_wrong_by_its_digest(world, server, manifest, live):
    """Fewer batches of the same content are an earlier state; another content is not what is to go live."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    server.manifest = manifest.format(digest=short(digest(world.targets(3))))
    await world.publish(b=world.targets(3))

    await enactor.tick()

    assert bool(await world.root(ZONE)) is live
    assert bool(enactor.saw("enactor.tree_rejected", ZONE)) is not live


async def test_tree_verified_once_is_not_verified_twice(world, server):
    """A flip whose answer is lost before it happened is made again, with the same tree."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    enactor.store.lose_write = (ZONE, 2, False)
    await world.publish(b=world.targets(3))

    await world.install(enactor, most=1)

    assert enactor.saw("enactor.outcome_unknown", ZONE)
    assert len(server.asked) == 2


async def test_lock_is_kept_through_a_long_wait_for_the_resolver(world, server):
    """A wait of several lives of the lock does not give it away."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port, verify_wait_s=30)
    server.behind = 20
    await world.publish(b=world.targets(3))

    await world.install(enactor, most=1)

    assert (await world.comments(ZONE)).count("lock kept") >= 3
    assert not enactor.saw("enactor.lock_lost")
    assert await world.violations() == ()


async def test_tree_superseded_while_it_is_looked_at_is_dropped_once_and_then_goes_live(world, server):
    """A newer plan is not kept waiting; a steady stream of them does not keep the endpoint where it is either."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    server.behind = 10**6
    await world.publish(b=world.targets(3, weight=1))

    async def storm() -> None:
        generation = await world.publish(b=world.targets(3, weight=1 + len(enactor.recorder.events)))
        server.behind = 0 if generation > 6 else 10**6
        world.clock.at_next_sleep = storm

    world.clock.at_next_sleep = storm
    await enactor.tick()

    # Five short pauses, of 1 to 16 ms, pass before the plan is looked at again.
    assert [event.generation for event in enactor.saw("enactor.plan_superseded", ZONE)] == [1]
    assert [event.generation for event in enactor.saw("enactor.flip_committed", ZONE)] == [6]


@pytest.mark.parametrize(("without", "live"), [("", 1200), ("tree-check", 1199)])
async def test_tree_that_lost_a_record_while_it_was_built_goes_live_only_without_the_tree_check(world, without, live):
    """Read back, it lacks one of its record sets though its manifest says complete: cleared and built anew."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", without=without)
    await world.publish(b=world.targets(1200))
    third = enactor.store.hold("tree 1, batch 3 of 3", ZONE)
    installing = asyncio.create_task(world.install(enactor))
    await third.arrived.wait()
    lost = (await world.records(ZONE))[RecordKey(tree_name(ZONE, 1), "A", "lb-0002")]
    await world.operate(ZONE, delete(lost))

    third.opened.set()
    await installing

    assert len(await world.leaves(ZONE, 1)) == live
    rejected = [event.reason for event in enactor.saw("enactor.tree_rejected", ZONE)]
    told = "read back, it lacks 1 of 1200 record sets and has 0 that are not the plan's"
    assert rejected == ([] if without else [told])


async def test_tree_that_has_a_record_too_many_is_cleared_and_built_anew(world):
    """Read back, it has a record set that is not the plan's, whose address would be answered."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one")
    await world.publish(b=world.targets(1200))
    third = enactor.store.hold("tree 1, batch 3 of 3", ZONE)
    installing = asyncio.create_task(world.install(enactor))
    await third.arrived.wait()
    surplus = address(tree_name(ZONE, 1), "A", "10.9.9.9", ttl=5, set_identifier="lb-9999", weight=1)
    await world.operate(ZONE, create(surplus))

    third.opened.set()
    await installing

    assert "10.9.9.9" not in (await world.leaves(ZONE, 1)).values()
    assert len(await world.leaves(ZONE, 1)) == 1200
    assert "has 1 that are not the plan's" in enactor.saw("enactor.tree_rejected", ZONE)[0].reason


async def test_tree_that_was_found_right_says_nothing_of_another_content_under_its_number(world, server):
    """A plan store that lost plan 1 gives the number away again: the other tree is looked at by itself."""
    await world.add_zones(ZONE)
    enactor = world.enactor("fixed", "one", verify_port=server.port)
    await world.publish(b=world.targets(3))
    await world.install(enactor)
    first = await world.plans.latest()
    await world.forget_plans()
    await world.publish(number=1, b=world.targets(4))

    verifier = enactor.enactor._verifier

    assert verifier.knows(ZONE, first)
    assert not verifier.knows(ZONE, await world.plans.latest())
