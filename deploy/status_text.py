"""What `fencepost status` prints: the alarm first, then what to type, then everything else. Pure."""

from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from fencepost.alarms import Finding, Judgement, Severity
from fencepost.facts import Answer, EndpointFacts, Facts, ProcessFacts
from fencepost.symptoms import Cause, bare, hold_cause, words

STYLES = {Severity.PAGE: "bold red", Severity.TICKET: "bold yellow", Severity.NOTE: "cyan"}


def verdict(facts: Facts, judgement: Judgement) -> Iterator[Text]:
    """Yield the lines that matter: first of all the alarm in one line, or that all is well."""
    if judgement.alarm is None:
        yield Text(_all_is_well(facts), "bold green")
    else:
        yield from _finding(judgement.alarm.primary, judgement.alarm.primary.severity.upper())
        for finding in judgement.alarm.also:
            yield from _finding(finding, f"also {finding.severity}")
    for finding in judgement.notes:
        yield from _finding(finding, "note")


def _all_is_well(facts: Facts) -> str:
    if not facts.latest:
        return "all is well: there is no plan yet"
    late = sum(endpoint.lag_s is not None for endpoint in facts.endpoints)
    installed = f"{late} endpoints are about to get it" if late else "every endpoint has it"
    return f"all is well: plan {facts.latest} is the latest, {installed}"


def _finding(finding: Finding, head: str) -> Iterator[Text]:
    yield Text.assemble((f"{head}: ", STYLES[finding.severity]), finding.sentence)
    for line in finding.details:
        yield Text(f"    {line}")
    for line in finding.consequences:
        yield Text(f"    -> {line}", "dim")
    if finding.command:
        yield Text.assemble("    run: ", (finding.command, "bold"))


def endpoint_table(facts: Facts) -> Table:
    """Return a row for each endpoint."""
    table = Table("endpoint", "live plan", "addresses", "DNS", "cache", "", box=None, pad_edge=False)
    for endpoint in facts.endpoints:
        table.add_row(
            bare(endpoint.name),
            _live(endpoint),
            _by_type(endpoint.addresses),
            _answers(endpoint.answers),
            _answers(endpoint.cached),
            Text("; ".join(_remarks(endpoint))),
        )
    return table


def _live(endpoint: EndpointFacts) -> str:
    if endpoint.live is None:
        return "none" if endpoint.serial else "?"
    fence = endpoint.fence.generation if endpoint.fence else None
    return str(endpoint.live) if fence in (None, endpoint.live) else f"{endpoint.live} (as of {fence})"


def _by_type(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "-"


def _answers(said: Mapping[str, Answer]) -> str:
    return ", ".join(f"{kind} {_answer(answer)}" for kind, answer in said.items()) or "-"


def _answer(answer: Answer) -> str:
    if not answer.rcode:
        return "silent"
    if answer.records:
        return "ok"
    return "EMPTY" if answer.rcode == "NOERROR" else answer.rcode


def _remarks(endpoint: EndpointFacts) -> Iterator[str]:
    if endpoint.problem:
        yield endpoint.problem
    for notice, what in ((endpoint.frozen, "frozen"), (endpoint.pinned, "pinned")):
        if notice:
            yield f"{what} by {words(notice)}"
    if endpoint.lag_s is not None:
        yield f"{endpoint.lag_generations} plans behind, for {endpoint.lag_s:.0f} s"
    reasons = [why for why in endpoint.held.values() if not (endpoint.frozen and hold_cause(why) is Cause.FROZEN)]
    if reasons:
        yield f"held: {reasons[0]}"
    if endpoint.limited:
        yield endpoint.limited
    if endpoint.lock:
        ends = "expired" if endpoint.lock.expires_in_s < 0 else f"expires in {endpoint.lock.expires_in_s:.0f} s"
        yield f"locked by {endpoint.lock.holder}, {ends}"


def process_table(facts: Facts) -> Table:
    """Return a row for each process."""
    table = Table("process", "pages", "last report", "plan", "says", box=None, pad_edge=False)
    for process in facts.processes:
        table.add_row(
            process.name,
            _pages(process),
            "-" if process.report_age_s is None else f"{process.report_age_s:.0f} s ago",
            str(process.generation or "-"),
            Text(process.says),
        )
    return table


def _pages(process: ProcessFacts) -> str:
    if process.answers is None:
        return "?" if process.port is None else f"{process.port}"
    return f"{process.port} {'ok' if process.answers else 'silent'}"


def summary(facts: Facts) -> str:
    """Return the line between verdict and tables: what the plan store has."""
    parts = [f"latest plan {facts.latest}" if facts.latest else "no plan"]
    if facts.latest_age_s is not None:
        parts.append(f"{facts.latest_age_s:.0f} s old")
    if facts.queue_size is not None:
        parts.append(f"{facts.queue_size} waiting to be installed")
    if facts.plans_held:
        parts.append(f"planner holds back: {facts.plans_held}")
    return ", ".join(parts)
