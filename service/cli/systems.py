"""`expunge systems`: what is connected, and whether each credential is accepted and sees."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import typer

from connectors.base.config import ConfigurationError
from service.cli.client import DEFAULT_URL, EXIT_REFUSED, Api, KeyFile, Url, short_errors
from service.cli.direct import DEFAULT_CONFIG, Config
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, note, show_json, show_table
from service.cli.refusals import short_refusals
from service.cli.requests.answers import SystemAnswer, SystemsAnswer
from service.cli.running.credential_checks import Checked, check_system, keep_checks
from service.settings import Settings, load_settings
from service.store.bootstrap import open_stores

app = command_group("systems", "List and check connected systems.")


@app.command("list")
def list_all(url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False) -> None:
    """List the systems as the service knows them."""
    with short_errors():
        answer: SystemsAnswer = Api(url, key_file).call("GET", "/v1/systems")
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
            each["checked_at"] or "never",
            each["check_result"],
            _now(each),
        )
        for each in answer["systems"]
    ]
    show_table(
        "systems",
        ("name", "connector", "state", "level", "does", "not covered", "checked at", "found then", "now"),
        rows,
    )


def _now(system: SystemAnswer) -> str:
    if system["down_since"] is not None:
        return f"down since {system['down_since']}"
    if system["cooldown_until"]:
        return f"cools down until {system['cooldown_until']}: {system['cooldown_reason']}"
    return f"changes not read: {system['changes_error']}" if system["changes_error"] else ""


@app.command()
def check(config: Config = DEFAULT_CONFIG, as_json: AsJson = False, wide: Wide = False) -> None:
    """Check the credential of every configured system.

    Asks each system whether the credential is accepted and sees records. Exit code 1 if one isn't or doesn't.

    Needs no running service; where one is up, `systems list` shows the results from then on.
    """
    with short_refusals():
        settings = load_settings(config)
        results = [check_system(system) for system in settings.systems]
    _keep(settings, results)
    if as_json:
        show_json([{"system": r.system, "ok": r.ok, "result": r.result, "detail": r.detail} for r in results])
    else:
        rows = [(r.system, "ok" if r.ok else "FAILED", r.result, r.detail) for r in results]
        show_table("systems", ("name", "credential", "proof or error", "detail"), rows)
    if not results:
        note(f"{config.name} connects no system: add a [[systems]] entry for each")
    if not all(result.ok for result in results):
        raise typer.Exit(EXIT_REFUSED)


def _keep(settings: Settings, results: Sequence[Checked]) -> None:
    try:
        stores = open_stores(settings, pool_size=1)
    except ConfigurationError:
        return  # no service is up here: the results are on the screen, and that is all
    with contextlib.closing(stores):
        keep_checks(stores, results)
