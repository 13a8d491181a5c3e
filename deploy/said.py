"""Facts out of what stores, DNS and processes have said. Pure: nobody is asked here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from deploy.page_list import Page
from deploy.zone_look import Control, ZoneLook, damage, read_control
from fencepost.facts import Answer, EndpointFacts, Facts, Loss, Place, ProcessFacts
from fencepost.notice import Notice
from fencepost.plan import Content, Plan, short
from fencepost.region import Endpoint, Region
from fencepost.stores import Controls, Report

REPORT_FRESH_S: Final = 30.0
"""A report that is older says nothing of now, so what it says is held is left out."""
FIRST_NOTICE_S: Final = 1_000_000_000
"""No notice is older (2001), and no sentence has such a number where a notice has its time."""
FORGOTTEN_S: Final = 3600.0
"""Who has not reported for so long, and is not expected to run, is none of this system any more."""


class DnsSaid(NamedTuple):
    """What DNS says of an endpoint: both servers' answers by type, and the serial that is shown, None if none is."""

    answers: Mapping[str, Answer] = {}
    cached: Mapping[str, Answer] = {}
    serial: int | None = None


class StoreSaid(NamedTuple):
    """What the stores say.

    Attributes:
        zones: endpoint -> its zone, or why that cannot be read.
        latest: the latest plan, None if there is none; read after the zones, so that it is ahead of them, if anything.
        controls, reports: see `PlanStore`.
        waiting_ms: endpoint that is late -> when the first plan that it waits for was published, epoch milliseconds.
        now_s: epoch seconds, when all of it had been read.
    """

    zones: Mapping[str, ZoneLook | str]
    latest: Plan | None
    controls: Controls
    reports: Mapping[str, Report]
    waiting_ms: Mapping[str, int]
    now_s: float


class Behind(NamedTuple):
    """How far DNS is behind a zone: see `EndpointFacts.behind_s` and `behind_more`."""

    age_s: float | None = None
    more: bool = False


class More(NamedTuple):
    """What is asked only where there is reason to: how long commits wait to be shown, and how trees got lost."""

    behind: Mapping[str, Behind] = {}
    losses: Mapping[str, Loss] = {}


NO_MORE: Final = More()


def facts_of(
    place: Place,
    region: Region,
    pages: Sequence[Page],
    *,
    at_s: float,
    dns: Mapping[str, DnsSaid],
    states: Mapping[str, Mapping[str, Any]] | None,
    stores: StoreSaid | str,
    more: More = NO_MORE,
) -> Facts:
    """Return the facts: `states` has the /state of each process that answers, None if nobody was asked.

    `stores` is what they say, or why they cannot be read.
    """
    reports = {} if isinstance(stores, str) else stores.reports
    processes = tuple(process_facts(pages, states, reports))
    planner = _first(states, pages, "planner")
    limited = _limited(planner, stores)
    endpoints = tuple(
        endpoint_facts(endpoint, dns.get(endpoint.name, DnsSaid()), stores, more, limited)
        for endpoint in sorted(region.endpoint, key=lambda endpoint: endpoint.name)
    )
    common = Facts(
        at_s=at_s,
        place=place,
        planner_problem=str(planner.get("problem") or ""),
        plans_held=_words(planner.get("plans_held")),
        negative_ttl_s=region.negative_ttl_s,
        endpoints=endpoints,
        processes=processes,
    )
    return _with_stores(common, stores, states)


def _with_stores(common: Facts, stores: StoreSaid | str, states: Mapping[str, Mapping[str, Any]] | None) -> Facts:
    if isinstance(stores, str):
        return replace(common, store_problem=stores)
    latest = stores.latest
    generation = latest.generation if latest else 0
    installed = [report.generation for report in stores.reports.values() if report.role == "enactor"]
    protocols = {state["protocol"] for state in (states or {}).values() if "protocol" in state}
    unfenced = [e for e in common.endpoints if e.root and e.fence is None]
    return replace(
        common,
        latest=generation,
        latest_age_s=max(0.0, stores.now_s - latest.published_ms / 1000) if latest else None,
        queue_size=max(0, generation - max(installed)) if installed else None,
        plans_frozen=stores.controls.frozen,
        buggy="buggy" in protocols or (not protocols and bool(unfenced) and not any(e.fence for e in common.endpoints)),
    )


def endpoint_facts(
    endpoint: Endpoint, dns: DnsSaid, stores: StoreSaid | str, more: More, limited: Mapping[str, str]
) -> EndpointFacts:
    """Return what is known of one endpoint; `limited` is endpoint -> what the planner does not let go."""
    name = endpoint.name
    facts = EndpointFacts(
        name=name,
        types=endpoint.types,
        limited=limited.get(name, ""),
        answers=dns.answers,
        cached=dns.cached,
    )
    if isinstance(stores, str):
        return facts
    facts = replace(
        facts,
        held={by: r.held[name] for by, r in _fresh(stores, "enactor") if name in r.held},
        pinned=stores.controls.pins.get(name),
        planned=stores.latest is not None and name in stores.latest.digests,
    )
    look = stores.zones[name]
    if isinstance(look, str):
        return replace(facts, problem=look)
    behind = more.behind.get(name, Behind())
    facts = replace(facts, loss=more.losses.get(name), behind_s=behind.age_s, behind_more=behind.more)
    return _with_zone(facts, look, stores)


