"""Verify an Expunge audit export, excerpt, table or certificate without Expunge.

    python verify_audit.py EXPORT [--key audit.pub]                        the whole log, or an excerpt of it
    python verify_audit.py --certificate CERTIFICATE [--key audit.pub]
    python verify_audit.py --manifest MANIFEST FILE [--key audit.pub]      a CSV, Parquet or report file

Needs Python 3.11 and the `cryptography` package, nothing of ours, no network and no database. Exit code 0: everything
holds. 1: something doesn't, and the message says on which line and why. 2: a file or the command line can't be used.

Trust comes from one thing only: the public key, by default `audit.pub` beside the file. Get it by another way than
the file, and compare its fingerprint, which is printed. A key inside the file would never be looked at.

What is checked in an export:
 - every line is canonical JSON (keys sorted, no spaces, no second spelling), in the expected place, none missing, none
   left over; indexes run 0, 1, 2, ... to the size that is signed;
 - every entry is hashed from its bytes into an RFC 6962 Merkle tree whose root is the one in the checkpoint;
 - the checkpoint (a C2SP signed note) carries a valid Ed25519 signature of the trusted key, named like the log;
 - for each object, versions run 1, 2, 3, ... and `previous` is the SHA-256 of the object's previous entry.
In an excerpt: its signature, the checkpoint's, an inclusion proof of each entry; that of an object all entries between
the first and the last one shown are there; and, unless it is of one system or law only, that no index is missing.
In a certificate: its signature, the checkpoint's, an inclusion proof of each entry, the same counters and hashes, and
that all entries are of the certificate's subject.
With a manifest: that its signature and the checkpoint's are valid and the file is, byte for byte, the one it names.

What a verifier can't see: whether the log left something out before it was signed, and whether the key's owner signed
another log as well. Compare the printed checkpoint with the ones you were given earlier.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EXPORT_FORMAT = "expunge-audit-export/1"
SLICE_FORMAT = "expunge-audit-slice/1"
MANIFEST_FORMAT = "expunge-export-manifest/1"
CERTIFICATE_FORMAT = "expunge-certificate/1"
ENTRY_MEMBERS = {"actor", "at", "data", "event", "format", "object", "object_id", "previous", "subject", "version"}
MANIFEST_MEMBERS = {"checkpoint", "end", "file", "filter", "first", "format", "kind", "rows", "signature"}
LONGEST_LINE_BYTES = 1024 * 1024
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)


class Broken(Exception):  # noqa: N818 - the verdict, not a fault of the program
    """The evidence doesn't hold; the text says where and why."""


class Unusable(Exception):  # noqa: N818 - the verdict, not a fault of the program
    """A file or key that can't be used at all."""


# --- bytes, JSON, base64: one spelling each ---------------------------------------------------------------------------


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")


def read_canonical(raw: bytes, where: str) -> Any:
    """The JSON value of bytes that are its canonical encoding; two equal keys, a space or an escape too many fail."""

    def no_fraction(_: str) -> NoReturn:
        raise ValueError

    try:
        value = json.loads(raw.decode("utf-8"), parse_float=no_fraction, parse_constant=no_fraction)
        again = canonical(value)
    except (ValueError, RecursionError):
        raise Broken(f"{where}: not JSON in UTF-8 with whole numbers") from None
    if again != raw:
        raise Broken(f"{where}: not the canonical encoding of what it says")
    return value


def read_members(raw: bytes, names: set[str], where: str) -> dict[str, Any]:
    value = read_canonical(raw, where)
    if not isinstance(value, dict) or value.keys() != names:
        raise Broken(f"{where}: expected exactly the members {', '.join(sorted(names))}")
    return value


