"""What a choice did, in plain words: from the call, the reply, the commit and the events themselves, never by guess."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fencepost.batch import Action, Change, failed_change
from fencepost.change_script import GENERATION
from fencepost.event_names import EVENT_NAMES
from fencepost.events import Event
from fencepost.names import fence_name, frozen_name, generation_of, lock_name, order_key, rollback_name, tree_name
from fencepost.records import RecordSet, decode
from lab.invariants.replay import Step
from lab.invariants.violation import counted
from lab.simulation.choice import START, Fault
from lab.simulation.client import Call
from lab.simulation.coverage import comment_of
from lab.simulation.judge import changes_of
from lab.simulation.world import ENDPOINT_WIDTH, FIRST_ENDPOINT, Taken


class Deed(NamedTuple):
    """What somebody does: a verb and what follows it, and what kind of thing it is, as a page marks it.

    Attributes:
        seen: what a reader found, "" for others: told only if it was executed.
        generation: the plan that it is about, None if about none.
        trees: the generations whose trees it deletes from.
    """

    kind: str
    verb: str
    rest: str
    seen: str = ""
    generation: int | None = None
    trees: tuple[int, ...] = ()


READ, PUBLISH, LOCK, BUILD, FLIP, CLEAN, RELEASE, CONTROL, WAIT, BEGIN = (
    "read",
    "publish",
    "lock",
    "build",
    "flip",
    "clean",
    "release",
    "control",
    "wait",
    "begin",
)

CONTROLS: Final = {
    "set_requests": ("write", "down operator requests"),
    "set_frozen": ("freeze or thaw", "the plan store"),
    "unpin": ("unpin", "endpoints"),
    "set_report": ("leave", "word of itself"),
    "read_reports": ("read", "what processes say of themselves"),
    "read_controls": ("look", "whether the plan store is frozen"),
    "take_token": ("take", "a token of the account's"),
    "HGETALL": ("read", "operator requests"),
    "XREVRANGE": ("read", "the history of plans"),
    "XRANGE": ("read", "the history of the zone"),
    "HGET": ("read", "the number of the latest plan"),
    "EXISTS": ("look", "whether the zone is there"),
}
"""What calls are for that are told without their contents."""

UNTOLD: Final = frozenset(
    {
        "enactor.lock_acquired",
        "enactor.flip_committed",
        "enactor.fence_advanced",
        "enactor.tree_built",
        "enactor.trees_cleaned",
        "enactor.outcome_unknown",
        "enactor.step_refused",
        "enactor.tree_refused",
        "planner.plan_published",
        "operator.zone_frozen",
        "operator.zone_thawed",
    }
)
"""Events that say again what the call itself did."""

LONGEST: Final = 90
"""A longer reason is what the server answered, which is told already."""

HELD_UNTIL: Final = re.compile(r" [0-9]{9,}$")
"""When a lock expires, epoch seconds: nothing for a person."""

BY_EVENT: Final[Mapping[str, str]] = {
    "enactor.pass_started": "sets out with plan {generation}",
    "enactor.pass_completed": "is through with plan {generation}",
    "enactor.plan_left": "leaves plan {generation} alone: {reason}",
    "enactor.pass_failed": "gives plan {generation} up",
    "enactor.plan_superseded": "drops plan {generation}, as {reason}",
    "enactor.lock_missed": "does not get the lock: {reason}",
    "enactor.lock_lost": "knows that its lock is lost",
    "enactor.rollback_left_out": "goes on without a rollback, as what the root points to is gone",
    "enactor.clean_refused": "leaves the cleaning",
    "enactor.plan_refused": "will not install plan {generation}: {reason}",
    "enactor.tree_rejected": "does not put the tree of plan {generation} live: {reason}",
    "enactor.damage_found": "finds damage: {reason}",
    "enactor.endpoint_skipped": "leaves the endpoint for now",
    "enactor.zone_frozen": "leaves the zone alone, which is frozen",
    "service.round_failed": "ends its round: {reason}",
}
"""What an event adds to the words on the call before it."""


def tree_label(generation: int) -> str:
    """Return how a tree is called where its zone is clear."""
    return tree_name("", generation).rstrip(".")


def label_of(target: str, zone: str) -> str:
    """Return how an alias's target is called where its zone is clear."""
    return target.removesuffix("." + zone)


