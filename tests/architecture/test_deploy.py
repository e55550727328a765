"""What lies in deploy/ fits the code: settings, metrics and their labels, a runbook for every alert."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import service.api.routes.metrics
from connectors.base.registry import identity_sources
from connectors.base.transitions.states import StepState
from service import settings as settings_module
from service.api.routes.metrics import Metrics
from service.audit.evidence_standing import EvidenceStanding
from service.domain.access.api_key import KeyRefusal
from service.domain.encryption.epochs import EpochState
from service.domain.requests.states import Progress, RequestState
from service.encryption.count_epochs import EpochCounts
from service.monitoring.work_counts import WorkCounts
from service.settings import EngineSettings, IdentityGraphSettings, Settings, load_settings
from service.store.audit_log.troubles import AuditTrouble
from service.store.stores import Stores

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RUNBOOKS = DEPLOY / "runbooks"
EXAMPLE = DEPLOY / "expunge.example.toml"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


# --- the example configuration ----------------------------------------------------------------------------------------


def test_the_example_configuration_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r'^[^#\n]*"env:([A-Z_]+)"', EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        monkeypatch.setenv(variable, "0123456789abcdef-us1")
    loaded = load_settings(EXAMPLE)
    assert {system.config.connector for system in loaded.systems} >= {"warehouse", "zendesk", "mailchimp"}
    graph = loaded.identity_graph
    assert graph is not None
    # The built-in identity source asks for more than the settings check.
    table = graph.model_dump(include={"base_url", "credentials", "table", "columns"})
    identity_sources()[graph.source](table).close()


def test_the_example_configuration_loads_with_everything_that_it_comments_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    whole = "\n".join(re.sub(r"^# (?=\[|[a-z_]+ = )", "", line) for line in lines)
    for name in ("key_encryption_key", "pepper"):
        (tmp_path / name).write_text("ab" * 32, encoding="ascii")
    whole = whole.replace("file:/etc/expunge/", f"file:{tmp_path}/")
    urls = {
        "EXPUNGE_MAIN_STORE": "postgresql+psycopg://db.example.test/expunge",
        "EXPUNGE_KEY_STORE": "postgresql+psycopg://keys.example.test/expunge_keys",
        "EXPUNGE_BROKER": "redis://broker.example.test/0",
    }
    for variable in set(re.findall(r'"env:([A-Z_]+)"', whole)):
        monkeypatch.setenv(variable, urls.get(variable, "0123456789abcdef-us1"))
    path = tmp_path / "expunge.toml"
    path.write_text(whole, encoding="utf-8")
    assert load_settings(path).keys.pepper is not None
    table = tomllib.loads(whole)
    models = {**settings_module._SECTIONS, "identity_graph": IdentityGraphSettings}
    unseen = {
        f"{name}.{key}"
        for name, model in models.items()
        for key in model.model_fields
        if key not in table.get(name, {})
    }
    assert unseen == {"identity_graph.source"}  # there is only one


def test_the_defaults_that_the_example_shows_are_the_defaults() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    engine = text[text.index("[engine]") : text.index("[approval]")]
    shown = tomllib.loads("\n".join(re.findall(r"^# ([a-z_]+ = .*)$", engine, flags=re.MULTILINE)))
    assert shown == EngineSettings().model_dump()


# --- the unit ---------------------------------------------------------------------------------------------------------


def test_the_unit_runs_the_service_hardened() -> None:
    unit = (DEPLOY / "expunge.service").read_text(encoding="utf-8")
    told = dict(re.findall(r"^(\w+)=(.*)$", unit, flags=re.MULTILINE))
    assert re.fullmatch(r"/\S+/expunge up --config /\S+\.toml", told["ExecStart"])
    assert {told[name] for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices")} == {"yes"}
    assert told["ProtectSystem"] == "strict"
    assert told["StateDirectory"] == "expunge"
    assert told["User"] not in ("", "root")
    # Child processes and servers are ended in order by the supervisor itself.
    assert told["KillMode"] == "mixed"


# --- alerts -----------------------------------------------------------------------------------------------------------


def some(annotation: Any) -> Any:
    """A reading of this type in which every count is one."""
    if get_origin(annotation) is Mapping:
        key, value = get_args(annotation)
        labels = get_args(key)
        return {(tuple("x" for _ in labels) if labels else "x"): some(value)}
    assert annotation in (int, float), annotation
    return annotation(1)


def exposed(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Samples that `/metrics` has, each with its labels, from the application's own exposition."""
    counts = WorkCounts(**{name: some(hint) for name, hint in get_type_hints(WorkCounts).items()})
    epochs = EpochCounts(**{name: some(hint) for name, hint in get_type_hints(EpochCounts).items()})
    monkeypatch.setattr(service.api.routes.metrics, "count_work", lambda stores: counts)
    monkeypatch.setattr(service.api.routes.metrics, "count_epochs", lambda stores: epochs)
    standing = EvidenceStanding((AuditTrouble("signing", "signing_key_unusable", "", 1.0),), ())
    monkeypatch.setattr(service.api.routes.metrics, "evidence_standing", lambda stores, settings: standing)
    metrics = Metrics(cast("Stores", None), cast("Settings", None))
    metrics.answered("GET", "/readyz", 200, 0.1)
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_alerts_speak_of_metrics_and_labels_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    known = exposed(monkeypatch) | {"up": {"job"}}  # `up` is Prometheus' own
    assert {"expunge_steps", "expunge_http_requests_total"} <= set(known)
    words = {word.value for kind in (RequestState, StepState, Progress, KeyRefusal, EpochState) for word in kind}
    for rule in RULES:
        used = re.findall(r"\b(expunge_\w+|up\b)(?:\{([^}]*)\})?", rule["expr"])
        assert used, rule["alert"]
        for metric, selector in used:
            assert metric in known, rule["alert"]
            for label, value in re.findall(r"(\w+)=~?\"([^\"]*)\"", selector):
                assert label in known[metric], rule["alert"]
                assert label not in ("state", "reason") or set(value.split("|")) <= words, rule["alert"]
        labels = set().union(*(known[metric] for metric, _ in used))
        for grouped in re.findall(r"by \(([^)]*)\)", rule["expr"]):
            assert set(re.split(r",\s*", grouped)) <= labels, rule["alert"]
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels, rule["alert"]


