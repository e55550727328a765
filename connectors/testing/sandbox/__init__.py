"""The harness that serves stand-ins over real HTTP: routes, journal, faults, latency, ground truth."""

from connectors.testing.sandbox.harness import ApiError, Call, ManualSetup, Result, Sandbox, route
from connectors.testing.sandbox.server import SandboxServer
from connectors.testing.sandbox.tables import Table, TableSandbox

__all__ = ["ApiError", "Call", "ManualSetup", "Result", "Sandbox", "SandboxServer", "Table", "TableSandbox", "route"]
