"""The watch's figures for Prometheus: what `deploy/prometheus/alerts.yml` has its rules over."""

from collections.abc import Mapping

from fencepost.alarms import Alarm
from fencepost.facts import Answer, EndpointFacts, Facts
from fencepost.service import Context


class WatchMetrics:
    """Gauges, set anew by each look; those of the zones keep their values while the store is away."""

    def __init__(self, context: Context) -> None:
        gauge = context.gauge
        self._alarm = gauge("alarm", "1 while the watch has this alarm raised", "cause", "severity", "zone")
        self._store = gauge("store_up", "1 if the store can be read")
        self._latest = gauge("latest_generation", "The latest plan's generation")
        self._queue = gauge("queue_generations", "Generations that are published and not installed")
        self._age = gauge("report_age_seconds", "Since when a process has not reported", "process", "kind")
        self._frozen = gauge("plans_frozen", "1 while an operator has frozen the plan store")
        self._addresses = gauge("endpoint_addresses", "Addresses in the live tree", "zone", "type")
        self._dangling = gauge("root_dangling", "1 if the root points to nothing", "zone")
        self._rollback = gauge("rollback_dangling", "1 if rollback points to nothing", "zone")
        self._damaged = gauge("tree_damaged_records", "Record sets of the live tree that are not as planned", "zone")
        self._lag = gauge("endpoint_lag_generations", "Generations between what is live and the latest plan", "zone")
        self._lag_s = gauge("endpoint_lag_seconds", "Since when a plan waits that changes the endpoint", "zone")
        self._zone_frozen = gauge("endpoint_frozen", "1 while the zone is frozen", "zone")
        self._refused = gauge("endpoint_refused", "1 if an enactor says that it cannot move the endpoint", "zone")
        self._limited = gauge("endpoint_limited", "1 if the planner keeps capacity that should leave", "zone")
        self._answers = gauge("dns_answers", "1 if a name server answers with addresses", "zone", "type", "listener")
        self._silent = gauge("dns_silent", "1 if a name server answers nothing of what it is asked", "listener")
        self._behind = gauge("dns_behind_seconds", "Age of the oldest commit that DNS does not show", "zone")
        self._raised: tuple[str, str, str] | None = None

    def show(self, facts: Facts, alarm: Alarm | None) -> None:
        """Take the facts of a look, and the alarm that is raised."""
        self._show_alarm(alarm)
        self._store.set(not facts.store_problem)
        self._show_answers("authoritative", {endpoint.name: endpoint.answers for endpoint in facts.endpoints})
        self._show_answers("caching", {endpoint.name: endpoint.cached for endpoint in facts.endpoints})
        if facts.store_problem:
            return
        self._latest.set(facts.latest)
        self._queue.set(facts.queue_size or 0)
        self._frozen.set(facts.plans_frozen is not None)
        for process in facts.processes:
            if process.report_age_s is not None:
                self._age.labels(process.name, process.kind).set(process.report_age_s)
        for endpoint in facts.endpoints:
            self._show_zone(endpoint)

    def _show_answers(self, listener: str, said: Mapping[str, Mapping[str, Answer]]) -> None:
        silent = True
        for zone, by_type in said.items():
            for kind, answer in by_type.items():
                silent = silent and not answer.rcode
                self._answers.labels(zone, kind, listener).set(answer.records > 0)
        self._silent.labels(listener).set(silent)

    def _show_zone(self, endpoint: EndpointFacts) -> None:
        zone = endpoint.name
        for kind in endpoint.types:
            self._addresses.labels(zone, kind).set(endpoint.addresses.get(kind, 0))
        self._dangling.labels(zone).set(bool(endpoint.dangling))
        self._rollback.labels(zone).set(any(not pointer.exists for pointer in endpoint.rollback))
        self._damaged.labels(zone).set(endpoint.damaged)
        self._lag.labels(zone).set(endpoint.lag_generations)
        self._lag_s.labels(zone).set(endpoint.lag_s or 0.0)
        self._zone_frozen.labels(zone).set(endpoint.frozen is not None)
        self._refused.labels(zone).set(bool(endpoint.held) and endpoint.frozen is None)
        self._limited.labels(zone).set(bool(endpoint.limited))
        self._behind.labels(zone).set(endpoint.behind_s or 0.0)

    def _show_alarm(self, alarm: Alarm | None) -> None:
        """An alarm that is over is 0, not gone: a rule sees it end."""
        raised = None
        if alarm is not None:
            primary = alarm.primary
            raised = (primary.cause.value, primary.severity.value, primary.endpoints[0] if primary.endpoints else "")
        if self._raised is not None and self._raised != raised:
            self._alarm.labels(*self._raised).set(0)
        if raised is not None:
            self._alarm.labels(*raised).set(1)
        self._raised = raised
