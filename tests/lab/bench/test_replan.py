"""Answers timed while every endpoint is re-planned: what is held against what, and what does not count."""

import subprocess
import time
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from deploy.topology import ProcessSpec
from fencepost.clock import SystemClock
from fencepost.settings import Settings
from lab.bench.cores import Cores, choose
from lab.bench.dns.asking import judge_echo
from lab.bench.dns.dnsperf import Latencies, Load, Loader
from lab.bench.dns.endpoints import Endpoints
from lab.bench.dns.ours import Ours
from lab.bench.dns.replan import Replan, Timed
from lab.bench.dns.sides import Side
from lab.bench.processes import stopped
from lab.bench.programs import BenchFailed


class TestReplan:
    """Answers timed while plans come."""

    def replan(self, *, control: bool) -> Replan:
        """Return one of which nothing was run yet."""
        loader = Loader(Path(), Path(), choose(), SystemClock())
        ours = Ours(1, Settings(), ProcessSpec("enactor", ()), ())
        side = Side(2, judge_echo, ()) if control else None
        return Replan(ours, side, Endpoints(4, 3, 1), loader, None, 500, 1.0, choose(), Path(), SystemClock())

    def timed(self, p99_ms: float) -> list[Timed]:
        """Return one round."""
        return [Timed(Latencies(0.1, p99_ms, 9.0, 1000), 1, 9)]

    def test_ratio_is_held_against_that_of_a_server_without_plans(self):
        """What makes dnsperf late makes both late: the rest is the resolver's."""
        replan = self.replan(control=True)
        for side, p99_ms in zip(replan.rounds.counted, (1.0, 6.0, 0.5, 2.0), strict=True):
            replan.rounds.counted[side] += self.timed(p99_ms)

        found = replan.document()

        assert list(found["p99_ms"]) == ["quiet", "re-planning", "echo, quiet", "echo, re-planning"]
        assert (found["ratio_p99"], found["control_ratio_p99"], found["ratio_to_control"]) == (6.0, 4.0, 1.5)

    def test_ratio_without_control_is_not_held_against_anything(self):
        """Where there is no gcc there is no echo."""
        replan = self.replan(control=False)
        for side, p99_ms in zip(replan.rounds.counted, (1.0, 6.0), strict=True):
            replan.rounds.counted[side] += self.timed(p99_ms)

        found = replan.document()

        assert (found["ratio_p99"], found["control_ratio_p99"], found["ratio_to_control"]) == (6.0, None, None)

    def test_times_by_the_kernel_have_figures_of_their_own(self):
        """They stand beside dnsperf's, which has its own lateness in them."""
        replan = self.replan(control=True)
        for side, at_server_ms in zip(replan.rounds.counted, (0.1, 0.2, 0.2, 0.3), strict=True):
            timed = self.timed(6.0)[0]
            replan.rounds.counted[side].append(timed._replace(at_server=Latencies(0.05, at_server_ms, 1.0, 1000)))

        found = replan.document()

        assert list(found["p99_at_server_ms"].values()) == [0.1, 0.2, 0.2, 0.3]
        assert (found["ratio_p99_at_server"], found["control_ratio_p99_at_server"]) == (2.0, 1.5)
        assert found["ratio_p99"] == 1.0
        assert found["runs"]["quiet"][0]["at_server"]["p99_ms"] == 0.1

    async def test_quiet_is_timed_with_names_that_were_asked_for_on_a_processor_that_does_not_halt(self, monkeypatch):
        """Otherwise it would be slower than re-planning, and the ratio would flatter."""
        replan, seen, awake = self.replan(control=False), list[tuple[float, list[int]]](), list[int]()

        class Asking:
            """Notes what it is asked for, and which processors are awake by then."""

            async def warm(self, _port: int, seconds: float, _per_s: int) -> None:
                seen.append((seconds, list(awake)))

            async def at_rate(self, _port: int, seconds: float, per_s: int) -> tuple[Load, Latencies]:
                seen.append((seconds, list(awake)))
                return Load(500, 500, 0, per_s, {"NOERROR": 500}), Latencies(0.1, 1.0, 9.0, 500)

        @asynccontextmanager
        async def kept(cores, _place, _clock):
            awake.extend(cores)
            yield
            awake.clear()

        monkeypatch.setattr("lab.bench.dns.replan.awake", kept)
        monkeypatch.setattr("lab.bench.dns.replan.committed", AsyncMock(return_value=1))
        monkeypatch.setattr("lab.bench.dns.replan.installed_generation", AsyncMock(side_effect=[1, 2]))
        replan.loader, replan.cores = Asking(), Cores((0,), (1,))

        timed = await replan._quiet(1)

        assert (timed.plans, timed.took.p99_ms) == (1, 1.0)
        assert seen == [(0.5, [1]), (1.0, [1])]
        assert awake == []

    async def test_load_during_which_no_plan_was_installed_whole_does_not_count(self, monkeypatch):
        """A few batches are no re-plan."""
        replan = self.replan(control=False)

        async def some_batches(*_: object) -> Timed:
            return Timed(Latencies(0.1, 1.0, 9.0, 1000), 0, 9)

        monkeypatch.setattr(Replan, "_timed", some_batches)
        monkeypatch.setattr(Replan, "_plans_coming", lambda *_: nullcontext())
        monkeypatch.setattr(Replan, "_caught_up", AsyncMock())

        with pytest.raises(BenchFailed, match="no plan was installed whole in 1 s"):
            await replan._under_plans(1, 1)

    def test_stopped_processes_go_on_afterwards(self):
        """Whatever happens meanwhile."""
        with subprocess.Popen(["sleep", "1000"]) as other:
            with suppress(BenchFailed), stopped((other.pid,)):
                inside = state_of(other.pid, "T")
                raise BenchFailed("meanwhile")

            after = state_of(other.pid, "S")
            other.kill()

        assert (inside, after) == ("T", "S")


def state_of(pid: int, awaited: str) -> str:
    """Return a process's state when it is the one that is awaited, or after 10 seconds."""
    deadline_s = time.monotonic() + 10
    while True:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        if state == awaited or time.monotonic() > deadline_s:
            return state
        time.sleep(0.001)
