"""A story as lines on a screen: one row for each step, what the zone then held below it, and what was broken."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fencepost.names import generation_of, tree_name
from fencepost.show import shown_value
from lab.invariants import Violation
from lab.invariants.violation import counted
from lab.simulation.scenario import Scenario
from lab.simulation.story import Healing, Holding, Moment, Story


def headline(story: Story) -> str:
    """Return what was broken, and how long the schedule is."""
    return f"{broken_words(story.violations)} in {story.in_brief}, with {scenario_words(story.scenario)}"


def broken_words(violations: Sequence[Violation]) -> str:
    """Return the numbers of what was broken: `I1, I5 broken`."""
    numbers = sorted({violation.invariant for violation in violations})
    return f"{', '.join(numbers)} broken" if numbers else "nothing broken"


def scenario_words(scenario: Scenario) -> str:
    """Return what a world was made of, in words."""
    parts = [
        f"the {scenario.mode} protocol",
        counted(scenario.enactors, "enactor"),
        counted(scenario.endpoints, "endpoint"),
        counted(scenario.generations, "plan"),
    ]
    return ", ".join([*parts, *([f"without {scenario.without}"] if scenario.without else [])])


def print_story(screen: Console, story: Story) -> None:
    """Print all of it."""
    screen.print(Text(headline(story), style="bold"))
    screen.print(table(story.moments))
    for line in ending_lines(story):
        screen.print(line)


def table(moments: Sequence[Moment]) -> Table:
    """Return steps as rows."""
    found = Table.grid("", "", "", "", padding=(0, 2, 0, 0))
    found.columns[0].justify = found.columns[1].justify = "right"
    for moment in moments:
        add_rows(found, moment)
    return found


def add_rows(rows: Table, moment: Moment) -> None:
    """Add a step: who did what, what the zone then held, what that broke."""
    bad = moment.refused or bool(moment.fault)
    words = Text(moment.text, style="yellow" if bad else "")
    rows.add_row(str(moment.number), f"{moment.at_s:.1f} s", Text(moment.who, style="bold"), words)
    if moment.holding is not None:
        rows.add_row("", "", "", Text(f"{moment.zone} {moment.holding.text}", style="dim"))
    for violation in moment.violations:
        rows.add_row("", "", Text(violation.invariant, style="bold red"), Text(violation.detail, style="red"))


def ending_lines(story: Story) -> Iterator[Text | Table]:
    """Yield what became of the world when it was left in peace, and what is told of no step."""
    if story.healing is not None:
        yield from healing_lines(story.healing)
    told = {violation for moment in story.moments for violation in moment.violations}
    for violation in story.violations:
        if violation not in told:
            yield Text.assemble((f"{violation.invariant}  ", "bold red"), (violation.detail, "red"))


def healing_lines(healing: Healing) -> Iterator[Text | Table]:
    """Yield what healing came to."""
    yield Text(healing_words(healing), style="bold")
    rows = Table.grid("", "", "", padding=(0, 2, 0, 0))
    rows.columns[0].justify = "right"
    for note in healing.notes:
        often = f" ({note.times} times)" if note.times > 1 else ""
        rows.add_row(f"{note.at_s:.1f} s", Text(", ".join(note.who), style="bold"), Text(note.text + often))
    if healing.notes:
        yield rows
    if healing.more:
        yield Text(f"and {counted(healing.more, 'other thing')}")
    for zone in healing.silent:
        yield Text(f"{zone} answers nothing.", style="bold red")


def healing_words(healing: Healing) -> str:
    """Return for how long the world was left in peace, and whether that helped."""
    came = "it is stuck" if healing.pending else "every endpoint has the latest plan"
    return f"Then for {healing.lasted_s:.1f} s nothing more goes wrong and every call has its turn: {came}."


def state_tables(held: Holding) -> Iterator[Text | Table]:
    """Yield a zone's state as `fencepost zone show` has it: its control records, then its trees."""
    yield Text.assemble((held.zone, "bold"), f" at serial {held.serial}")
    control = Table("record", "type", "value", box=None, pad_edge=False)
    for record_set in held.records:
        if generation_of(record_set.name, held.zone) is None:
            control.add_row(*map(Text, (record_set.name, record_set.type, shown_value(record_set))))
    yield control
    trees = Table("tree", "record sets", "", box=None, pad_edge=False)
    for generation in sorted({*held.trees, *({held.generation} if held.generation is not None else ())}):
        sets, mark = held.trees.get(generation, 0), ""
        if generation == held.generation:
            mark = "live" if sets else "the root points to it, and its records are gone"
        trees.add_row(tree_name(held.zone, generation), str(sets), mark)
    yield trees
