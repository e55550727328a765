"""What the front door counts, and what it reads from the store when somebody asks for `/metrics`.

Labels are routes as written, states, system names and reason codes: never ids, never paths as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from service.domain.api_key import KeyRefusal
from service.storage.stores import Stores
from service.use_cases.count_work import WorkCounts, count_work

CALLBACK_RESULTS = ("sooner", "nothing_to_do", "refused", "too_many_calls", "too_slow", "too_large")
LINE_RESULTS = ("accepted", "linked", "replayed", "refused")


class Metrics:
    """The counters of one application. Its registry is its own: two applications in one process don't mix."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "expunge_http_responses", "HTTP answers.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "expunge_http_response_seconds", "Time to answer.", ("method", "route"), registry=self._registry
        )
        self._refused = Counter(
            "expunge_authentication_refused", "Keys that weren't taken.", ("reason",), registry=self._registry
        )
        for reason in KeyRefusal:
            self._refused.labels(reason.value)
        self._lines = Counter(
            "expunge_import_lines", "Lines of imports by what became of them.", ("result",), registry=self._registry
        )
        for result in LINE_RESULTS:
            self._lines.labels(result)

        self._callbacks = Counter(
            "expunge_callbacks", "Vendors' callbacks by what came of them.", ("result",), registry=self._registry
        )
        for result in CALLBACK_RESULTS:
            self._callbacks.labels(result)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP answer."""
        self._answers.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def refused_authentication(self, reason: KeyRefusal) -> None:
        """Count a key that wasn't taken."""
        self._refused.labels(reason.value).inc()

    def heard_callback(self, result: str) -> None:
        """Count one callback."""
        self._callbacks.labels(result).inc()

    def took_in(self, lines: Mapping[str, int]) -> None:
        """Count lines of an import by result."""
        for result, count in lines.items():
            self._lines.labels(result).inc(count)

    def exposition(self) -> bytes:
        """Everything in the text format of Prometheus, the store's counts as of now."""
        scrape = CollectorRegistry()
        scrape.register(_Stored(count_work(self._stores)))
        return generate_latest(self._registry) + generate_latest(scrape)


class _Stored:
    """One reading of the store, as a collector."""

    def __init__(self, counts: WorkCounts) -> None:
        self._counts = counts

    def _syncs(self) -> Iterable[Metric]:
        found = CounterMetricFamily(
            "expunge_reappearances", "Erased people who were seen again in a system.", labels=("system",)
        )
        for system, count in self._counts.reappearances.items():
            found.add_metric((system,), count)
        age = GaugeMetricFamily(
            "expunge_suppression_sync_age_seconds",
            "Since a system's changes were read last, by a credential that sees.",
            labels=("system",),
        )
        for system, seconds in self._counts.sync_age_seconds.items():
            age.add_metric((system,), seconds)
        failing = GaugeMetricFamily(
            "expunge_suppression_sync_failing",
            "Attempts in a row at reading a system's changes that failed, by the last one's code.",
            labels=("system", "code"),
        )
        for (system, code), count in self._counts.sync_failing.items():
            failing.add_metric((system, code), count)
        yield from (found, age, failing)

    def collect(self) -> Iterable[Metric]:
        """The gauges of this reading, and what the store itself counts."""
        yield from self._syncs()
        requests = GaugeMetricFamily(
            "expunge_requests", "Unfinished requests by state and reason.", labels=("state", "reason")
        )
        for (state, reason), count in self._counts.requests.items():
            requests.add_metric((state, reason), count)
        steps = GaugeMetricFamily("expunge_steps", "Unfinished steps by system and state.", labels=("system", "state"))
        for (system, state), count in self._counts.steps.items():
            steps.add_metric((system, state), count)
        down = GaugeMetricFamily(
            "expunge_system_down", "1 for a system that gives no answer and is only probed.", labels=("system",)
        )
        for system, is_down in self._counts.systems_down.items():
            down.add_metric((system,), is_down)
        rest = GaugeMetricFamily(
            "expunge_system_rest_seconds",
            "How long nothing will be sent to a system, and why.",
            labels=("system", "reason"),
        )
        for (system, reason), seconds in self._counts.systems_at_rest.items():
            rest.add_metric((system, reason), seconds)
        yield down
        yield rest
        parked = GaugeMetricFamily(
            "expunge_steps_parked",
            "Steps that wait for a human, by the reason's word.",
            labels=("system", "reason"),
        )
        for (system, reason), count in self._counts.parked.items():
            parked.add_metric((system, reason), count)
        oldest = GaugeMetricFamily(
            "expunge_steps_oldest_due_seconds",
            "For how long the step that waits longest could have been worked on; 0 if none waits.",
            labels=("system",),
        )
        for system, seconds in self._counts.oldest_due_seconds.items():
            oldest.add_metric((system,), seconds)
        yield parked
        yield oldest
        imports = GaugeMetricFamily("expunge_imports", "Imports by state.", labels=("state",))
        for state, count in self._counts.imports.items():
            imports.add_metric((state,), count)
        yield requests
        yield steps
        yield imports
        yield GaugeMetricFamily(
            "expunge_requests_overdue", "Unfinished requests past respond_by.", value=self._counts.overdue
        )
        yield GaugeMetricFamily("expunge_holds", "Legal holds in force.", value=self._counts.holds)
        yield GaugeMetricFamily(
            "expunge_audit_pending", "Audit entries not in the tree yet.", value=self._counts.audit_pending
        )
        yield GaugeMetricFamily(
            "expunge_audit_refused", "Audit entries that don't fit their chain.", value=self._counts.audit_refused
        )
        yield GaugeMetricFamily(
            "expunge_audit_oldest_pending_seconds",
            "Age of the oldest audit entry that waits for the sequencer.",
            value=self._counts.audit_oldest_pending_seconds,
        )
        findings = GaugeMetricFamily(
            "expunge_audit_findings", "Faults found in the audit log: nothing is signed over them.", labels=("code",)
        )
        for code, count in self._counts.audit_findings.items():
            findings.add_metric((code,), count)
        conflicts = GaugeMetricFamily(
            "expunge_anchor_conflicts",
            "Disagreements with an anchor that nobody accepted: no vendor is called.",
            labels=("anchor", "code"),
        )
        for (anchor, code), count in self._counts.anchor_conflicts.items():
            conflicts.add_metric((anchor, code), count)
        lag = GaugeMetricFamily(
            "expunge_anchor_lag_entries", "Entries that an anchor's newest head doesn't cover.", labels=("anchor",)
        )
        for anchor, count in self._counts.anchor_lag_entries.items():
            lag.add_metric((anchor,), count)
        yield findings
        yield conflicts
        yield lag