def deed_of(taken: Taken, step: Step | None) -> Deed:
    """Return what a choice was: what it did, or would have done without its fault; `step` is its commit."""
    call, reply = taken.call, taken.reply
    if call is None:
        if taken.choice.what == START:
            return Deed(BEGIN, "start", "again with empty memory")
        return Deed(WAIT, "wait", f"until {taken.at_s:.1f} s")
    if call.name == "change_batch":
        return _change_deed(call, step)
    if call.name in DEEDS:
        return DEEDS[call.name](call, reply)
    return Deed(CONTROL if call.writes else READ, *CONTROLS.get(call.name, ("call", call.name)))


def _publish_deed(call: Call, reply: Any) -> Deed:
    published = reply[1] if isinstance(reply, list) and reply[0] == b"published" else None
    number = published or int(call.args[0]) + 1
    endpoints = [str(call.args[at]) for at in range(FIRST_ENDPOINT, len(call.args), ENDPOINT_WIDTH)]
    return Deed(PUBLISH, "publish", f"plan {number}, which changes {', '.join(endpoints)}", generation=number)


def _plan_deed(_: Call, reply: Any) -> Deed:
    return Deed(READ, "look", "for the latest plan", *_plan_seen(reply))


def is_still(reply: Any) -> bool:
    """Say whether a reader of plans was told that it has the latest one already."""
    return isinstance(reply, list) and reply[0] == b"delta" and not reply[2]


def _plan_seen(reply: Any) -> tuple[str, int | None]:
    if not isinstance(reply, list):
        return "", None
    if reply[0] == b"none":
        return "there is none", None
    if reply[0] == b"missing":
        return "it is not kept any more", None
    generation = int(reply[1][0])
    return f"it is still plan {generation}" if is_still(reply) else f"it is plan {generation}", generation


def _read_deed(call: Call, reply: Any) -> Deed:
    """Tell a read of one kind of record by what it found; a read of several by what they say together."""
    zone = call.zone
    found = {r.name: r for r in map(decode, filter(None, reply[1:]))} if isinstance(reply, list) and reply else {}
    asked = {str(text).split("\t", 1)[0] for text in call.args}
    lock = order_key(lock_name(zone), "TXT", None).split("\t", 1)[0]
    if asked == {lock}:
        return Deed(READ, "look", "at the lock", _lock_seen(zone, found) if reply else "")
    root = f"the root {_pointing(zone, found.get(zone))}"
    if asked == {order_key(zone, "A", None).split("\t", 1)[0]}:
        return Deed(READ, "look", "at the root", f"it {_pointing(zone, found.get(zone))}" if reply else "")
    fence = found.get(fence_name(zone))
    said = [root] if zone in found or len(asked) > 1 else []
    said += [f"the fence is at {fence.text.split()[0]}"] if fence else []
    said += [_lock_seen(zone, found)] if lock in asked else []
    return Deed(READ, "look", "at the zone", " and ".join(said) if reply else "")


def _pointing(zone: str, root: RecordSet | None) -> str:
    return f"points to {label_of(root.alias, zone)}" if root and root.alias else "points nowhere yet"


def _lock_seen(zone: str, found: Mapping[str, RecordSet]) -> str:
    lock = found.get(lock_name(zone))
    return f"{lock.text.split()[0]} has the lock" if lock else "the lock is free"


