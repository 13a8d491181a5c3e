"""The time line of a failure: who did what to which endpoint, with which plan, and what the zone then held."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from fencepost.names import generation_of, tree_name
from fencepost.stores import Commit
from lab.history import History
from lab.invariants import Violation, check
from lab.invariants.replay import View, ZoneState, replay
from lab.simulation.choice import NETWORK, Choice, Fault
from lab.simulation.drive import Verdict, run
from lab.simulation.scenario import Scenario
from lab.simulation.stage import Stage
from lab.simulation.story import Healing, Holding, Moment, Note, Story
from lab.simulation.strategies import Replayed
from lab.simulation.words import (
    BEGIN,
    CLEAN,
    CONTROL,
    FLIP,
    PUBLISH,
    READ,
    WAIT,
    Deed,
    clauses,
    deed_of,
    is_still,
    label_of,
    refusal,
    sayings,
    third,
)
from lab.simulation.world import Taken, World

CONTENTS: Final = "HMGET"
"""The call that reads what a plan wants, after the one that reads its number."""

LATEST: Final = "read_plan"
"""The call that reads the number of the latest plan."""

NEWS: Final = (PUBLISH, FLIP, CLEAN, CONTROL)
"""What is told of a world that heals."""

QUIET: Final = (READ, WAIT, BEGIN)
"""What changes no zone: it is told together with what its process does next, if nobody else acts in between."""

MOST_NOTES: Final = 12
"""So many things that happen while a world heals are told, at most."""


def tell(scenario: Scenario, trace: Sequence[Choice], wanted: frozenset[str]) -> Story:
    """Replay a schedule and tell it; it is healed if I5 is wanted, or if the choices break nothing."""
    stage, strategy = Stage(scenario), Replayed(trace)
    world = stage.world(recording=True)
    try:
        verdict = run(world, strategy, steps=len(trace), heal_s=stage.scene.heal_s, seek=wanted)
        return _Teller(scenario, world, verdict, wanted).story(strategy.left_out + strategy.left)
    finally:
        world.close()


class _Teller:
    """Puts a recorded world into words."""

    def __init__(self, scenario: Scenario, world: World, verdict: Verdict, wanted: frozenset[str]) -> None:
        assert world.lines is not None, "the world keeps a record"
        self._scenario, self._world, self._verdict, self._wanted = scenario, world, verdict, wanted
        self._lines: Sequence[Taken] = world.lines
        self._commits: Mapping[str, tuple[Commit, ...]] = {z: tuple(j.commits) for z, j in world.judge.zones.items()}
        steps = (step for zone, commits in self._commits.items() for step in replay(zone, commits))
        self._steps = {(step.commit.zone, step.commit.serial): step for step in steps}
        self._holdings = {(held.zone, held.serial): held for z in self._commits for held in self._held(z)}
        self._violations = self._in_final_words()

    def _held(self, zone: str) -> Iterator[Holding]:
        state = ZoneState(zone)
        for commit in self._commits[zone]:
            state.apply(commit.changes)
            yield holding_of(state, commit.serial, self._steps[zone, commit.serial].after)

    def _in_final_words(self) -> Sequence[Violation]:
        """Return the violations as the checker has them, which knows how it went on; the judge's own where it has none.

        A violation that lasts is told by the judge when it begins.
        """
        run_info = msgspec.structs.replace(self._world.judge.run, stopped_us=self._world.server.now_us)
        history = History(run=run_info, commits=dict(self._commits))
        checked = check(history, convergence_bound_s=0.0)
        final = {(v.invariant, v.endpoint, v.serial, _subject(v)): v for v in checked}
        return [final.get((v.invariant, v.endpoint, v.serial, _subject(v)), v) for v in self._verdict.violations]

    def story(self, left_out: int) -> Story:
        """Return all of it."""
        chosen = len(self._verdict.trace)
        zones = tuple(self._commits)
        return Story(
            scenario=self._scenario,
            trace=self._verdict.trace,
            left_out=left_out,
            wanted=tuple(sorted(self._wanted)),
            processes=tuple(self._acting()),
            zones=zones,
            moments=tuple(self._moments(chosen)),
            beginning=tuple(self._holdings[zone, 1] for zone in zones),
            ending=tuple(self._holdings[zone, len(self._commits[zone])] for zone in zones),
            healing=None if self._verdict.healed_s is None else self._healing(chosen),
            violations=tuple(self._violations),
            digest=self._digest(),
        )

    def _acting(self) -> Iterator[str]:
        """Yield whose lanes there are; the network's only if something was under way on it."""
        used = any(taken.choice.process == NETWORK for taken in self._lines)
        yield from (process.name for process in self._world.processes if process.name != NETWORK or used)

    def _moments(self, chosen: int) -> Iterator[Moment]:
        carried: dict[str, int | None] = {}
        for number, (first, last) in enumerate(_groups(self._lines[:chosen]), 1):
            yield self._moment(number, first, last, carried)

    def _moment(self, number: int, first: int, last: int, carried: dict[str, int | None]) -> Moment:
        lines = self._lines[first : last + 1]
        deeds = [(taken, self._deed(taken)) for taken in lines]
        end, deed = deeds[-1]
        who = end.choice.process
        telling = [_is_news(taken) for taken in lines]
        telling[-1] |= not any(telling)
        words = dict.fromkeys(
            clause
            for news, (taken, one) in zip(telling, deeds, strict=True)
            for clause in (clauses(taken, one) if news else sayings(taken))
        )
        for taken, one in deeds:
            _carry(carried, taken, one)
        zone = next((t.call.zone for t in reversed(lines) if t.call and t.call.zone in self._commits), "")
        held = self._holdings[zone, end.serial] if end.serial is not None else None
        # Where the zone's state is told, its name is told with it.
        place = f" ({zone})" if zone and held is None and len(self._commits) > 1 else ""
        return Moment(
            number,
            first + 1,
            last + 1,
            end.at_s,
            who,
            deed.kind,
            joined([*words]) + place,
            zone,
            carried.get(who),
            deed.trees if end.serial is not None else (),
            end.choice.fault,
            bool(refusal(end)),
            held,
            tuple(self._final(violation) for taken in lines for violation in taken.violations),
        )

    def _deed(self, taken: Taken) -> Deed:
        step = None
        if taken.call is not None and taken.serial is not None:
            step = self._steps[taken.call.zone, taken.serial]
        return deed_of(taken, step)

    def _final(self, violation: Violation) -> Violation:
        return self._violations[self._verdict.violations.index(violation)]

    def _healing(self, chosen: int) -> Healing:
        since: dict[str, float] = {}
        whose: dict[str, Counter[str]] = {}
        for taken in self._lines[chosen:]:
            deed = self._deed(taken)
            if deed.kind in QUIET or not (text := _news(taken, deed, self._commits)):
                continue
            since.setdefault(text, taken.at_s)
            whose.setdefault(text, Counter())[taken.choice.process] += 1
        told = tuple(Note(at_s, tuple(sorted(whose[text])), text, whose[text].total()) for text, at_s in since.items())
        silent = tuple(z for z in self._commits if self._steps[z, len(self._commits[z])].lost)
        lasted_s = self._verdict.healed_s or 0.0
        pending = tuple(self._verdict.pending)
        return Healing(lasted_s, told[:MOST_NOTES], max(0, len(told) - MOST_NOTES), silent, pending)

    def _digest(self) -> str:
        said = (self._verdict.trace, sorted(self._commits.items()), self._verdict.violations, self._world.generation)
        return blake2b(msgspec.json.encode(said), digest_size=8).hexdigest()