def _limited(planner: Mapping[str, Any], stores: StoreSaid | str) -> dict[str, str]:
    """Return endpoint -> what the planner does not let go: by its page, else by its report.

    The report has what is pinned among it, which is no limit: a plan store's pin says that by itself.
    """
    if planner or isinstance(stores, str):
        return {**(planner.get("held") or {}), **(planner.get("limited") or {})}
    pins = stores.controls.pins
    held = {name: why for _, report in _fresh(stores, "planner") for name, why in report.held.items()}
    return {name: why for name, why in held.items() if name not in pins and not _is_notice(why)}


def _is_notice(text: str) -> bool:
    """Say whether a text is a pin's: the time in it tells it from a sentence, a thaw later than the report or not."""
    return Notice.parse(text).at_s >= FIRST_NOTICE_S


def _fresh(stores: StoreSaid, role: str) -> Iterator[tuple[str, Report]]:
    """Yield the reports of a role that say something of now."""
    for name, report in stores.reports.items():
        if report.role == role and report.age_s <= REPORT_FRESH_S:
            yield name, report


def _with_zone(facts: EndpointFacts, look: ZoneLook, stores: StoreSaid) -> EndpointFacts:
    name = facts.name
    control = read_control(name, look.records, stores.now_s)
    late, has = is_late(name, look, control, stores.latest), generation_of_zone(look, control)
    return replace(
        facts,
        serial=look.serial,
        root=look.root,
        rollback=look.rollback,
        live=look.live,
        addresses=look.addresses,
        **control._asdict(),
        lag_s=_age_s(stores, name) if late else None,
        lag_generations=max(0, stores.latest.generation - has) if late and stores.latest else 0,
        damaged=_damaged(name, look, control, stores.latest),
    )


def _age_s(stores: StoreSaid, name: str) -> float | None:
    since_ms = stores.waiting_ms.get(name)
    return None if since_ms is None else max(0.0, stores.now_s - since_ms / 1000)


def generation_of_zone(look: ZoneLook, control: Control) -> int:
    """Return the generation that a zone has: its fence's, else its root's; 0 if it has none."""
    return control.fence.generation if control.fence else look.live or 0


def is_late(name: str, look: ZoneLook, control: Control, latest: Plan | None) -> bool:
    """Say whether an endpoint does not have what the latest plan wants, as far as that can be told."""
    if latest is None or name not in latest.digests:
        return False
    if control.fence is not None:
        return control.fence.digest != short(latest.digests[name])
    if look.live == latest.generation or not look.whole:
        return False
    return look.live is None or damage(name, look, latest.content(name)) > 0


def known_content(name: str, look: ZoneLook, control: Control, latest: Plan | None) -> Content | None:
    """Return what the live tree should hold, if the latest plan tells; None if it does not."""
    if latest is None or name not in latest.digests:
        return None
    if control.fence is not None:
        return latest.content(name) if control.fence.digest == short(latest.digests[name]) else None
    return latest.content(name) if look.live == latest.generation else None


def _damaged(name: str, look: ZoneLook, control: Control, latest: Plan | None) -> int:
    content = known_content(name, look, control, latest)
    return damage(name, look, content) if content else 0


def is_broken(name: str, look: ZoneLook, latest: Plan | None) -> bool:
    """Say whether the live tree is not what it should be, so that it is worth asking who did that."""
    control = read_control(name, look.records, 0.0)
    return any(not pointer.exists for pointer in look.root) or _damaged(name, look, control, latest) > 0


def process_facts(
    pages: Sequence[Page], states: Mapping[str, Mapping[str, Any]] | None, reports: Mapping[str, Report]
) -> Iterator[ProcessFacts]:
    """Yield every process that is expected, or was heard of."""
    for page in pages:
        state = None if states is None else states.get(page.name)
        answers = None if states is None else page.name in states
        if not page.expected and not answers and page.name not in reports:
            continue  # a guess, and a wrong one
        process = ProcessFacts(name=page.name, kind=page.kind, port=page.port, expected=page.expected, answers=answers)
        yield _in_its_words(process, reports.get(page.name), state or {})
    known = {page.name for page in pages}
    if any(page.expected for page in pages):
        return  # whoever reported once, and is not listed, belongs to an earlier run
    for name, report in reports.items():
        if name not in known and report.age_s < FORGOTTEN_S:
            yield _in_its_words(ProcessFacts(name=name, kind=report.role), report, {})


def _in_its_words(process: ProcessFacts, report: Report | None, state: Mapping[str, Any]) -> ProcessFacts:
    says = next((str(state[key]) for key in ("not_ready", "last_round", "why") if state.get(key)), "")
    if report is None:
        return replace(process, says=says)
    return replace(process, says=says or report.text, report_age_s=report.age_s, generation=report.generation)


def _first(states: Mapping[str, Mapping[str, Any]] | None, pages: Sequence[Page], kind: str) -> Mapping[str, Any]:
    found = ((states or {}).get(page.name) for page in pages if page.kind == kind)
    return next((state for state in found if state), {})


def _words(value: object) -> str:
    """Return what a page says, as words, whatever form it has: its owner may change that."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {text}" for key, text in sorted(value.items()) if text)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value in (None, False) else str(value)
