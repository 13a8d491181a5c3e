"""The benchmark of size: every metric at every size, and with which power each grows."""

import io
import os
import signal

import msgspec
import pytest
from rich.console import Console

from fencepost.cli import run
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_USAGE
from lab.bench.fine_clock import FineClock
from lab.bench.many import Many
from lab.bench.programs import BenchFailed
from lab.bench.scale import ScaleBench, ScaleOptions, exponent, points_of, result
from lab.bench.scale_clean import Cleaned, Trees, until_clean
from lab.bench.scale_run import FULL, METRICS, RECORD, SizeRun
from lab.bench.system import OurOptions, our_system
from lab.bench.usage import Usage
from lab.compare import Outputs

MANY = Many(endpoints=2, members=3, turns=2)


def size_run(endpoints: int, **took_s: list[float]) -> SizeRun:
    """Return a size's result with some metrics."""
    used = {"server": Usage(1.0, 10.0, 10.0 * endpoints)}
    return SizeRun(Many(endpoints, 100), took_s, Cleaned(4, 1.0, 0), used, used, [Usage(0.5, 20.0, 30.0)])


async def test_bench_measures_every_metric_at_every_size(port_base, tmp_path, monkeypatch):
    """On real systems; the cleaner has taken every tree that it had to."""
    monkeypatch.setattr("lab.bench.scale_run.REST_S", 0.0)
    options = ScaleOptions("3,6", rounds=1, members=3, enactors=1, port_base=port_base)
    outputs = Outputs(tmp_path / "out.json", tmp_path / "out.html")

    code = await ScaleBench(options, outputs, Console(file=io.StringIO()), Console(file=io.StringIO())).run()

    found = msgspec.json.decode((tmp_path / "out.json").read_bytes())
    assert code == EXIT_FINE
    assert (found["bench"], [size["endpoints"] for size in found["sizes"]]) == ("scale", [1, 2])
    for size in found["sizes"]:
        assert all(size["medians_s"][metric] > 0 for metric in METRICS)
        assert (size["trees_cleaned"] > 0, size["trees_left"]) == (True, 0)
        assert size["started_resolvers"][0]["resident_mb"] > 1
    assert set(found["exponents"]) == set(METRICS)
    assert found["ours"] == pytest.approx(found["sizes"][-1]["medians_s"]["full"], abs=1e-3)
    assert "cost against size" in (tmp_path / "out.html").read_text("utf-8")


async def test_cleaner_that_stands_still_is_told_by_what_is_left(port_base):
    """The wait is bounded, and a tree of which only its end is left is not gone."""
    async with our_system(OurOptions(MANY, 1, port_base), FineClock()) as system:
        trees = Trees()
        for turn in range(3):
            changes = {MANY.names[0]: MANY.content(turn, weight=20 + turn)}
            await system.install(changes, within_s=30)
            trees.note(system.generation, changes)
        os.kill(system.running.supervisor.pid(system.enactors[0]), signal.SIGSTOP)

        cleaned = await until_clean(system, trees, FineClock(), within_s=0.1)

    assert cleaned == Cleaned(trees=1, took_s=None, left=1)


def test_trees_that_root_and_rollback_point_to_are_not_spent():
    """The cleaner never takes them, so nobody waits for that."""
    trees = Trees()
    for generation in (1, 4, 6):
        trees.note(generation, {"x.": MANY.content(0)})
    trees.note(7, {"y.": MANY.content(0)})

    spent = trees.spent()

    assert list(spent) == ["x."]
    assert [key.name for key in spent["x."][0]] == ["_tree.plan-000001.x.", "plan-000001.x.", "plan-000001.x."]


def test_exponent_of_a_power_law_is_its_power():
    """It is found through noise-free points of any scale, and one point has none."""
    assert exponent([(10, 3.0), (100, 30.0), (1000, 300.0)]) == pytest.approx(1)
    assert exponent([(10, 5.0), (1000, 5.0)]) == pytest.approx(0)
    assert exponent([(1, 2.0), (4, 32.0)]) == pytest.approx(2)
    assert exponent([(10, 3.0)]) is None
    assert exponent([(10, 3.0), (10, 4.0)]) is None


def test_points_are_medians_of_the_sizes_that_came_to_it():
    """A size at which a metric was not reached is left out, and not 0."""
    runs = [size_run(1, full=[1.0, 9.0, 2.0]), size_run(10, full=[3.0], record=[0.5])]

    assert points_of(runs, FULL) == [(100, 2.0), (1000, 3.0)]
    assert points_of(runs, RECORD) == [(1000, 0.5)]


def test_result_says_that_the_cleaner_did_not_keep_up():
    """It is said with the counts, and the metric has no figure."""
    slow = size_run(10, full=[2.0])
    slow.cleaned = Cleaned(9, None, 7)

    found = result(ScaleOptions(), [size_run(1, full=[1.0]), slow])

    assert "1,000 records: the cleaner did not keep up; 7 of 9 trees were left" in found.said
    assert found.document["sizes"][1]["medians_s"]["clean"] is None
    assert found.document["exponents"]["full"] == pytest.approx(0.301, abs=1e-3)


async def test_bench_whose_cleaner_does_not_keep_up_ends_with_1(monkeypatch, tmp_path):
    """A region that fills up is no good result, however quick its changes are."""

    async def slow(*_: object) -> SizeRun:
        run_of = size_run(1, full=[1.0])
        run_of.cleaned = Cleaned(9, None, 7)
        return run_of

    monkeypatch.setattr("lab.bench.scale.measure_size", slow)
    quiet = Console(file=io.StringIO())

    assert await ScaleBench(ScaleOptions(), Outputs(tmp_path / "o.json"), quiet, quiet).run() == EXIT_CHECK_FAILED


async def test_bench_whose_largest_size_fails_keeps_what_the_others_came_to(monkeypatch, tmp_path):
    """Minutes of measuring are not thrown away; the reason is raised all the same."""

    async def failing(options: OurOptions, *_: object) -> SizeRun:
        if options.many.endpoints > 3:
            raise BenchFailed("33 did not answer what was expected")
        return size_run(3, full=[1.0])

    monkeypatch.setattr("lab.bench.scale.measure_size", failing)
    quiet, path = Console(file=io.StringIO()), tmp_path / "out.json"

    with pytest.raises(BenchFailed, match="33 did not answer"):
        await ScaleBench(ScaleOptions(), Outputs(path), quiet, quiet).run()

    assert [size["endpoints"] for size in msgspec.json.decode(path.read_bytes())["sizes"]] == [3]


@pytest.mark.parametrize(("option", "value"), [("--sizes", "many"), ("--sizes", "0,5"), ("--rounds", "0")])
def test_command_with_nothing_to_measure_ends_with_2(option, value, capsys):
    """The option is named."""
    code = run(["bench", "scale", option, value])

    assert code == EXIT_USAGE
    assert option in capsys.readouterr().err


def test_sizes_are_met_by_whole_endpoints():
    """The four sizes of the default are 3, 33, 333 and 1,000 endpoints."""
    options = ScaleOptions()

    assert [options.many(size).endpoints for size in options.check()] == [3, 33, 333, 1000]
