"""The benchmark of applying changes: both sides do the same work, it is looked at, and a missing peer is named."""

import io

import msgspec
import pytest
from rich.console import Console

from fencepost.cli import run
from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_NOT_STARTED, EXIT_USAGE
from lab.bench import apply_peers
from lab.bench.apply import STEPS, ApplyBench, ApplyOptions
from lab.bench.apply_ours import OursRun, measure_ours, verify
from lab.bench.apply_peers import APPLY_PEERS, KNOT, measure_peer
from lab.bench.apply_plain import ZONE, Plain, octodns_zone, updates
from lab.bench.fine_clock import FineClock
from lab.bench.many import Many
from lab.bench.programs import BenchFailed
from lab.bench.system import OurOptions, our_system
from lab.bench.usage import usage
from lab.compare import Outputs

MANY = Many(endpoints=2, members=3, turns=3)
PEERS = [
    pytest.param(
        peer, marks=pytest.mark.skipif(bool(peer.missing), reason=f"{peer.name} is not installed: {peer.install}")
    )
    for peer in APPLY_PEERS
]


def bench(options, json_path=None, peers=()):
    """Return a benchmark whose words go nowhere."""
    return ApplyBench(options, Outputs(json_path), Console(file=io.StringIO()), Console(file=io.StringIO()), peers)


class TestOurs:
    """Our side, on real systems."""

    async def test_bench_measures_every_step_and_writes_medians(self, port_base, tmp_path, monkeypatch):
        """The file has the keys that programs look for, and what each process used; the warm-up does not count."""
        monkeypatch.setattr("lab.bench.apply_ours.REST_S", 0.0)
        options = ApplyOptions(rounds=1, endpoints=2, members=3, enactors=1, port_base=port_base)

        code = await bench(options, tmp_path / "out.json").run()

        found = msgspec.json.decode((tmp_path / "out.json").read_bytes())
        assert code == EXIT_FINE
        assert found["bench"] == "apply"
        assert (found["peers"], found["ratios"]) == ({}, {})
        assert found["ours"] == found["steps_s"]["full"]["ours"] > 0
        assert set(found["steps_s"]) == {"full", "endpoints", "records", "replan"}
        assert len(found["runs_s"]["ours"]) == 1
        assert {"server", "resolver", "use1-az1-enactor"} <= set(found["full_cpu_s"])
        assert found["enactors_ran"] == ["use1-az1-enactor"]
        assert found["not_installed"] == {peer.name: peer.install for peer in APPLY_PEERS if peer.missing}

    async def test_verify_finds_a_tree_that_is_not_the_plans(self, port_base):
        """What is measured is looked at: another content than the plan's is no result."""
        async with our_system(OurOptions(MANY, 1, port_base), FineClock()) as system:
            await system.install({MANY.names[0]: MANY.content(0)}, within_s=30)

            await verify(system, {MANY.names[0]: MANY.content(0)})
            with pytest.raises(BenchFailed, match="3 of 3 record sets are not in its live tree"):
                await verify(system, {MANY.names[0]: MANY.content(1)})
            with pytest.raises(BenchFailed, match="has no root"):
                await verify(system, {MANY.names[1]: MANY.content(1)})

    async def test_bench_whose_ours_fails_has_no_result(self, tmp_path, monkeypatch):
        """Without a round in which ours was right there is nothing to compare with."""

        async def failing(*_: object, **__: object) -> None:
            raise BenchFailed("it was not there")

        monkeypatch.setattr("lab.bench.apply.measure_ours", failing)
        measured = bench(ApplyOptions(rounds=1), tmp_path / "out.json")

        with pytest.raises(BenchFailed, match="ours was right in no round; the last time: round 1: it was not there"):
            await measured.run()

        assert not (tmp_path / "out.json").exists()

    async def test_measure_ours_that_is_not_done_in_time_says_what_is_missing(self, port_base, monkeypatch):
        """The time is bounded, and the message names endpoints."""
        monkeypatch.setattr("lab.bench.apply_ours.INSTALLED_S", -1.0)

        with pytest.raises(BenchFailed, match="did not answer what was expected within -1 s: endpoint-000"):
            await measure_ours(MANY, 1, FineClock(), enactors=1, port_base=port_base)


