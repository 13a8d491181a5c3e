"""What a round has changed, told once: when something begins to be held back, and when it ends."""

from fencepost.events import Events
from planner.publish import Settled


def tell(events: Events, before: Settled, after: Settled) -> None:
    """Emit an event for everything that begins or ends with a round; what goes on is told in `/state`."""
    generation = after.generation
    for name in sorted(after.held.keys() - before.held.keys()):
        events.emit("planner.plan_refused", zone=name, reason=after.held[name])
    for name in sorted(after.limited.keys() - before.limited.keys()):
        limited = after.limited[name]
        events.emit(
            "planner.removal_limited",
            zone=name,
            generation=generation,
            reason=limited.text,
            kept=list(limited.kept),
            counts=dict(limited.counts),
        )
    for name in sorted(before.limited.keys() - after.limited.keys()):
        reason = after.held.get(name, f"{name} has what the world asks for")
        events.emit("planner.removal_allowed", zone=name, generation=generation, reason=reason)
    if after.frozen and not before.frozen:
        events.emit("planner.automation_frozen", generation=generation, reason=after.frozen)
    elif before.frozen and not after.frozen:
        events.emit("planner.automation_thawed", generation=generation, reason=f"was frozen by {before.frozen}")