def read_base64(text: object, where: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raise Broken(f"{where}: not base64") from None
    if not decoded or base64.b64encode(decoded).decode() != text:
        raise Broken(f"{where}: not base64 in its only spelling")
    return decoded


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# --- the Merkle tree of RFC 6962 --------------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """Keeps only the roots of the complete subtrees at the right edge."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        rest = self.size
        while rest & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            rest >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_from_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162 §2.1.3.2); None if its length doesn't fit."""
    place, last, current = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            current = node_hash(step, current)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            current = node_hash(current, step)
        place, last = place >> 1, last >> 1
    return current if last == 0 else None


# --- the trusted key and what it signed -------------------------------------------------------------------------------


class Key:
    """An Ed25519 key with a name, from a line `name+id+base64` (C2SP verifier key)."""

    def __init__(self, line: str) -> None:
        name, _, rest = line.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            public = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise Unusable("the key file doesn't hold a verifier key") from None
        self.name = name
        self.key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        if len(public) != 33 or public[0] != 1 or self.key_id.hex() != key_id:
            raise Unusable("the key file doesn't hold an Ed25519 verifier key")
        self.fingerprint = hashlib.sha256(public[1:]).hexdigest()
        self._public = Ed25519PublicKey.from_public_bytes(public[1:])

    def check(self, message: bytes, signature: bytes, where: str) -> None:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            raise Broken(f"{where}: the signature isn't the trusted key's over this") from None


def open_checkpoint(note: object, key: Key, where: str) -> tuple[int, bytes]:
    """(size, root) of a note that is exactly: origin, size, root, blank line, one signature line of the key."""
    lines = note.split("\n") if isinstance(note, str) else []
    if len(lines) != 6 or lines[3] or lines[5]:
        raise Broken(f"{where}: a checkpoint has three lines, a blank one and one signature")
    dash, _, rest = lines[4].partition(" ")
    name, _, encoded = rest.partition(" ")
    signature = read_base64(encoded, f"{where}, signature")
    if dash != "—" or name != key.name or signature[:4] != key.key_id:
        raise Broken(f"{where}: signed by another key than the trusted one")
    key.check("".join(f"{line}\n" for line in lines[:3]).encode(), signature[4:], where)
    origin, size, root = lines[:3]
    if origin != key.name or not re.fullmatch(r"0|[1-9][0-9]{0,18}", size):
        raise Broken(f"{where}: the checkpoint isn't one of this log")
    decoded = read_base64(root, f"{where}, root")
    if len(decoded) != 32:
        raise Broken(f"{where}: the root isn't a SHA-256")
    return int(size), decoded


# --- entries ----------------------------------------------------------------------------------------------------------


class Chains:
    """Each object's newest version and digest, so that a dropped, doubled or foreign entry shows."""

    def __init__(self, *, may_begin_late: bool = False) -> None:
        self.newest: dict[tuple[str, str], tuple[int, str | None]] = {}
        self._may_begin_late = may_begin_late

    def check(self, entry: object, raw: bytes, where: str) -> None:
        if not isinstance(entry, dict) or entry.keys() != ENTRY_MEMBERS:
            raise Broken(f"{where}: not an audit entry")
        if not is_whole(entry["format"]) or entry["format"] != 1:
            raise Broken(f"{where}: not an audit entry of format 1")
        if not all(isinstance(entry[name], str) for name in ("actor", "event", "object", "object_id")):
            raise Broken(f"{where}: actor, event, object or object_id isn't text")
        if not isinstance(entry["data"], dict) or not isinstance(entry["subject"], (str, type(None))):
            raise Broken(f"{where}: data or subject isn't of its form")
        check_instant(entry["at"], where)
        known = (entry["object"], entry["object_id"])
        version, digest = self.newest.get(known, (0, None))
        if self._may_begin_late and known not in self.newest and is_whole(entry["version"]) and entry["version"] > 1:
            version, digest = entry["version"] - 1, entry["previous"] or "missing"
        if not is_whole(entry["version"]) or entry["version"] != version + 1:
            raise Broken(f"{where}: expected version {version + 1} of this {entry['object']}")
        if entry["previous"] != digest:
            raise Broken(f"{where}: `previous` isn't the hash of version {version} of this {entry['object']}")
        self.newest[known] = (version + 1, hashlib.sha256(raw).hexdigest())


