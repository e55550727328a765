"""Lay a certificate out on pages, with the signed file attached and its hash on every page.

Decides the content of the pages and its order. Proves nothing: the proof is the JSON certificate, which the PDF carries
as an attachment, byte for byte, and names by its SHA-256. No address, no picture, no code to scan, because an auditor
must understand the page without us. The same certificate gives the same bytes: nothing is compressed, because
compression differs between versions of a library, and the only date is the certificate's own.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from connectors.base.transitions.states import StepState
from service.audit.exports.certificate_form import Certificate, Count
from service.domain.audit.proof_bundle import ATTACHMENT

_MEANINGS = {
    StepState.ERASED_VERIFIED: "erased; a later look by every identifier found nothing",
    StepState.ERASED_UNVERIFIED: "erased, says the system; it offers no way to look",
    StepState.ABSENT: "nothing of the person was found there",
    StepState.SUPPRESSED: "opted out; a later look read it back there",
    StepState.SUPPRESSED_UNVERIFIED: "opted out, says the system; it offers no way to read that back",
    StepState.RETAINED: "kept on purpose, for the reason given",
    StepState.NOT_ADDRESSABLE: "the system knows the person by no identifier that we have",
    StepState.UNRESOLVED: "given up by a named person, for the reason given",
}
_GREY = 190
_SYSTEM_MILLIMETRES = 52
_Rows = Sequence[Sequence[str]]


class CertificatePages(FPDF):
    """The pages of one certificate; `printed` writes them."""

    def __init__(self, content: bytes, document: Certificate) -> None:
        super().__init__(orientation="P", unit="mm", format="A4")
        self._content, self._document = content, document
        self._claims = document["certificate"]
        self._replaced = False
        self.set_compression(False)
        self.set_producer("Expunge")
        self.set_title(f"Certificate of request {self._claims['request']['id']}")
        self.set_creation_date(_instant(self._claims["issued_at"]))
        self.set_margins(18, 16)
        self.set_auto_page_break(True, margin=18)
        self.alias_nb_pages()

    def footer(self) -> None:
        """On every page, so that a page alone still says what it belongs to."""
        self.set_y(-14)
        self.set_font("Helvetica", size=7)
        digest = hashlib.sha256(self._content).hexdigest()
        self.cell(0, 4, f"{ATTACHMENT} SHA-256 {digest} - page {self.page_no()} of {{nb}}", align="C")

    def printed(self) -> bytes:
        """The PDF. Raises KeyError, TypeError, AttributeError or IndexError for a document of another form."""
        self.add_page()
        self._asked()
        self._verified_and_approved()
        self._systems()
        self._entries()
        self._proof()
        self.embed_file(
            bytes=self._content,
            basename=ATTACHMENT,
            modification_date=_instant(self._claims["issued_at"]),
            mime_type="application/json",
            desc="the signed certificate",
        )
        return bytes(self.output())

    def _asked(self) -> None:
        claims, request = self._claims, self._claims["request"]
        self._heading(f"Certificate of {_words(request['kind'])}", 16)
        open_systems = claims["open_systems"]
        standing = (
            f"{open_systems} of {len(claims['systems'])} systems have not ended"
            if open_systems
            else "the request is not sealed yet"
        )
        final = "Final: nothing of this can change any more." if claims["final"] else f"Not final: {standing}."
        self._line(final)
        extension = request["extension"]
        self._table(
            [
                ("Controller", claims["controller"]),
                ("Request", request["id"]),
                # Certificates that were issued before this line existed have no such member.
                ("Case reference", request.get("external_reference") or "-"),
                ("Law", request["regime"]),
                ("Received", _at(request["received_at"])),
                ("Accepted", _at(request["accepted_at"])),
                ("To be answered by", _at(request["respond_by"])),
                ("Extended", f"{_at(extension['at'])}, {_words(extension['reason'])}" if extension else "no"),
                *([("Scopes", ", ".join(request["scopes"]))] if request.get("scopes") else []),
                ("Answered", _at(request["answered_at"])),
                ("Overdue since", _at(request["overdue_at"])),
                ("State", ", ".join(_words(word) for word in (request["state"], request["reason"]) if word)),
                ("Carried out with", request["covered_by"] or "-"),
                ("Sealed, keys destroyed", _at(request["sealed_at"])),
                ("Pseudonym in the log", claims["subject"]),
                ("Certificate issued", _at(claims["issued_at"])),
            ],
            (45, 129),
        )

    def _verified_and_approved(self) -> None:
        self._heading("Who asked: identifiers and how they were verified")
        rows = [("Kind", "Came from", "Use", "Verified by", "At")]
        for identifier in self._claims["identifiers"]:
            proof = identifier["verification"] or {"method": None, "at": None}
            words = (identifier["kind"], identifier["origin"], identifier["use"], proof["method"])
            rows.append((*map(_words, words), _at(proof["at"])))  # type: ignore[arg-type]  # five cells
        self._table(rows, (34, 34, 28, 36, 42), head=True)
        self._heading("The plan: frozen before anything was done")
        plans = [("Version", "Hash", "Frozen at", "Approval asked for", "Approved by, at")]
        for plan in self._claims["plans"]:
            approval = plan["approval"]
            plans.append(
                (
                    str(plan["version"]),
                    plan["hash"],
                    _at(plan["frozen_at"]),
                    ", ".join(map(_words, plan["approval_reasons"])) or "no",
                    f"{approval['by']}, {_at(approval['at'])}" if approval else "-",
                )
            )
        self._table(plans, (15, 61, 34, 30, 34), head=True)

    def _systems(self) -> None:
        self._heading("What was done: every system of the plan")
        outcomes: set[str] = set()
        for system in self._claims["systems"]:
            outcome = system["outcome"]
            if outcome is not None:
                outcomes.add(outcome)
            if self.will_page_break(_SYSTEM_MILLIMETRES):
                # A system's heading and facts stay on one page.
                self.add_page()
            self._line(
                f"{system['system']} ({system['connector']}): {_words(outcome or system['standing'])}", bold=True
            )
            self._table(
                [
                    ("Reason", _words(system["reason"])),
                    ("Exempt for", _words(system["exempt_for"])),
                    (
                        "Ended",
                        _at(system["ended_at"]) if outcome else f"no; looked at again {_at(system['look_again_at'])}",
                    ),
                    ("Attempts", str(system["attempts"])),
                    ("Erased", _counts(system["erased"])),
                    ("Left over", _counts(system["left_over"])),
                    ("Not covered", "; ".join(map(_words, system["not_covered"])) or "-"),
                ],
                (45, 129),
            )
        for outcome in sorted(outcomes & set(_MEANINGS)):
            self._line(f"{_words(outcome)}: {_MEANINGS[StepState(outcome)]}.", size=8)

    def _entries(self) -> None:
        entries = self._document["entries"]
        self._heading(f"What the audit log holds: all {len(entries)} entries of this request")
        rows = [("Index", "At", "What happened", "To", "By", "Proof")]
        for item in entries:
            entry = item["entry"]
            what = ", ".join(
                filter(None, (entry["event"], entry["data"].get("outcome") or entry["data"].get("answer")))
            )
            steps = f"{len(item['proof'])} hashes"
            rows.append((str(item["index"]), _at(entry["at"]), _words(what), entry["object"], entry["actor"], steps))
        self._table(rows, (15, 36, 50, 16, 37, 20), head=True)

    def _proof(self) -> None:
        origin, size, root = self._document["checkpoint"].split("\n")[:3]
        self._heading("How to verify this")
        self._line(
            f"This page proves nothing by itself. The proof is the file {ATTACHMENT}, attached to this document. Save "
            "it and run, on any computer, without any connection: python verify_audit.py --certificate "
            f"{ATTACHMENT} --key audit.pub. Take the program and the key from the controller by another way than this "
            "file. VERIFIED means: the file was signed by the log's key, holds every entry listed above unchanged, and "
            "each entry is in the signed log. Then compare the file's hash with the one below."
        )
        self._table(
            [
                (f"{ATTACHMENT}, SHA-256", hashlib.sha256(self._content).hexdigest()),
                ("Log", origin),
                ("Size of the signed log", f"{size} entries"),
                ("Its root (SHA-256, base64)", root),
                ("Times", "all times are UTC"),
            ],
            (45, 129),
        )
        if self._replaced:
            self._line("A character that this page's font lacks is written as ?; the attached file has it.", size=8)

    def _heading(self, text: str, size: int = 12) -> None:
        self.ln(3)
        self.set_font("Helvetica", style="B", size=size)
        self.multi_cell(0, size / 2, self._latin(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1)

    def _line(self, text: str, *, bold: bool = False, size: int = 9) -> None:
        self.set_font("Helvetica", style="B" if bold else "", size=size)
        self.multi_cell(0, 4.5, self._latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _table(self, rows: _Rows, widths: tuple[int, ...], *, head: bool = False) -> None:
        self.set_font("Helvetica", size=8)
        self.set_draw_color(_GREY)
        with self.table(
            col_widths=widths,
            first_row_as_headings=head,
            line_height=4,
            text_align="LEFT",
            borders_layout="HORIZONTAL_LINES",
            padding=(0.5, 1),
        ) as table:
            for cells in rows:
                row = table.row()
                for cell in cells:
                    row.cell(self._latin(cell))
        self.ln(2)

    def _latin(self, text: str) -> str:
        """The text in the letters that every PDF reader has without a font in the file."""
        written = "".join(_latin_character(char) for char in unicodedata.normalize("NFC", text))
        self._replaced = self._replaced or "?" in written.replace("?", "", text.count("?"))
        return written


def _latin_character(char: str) -> str:
    for form in (char, unicodedata.normalize("NFKD", char)[0]):
        if " " <= form <= "~" or "\xa1" <= form <= "\xff":
            return form
    return "?"


def _words(code: str | None) -> str:
    return "-" if code is None else code.replace("_", " ")


def _counts(counts: Sequence[Count]) -> str:
    return ", ".join(f"{count['count']} {count['what']}" for count in counts) or "-"


def _at(text: str | None) -> str:
    return "-" if text is None else f"{text[:10]} {text[11:19]}"


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
