"""The toolkit's client behind a private CA: trusted where the company names it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.base.destinations import NetworkRules
from connectors.base.errors import TemporarilyUnavailable
from connectors.base.toolkit.http import VendorClient
from connectors.salesforce.sandbox.server import SalesforceSandbox
from tests.integration.connectors.test_salesforce.tls import secured

HERE = NetworkRules(allow_private_hosts=frozenset({"localhost"}))
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@pytest.mark.parametrize("variable", _TRUST)
def test_a_private_authority_is_trusted_where_it_is_named(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _TRUST:
        monkeypatch.delenv(name, raising=False)
    with secured(SalesforceSandbox(), tmp_path) as org:
        stranger = VendorClient(org.login_url, network=HERE)
        with pytest.raises(TemporarilyUnavailable, match="tls_not_trusted"):
            stranger.request("GET", "/anything", expect=(404,))
        monkeypatch.setenv(variable, str(org.ca))
        client = VendorClient(org.login_url, network=HERE)
        for _ in range(2):
            assert client.request("GET", "/anything", expect=(404,)).body == {"error": "only tokens here"}
        for each in (stranger, client):
            each.close()