def holding_of(state: ZoneState, serial: int, view: View) -> Holding:
    """Return what a zone holds."""
    zone, trees = state.zone, Counter[int]()
    for key in state.records:
        if (generation := generation_of(key.name, zone)) is not None and key.name == tree_name(zone, generation):
            trees[generation] += 1
    owners = {owner: [p for p in view.pointers if p.owner == owner] for owner in ("root", "rollback")}
    root, rollback = (" and ".join(sorted({label_of(p.target, zone) for p in owners[o]})) for o in owners)
    return Holding(
        zone,
        serial,
        root,
        rollback,
        tuple(sorted({label_of(pointer.target, zone) for pointer in view.pointers if not pointer.sets})),
        sum(view.addresses.values()),
        dict(sorted(trees.items())),
        (view.lock or "").partition(" ")[0],
        view.fenced_generation,
        view.frozen is not None,
        tuple(sorted(state.records.values(), key=lambda record_set: record_set.order)),
    )


def _groups(lines: Sequence[Taken]) -> Iterator[tuple[int, int]]:
    """Yield which lines, first and last, make a step.

    Reads are told with the write that they lead to, as long as nobody else acts in between and nothing was broken,
    refused or hit by a fault: the order of what processes do to each other stays as it was.
    """
    first = 0
    for at, taken in enumerate(lines):
        following = lines[at + 1] if at + 1 < len(lines) else None
        quiet = deed_of(taken, None).kind in QUIET and not taken.violations and not taken.choice.fault
        if quiet and following is not None and _goes_on(taken, following):
            continue
        yield first, at
        first = at + 1


def _goes_on(taken: Taken, following: Taken) -> bool:
    """Say whether the next choice is the same process's, and about nothing else."""
    zones = {t.call.zone for t in (taken, following) if t.call is not None and t.call.zone != "plans"}
    return following.choice.process == taken.choice.process and len(zones) <= 1


def _is_news(taken: Taken) -> bool:
    """Say whether a choice is worth its words beside others.

    The second half of reading a plan is not, nor is finding that a plan is still the latest.
    """
    if taken.call is None or taken.choice.fault:
        return True
    return taken.call.name != CONTENTS and not (taken.call.name == LATEST and is_still(taken.reply))


def _carry(carried: dict[str, int | None], taken: Taken, deed: Deed) -> None:
    """Note the plan that a process is at: what it read last, or set out with; none once it is through or dead."""
    who = taken.choice.process
    if taken.choice.fault is Fault.CRASH:
        carried[who] = None
    elif deed.generation is not None:
        carried[who] = deed.generation
    for name, event in taken.events:
        if name == who and event.name in ("enactor.pass_completed", "enactor.pass_failed"):
            carried[who] = None


def _news(taken: Taken, deed: Deed, zones: Mapping[str, object]) -> str:
    """Return what is worth telling of a step of healing: plans, flips, deleted trees, refusals; "" for the rest."""
    zone = taken.call.zone if taken.call is not None else ""
    if why := refusal(taken):
        return f"wants to {deed.verb} {deed.rest}, and is refused{f' by {zone}' if zone in zones else ''}: {why}"
    return f"{third(deed.verb)} {deed.rest}{f' in {zone}' if zone in zones else ''}" if deed.kind in NEWS else ""


def _subject(violation: Violation) -> str:
    """Return which of several things a violation is about that one commit broke: root or rollback, for I3."""
    return "rollback" if "rollback pointed" in violation.detail else ""


def joined(words: Sequence[str]) -> str:
    """Return clauses as one sentence without its subject."""
    if len(words) < 2:  # noqa: PLR2004  -- one clause stands alone
        return "".join(words)
    return ", ".join(words[:-1]) + f", and {words[-1]}"
