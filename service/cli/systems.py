"""`expunge systems`: what is connected, and whether each credential is accepted and sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer

from connectors.base.config import ConfigurationError
from connectors.base.errors import ConnectorError
from connectors.base.registry import connector_class
from service.cli.client import DEFAULT_URL, EXIT_REFUSED, Api, KeyFile, Url, short_errors
from service.cli.direct import DEFAULT_CONFIG, Config, short_refusals
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, show_json, show_table
from service.settings import ConfiguredSystem, Settings, load_settings
from service.storage.open_installation import open_stores
from service.use_cases.record_check import record_checks

app = command_group("systems", "Connected systems.")


@dataclass(frozen=True)
class _Checked:
    system: str
    ok: bool
    result: str
    detail: str


@app.command("list")
def list_all(url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False) -> None:
    """List the systems as the service knows them."""
    with short_errors():
        answer = Api(url, key_file).call("GET", "/v1/systems")
    if as_json:
        show_json(answer)
        return
    rows = [
        (
            each["name"],
            each["connector"],
            each["state"],
            each["declaration"] and each["declaration"]["level"],
            each["declaration"] and ", ".join(each["declaration"]["operations"]),
            each["declaration"] and ", ".join(each["declaration"]["not_covered"]),
            each["check_result"],
            _now(each),
        )
        for each in answer["systems"]
    ]
    show_table("systems", ("name", "connector", "state", "level", "does", "not covered", "last check", "now"), rows)


def _now(system: Mapping[str, Any]) -> str:
    if system["down_since"] is not None:
        return f"down since {system['down_since']}"
    if system["rest_until"]:
        return f"rests until {system['rest_until']}: {system['rest_reason']}"
    return f"changes not read: {system['changes_error']}" if system["changes_error"] else ""


@app.command()
def check(config: Config = DEFAULT_CONFIG, as_json: AsJson = False, wide: Wide = False) -> None:
    """Ask every configured system whether our credential is accepted and sees. Exit code 1 if one isn't.

    Needs no running service; where one is up, `systems list` shows the results from then on.
    """
    with short_refusals():
        settings = load_settings(config)
        results = [_check(system) for system in settings.systems]
    _keep(settings, results)
    if as_json:
        show_json([{"system": r.system, "ok": r.ok, "result": r.result, "detail": r.detail} for r in results])
    else:
        rows = [(r.system, "ok" if r.ok else "FAILED", r.result, r.detail) for r in results]
        show_table("systems", ("name", "", "proof or error", "detail"), rows)
    if not all(result.ok for result in results):
        raise typer.Exit(EXIT_REFUSED)


def _keep(settings: Settings, results: list[_Checked]) -> None:
    try:
        stores = open_stores(settings, pool_size=1)
    except ConfigurationError:
        return  # no service is up here: the results are on the screen, and that is all
    try:
        record_checks(stores, {r.system: r.result if r.ok else f"failed:{r.result}" for r in results})
    finally:
        stores.close()


def _check(system: ConfiguredSystem) -> _Checked:
    connector = connector_class(system.config.connector)(system.config)
    try:
        seen = connector.check_credentials()
    except ConnectorError as error:
        return _Checked(system.config.name, False, error.code, type(error).__name__)
    finally:
        connector.close()
    return _Checked(system.config.name, True, seen.proof, seen.detail)
