"""Print a certificate as a PDF; `certificate_pages` lays it out. Doesn't verify it: the verifier does."""

from __future__ import annotations

from typing import cast

from service.audit.exports.certificate_form import Certificate
from service.domain.audit.canonical_json import NotCanonical, decode_canonical
from service.domain.audit.proof_bundle import CERTIFICATE_FORMAT


class NotACertificate(ValueError):  # noqa: N818 - says what is true of the file
    """The file isn't a certificate in its canonical form."""


def print_certificate(content: bytes) -> bytes:
    """The PDF of a certificate file. Raises NotACertificate. Doesn't verify it: the verifier does."""
    # Here: the library that writes PDF takes half a second to import, and few processes ever print.
    from service.audit.exports.certificate_pages import CertificatePages

    try:
        document = decode_canonical(content.removesuffix(b"\n"))
        if not isinstance(document, dict) or document["format"] != CERTIFICATE_FORMAT:
            raise NotACertificate(NotACertificate.__doc__)
        return CertificatePages(content, cast("Certificate", document)).printed()
    except (NotCanonical, KeyError, TypeError, AttributeError, IndexError):
        raise NotACertificate(NotACertificate.__doc__) from None
