"""`expunge audit`: names its commands and their modules, so that `verify` imports no database library."""

from __future__ import annotations

from service.cli.groups import Imported, command_group

_EXPORT, _FILE, _UPKEEP = (f"service.cli.audit.{name}" for name in ("export_commands", "file_commands", "upkeep"))

app = command_group(
    "audit",
    "The audit log and its evidence.",
    {
        "export": Imported(_EXPORT, "export"),
        "report": Imported(_EXPORT, "report"),
        "print": Imported(_FILE, "print_"),
        "verify": Imported(_FILE, "verify"),
        "certificate": Imported(_FILE, "certificate"),
        "anchor": Imported(_UPKEEP, "anchor"),
        "reconcile": Imported(_UPKEEP, "reconcile"),
        "replay": Imported(_UPKEEP, "replay"),
        "prune": Imported(_UPKEEP, "prune"),
        "rotate-key": Imported(_UPKEEP, "rotate_key"),
    },
)