class TestPeers:
    """The other side, where it is installed."""

    @pytest.mark.parametrize("peer", PEERS)
    async def test_peer_brings_every_record_into_its_server_and_changes_some(self, peer):
        """The real programs do it with configurations of ours."""
        steps_s = await measure_peer(peer, Plain(MANY), 1, FineClock())

        assert set(steps_s) == {"full", "endpoints"}
        assert min(steps_s.values()) > 0

    @pytest.mark.skipif(bool(KNOT.missing), reason="knot is not installed")
    async def test_peer_that_lacks_a_record_has_no_time(self, monkeypatch):
        """A server that has less than it was told to is quick, and that is no result."""
        monkeypatch.setattr(apply_peers, "updates", without_one)

        with pytest.raises(BenchFailed, match="knsupdate_knot: of 6 records 1 are not there"):
            await measure_peer(KNOT, Plain(MANY), 1, FineClock())

    async def test_bench_with_a_peer_that_fails_says_so_and_ends_with_1(self, tmp_path, monkeypatch):
        """Ours is shown, the peer has no figure, and its reason is kept."""

        async def failing(*_: object) -> None:
            raise BenchFailed("knsupdate ended with 1")

        async def ours(*_: object, **__: object) -> OursRun:
            return OursRun(dict.fromkeys(STEPS, 0.5), {"resolver": usage()})

        monkeypatch.setattr("lab.bench.apply.measure_peer", failing)
        monkeypatch.setattr("lab.bench.apply.measure_ours", ours)

        code = await bench(ApplyOptions(rounds=1), tmp_path / "out.json", [KNOT]).run()

        found = msgspec.json.decode((tmp_path / "out.json").read_bytes())
        assert code == EXIT_CHECK_FAILED
        assert found["peers"] == {}
        assert found["failed"]["knsupdate_knot"][-1] == "round 1: knsupdate ended with 1"


def without_one(existing, desired, port):
    """Return updates that leave out the first record."""
    return updates(existing, dict(list(desired.items())[1:]), port)


class TestPlain:
    """The same records, in other programs' words."""

    def test_records_have_a_name_each_and_the_plans_addresses(self):
        """Each record set of ours is a record of theirs; what moves is the first endpoints."""
        records, moved = Plain(MANY).records(), Plain(MANY).records(1)

        assert len(records) == MANY.records
        planned = [target.address for content in MANY.all(0).values() for target in content.targets]
        assert sorted(records.values()) == sorted(planned)
        changed = {owner for owner in records if records[owner] != moved[owner]}
        assert {owner.partition(".")[2] for owner in changed} == {MANY.names[0]}
        assert {moved[owner] for owner in changed} == {target.address for target in MANY.own(0, 1).targets}

    def test_updates_say_only_what_changes_in_batches(self, monkeypatch):
        """A record that stays is not mentioned; no batch is left unsent, and none is empty."""
        monkeypatch.setattr("lab.bench.apply_plain.BATCH", 2)

        text = updates({"a.": "10.0.0.1", "b.": "10.0.0.2"}, {"a.": "10.0.0.1", "b.": "10.0.0.3", "c.": "10.0.0.4"}, 53)

        assert text.splitlines() == [
            "server 127.0.0.1 53",
            f"zone {ZONE}",
            "update delete b. A 10.0.0.2",
            "update add b. 5 A 10.0.0.3",
            "update add c. 5 A 10.0.0.4",
            "send",
        ]

    def test_octodns_zone_has_every_record_below_the_zone(self):
        """Names are relative there, and the server's own stays."""
        text = octodns_zone({f"x.endpoint-0000.{ZONE}": "10.1.1.1"})

        assert "x.endpoint-0000:\n  ttl: 5\n  type: A\n  value: 10.1.1.1\n" in text
        assert "\nns1:\n" in text


class TestOptions:
    """What cannot be measured is refused before anything is."""

    def test_command_with_a_named_peer_that_is_missing_says_how_to_install_it(self, monkeypatch, tmp_path, capsys):
        """It ends with 3, and names every program and the remedy."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("lab.bench.processes.SBIN", ())

        code = run(["bench", "apply", "--peers", "knsupdate_knot,octodns_bind"])

        said = capsys.readouterr().err
        assert code == EXIT_NOT_STARTED
        assert "knotd and knsupdate not found; `apt-get install knot knot-dnsutils`" in said.replace("\n", " ")
        assert "pip install octodns octodns-bind" in said.replace("\n", " ")

    def test_options_without_named_peers_take_those_that_are_there(self, monkeypatch, tmp_path):
        """Nothing is installed here, and ours is measured all the same."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("lab.bench.processes.SBIN", ())

        assert ApplyOptions().check() == ()

    def test_command_without_records_ends_with_2(self, capsys):
        """Nothing is nothing to measure."""
        code = run(["bench", "apply", "--balancers", "0"])

        assert code == EXIT_USAGE
        assert "--balancers 0" in capsys.readouterr().err

    def test_options_with_a_peer_that_nobody_knows_are_refused(self):
        """The known ones are named."""
        with pytest.raises(UsageError, match="knsupdate_knot, nsupdate_bind, octodns_bind"):
            ApplyOptions(peers="bind").check()

    def test_one_percent_is_at_least_one_endpoint(self):
        """Otherwise a small region would have nothing that changes."""
        assert (ApplyOptions(endpoints=3).moved, ApplyOptions(endpoints=100).moved) == (1, 1)
        assert ApplyOptions(endpoints=1000).moved == 10

    def test_peers_are_named_as_programs_look_for_them(self):
        """The names are those of the JSON's keys."""
        assert [peer.name for peer in APPLY_PEERS] == ["knsupdate_knot", "nsupdate_bind", "octodns_bind"]
