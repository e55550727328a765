"""Strict stand-ins of what the anchors speak to: a C2SP witness and an RFC 3161 time-stamping authority.

Written from c2sp.org/tlog-witness, c2sp.org/tlog-cosignature and RFC 3161 / RFC 5652 (read 2026-11-22); they share no
code with the clients. What the specifications refuse, they refuse.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """RFC 6962 §2.1.2 turned round: rebuild both roots recursively from the proof, which must be used up."""
    if old == 0:
        return not proof
    if old == new:
        return not proof and old_root == new_root
    left_over = list(proof)

    def build(m: int, n: int, whole: bool) -> tuple[bytes, bytes]:
        if m == n:
            if whole:
                return old_root, old_root
            node = left_over.pop(0)
            return node, node
        k = 1 << ((n - 1).bit_length() - 1)
        if m <= k:
            a, b = build(m, k, whole)
            right = left_over.pop(0)
            return a, _parent(b, right)
        a, b = build(m - k, n - k, False)
        left = left_over.pop(0)
        return _parent(left, a), _parent(left, b)

    try:
        roots = build(old, new, True)
    except IndexError:
        return False
    return not left_over and roots == (old_root, new_root)


@dataclass
class Witness:
    """One witness for one log. `refuses` makes every answer that status; `silent` leaves the cosignature out."""

    origin: str
    log_key: bytes
    name: str = "witness.example/w1"
    size: int = 0
    root: bytes = b""
    calls: int = 0
    refuses: int | None = None
    silent: bool = False
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def verifier_key(self) -> str:
        public = b"\x04" + self.key.public_key().public_bytes_raw()
        key_id = hashlib.sha256(self.name.encode() + b"\n" + public).digest()[:4]
        return f"{self.name}+{key_id.hex()}+{base64.b64encode(public).decode()}"

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.refuses is not None:
            return httpx.Response(self.refuses, text="no\n")
        if request.method != "POST" or not request.url.path.endswith("/add-checkpoint"):
            return httpx.Response(405)
        head, blank, note = request.content.decode().partition("\n\n")
        lines = head.split("\n")
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        origin, size_text, root_text = text.split("\n")[:3]
        assert blank
        assert lines[0].startswith("old ")
        assert signatures.endswith("\n")
        if origin != self.origin:
            return httpx.Response(404)
        raw = base64.b64decode(signatures.split(" ")[2])
        try:
            Ed25519PublicKey.from_public_bytes(self.log_key).verify(raw[4:], text.encode())
        except Exception:
            return httpx.Response(403)
        old, size, root = int(lines[0][4:]), int(size_text), base64.b64decode(root_text)
        if old > size:
            return httpx.Response(400)
        known = httpx.Response(409, text=f"{self.size}\n", headers={"Content-Type": "text/x.tlog.size"})
        if old != self.size or (old == size and self.size and root != self.root):
            return known
        if not consistent(old, self.root, size, root, [base64.b64decode(line) for line in lines[1:]]):
            return httpx.Response(422)
        self.size, self.root = size, root
        at = int(datetime.now(UTC).timestamp())
        signature = self.key.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        key_id = bytes.fromhex(self.verifier_key.split("+")[1])
        line = base64.b64encode(key_id + struct.pack(">Q", at) + signature).decode()
        return httpx.Response(200, text="" if self.silent else f"— other.example AAAAAAAA\n— {self.name} {line}\n")


# --- DER, by hand: enough of RFC 3161 §2.4.2 and RFC 5652 §5 ----------------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    encoded = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(encoded)]) + encoded + body


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    body = [first * 40 + second]
    for arc in rest:
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | (arc & 0x7F))
        body += reversed(septets)
    return tlv(0x06, bytes(body))


_SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"))
_TST_INFO = oid("1.2.840.113549.1.9.16.1.4")


def children(der: bytes) -> list[tuple[int, bytes, bytes]]:
    """(tag, body, whole) of each element within a body."""
    found, at = [], 0
    while at < len(der):
        tag, size, start = der[at], der[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, start = int.from_bytes(der[start : start + count], "big"), start + count
        found.append((tag, der[start : start + size], der[at : start + size]))
        at = start + size
    return found


@dataclass
class Authority:
    """A time-stamping authority with a root of its own. `lies` stamps another hash than the one asked for."""

    lies: bool = False
    calls: int = 0
    refuses: int | None = None

    def __post_init__(self) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._certificate("root", self._root_key, "root", ca=True)
        self.certificate = self._certificate("tsa", self._key, "root", ca=False)

    def roots_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _certificate(self, who: str, key: ec.EllipticCurvePrivateKey, issuer: str, *, ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        name, issued_by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (who, issuer))
        public, root_public = key.public_key(), self._root_key.public_key()
        usage = x509.KeyUsage(not ca, not ca, False, False, False, ca, ca, False, False)
        builder = (
            x509.CertificateBuilder(issued_by, name, public, x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_public), critical=False)
        )
        if not ca:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(purpose, critical=True)
        return builder.sign(self._root_key, hashes.SHA256())

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.refuses is not None:
            return httpx.Response(self.refuses)
        assert request.headers["Content-Type"] == "application/timestamp-query"
        ((_, query, _),) = children(request.content)
        parts = children(query)
        imprint = parts[1][2]
        nonce = next(whole for tag, _, whole in parts[2:] if tag == 0x02)
        if self.lies:
            imprint = sequence(_SHA256, tlv(0x04, hashlib.sha256(b"something else").digest()))
        return httpx.Response(200, content=self._reply(imprint, nonce))

    def _reply(self, imprint: bytes, nonce: bytes) -> bytes:
        now = datetime.now(UTC)
        at = tlv(0x18, now.strftime("%Y%m%d%H%M%SZ").encode())
        info = sequence(integer(1), oid("1.2.3.4.1"), imprint, integer(self.calls), at, nonce)
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        cert_id = sequence(sequence(sequence(tlv(0x04, hashlib.sha256(der).digest()))))
        attributes = sorted(
            [
                sequence(oid("1.2.840.113549.1.9.3"), tlv(0x31, _TST_INFO)),
                sequence(oid("1.2.840.113549.1.9.4"), tlv(0x31, tlv(0x04, hashlib.sha256(info).digest()))),
                sequence(oid("1.2.840.113549.1.9.16.2.47"), tlv(0x31, cert_id)),
            ]
        )
        signature = self._key.sign(tlv(0x31, *attributes), ec.ECDSA(hashes.SHA256()))
        signer = sequence(
            integer(1),
            sequence(self.certificate.issuer.public_bytes(), integer(self.certificate.serial_number)),
            _SHA256,
            tlv(0xA0, *attributes),
            sequence(oid("1.2.840.10045.4.3.2")),
            tlv(0x04, signature),
        )
        signed = sequence(
            integer(3),
            tlv(0x31, _SHA256),
            sequence(_TST_INFO, tlv(0xA0, tlv(0x04, info))),
            tlv(0xA0, der),
            tlv(0x31, signer),
        )
        token = sequence(oid("1.2.840.113549.1.7.2"), tlv(0xA0, signed))
        return sequence(sequence(integer(0)), token)
