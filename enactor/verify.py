"""A tree is looked at before it goes live: read back from the zone, and resolved before any customer can see it."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from enum import StrEnum
from typing import Final, NamedTuple

from enactor.ask import Asker
from enactor.hand import ZoneHand
from enactor.settings import EnactorSettings
from enactor.tree import MANIFEST, Manifest, manifest_of, tree_key, tree_records
from fencepost.clock import Clock
from fencepost.control import ControlApi
from fencepost.errors import TreeRejected
from fencepost.events import Events
from fencepost.guards import Guard
from fencepost.names import manifest_name, tree_name
from fencepost.plan import Plan

SILENT_TRIES: Final = 3
"""So many unanswered looks in a row are a resolver that is out, which must not stop an emergency."""
LOOKS: Final = 60
"""Into so many pauses the wait for an answer is cut, unless they would be shorter than `LONGER_S`."""
LONGER_S: Final = 0.02
"""The plan is not looked at again around shorter pauses than this: it is before the flip in any case."""
FIRST_S: Final = 0.001
"""The first pauses are shorter, and double: a server that follows its zones knows a tree within a few milliseconds."""

NO_ANSWER: Final = "the resolver does not answer"


class Verdict(StrEnum):
    """What a look by DNS said: `LAGGING` is a server that does not know the tree yet, or not all of it."""

    RIGHT = "right"
    WRONG = "wrong"
    LAGGING = "lagging"
    SILENT = "silent"


class Look(NamedTuple):
    """A verdict and, in words, what was wrong."""

    verdict: Verdict
    problem: str = ""


class TreeVerifier:
    """Says whether a tree may go live; where no server can be asked, what is read back suffices."""

    def __init__(self, api: ControlApi, clock: Clock, events: Events, settings: EnactorSettings) -> None:
        self._api, self._clock, self._events = api, clock, events
        self._asker = None if settings.verify_port is None else Asker(settings.verify_port)
        self._wait_s, self._keep = settings.pauses.verify_wait_s, settings.keep
        self._whole = Guard.WHOLE_TREES in settings.guards
        self._verified: dict[str, tuple[int, str]] = {}
        self._silent = False
        self._owed: tuple[str, Plan] | None = None

    def knows(self, zone: str, plan: Plan) -> bool:
        """Say whether a plan's tree was found right already."""
        return self._verified.get(zone) == (plan.generation, plan.digests[zone])

    async def damage(self, zone: str, plan: Plan) -> str | None:
        """Read a tree back; return what is wrong with it in words, None if it is exactly the plan's."""
        name, whole = tree_name(zone, plan.generation), tree_records(zone, plan.generation, plan.content(zone))
        listing = await self._api.listing(zone, tree_key(zone, plan.generation), within=name)
        # Both are in order as a rule, and the manifest comes last.
        if listing[: len(whole)] == whole and name not in {r.name for r in listing[len(whole) :]}:
            return None
        leaves, wanted = {r for r in listing if r.name == name}, set(whole)
        if leaves == wanted:
            return None
        lacking, surplus = len(wanted - leaves), len(leaves - wanted)
        problem = (
            f"read back, it lacks {lacking} of {len(wanted)} record sets and has {surplus} that are not the plan's"
        )
        self._events.emit("enactor.tree_rejected", zone=zone, generation=plan.generation, reason=problem)
        return problem

    async def resolved(self, hand: ZoneHand, plan: Plan, superseded: Callable[[], Awaitable[bool]]) -> bool:
        """Wait until a tree is answered under its own name; say whether the plan is still wanted then.

        A server that does not answer at all, or not yet, says nothing about the tree. The lock is kept meanwhile.
        Raises: TreeRejected for a tree that is answered otherwise after all this time; as `ZoneHand.commit`.
        """
        # The socket stays open over the pauses: to open one takes longer than to ask.
        with nullcontext() if self._asker is None else self._asker:
            return await self._resolved(hand, plan, superseded)

    async def _resolved(self, hand: ZoneHand, plan: Plan, superseded: Callable[[], Awaitable[bool]]) -> bool:
        zone, deadline_s, silences = hand.zone, self._clock.monotonic() + self._wait_s, 0
        lags, pause_s, longest_s = await self._lags(), FIRST_S, max(LONGER_S, self._wait_s / LOOKS)
        while (look := await self._look(zone, plan)).verdict is not Verdict.RIGHT:
            silences = silences + 1 if look.verdict is Verdict.SILENT else 0
            over = self._clock.monotonic() >= deadline_s
            if silences and (over or self._silent or silences >= SILENT_TRIES):
                self._silent = True
                self._events.emit("enactor.tree_unresolved", zone=zone, generation=plan.generation, reason=look.problem)
                return True
            if look.verdict is Verdict.LAGGING and (over or lags):
                self._owe(zone, plan)
                self._events.emit("enactor.tree_unresolved", zone=zone, generation=plan.generation, reason=look.problem)
                return True
            if over:
                self._events.emit("enactor.tree_rejected", zone=zone, generation=plan.generation, reason=look.problem)
                raise TreeRejected(zone, generation=plan.generation, problem=look.problem)
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
            if pause_s >= LONGER_S and await superseded():
                return False
            await hand.keep()
        self._silent, self._owed = False, None
        self._verified[zone] = (plan.generation, plan.digests[zone])
        return True

    async def _lags(self) -> bool:
        """Say whether the server still owes the answer about a tree that went live without it.

        A tree that was just built is never known at once, so it is the earlier one that says when the server is back.
        """
        if self._owed is not None and (await self._look(*self._owed)).verdict is Verdict.RIGHT:
            self._owed = None
        return self._owed is not None

    def _owe(self, zone: str, plan: Plan) -> None:
        """Keep the first tree that was not known in time, for as long as no cleaner can have deleted it."""
        if self._owed is None or self._owed[1].generation < plan.generation - self._keep:
            self._owed = (zone, plan)

    async def _look(self, zone: str, plan: Plan) -> Look:
        """Ask for the manifest, which must be the complete one, and for an address of each type."""
        if self._asker is None:
            return Look(Verdict.RIGHT)
        with self._asker as asker:
            look = await self._manifest(zone, plan, asker) if self._whole else Look(Verdict.RIGHT)
            for kind in plan.content(zone).types:
                if look.verdict is Verdict.RIGHT:
                    look = await self._addresses(zone, plan, kind, asker)
        return look

    async def _manifest(self, zone: str, plan: Plan, asker: Asker) -> Look:
        manifest = manifest_of(plan, zone)
        found = await asker.ask(manifest_name(zone, plan.generation), "TXT")
        if found is None:
            return Look(Verdict.SILENT, NO_ANSWER)
        if found == manifest.record(zone, plan.generation).values:
            return Look(Verdict.RIGHT)
        said = ", ".join(found) or "nothing"
        verdict = Verdict.LAGGING if _earlier(found, manifest) else Verdict.WRONG
        return Look(verdict, f"its manifest is answered as {said}, not {manifest.text}")

    async def _addresses(self, zone: str, plan: Plan, kind: str, asker: Asker) -> Look:
        """Look at one type; behind a manifest that is whole, no address at all is wrong, without one it may be late."""
        name = tree_name(zone, plan.generation)
        found = await asker.ask(name, kind)
        if found is None:
            return Look(Verdict.SILENT, NO_ANSWER)
        meant = {target.address for target in plan.content(zone).targets if target.type == kind}
        if found and set(found) <= meant:
            return Look(Verdict.RIGHT)
        said = ", ".join(found) or "nothing"
        verdict = Verdict.WRONG if found or self._whole else Verdict.LAGGING
        return Look(verdict, f"{name} {kind} is answered with {said}, which is no address of the plan's")


def _earlier(found: tuple[str, ...], whole: Manifest) -> bool:
    """Say whether a manifest that is answered, or none, is what the zone had before its tree was whole."""
    match = MANIFEST.match(" ".join(found).strip('"'))
    return not found or (match is not None and match[3] == whole.digest and int(match[1]) < whole.done)
