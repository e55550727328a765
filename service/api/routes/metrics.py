"""The counters of the API, and the gauges that `/metrics` reads from the store.

Labels are declared routes, states, system names and reason codes: never ids, never the path of a call.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from service.api.server.connection_limits import Ended
from service.audit.evidence_standing import EvidenceStanding, evidence_standing
from service.domain.access.api_key import KeyRefusal
from service.domain.audit.evidence_bounds import StopReason
from service.domain.suppression.check import Doubt, Status, Verdict
from service.encryption.count_epochs import EpochCounts, count_epochs
from service.monitoring.work_counts import WorkCounts, count_work
from service.settings import Settings
from service.store.stores import Stores

CALLBACK_RESULTS = ("sooner", "nothing_to_do", "refused", "too_many_calls", "too_slow", "too_large")
LINE_RESULTS = ("accepted", "duplicate", "replayed", "refused")

CHECK_RESULTS = (
    (Status.SUPPRESSED.value, "none"),
    (Status.NOT_SUPPRESSED.value, "none"),
    *((Status.UNKNOWN.value, doubt.value) for doubt in Doubt),
)


class Metrics:
    """The counters of one application, in a registry of its own, so that two applications don't mix."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        self._settings = settings
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "expunge_http_requests_total", "HTTP answers.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "expunge_http_request_duration_seconds", "Time to answer.", ("method", "route"), registry=self._registry
        )
        self._refused = Counter(
            "expunge_authentication_failures_total", "Keys that weren't taken.", ("reason",), registry=self._registry
        )
        for reason in KeyRefusal:
            self._refused.labels(reason.value)
        self._lines = Counter(
            "expunge_import_lines", "Lines of imports by what became of them.", ("result",), registry=self._registry
        )
        for result in LINE_RESULTS:
            self._lines.labels(result)

        self._callbacks = Counter(
            "expunge_callbacks", "Vendors' callbacks by result.", ("result",), registry=self._registry
        )
        for result in CALLBACK_RESULTS:
            self._callbacks.labels(result)
        self._checks = Counter(
            "expunge_suppression_checks",
            "Identifiers checked against the suppression list, by status and the reason of an unknown.",
            ("status", "reason"),
            registry=self._registry,
        )
        for labels in CHECK_RESULTS:
            self._checks.labels(*labels)
        self._ended = Counter(
            "expunge_http_connections_ended",
            "Connections that a limit refused or ended.",
            ("reason",),
            registry=self._registry,
        )
        for ended in Ended:
            self._ended.labels(ended.value)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP answer."""
        self._answers.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def refused_authentication(self, reason: KeyRefusal) -> None:
        """Count a refused key."""
        self._refused.labels(reason.value).inc()

    def heard_callback(self, result: str) -> None:
        """Count one callback."""
        self._callbacks.labels(result).inc()

    def ended_connection(self, reason: Ended) -> None:
        """Count a connection that a limit refused or ended."""
        self._ended.labels(reason.value).inc()

    def took_in(self, lines: Mapping[str, int]) -> None:
        """Count lines of an import by result."""
        for result, count in lines.items():
            self._lines.labels(result).inc(count)

    def checked(self, verdicts: Iterable[Verdict]) -> None:
        """Count identifiers that were checked, by result."""
        for result, count in Counts(map(_check_result, verdicts)).items():
            self._checks.labels(*result).inc(count)

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus, with the store's present counts."""
        scrape = CollectorRegistry()
        scrape.register(_Stored(count_work(self._stores), count_epochs(self._stores)))
        scrape.register(_Evidence(evidence_standing(self._stores, self._settings)))
        return generate_latest(self._registry) + generate_latest(scrape)


def _check_result(verdict: Verdict) -> tuple[str, str]:
    return verdict.status.value, "none" if verdict.doubt is None else verdict.doubt.value