def check_instant(text: object, where: str) -> None:
    if not isinstance(text, str) or not INSTANT.fullmatch(text):
        raise Broken(f"{where}: `at` isn't an instant in UTC")
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise Broken(f"{where}: `at` names no day and time that exist") from None


# --- the kinds of file ------------------------------------------------------------------------------------------------


class Lines:
    """The lines of a file one by one; each must end in a newline and be of a sane length."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0

    def next(self) -> tuple[bytes, str]:
        self.number += 1
        line = self._file.readline(LONGEST_LINE_BYTES)
        where = f"line {self.number}"
        if not line:
            raise Broken(f"{where}: missing, the file ends too early")
        if not line.endswith(b"\n"):
            raise Broken(f"{where}: too long or cut off, no newline at its end")
        return line[:-1], where

    def end(self) -> None:
        if self._file.read(1):
            raise Broken(f"line {self.number + 1}: nothing may follow the last line")


def verify_export(file: BinaryIO, key: Key) -> str:
    """Reads the whole export; answers a summary, or raises Broken. Memory grows with the objects, not the entries."""
    lines = Lines(file)
    raw, where = lines.next()
    pruned = {"pruned"} if b',"pruned":' in raw else set()
    header = read_members(raw, {"format", "origin", "size"} | pruned, where)
    if header["format"] != EXPORT_FORMAT or header["origin"] != key.name or not is_whole(header["size"]):
        raise Broken("line 1: not an export of the log that the trusted key is named after")
    tree, chains = Tree(), Chains(may_begin_late=bool(pruned))
    if pruned:
        begin_late(tree, header, where)
    start = tree.size
    for index in range(start, header["size"]):
        raw, where = lines.next()
        line = read_members(raw, {"entry", "index"}, where)
        if not is_whole(line["index"]) or line["index"] != index:
            raise Broken(f"{where}: expected index {index}")
        # The line is canonical, so these are the entry's own bytes, not an encoding made here.
        entry = raw[len(b'{"entry":') : -len(b',"index":%d}' % index)]
        tree.append(leaf_hash(entry))
        chains.check(line["entry"], entry, where)
    raw, where = lines.next()
    size, root = open_checkpoint(read_members(raw, {"checkpoint"}, where)["checkpoint"], key, where)
    lines.end()
    if size != tree.size:
        raise Broken(f"{where}: the checkpoint is over {size} entries, the export has {tree.size}")
    if root != tree.root():
        raise Broken(f"{where}: the root over the {size} entries above isn't the signed one; some entry was changed")
    gone = f", the first {start} of {size} were pruned" if start else ""
    return f"{size - start} entries of {len(chains.newest)} objects{gone}\n{named(size, root)}"


def begin_late(tree: Tree, header: dict[str, Any], where: str) -> None:
    """Takes the roots over entries that were removed after their retention; the signed root must follow from them."""
    pruned = header["pruned"]
    if not isinstance(pruned, dict) or pruned.keys() != {"roots", "size"} or not isinstance(pruned["roots"], list):
        raise Broken(f"{where}: pruned isn't of its form")
    size, roots = pruned["size"], [read_base64(root, f"{where}, pruned") for root in pruned["roots"]]
    if not is_whole(size) or not 0 < size < header["size"] or len(roots) != size.bit_count():
        raise Broken(f"{where}: pruned has another number of roots than its size asks for")
    if any(len(root) != 32 for root in roots):
        raise Broken(f"{where}: a root isn't a SHA-256")
    tree.size, tree.peaks = size, roots


def verify_slice(file: BinaryIO, key: Key) -> str:
    """Reads an excerpt; answers a summary, or raises Broken."""
    lines = Lines(file)
    raw, where = lines.next()
    header = read_members(raw, {"checkpoint", "end", "filter", "first", "format", "origin"}, where)
    size, root = open_checkpoint(header["checkpoint"], key, where)
    about, (first, end) = read_filter(header, size, where)
    if header["format"] != SLICE_FORMAT or header["origin"] != key.name:
        raise Broken("line 1: not an excerpt of the log that the trusted key is named after")
    dense = header["filter"]["system"] is None and header["filter"]["regime"] is None
    chains, newest, count, digest = Chains(may_begin_late=True), first - 1, 0, hashlib.sha256(raw + b"\n")
    while (line := lines.next())[0].startswith(b'{"entry":'):
        raw, where = line
        index = _check_proven(item := read_canonical(raw, where), size, root, newest, where)
        if index >= end or (dense and index != newest + 1):
            raise Broken(f"{where}: expected index {newest + 1}" if dense else f"{where}: its index is out of range")
        chains.check(item["entry"], canonical(item["entry"]), where)
        newest, count = index, count + 1
        digest.update(raw + b"\n")
    raw, where = line
    trailer = read_members(raw, {"entries", "sha256", "signature"}, where)
    check_signed(trailer, SLICE_FORMAT, key, where)
    lines.end()
    if not is_whole(trailer["entries"]) or (trailer["entries"], trailer["sha256"]) != (count, digest.hexdigest()):
        raise Broken(f"{where}: signed over other lines than those above")
    if dense and newest + 1 != end:
        raise Broken(f"{where}: entries are missing, the last index is {end - 1}")
    return f"excerpt of {count} entries, {about}\n{named(size, root)}"


def verify_manifest(manifest: BinaryIO, file: BinaryIO, key: Key) -> str:
    """Reads a manifest and the file that it signs; answers a summary, or raises Broken."""
    lines = Lines(manifest)
    raw, _ = lines.next()
    lines.end()
    document = read_members(raw, MANIFEST_MEMBERS, "manifest")
    check_signed(document, MANIFEST_FORMAT, key, "manifest")
    size, root = open_checkpoint(document["checkpoint"], key, "manifest, checkpoint")
    about, _ = read_filter(document, size, "manifest")
    if document["format"] != MANIFEST_FORMAT:
        raise Broken("manifest: not of this format")
    digest = hashlib.sha256()
    while piece := file.read(LONGEST_LINE_BYTES):
        digest.update(piece)
    if document["file"] != {"bytes": file.tell(), "sha256": digest.hexdigest()}:
        raise Broken("file: not the one that the manifest signs")
    return f"{document['kind']} of {document['rows']} rows, {about}\n{named(size, root)}"


def read_filter(document: dict[str, Any], size: int, where: str) -> tuple[str, tuple[int, int]]:
    """What a file is said to hold, in words, and the range first <= index < end that it lies in."""
    asked, first, end = document["filter"], document["first"], document["end"]
    if not isinstance(asked, dict) or asked.keys() != {"from", "regime", "system", "to"}:
        raise Broken(f"{where}: expected a filter of from, regime, system, to")
    if not is_whole(first) or not is_whole(end) or not first <= end <= size:
        raise Broken(f"{where}: its range isn't one of the checkpoint's")
    words = [f"{name} {asked[name]}" for name in ("from", "to", "system", "regime") if asked[name] is not None]
    return ", ".join([*words, f"indexes {first} to {end}"]), (first, end)


def named(size: int, root: bytes) -> str:
    return f"checkpoint {size} {base64.b64encode(root).decode()}"


def check_signed(document: dict[str, Any], label: str, key: Key, where: str) -> None:
    """Takes the signature out and checks that it is over the label, a newline and the canonical rest."""
    signature = read_base64(document.pop("signature"), f"{where}, signature")
    key.check(label.encode() + b"\n" + canonical(document), signature, where)


def verify_certificate(file: BinaryIO, key: Key) -> str:
    """Reads one certificate; answers a summary, or raises Broken."""
    content = file.read()
    if not content.endswith(b"\n"):
        raise Broken("certificate: no newline at its end")
    names = {"certificate", "checkpoint", "entries", "format", "signature"}
    document = read_members(content[:-1], names, "certificate")
    if document["format"] != CERTIFICATE_FORMAT:
        raise Broken("certificate: not of this format")
    check_signed(document, CERTIFICATE_FORMAT, key, "certificate")
    size, root = open_checkpoint(document["checkpoint"], key, "certificate, checkpoint")
    claimed, entries = document["certificate"], document["entries"]
    if not isinstance(claimed, dict) or not isinstance(claimed.get("subject"), str):
        raise Broken("certificate: names no subject")
    if not isinstance(entries, list) or not entries:
        raise Broken("certificate: holds no entries")
    chains, newest = Chains(), -1
    for number, item in enumerate(entries):
        where = f"certificate, entry {number}"
        newest = _check_proven(item, size, root, newest, where)
        chains.check(item["entry"], canonical(item["entry"]), where)
        if item["entry"]["subject"] != claimed["subject"]:
            raise Broken(f"{where}: of another subject")
    return f"certificate of {len(entries)} entries\n{named(size, root)}"


def _check_proven(item: object, size: int, root: bytes, newest: int, where: str) -> int:
    if not isinstance(item, dict) or item.keys() != {"entry", "index", "proof"}:
        raise Broken(f"{where}: expected exactly the members entry, index, proof")
    index, proof = item["index"], item["proof"]
    if not isinstance(index, int) or isinstance(index, bool) or not newest < index < size:
        raise Broken(f"{where}: its index isn't behind the one before it and within the checkpoint")
    if not isinstance(proof, list):
        raise Broken(f"{where}: its proof isn't a list")
    steps = [read_base64(step, f"{where}, proof") for step in proof]
    if root_from_proof(leaf_hash(canonical(item["entry"])), index, size, steps) != root:
        raise Broken(f"{where}: its proof doesn't lead to the signed root")
    return index


# --- the command ------------------------------------------------------------------------------------------------------


def read_key(path: Path) -> Key:
    try:
        line = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise Unusable(f"no readable key file {path.name}: give the log's public key with --key") from None
    if not line.endswith("\n") or line.count("\n") != 1:
        raise Unusable("the key file holds one line")
    return Key(line[:-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Verifies one file and prints the verdict. Answers the exit code."""
    parser = argparse.ArgumentParser(prog="verify_audit.py", description="Verify an Expunge audit export, offline.")
    parser.add_argument("export", nargs="?", type=Path, help="the audit export or excerpt (JSON lines)")
    parser.add_argument("--certificate", type=Path, help="verify a certificate instead of an export")
    parser.add_argument("--manifest", type=Path, help="verify the file by this manifest")
    parser.add_argument("--key", type=Path, help="the log's public key (default: audit.pub beside the file)")
    options = parser.parse_args(arguments)
    if (options.export is None) == (options.certificate is None) or (options.certificate and options.manifest):
        print("give one file: an export, or --certificate and a certificate", file=sys.stderr)
        return 2
    path: Path = options.export or options.certificate
    try:
        key = read_key(options.key or path.parent / "audit.pub")
        print(f"trusting   {key.name}, key fingerprint (SHA-256) {key.fingerprint}")
        with path.open("rb") as file:
            if options.certificate:
                summary = verify_certificate(file, key)
            elif options.manifest:
                with options.manifest.open("rb") as manifest:
                    summary = verify_manifest(manifest, file, key)
            else:
                # Which of the two is only a guess from the first line; either one checks that line in full.
                is_slice = SLICE_FORMAT.encode() in file.readline(LONGEST_LINE_BYTES)
                file.seek(0)
                summary = verify_slice(file, key) if is_slice else verify_export(file, key)
    except Broken as broken:
        print(f"BROKEN     {broken}")
        return 1
    except (Unusable, OSError) as unusable:
        text = str(unusable) if isinstance(unusable, Unusable) else f"can't read {path.name}"
        print(f"UNUSABLE   {text}", file=sys.stderr)
        return 2
    print(f"VERIFIED   {summary}".replace("\n", "\n           "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
