"""`fencepost replay`: a saved failure once more, exactly, as a time line, step by step, or as a page."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from fencepost.errors import UsageError
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_NOT_STARTED
from fencepost.show import console
from lab import history
from lab.simulation.saved import Saved, load, write_text
from lab.simulation.story import Holding, Story
from lab.simulation.timeline import tell
from lab.simulation.told import broken_words, ending_lines, headline, print_story, state_tables, table


class ReplayOptions(NamedTuple):
    """What a replay shows, and where it goes."""

    step: bool = False
    at: int | None = None
    json: Path | None = None
    html: Path | None = None


def replay_path(path: Path, options: ReplayOptions) -> int:
    """Replay a saved failure, or what `fencepost compare` has recorded; return the exit code.

    Raises: NotSaved, UsageError, StartupError.
    """
    if path.is_dir():
        return _replay_directory(path, options)
    if options.step and options.at is not None:
        raise UsageError("--step shows every step and --at one of them: leave one out")
    saved = load(path)
    story = tell(saved.scenario, saved.choices, frozenset(saved.wanted))
    screen = console()
    if options.at is not None and not 1 <= options.at <= max(1, len(story.moments)):
        raise UsageError(f"--at {options.at}: the time line has the steps 1 to {len(story.moments)}")
    if options.step:
        _step_by_step(screen, story)
    elif options.at is not None:
        _show_at(screen, story, options.at)
    else:
        print_story(screen, story)
    return _end(screen, saved, story, options, command=f"fencepost replay {path}")


def _replay_directory(path: Path, options: ReplayOptions) -> int:
    """Send the batches that real processes had committed to the small server, run by run."""
    from lab.check import runs_in
    from lab.simulation.recorded import replay_history

    if options != ReplayOptions():
        raise UsageError("a recorded run is replayed whole: leave out --step, --at, --json and --html")
    same = True
    for run in runs_in(path):
        replayed = asyncio.run(replay_history(history.load(run)))
        console().print(Text(f"{run}: {replayed.told}"), soft_wrap=True)
        same = same and replayed.first is None
    return EXIT_FINE if same else EXIT_CHECK_FAILED


def _end(screen: Console, saved: Saved, story: Story, options: ReplayOptions, *, command: str) -> int:
    differences = differing(saved, story)
    if options.json is not None:
        write_text(options.json, msgspec.json.format(msgspec.json.encode(document(saved, story))).decode() + "\n")
    if options.html is not None:
        write_page(options.html, story, command)
    if story.holds:
        said = "The failure is not there any more: the code has changed since it was saved."
        screen.print(Text(said, style="bold green"))
        return EXIT_FINE
    if differences:
        said = f"The failure is still there, but not as it was saved; the code has changed since: {differences[0]}"
        screen.print(Text("; ".join([said, *differences[1:]]), style="bold yellow"))
        return EXIT_NOT_STARTED
    screen.print(Text(f"The same came out as was saved: {broken_words(story.violations)}, digest {story.digest}."))
    return EXIT_CHECK_FAILED


def differing(saved: Saved, story: Story) -> tuple[str, ...]:
    """Return in what a replay differs from what was saved; empty if it does not."""
    found = []
    if story.left_out:
        found.append(f"{story.left_out} of {len(saved.choices)} choices could not be made")
    before, after = broken_words(saved.found), broken_words(story.violations)
    if before != after:
        found.append(f"{after}, where there was {before}")
    if not found and story.digest != saved.digest:
        found.append(f"what was committed is not the same (digest {story.digest}, saved {saved.digest})")
    return tuple(found)


def document(saved: Saved, story: Story) -> Mapping[str, Any]:
    """Return the result for programs."""
    return {
        "still_there": not story.holds,
        "same": not differing(saved, story),
        "differences": differing(saved, story),
        "digest": story.digest,
        "scenario": story.scenario,
        "choices": story.trace,
        "steps": [_step_document(story, number) for number in range(1, len(story.moments) + 1)],
        "healing": story.healing,
        "violations": story.violations,
    }


def _step_document(story: Story, number: int) -> Mapping[str, Any]:
    moment = story.moments[number - 1]
    return {
        "step": number,
        "choices": [moment.first, moment.last],
        "at_s": moment.at_s,
        "who": moment.who,
        "what": moment.text,
        "endpoint": moment.zone,
        "generation": moment.generation,
        "fault": moment.fault,
        "refused": moment.refused,
        "zone": moment.holding,
        "violations": moment.violations,
    }


def write_page(path: Path, story: Story, command: str) -> None:
    """Write a story as a page. Raises: StartupError if that cannot be."""
    from lab.simulation.page import page

    write_text(path, page(story, command=command))


# Step by step.


def state_at(story: Story, number: int) -> Mapping[str, Holding]:
    """Return what each zone held after a step; 0: at the beginning."""
    held = {holding.zone: holding for holding in story.beginning}
    for moment in story.moments[:number]:
        if moment.holding is not None:
            held[moment.zone] = moment.holding
    return held


def _show_at(screen: Console, story: Story, number: int) -> None:
    """Print one step and what every zone held after it."""
    screen.print(table(story.moments[number - 1 : number]))
    for held in state_at(story, number).values():
        for part in state_tables(held):
            screen.print(part)


def _step_by_step(screen: Console, story: Story) -> None:
    """Print a step, wait for Enter, and so on; the end of the input goes on without a stop, `q` ends it."""
    screen.print(Text(headline(story), style="bold"))
    waits = True
    for moment in story.moments:
        screen.print(table([moment]))
        if moment.holding is not None:
            for part in state_tables(moment.holding):
                screen.print(part)
        if waits and moment.number < len(story.moments):
            answer = _answer(screen, f"step {moment.number} of {len(story.moments)}: Enter for the next, q to end ")
            if answer == "q":
                return
            waits = answer is not None
    for line in ending_lines(story):
        screen.print(line)


def _answer(screen: Console, question: str) -> str | None:
    try:
        return screen.input(Text(question, style="dim")).strip().lower()
    except EOFError:
        screen.print()
        return None
