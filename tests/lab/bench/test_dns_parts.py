"""The parts of the resolver's benchmark: what counts as answered, as right, and as following the weights."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from fencepost.plan import check_draft
from fencepost.region import load_region
from lab.bench.dns.asking import check_all, judge_echo, judge_of, seen
from lab.bench.dns.dnsperf import checked, latencies, parse
from lab.bench.dns.endpoints import TTL_S, Endpoints
from lab.bench.dns.weights import check_weights, sigmas
from lab.bench.programs import BenchFailed

SUMMARY = """Statistics:

  Queries sent:         1000
  Queries completed:    {completed} (100.00%)
  Queries lost:         {lost} (0.00%)

  Response codes:       NOERROR {good} (99.00%), SERVFAIL {bad} (1.00%)
  Average packet size:  request 52, response 68
  Run time (s):         1.000000
  Queries per second:   149852.770402
"""
SMALL = Endpoints(3, 4, 1)


def summary(*, completed: int = 1000, lost: int = 0, bad: int = 0) -> str:
    """Return what dnsperf writes."""
    return SUMMARY.format(completed=completed, lost=lost, good=completed - bad, bad=bad)


class TestDnsperf:
    """What dnsperf says."""

    def test_summary_has_counts_codes_and_rate(self):
        """The rate is the figure, the rest says whether it counts."""
        load = checked(parse(summary()))

        assert (load.sent, load.completed, load.lost, load.per_s) == (1000, 1000, 0, 149852.770402)
        assert load.codes == {"NOERROR": 1000, "SERVFAIL": 0}

    @pytest.mark.parametrize(
        ("output", "reason"),
        [
            (summary(completed=999, lost=1), "1 of 1000 queries got no answer"),
            (summary(bad=1), "not every answer is NOERROR"),
            ("Error: connection refused", "summary cannot be read: Error: connection refused"),
        ],
    )
    def test_load_that_lost_or_failed_anything_does_not_count(self, output, reason):
        """One query is enough, and the reason has the numbers."""
        with pytest.raises(BenchFailed, match=reason):
            checked(parse(output))

    def test_latencies_are_of_the_answers_listed(self):
        """The slowest percent is told, in milliseconds."""
        listed = "".join(f"> NOERROR endpoint-1. A 0.{n:06d}\n" for n in range(1, 1001)) + "> T endpoint-1. A\n"

        found = latencies(listed)

        assert found.answers == 1000
        assert (found.p50_ms, found.p99_ms, found.most_ms) == pytest.approx((0.5005, 0.99001, 1.0))

    def test_latencies_of_too_few_answers_are_refused(self):
        """There is no 99th percentile of nothing."""
        with pytest.raises(BenchFailed, match="0 answers were timed"):
            latencies("> T endpoint-1. A\n")


class TestEndpoints:
    """What is served."""

    def test_endpoints_have_addresses_of_their_own(self):
        """So an answer from another zone cannot pass for a right one."""
        rights = Endpoints(300, 24, 1).weighted

        assert len({address for right in rights.values() for address in right.weights}) == 300 * 24

    def test_plans_change_every_weight_and_no_address(self):
        """A re-plan builds every tree anew, and answers stay right all the while."""
        first, second = SMALL.content(0, 1), SMALL.content(0, 2)

        assert all(a.weight != b.weight for a, b in zip(first.targets, second.targets, strict=True))
        assert [t.address for t in first.targets] == [t.address for t in second.targets]

    def test_draft_is_one_that_the_region_takes(self, tmp_path):
        """The region file is read as any other, and has every endpoint of the plan."""
        region = load_region(SMALL.write_region(tmp_path / "region.toml"))

        check_draft(SMALL.draft(1), frozenset(region.endpoint_names))

        assert set(SMALL.draft(1).changes) == set(region.endpoint_names)

    def test_queries_of_one_seed_are_the_same_again(self, tmp_path):
        """Every name is asked as often as the others, in an order that the seed fixes."""
        paths = [SMALL.write_queries(tmp_path / name, 5) for name in ("a", "b")]

        assert paths[0].read_text() == paths[1].read_text()
        assert Counter(paths[0].read_text().split("\n")[:-1]) == {f"{name} A": 5 for name in SMALL.names}


Change = Callable[[dns.message.Message], None]


def drop_aa(answer: dns.message.Message) -> None:
    answer.flags &= ~dns.flags.AA


def other_rcode(answer: dns.message.Message) -> None:
    answer.set_rcode(dns.rcode.SERVFAIL)


def other_address(answer: dns.message.Message) -> None:
    answer.answer = [dns.rrset.from_text(answer.question[0].name, TTL_S, "IN", "A", "10.9.9.9")]


def other_ttl(answer: dns.message.Message) -> None:
    answer.answer[0].update_ttl(TTL_S - 1)


def other_owner(answer: dns.message.Message) -> None:
    answer.answer = [dns.rrset.from_text(SMALL.names[2], TTL_S, "IN", "A", "10.0.0.1")]


def no_records(answer: dns.message.Message) -> None:
    answer.answer = []


@asynccontextmanager
async def server(change: Change = lambda _: None, only: str = "") -> AsyncIterator[int]:
    """Run a server of the small endpoints whose answers are changed, those for one name if it is given."""

    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            query = dns.message.from_wire(data)
            name = query.question[0].name
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.AA
            right = next(iter(SMALL.weighted[name.to_text()].weights))
            answer.answer.append(dns.rrset.from_text(name, TTL_S, "IN", "A", right))
            if only in ("", name.to_text()):
                change(answer)
            self.transport.sendto(answer.to_wire(), addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Answers, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


class TestAnswers:
    """Which answers are right."""

    async def test_answers_that_are_right_pass(self):
        """With EDNS and without."""
        async with server() as port:
            await check_all(port, SMALL.names, judge_of(SMALL.weighted), edns=False, when="before")
            await check_all(port, SMALL.names, judge_of(SMALL.weighted), edns=True, when="before")

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (drop_aa, "has rcode NOERROR and flags QR"),
            (other_rcode, "has rcode SERVFAIL"),
            (other_address, "is 10.9.9.9, which is no address of it"),
            (other_ttl, "has TTL 59, and 60 is right"),
            (other_owner, "is of endpoint-00003"),
            (no_records, "has 0 records, and one is right"),
        ],
    )
    async def test_answer_that_is_wrong_in_one_thing_is_refused(self, change, reason):
        """One of three names is enough, and it is named with what is wrong."""
        async with server(change, only=SMALL.names[1]) as port:
            with pytest.raises(BenchFailed, match=f"1 of 3 answers are wrong.*{SMALL.names[1]} {reason}"):
                await check_all(port, SMALL.names, judge_of(SMALL.weighted), edns=False, when="before")

    def test_echo_is_right_only_if_it_is_the_query_with_one_bit_set(self):
        """Nothing else was looked at, and nothing else may be sent back."""
        query = dns.message.make_query("x.", "A").to_wire()
        echoed = query[:2] + bytes([query[2] | 0x80]) + query[3:]

        assert judge_echo(query, echoed) == ""
        assert judge_echo(query, query) != ""
        assert judge_echo(query, echoed[:-1]) != ""

    async def test_seen_counts_what_each_answer_had(self):
        """One count for each query."""
        async with server() as port:
            found = await seen(port, SMALL.names[0], 50)

        assert found == {next(iter(SMALL.weighted[SMALL.names[0]].weights)): 50}


WEIGHTS = {f"10.0.0.{n}": n * 10 for n in range(1, 25)}


class TestWeights:
    """Do answers follow the weights?"""

    def drawn(self, weights: dict[str, int], seed: int, count: int = 2_000) -> Counter[str]:
        """Draw by some weights."""
        return Counter(random.Random(seed).choices(list(weights), list(weights.values()), k=count))

    def test_draws_by_the_weights_pass_whatever_the_seed(self):
        """Chance alone is not refused; and the statistic is about normal: neither always small nor always large."""
        far = [sigmas(WEIGHTS, self.drawn(WEIGHTS, seed)) for seed in range(200)]

        assert max(far) < 4
        assert abs(sum(far) / len(far)) < 0.3

    def test_draws_without_regard_to_weights_are_refused(self):
        """Equal chances are not what weights from 10 to 240 say."""
        even = self.drawn(dict.fromkeys(WEIGHTS, 1), 1)

        with pytest.raises(BenchFailed, match="do not follow its weights"):
            check_weights("x.", WEIGHTS, even)

    def test_draws_that_never_have_one_address_are_refused(self):
        """An address that is left out is missed, though all others are in proportion."""
        lacking = self.drawn({address: w for address, w in WEIGHTS.items() if address != "10.0.0.20"}, 1)

        with pytest.raises(BenchFailed, match="do not follow its weights"):
            check_weights("x.", WEIGHTS, lacking)
