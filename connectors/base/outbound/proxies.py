"""Decide which proxy a call goes through: the system's own, or what the environment says."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.request import getproxies_environment

from connectors.base.config import ConfigurationError
from connectors.base.destinations import Address, NetworkRules, Proxy, UrlRefused, literal, parse_proxy


def proxy_for(rules: NetworkRules, scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for calls to this origin, None for none. Raises ConfigurationError.

    HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in capitals or not, as other programs read them; NO_PROXY takes
    host names with everything below them, addresses, networks (`10.0.0.0/8`) and `*`. This machine is never asked
    for through the environment's proxy.
    """
    if rules.proxy is not None or not rules.may_use_proxy:
        return rules.proxy
    found = getproxies_environment()
    text = found.get(scheme) or found.get("all")
    if not text or host == "localhost" or _is_excepted(found.get("no", ""), host, port):
        return None
    try:
        return parse_proxy(text)
    except UrlRefused as refused:
        raise ConfigurationError(f"{scheme.upper()}_PROXY: {refused}") from None


def _is_excepted(exceptions: str, host: str, port: int) -> bool:
    address = literal(host)
    if address is not None and address.is_loopback:
        return True
    for entry in (each.strip().lower() for each in exceptions.split(",")):
        if entry == "*":
            return True
        if address is None:
            name = entry.removesuffix(f":{port}").removeprefix("*").removeprefix(".")
            if name and (host == name or host.endswith(f".{name}")):
                return True
        elif _is_within(address, entry.removesuffix(f":{port}") if address.version == 4 else entry):
            return True
    return False


def _is_within(address: Address, network: str) -> bool:
    try:
        found = ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False
    return found.version == address.version and address in found