def test_every_metric_is_documented_and_every_documented_metric_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed(monkeypatch) if not name.endswith("_created")
    }
    assert len(known) > 20
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    table = re.search(r"^## Metrics$(.*?)^## ", page, flags=re.DOTALL | re.MULTILINE)
    assert table is not None
    assert set(re.findall(r"`(expunge_[a-z_]+)`", table[1])) == {name for name in known if name.startswith("expunge_")}


@pytest.mark.parametrize(
    "wanted",
    [
        "expunge_requests_overdue > 0",
        "expunge_steps_parked > 0",
        "expunge_steps_oldest_due_seconds >",
        'expunge_steps{state="due"}',
        'expunge_requests{state="open"}',
        "expunge_audit_refused_entries > 0",
        "expunge_audit_oldest_pending_seconds",
        "expunge_audit_findings > 0",
        "expunge_anchor_conflicts > 0",
        "expunge_system_down == 1",
        "expunge_anchor_lag_entries",
        "expunge_reappearances_total[1h]) > 0",
        "expunge_suppression_sync_age_seconds >",
        "expunge_encryption_epoch_keys_missing > 0",
        "expunge_data_keys_lost > 0",
        'expunge_encryption_epoch_age_seconds{state="current"} >',
        'expunge_audit_failing_seconds{part="signing"} >',
        'expunge_audit_failing_seconds{part=~"anchor:.*"} >',
        "expunge_effects_stopped == 1",
    ],
)
def test_what_matters_has_an_alert(wanted: str) -> None:
    assert any(wanted in rule["expr"] for rule in RULES)


def test_every_alert_has_a_runbook_of_its_name_and_every_runbook_a_reader() -> None:
    named = set()
    for rule in RULES:
        words = re.sub(r"(?<!^)([A-Z])", r"_\1", rule["alert"].removeprefix("Expunge")).lower()
        runbook = DEPLOY / rule["annotations"]["runbook"]
        assert runbook == RUNBOOKS / f"{words}.md"
        assert runbook.read_text(encoding="utf-8").startswith(f"# {rule['alert']}\n")
        assert rule["labels"]["severity"] in ("critical", "warning")
        named.add(runbook.name)
    assert len(named) == len(RULES)
    linked = set(re.findall(r"deploy/runbooks/(\w+\.md)", (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")))
    assert {path.name for path in RUNBOOKS.glob("*.md")} == named | linked
    assert {"restore_from_backup.md", "rotate_keys.md"} <= linked
