"""What is known of a system at one moment, without any judgement: `fencepost.alarms` makes an alarm of it.

Facts come from the stores themselves, so that they are there with every other process dead; what DNS and the processes'
own pages add is left out where nobody answers. Names of endpoints are absolute. Instants are epoch seconds.
"""

from collections.abc import Mapping

import msgspec

from fencepost.notice import Notice


class Pointer(msgspec.Struct, frozen=True):
    """One alias of a zone, root's or rollback's: its address type, the tree it names, and whether that is there."""

    type: str
    target: str
    exists: bool = True


class LockFacts(msgspec.Struct, frozen=True):
    """Who has the zone's lock, and in how many seconds it expires; below 0 it has expired, and anybody may take it."""

    holder: str
    expires_in_s: float


class FenceFacts(msgspec.Struct, frozen=True):
    """What the zone's fence says: a generation and the first 8 hex digits of its content's digest."""

    generation: int
    digest: str


class Loss(msgspec.Struct, frozen=True):
    """Who deleted a tree's records last, when, and what for; and who had pointed the root to that tree, and when.

    What the zone's history does not keep is "" and 0.
    """

    by: str = ""
    at_s: float = 0.0
    comment: str = ""
    flipped_by: str = ""
    flipped_at_s: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """What a name server said: its response code and how many records; rcode "" means that it said nothing."""

    rcode: str
    records: int = 0

    @property
    def empty(self) -> bool:
        """Whether it denies that there is an address; a failure (SERVFAIL ...) and silence deny nothing."""
        return self.rcode in ("NOERROR", "NXDOMAIN") and not self.records


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: its zone, what the latest plan wants of it, and what DNS says.

    Attributes:
        name, types: as the region file has them.
        problem: why its zone could not be read, "" if it was.
        serial: of the zone.
        root, rollback: the aliases that there are.
        live: the generation of the tree that the root points to, None if there is no root.
        addresses: how many the live tree has, by type.
        fence: None in a zone that no fixed enactor has flipped.
        lock, frozen, pinned: None if there is none.
        invalid: control records that cannot be read: what they say.
        planned: whether the latest plan has the endpoint.
        lag_s: since when, in seconds, a plan waits that changes the endpoint; None: it is as the latest plan wants it.
        lag_generations: how many generations lie between what is live and the latest plan, 0 without a lag.
        damaged: how many record sets of the live tree are not as its plan has them; 0 also if that is not known.
        loss: how the live tree got lost, or damaged; None if it is whole.
        held: enactor -> why it does not move the endpoint, as it reported itself.
        limited: what the planner says about capacity that it does not let go, "" if nothing.
        answers, cached: what the authoritative server and the caching resolver say, by type; empty: not asked.
        behind_s: the age of the oldest commit that DNS does not show yet, seconds; 0 if it shows all, None if unknown.
        behind_more: whether older ones than that are missing, too, which the zone's history no longer has.
    """

    name: str
    types: tuple[str, ...]
    problem: str = ""
    serial: int = 0
    root: tuple[Pointer, ...] = ()
    rollback: tuple[Pointer, ...] = ()
    live: int | None = None
    addresses: Mapping[str, int] = {}
    fence: FenceFacts | None = None
    lock: LockFacts | None = None
    frozen: Notice | None = None
    pinned: Notice | None = None
    invalid: tuple[str, ...] = ()
    planned: bool = False
    lag_s: float | None = None
    lag_generations: int = 0
    damaged: int = 0
    loss: Loss | None = None
    held: Mapping[str, str] = {}
    limited: str = ""
    answers: Mapping[str, Answer] = {}
    cached: Mapping[str, Answer] = {}
    behind_s: float | None = None
    behind_more: bool = False

    @property
    def dangling(self) -> tuple[Pointer, ...]:
        """The root's aliases that point to nothing."""
        return tuple(pointer for pointer in self.root if not pointer.exists)


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the system.

    Attributes:
        name, kind: readable, and what it is: fleet, resolver, planner, enactor, watch, load.
        port: of its admin pages, None if that is not known.
        expected: whether somebody has said that it runs; else its port is a guess.
        answers: whether its pages answer; None if they were not asked.
        report_age_s: since when it has said nothing to the plan store; None if it never has.
        generation: which it has published (planner) or installed everywhere (enactor), by its report.
        says: what it does, in its own words.
    """

    name: str
    kind: str
    port: int | None = None
    expected: bool = False
    answers: bool | None = None
    report_age_s: float | None = None
    generation: int = 0
    says: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the system is, for the commands that an alarm names. `run_dir` is "" if that is not known."""

    store: str
    dns_port: int
    cache_port: int
    api_port: int
    run_dir: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A whole system.

    Attributes:
        at_s: when they were collected.
        place: where it is.
        store_problem: why the store cannot be read, "" if it can; then all that comes from it is missing.
        latest: the latest plan's generation, 0 if there is none.
        latest_age_s: how old that plan is, None if there is none.
        queue_size: generations that are published and not installed, by the enactors' reports; None: nobody reports.
        plans_frozen: who has frozen the plan store, None if nobody has.
        plans_held: why the planner publishes nothing for now, "" if it does.
        planner_problem: what ends the planner's rounds, "" if nothing.
        buggy: whether enactors follow the protocol that broke.
        negative_ttl_s: for how long a resolver keeps an empty answer.
        endpoints, processes: all of them, in order of their names and of their start.
    """

    at_s: float
    place: Place
    store_problem: str = ""
    latest: int = 0
    latest_age_s: float | None = None
    queue_size: int | None = None
    plans_frozen: Notice | None = None
    plans_held: str = ""
    planner_problem: str = ""
    buggy: bool = False
    negative_ttl_s: int = 0
    endpoints: tuple[EndpointFacts, ...] = ()
    processes: tuple[ProcessFacts, ...] = ()

    def of_kind(self, kind: str) -> tuple[ProcessFacts, ...]:
        """Return the processes of one kind."""
        return tuple(process for process in self.processes if process.kind == kind)
