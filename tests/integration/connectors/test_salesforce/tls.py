"""An org behind HTTPS with a private CA, as companies have it behind a proxy: tokens come from one host and port, the
API is at another. Decides nothing about what is said there.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from connectors.salesforce.sandbox.oauth import CONSUMER_KEY, CONSUMER_SECRET, REFRESH_TOKEN, USERNAME
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.testing.sandbox import Call, Result, SandboxServer

_TOKEN = "/services/oauth2/token"


@dataclass(frozen=True)
class SecureOrg:
    """`login_url` gives tokens and nothing else; the API is elsewhere. `ca` is the file to be trusted."""

    sandbox: SalesforceSandbox
    login_url: str
    ca: Path
    private_key: str

    def credentials(self, form: str) -> dict[str, Any]:
        """One of the three forms: `secret`, `signed`, `refresh`."""
        return {
            "secret": {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET},
            "signed": {"consumer_key": CONSUMER_KEY, "username": USERNAME, "private_key": self.private_key},
            "refresh": {"consumer_key": CONSUMER_KEY, "refresh_token": REFRESH_TOKEN},
        }[form]


FORMS = ("secret", "signed", "refresh")


class _Door(SalesforceSandbox):
    """The login host of an org: gives the org's tokens; whoever asks it for anything else has the wrong address."""

    def __init__(self, org: SalesforceSandbox) -> None:
        super().__init__()
        self._org = org

    def handle(self, call: Call) -> Result:
        return self._org.handle(call) if call.path == _TOKEN else Result(404, {"error": "only tokens here"})


@contextmanager
def secured(sandbox: SalesforceSandbox, place: Path) -> Iterator[SecureOrg]:
    """Serve the org, its certificates in `place`."""
    ca_key, ca = _authority()
    files = _certificate(ca_key, ca, place)
    (place / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with SandboxServer({"": sandbox}, tls=files) as api, SandboxServer({"": _Door(sandbox)}, tls=files) as door:
        login_url = f"https://localhost:{door.port}"
        sandbox.options |= {"instance_url": api.url(), "public_key": public.decode(), "audiences": [login_url]}
        sandbox.options |= {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
        yield SecureOrg(sandbox, login_url, place / "ca.pem", private.decode())


def _authority() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example private CA")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    built = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signed = (
        built.add_extension(usage, critical=True).add_extension(identity, critical=False).sign(key, hashes.SHA256())
    )
    return key, signed


def _certificate(ca_key: rsa.RSAPrivateKey, ca: x509.Certificate, place: Path) -> tuple[Path, Path]:
    """A server's certificate for localhost and 127.0.0.1, signed by the CA; the files of it and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    built = _builder(name, ca.subject, key).add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    signed = built.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())
    certificate, private = place / "server.pem", place / "server.key"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return certificate, private


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