class _Stored:
    """A collector of one reading of the store."""

    def __init__(self, counts: WorkCounts, epochs: EpochCounts) -> None:
        self._counts = counts
        self._epochs = epochs

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of this reading, and the store's own counters."""
        yield from self._work()
        yield from self._systems()
        yield from self._audit()
        yield from self._encryption()
        found = CounterMetricFamily(
            "expunge_reappearances", "Erased people who were seen again in a system.", labels=("system",)
        )
        for system, count in self._counts.reappearances.items():
            found.add_metric((system,), count)
        yield found

    def _work(self) -> Iterator[Metric]:
        now = self._counts
        yield _gauge("expunge_requests", "Unfinished requests by state and reason.", ("state", "reason"), now.requests)
        yield _gauge("expunge_steps", "Unfinished steps by system and state.", ("system", "state"), now.steps)
        yield _gauge(
            "expunge_steps_parked",
            "Steps that wait for a human, by the reason's word.",
            ("system", "reason"),
            now.parked,
        )
        yield _gauge(
            "expunge_steps_oldest_due_seconds",
            "For how long the step that waits longest could have been worked on; 0 if none waits.",
            ("system",),
            now.oldest_due_seconds,
        )
        yield _gauge("expunge_imports", "Imports by state, ended ones included.", ("state",), now.imports)
        yield GaugeMetricFamily("expunge_requests_overdue", "Unfinished requests past respond_by.", value=now.overdue)
        yield GaugeMetricFamily("expunge_holds", "Legal holds in force.", value=now.holds)

    def _systems(self) -> Iterator[Metric]:
        now = self._counts
        yield _gauge(
            "expunge_system_down",
            "1 for a system that gives no answer and is only probed.",
            ("system",),
            now.systems_down,
        )
        yield _gauge(
            "expunge_system_cooldown_seconds",
            "How long nothing will be sent to a system, and why.",
            ("system", "reason"),
            now.system_cooldowns,
        )
        yield _gauge(
            "expunge_suppression_sync_age_seconds",
            "Since a system's changes were read last, by a credential that sees.",
            ("system",),
            now.sync_age_seconds,
        )
        yield _gauge(
            "expunge_suppression_sync_consecutive_failures",
            "Attempts in a row at reading a system's changes that failed, by the last one's code.",
            ("system", "code"),
            now.sync_failures,
        )

    def _encryption(self) -> Iterator[Metric]:
        yield _gauge(
            "expunge_encryption_epoch_age_seconds",
            "Age of the oldest encryption epoch that wraps new data keys (current) or awaits destruction (retired).",
            ("state",),
            self._epochs.age_seconds,
        )
        yield GaugeMetricFamily(
            "expunge_encryption_epoch_keys_missing",
            "Encryption epochs whose key can't be read although data keys may need it.",
            value=self._epochs.missing_keys,
        )
        yield GaugeMetricFamily(
            "expunge_data_keys_lost",
            "Data keys of unsealed requests that can't be unwrapped because their epoch key is lost.",
            value=self._epochs.lost_keys,
        )

    def _audit(self) -> Iterator[Metric]:
        now = self._counts
        yield GaugeMetricFamily(
            "expunge_audit_pending_entries", "Audit entries not in the tree yet.", value=now.audit_pending
        )
        yield GaugeMetricFamily(
            "expunge_audit_refused_entries", "Audit entries that don't fit their chain.", value=now.audit_refused
        )
        yield GaugeMetricFamily(
            "expunge_audit_oldest_pending_seconds",
            "Age of the oldest audit entry that waits for the sequencer.",
            value=now.audit_oldest_pending_seconds,
        )
        yield _gauge(
            "expunge_audit_findings",
            "Faults found in the audit log: nothing is signed over them.",
            ("code",),
            now.audit_findings,
        )
        yield _gauge(
            "expunge_anchor_conflicts",
            "Open disagreements with an anchor; while there is one, no vendor is called.",
            ("anchor", "code"),
            now.anchor_conflicts,
        )
        yield _gauge(
            "expunge_anchor_lag_entries",
            "Entries that an anchor's newest head doesn't cover.",
            ("anchor",),
            now.anchor_lag_entries,
        )


class _Evidence:
    """A collector of the state of the evidence."""

    def __init__(self, standing: EvidenceStanding) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """Yield what fails, since when, and whether that stops effects."""
        yield _gauge(
            "expunge_audit_failing_seconds",
            "For how long signing the audit log, or writing to an anchor, has been failing.",
            ("part", "code"),
            {(each.part, each.code): each.seconds for each in self._standing.troubles},
        )
        yield _gauge(
            "expunge_effects_stopped",
            "1 while no new suppressing or erasing starts, because the evidence can't be kept.",
            ("reason",),
            {reason.value: int(reason in self._standing.stopped) for reason in StopReason},
        )


def _gauge(
    name: str, what: str, labels: Sequence[str], values: Mapping[str, float] | Mapping[tuple[str, str], float]
) -> GaugeMetricFamily:
    """Return a gauge with one value for each combination of labels."""
    family = GaugeMetricFamily(name, what, labels=labels)
    for of, value in values.items():
        family.add_metric((of,) if isinstance(of, str) else of, value)
    return family