def _listing_deed(call: Call, reply: Any) -> Deed:
    seen = ""
    if isinstance(reply, list) and reply:
        names = (decode(text).name for text in reply[1:])
        trees = sorted({g for name in names if (g := generation_of(name, call.zone)) is not None})
        seen = f"the trees there are {', '.join(map(str, trees))}" if trees else "there is no tree"
    return Deed(READ, "list", "the zone", seen)


DEEDS: Final[Mapping[str, Callable[[Call, Any], Deed]]] = {
    "publish_plan": _publish_deed,
    "read_plan": _plan_deed,
    "HMGET": lambda *_: Deed(READ, "read", "what that plan wants"),
    "read_records": _read_deed,
    "page_records": _listing_deed,
}
"""By call, what it is, with its reply."""


# Change batches: the comment says what a batch is for, the commit what it did.


def _change_deed(call: Call, step: Step | None) -> Deed:
    zone, comment, changes = call.zone, comment_of(call), changes_of(call.args)
    number = int(call.args[GENERATION]) if call.args[GENERATION] != "" else None
    match comment.split(" "):
        case ["lock", what]:
            kind, verb, rest = LOCK_DEEDS[what]
            found = Deed(kind, verb, rest + (_from_whom(step, changes) if what == "taken" else ""))
        case ["tree", _, *_]:
            found = Deed(BUILD, "build", _built(zone, comment, changes), generation=number)
        case ["flip" | "flip_committed", *_]:
            found = Deed(FLIP, "flip", _flipped(zone, number, step), generation=number)
        case ["fence_advanced", *_]:
            found = Deed(FLIP, "move", f"the fence on to {number}, as the content stays", generation=number)
        case ["clean", *_]:
            trees = tuple(sorted({g for c in changes if (g := generation_of(c.record_set.name, zone)) is not None}))
            found = Deed(CLEAN, "delete", "the old " + " and ".join(map(tree_label, trees)), trees=trees)
        case _ if any(change.record_set.name == frozen_name(zone) for change in changes):
            freezes = changes[-1].action is not Action.DELETE
            found = Deed(CONTROL, "freeze" if freezes else "thaw", "the zone")
        case _:
            found = Deed(CONTROL, "commit", f"\N{LEFT DOUBLE QUOTATION MARK}{comment}\N{RIGHT DOUBLE QUOTATION MARK}")
    return found


LOCK_DEEDS: Final = {
    "taken": (LOCK, "take", "the lock"),
    "kept": (LOCK, "renew", "its lock"),
    "released": (RELEASE, "release", "the lock"),
}
"""What is done with a lock, by the second word of a batch's comment."""


def _from_whom(step: Step | None, changes: Sequence[Change]) -> str:
    before = step.before.lock if step else next((c.record_set.text for c in changes if c.action is Action.DELETE), "")
    return f", which {before.split()[0]} has let expire" if before else ""


def _built(zone: str, comment: str, changes: Sequence[Change]) -> str:
    generation = int(comment.split(" ")[1].rstrip(","))
    sets = sum(c.record_set.name == tree_name(zone, generation) for c in changes if c.action is not Action.DELETE)
    return f"{tree_label(generation)} ({counted(sets, 'record set')}{comment.partition(f'tree {generation}')[2]})"


def _flipped(zone: str, generation: int | None, step: Step | None) -> str:
    target = tree_label(generation) if generation is not None else "another tree"
    if step is None:
        return f"the root to {target}"
    before = sorted({label_of(pointer.target, zone) for pointer in step.before.root.values()})
    return f"the root from {' and '.join(before)} to {target}" if before else f"the root to {target}"


