"""`expunge keys`: create and revoke API keys, with access to the stores. Changes are audited as `cli`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from service.access.create_key import create_key, revoke_key
from service.access.list_keys import list_keys
from service.cli.direct import DEFAULT_CONFIG, Config, opened
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, note, say, show_json, show_table
from service.domain.access.api_key import Scope

app = command_group("keys", "Create, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Option(help="The person or program that will use it, one per key.")],
    scope: Annotated[list[Scope], typer.Option(help="An operation that it may do; repeat for more.")],
    days: Annotated[int, typer.Option(min=1, help="Days until it ends, at most 400.")] = 90,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Create a key. It is shown once, now."""
    with opened(config) as (_, stores):
        key = create_key(stores, name=name, scopes=scope, life=timedelta(days=days), actor="cli")
    if as_json:
        show_json(
            {
                "id": str(key.id),
                "name": key.name,
                "prefix": key.prefix,
                "scopes": list(key.scopes),
                "expires_at": key.expires_at.isoformat(),
                "key": key.token,
            }
        )
        return
    say(key.token)
    note(f"until {key.expires_at.isoformat(timespec='seconds')}; it isn't shown again")


@app.command("list")
def list_all(config: Config = DEFAULT_CONFIG, as_json: AsJson = False, wide: Wide = False) -> None:
    """List all keys, without their secrets."""
    with opened(config) as (_, stores):
        keys = list_keys(stores)
    if as_json:
        show_json(
            [
                {
                    "id": str(key.id),
                    "name": key.name,
                    "prefix": key.prefix,
                    "state": key.state,
                    "scopes": list(key.scopes),
                    "created_at": key.created_at.isoformat(),
                    "expires_at": key.expires_at.isoformat(),
                }
                for key in keys
            ]
        )
        return
    rows = [(key.prefix, key.name, key.state, key.expires_at.date(), ", ".join(key.scopes)) for key in keys]
    show_table("keys", ("prefix", "name", "state", "until", "scopes"), rows)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, as `keys list` shows it.", show_default=False)],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: from now on it opens nothing."""
    with opened(config) as (_, stores):
        revoke_key(stores, prefix=prefix, actor="cli")
    if as_json:
        show_json({"prefix": prefix, "state": "revoked"})
    else:
        say(f"revoked {prefix}")
