"""One schedule from its beginning to its verdict: chosen steps, then healing, then what is still pending."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lab.invariants.violation import Violation
from lab.simulation.choice import Choice
from lab.simulation.client import Call
from lab.simulation.coverage import Coverage
from lab.simulation.process import EPOCH_S
from lab.simulation.stage import Stage
from lab.simulation.world import World

PROCESS_FAILED = "failed"
"""What stands for an invariant's number where a process ended with an error that nobody foresaw."""


class Strategy(Protocol):
    """Chooses what happens next."""

    def step(self, world: World) -> bool:
        """Let one thing happen; return False to end the schedule."""


class Verdict(NamedTuple):
    """What became of one schedule.

    Attributes:
        violations: what was broken, in order; I5 is last, if the world did not heal.
        trace: the choices until it was broken, or until healing began.
        pending: why an endpoint has not converged, after healing.
        healed_s: how long healing took, seconds of the world; None if it did not begin.
        lasted_s: how long the world lasted in all, seconds.
        steps: how many steps there were in all, healing included.
    """

    violations: tuple[Violation, ...]
    trace: tuple[Choice, ...]
    pending: Sequence[str] = ()
    healed_s: float | None = None
    lasted_s: float = 0.0
    steps: int = 0


def run(
    world: World,
    strategy: Strategy,
    *,
    steps: int,
    heal_s: float,
    seek: frozenset[str] = frozenset(),
    rests: bool = False,
) -> Verdict:
    """Run one schedule; the world is closed by who made it.

    It ends with the first broken invariant. A world that keeps them all is healed: no fault, no choice, everything in
    its turn for `heal_s` seconds at most, and I5 is broken if an endpoint does not have the latest plan then.

    Args:
        world: at its beginning.
        strategy: chooses.
        steps: how many steps it chooses at most.
        heal_s: for how long the world may heal, seconds of its own.
        seek: go on until these are broken, whatever else is; with I5 among them a broken world is healed, too.
        rests: end where all are at rest with the latest plan, and only looks and sweeps would follow.
    """
    chosen: tuple[Choice, ...] = ()
    wanted = seek - {"I5"}
    try:
        for _ in range(steps):
            if not strategy.step(world) or (world.judge.violations and world.judge.has_broken(wanted)):
                break
            if rests and world.at_rest:
                break
        chosen = tuple(world.trace)
        if world.judge.violations and not ("I5" in seek and world.judge.has_broken(wanted)):
            return _verdict(world, chosen)
        began_s = world.time.now_s
        pending = heal(world, heal_s)
    except Exception as error:  # noqa: BLE001  -- whatever ends a process is a finding
        return _verdict(world, chosen or tuple(world.trace), _failed(world, error))
    if world.judge.violations and "I5" not in seek:
        return _verdict(world, tuple(world.trace))
    found = _unconverged(world, pending, world.time.now_s - began_s) if pending else ()
    return _verdict(world, chosen, *found, pending=pending, healed_s=world.time.now_s - began_s)


def _verdict(
    world: World,
    trace: tuple[Choice, ...],
    *more: Violation,
    pending: Sequence[str] = (),
    healed_s: float | None = None,
) -> Verdict:
    broken = (*world.judge.violations, *more)
    return Verdict(broken, trace, pending, healed_s, world.time.now_s, len(world.trace))


def _failed(world: World, error: Exception) -> Violation:
    return Violation(PROCESS_FAILED, "", f"{type(error).__name__}: {error}", _now_us(world))


def _unconverged(world: World, pending: Sequence[str], after_s: float) -> tuple[Violation, ...]:
    return tuple(
        Violation("I5", why.partition(":")[0], f"{after_s:g} s after the last fault and plan: {why}", _now_us(world))
        for why in pending
    )


def _now_us(world: World) -> int:
    return round((EPOCH_S + world.time.now_s) * 1e6)


def heal(world: World, within_s: float) -> Sequence[str]:
    """Let everything happen in its turn, without faults, until all is converged; return what is pending after that.

    Dead processes start again; what was called first is executed first; a timer goes off when no call waits. Who has
    not come to its end by then is pending, too.
    """
    for process in world.dead:
        world.start(process)
    until_s, seen = world.time.now_s + within_s, len(world.judge.violations)
    pending: Sequence[str] = world.pending()
    # What waits is let through as well: a stale batch that is still under way may undo what has converged.
    while (pending or world.busy or world.waits) and world.time.now_s < until_s:
        if (call := _oldest(world)) is not None:
            world.run(call)
        elif (timer := world.next_timer) is not None:
            world.fire(timer)
        else:
            break
        if len(world.judge.violations) != seen:
            break
        if call is None or call.writes:
            pending = world.pending()
    return [
        *world.pending(),
        *(f"{process.name}: has not come to its end" for process in world.processes if process.busy),
    ]


def _oldest(world: World) -> Call | None:
    return min(world.parked, key=lambda call: call.number, default=None)


def verdict_of(
    stage: Stage,
    strategy: Strategy,
    *,
    steps: int,
    seek: frozenset[str] = frozenset(),
    rests: bool = False,
    coverage: Coverage | None = None,
) -> Verdict:
    """Run one schedule on a stage; see `run`. `coverage`: counts the rare paths that it takes."""
    world = stage.world()
    if coverage is not None:
        coverage.begin()
        world.coverage = coverage
    try:
        return run(world, strategy, steps=steps, heal_s=stage.scene.heal_s, seek=seek, rests=rests)
    finally:
        world.close()