def refusal(taken: Taken) -> str:
    """Return why the server refused a call, "" if it did not."""
    call = taken.call
    reply: Any = taken.reply
    if call is None or not isinstance(reply, list) or not reply or not isinstance(reply[0], bytes):
        return taken.error
    head = reply[0].decode()
    if call.name == "change_batch" and head == "refused":
        changes = changes_of(call.args)
        pairs = zip(reply[1::2], reply[2::2], strict=True)
        return "; ".join(dict.fromkeys(_short(call, changes, int(at), why.decode()) for at, why in pairs))
    if call.name == "change_batch" and head in ("frozen", "busy", "no_zone"):
        return {"frozen": "the zone is frozen", "busy": "the zone is busy", "no_zone": "there is no such zone"}[head]
    if call.name == "publish_plan" and head == "conflict":
        return f"the latest plan is {reply[1]} by now"
    if call.name == "publish_plan" and head in ("frozen", "pinned"):
        return "the automation is frozen" if head == "frozen" else f"an operator holds {reply[1].decode()}"
    return taken.error


def _short(call: Call, changes: Sequence[Change], at: int, reason: str) -> str:
    zone, record_set = call.zone, changes[at].record_set
    if record_set.name == lock_name(zone):
        return "the lock is not as it knew it"
    if reason == "target_missing" and record_set.alias:
        which = "rollback" if record_set.name == rollback_name(zone) else "the root"
        return f"{which} cannot point to {label_of(record_set.alias, zone)}: that target was not found"
    if record_set.name == fence_name(zone):
        return "the fence is not as it knew it"
    return failed_change(zone, at, changes[at], reason, reason if reason == "malformed" else "").text


def clauses(taken: Taken, deed: Deed) -> Iterator[str]:
    """Yield what happened, clause by clause; the subject is who did it."""
    yield _done(taken, deed)
    yield from sayings(taken)


def _done(taken: Taken, deed: Deed) -> str:
    """Return what became of what somebody meant to do."""
    meant = f"{deed.verb} {deed.rest}" if deed.rest else deed.verb
    done = third(deed.verb) + meant.removeprefix(deed.verb)
    fault, why = taken.choice.fault, refusal(taken)
    if fault in UNDONE:
        return UNDONE[fault].format(meant)
    if taken.call is not None and taken.call.given_up:
        late = f"delivers what {taken.call.process} gave up waiting for, to {meant}"
        return f"{late}, which is refused: {why}" if why else f"{late}, which is done"
    if why:
        return f"wants to {meant} and is refused: {why}" + (", but never hears so" if fault is Fault.LOST else "")
    if fault is Fault.LOST:
        return f"{done}, but never hears so, as the connection breaks"
    return f"{done}: {deed.seen}" if deed.seen else done


UNDONE: Final = {
    Fault.CRASH: "dies when it is about to {}",
    Fault.ERROR: "wants to {}, but the connection breaks before that",
    Fault.LATE: "wants to {}, and gives up waiting for the reply, while the call is still under way",
}
"""What becomes of a call that is not executed then."""


def sayings(taken: Taken) -> Iterator[str]:
    """Yield what the process itself said then, where that adds something."""
    for who, event in taken.events:
        said = event.name == "enactor.lock_missed" and refusal(taken)
        if who == taken.choice.process and not said and (words := _event_words(event)):
            yield words


def _event_words(event: Event) -> str:
    if event.name in UNTOLD:
        return ""
    if event.name == "enactor.flip_refused":
        return "knows now that its plan is stale" if event.fields.get("stale") else ""
    reason = HELD_UNTIL.sub("", event.reason) if len(event.reason) <= LONGEST else ""
    text = BY_EVENT.get(event.name)
    if text is None:
        return f"notes: {EVENT_NAMES.get(event.name, event.name).partition(';')[0]}"
    if not reason and "{reason}" in text:
        return text.partition(": {reason}")[0].partition(", as {reason}")[0].format(generation=event.generation)
    return text.format(generation=event.generation, reason=reason)


def third(verb: str) -> str:
    """Return the verb as one person does it: takes, publishes."""
    first, *rest = verb.split(" ")
    ending = "es" if first.endswith(("sh", "ch", "s", "x")) else "s"
    return " ".join([first + ending, *(third(word) if word != "or" else word for word in rest)])
