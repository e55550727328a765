"""`[connections]`: how many clients the API serves at once, and how long a request may take to arrive."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from pydantic import Field, field_validator

from connectors.base.config import SystemModel


class ConnectionSettings(SystemModel):
    """`[connections]`: limits of the API's listener. Durations are seconds."""

    max_connections: int = Field(
        400, ge=10, le=100_000, description="connections in all; one that only waits makes room for a new one"
    )
    max_connections_per_client: int = Field(
        100, ge=1, le=100_000, description="connections of one IPv4 address or one IPv6 /64 network"
    )
    proxies: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="reverse proxies' addresses or networks, which stand for many clients: not limited one by one",
    )
    header_timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="until a request's head is there, from its first byte"
    )
    body_timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="how far a body may fall behind min_body_bytes_per_second"
    )
    min_body_bytes_per_second: float = Field(1024.0, gt=0, description="least rate at which a body must come")
    idle_timeout_seconds: int = Field(
        15, ge=1, le=3600, description="from an answer until an idle connection is closed"
    )

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text)
            except ValueError:
                raise ValueError("each is an IP address or a network such as 10.0.0.0/8") from None
        return value

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The proxies as networks."""
        return tuple(ip_network(text) for text in self.proxies)
