"""Verify an Expunge audit export, excerpt, table or certificate without Expunge.

    python verify_audit.py EXPORT [--key audit.pub]                        the whole log, or an excerpt of it
    python verify_audit.py --certificate CERTIFICATE [--key audit.pub]
    python verify_audit.py --manifest MANIFEST FILE [--key audit.pub]      a CSV, Parquet or report file

Needs Python 3.11 and the `cryptography` package, nothing of ours, no network and no database. Exit code 0: everything
holds. 1: something doesn't, and the message says where and why. 2: a file or the command line can't be used.

Trust comes from one thing only: the public key, by default `audit.pub` beside the file. Get it by another way than
the file, and compare its fingerprint, which is printed. A key inside the file is never looked at. If the log has got a
new key since, go on trusting the first and add each rotation's note, oldest first: `--handover NOTE`. It is signed by
the old key and by the new one, and says at which size of the log the old one ended.

A verifier can't see whether an entry was left out before the log was signed, or whether the key's owner signed another
log as well. Compare the printed checkpoint with the ones you were given earlier.

To read: (1) how bytes are read, (2) the Merkle tree, (3) who signed what, (4) one entry after another, (5) the four
kinds of file, each with all that is checked in it, (6) the command line.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EXPORT_FORMAT = "expunge-audit-export/1"
SLICE_FORMAT = "expunge-audit-slice/1"
MANIFEST_FORMAT = "expunge-export-manifest/1"
CERTIFICATE_FORMAT = "expunge-certificate/1"
HANDOVER = "expunge audit key handover"
ENTRY = {"actor", "at", "data", "event", "format", "object", "object_id", "previous", "subject", "version"}
MANIFEST = {"checkpoint", "end", "file", "filter", "first", "format", "kind", "rows", "signature"}
LONGEST_LINE_BYTES = 1024 * 1024
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):\d{2}:\d{2}\.\d{6}Z", re.ASCII)
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


# The object of a file that isn't trusted: each value's type is tested where the value is read.
Members: TypeAlias = dict[str, Any]


class Broken(Exception):  # noqa: N818 - the verdict, not a fault of the program
    """The evidence is wrong; the text says where and why."""


class Unusable(Exception):  # noqa: N818 - the verdict, not a fault of the program
    """A file or key that can't be used at all."""


def need(holds: bool, where: str, otherwise: str) -> None:
    """Raise Broken unless the condition holds; nearly every check below is one call of this."""
    if not holds:
        raise Broken(f"{where}: {otherwise}")


# (1) How bytes are read: one spelling for every value, so that what is hashed and what is read are the same thing.

encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
# A fraction is read as text, so that it is never canonical.
decode = json.JSONDecoder(parse_float=str, parse_constant=str).decode


def canonical(value: object) -> bytes:
    return encode(value).encode("utf-8")


def read_canonical(raw: bytes, names: set[str], where: str) -> Members:
    """Return the object of canonical bytes; a repeated key, a space or an escape too many is refused."""
    try:
        value = decode(raw.decode("utf-8"))
        again = canonical(value)
    except (ValueError, RecursionError):
        raise Broken(f"{where}: not JSON in UTF-8 with whole numbers") from None
    need(again == raw, where, "not the canonical encoding of what it says")
    return members(value, names, where)


def members(value: object, names: set[str], where: str) -> Members:
    if not isinstance(value, dict) or value.keys() != names:
        raise Broken(f"{where}: expected exactly the members {', '.join(sorted(names))}")
    return value


def read_base64(text: object, where: str, length: int | None = None) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        raise Broken(f"{where}: not base64") from None
    need(decoded != b"" and base64.b64encode(decoded).decode() == text, where, "not base64 in its only spelling")
    need(length in (None, len(decoded)), where, "not of the length of a hash")
    return decoded


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes, str]]:
    """Yield each line with its place; it must end in a newline and have at most the longest length."""
    for number in itertools.count(1):
        line, where = file.readline(LONGEST_LINE_BYTES), f"line {number}"
        need(line.endswith(b"\n"), where, "missing, cut off or too long: no newline at its end")
        yield line[:-1], where


# (2) The Merkle tree of RFC 6962: every leaf is hashed here, from the entry's bytes; no stored hash is believed.

LEAF, NODE = b"\x00", b"\x01"


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def add_leaf(peaks: list[bytes], index: int, entry: bytes) -> None:
    """Add a leaf to a tree of `index` leaves, kept as the roots of its complete subtrees, largest first."""
    new = sha256(LEAF, entry)
    while index & 1:
        new, index = sha256(NODE, peaks.pop(), new), index >> 1
    peaks.append(new)


def root_of(peaks: Sequence[bytes]) -> bytes:
    root = peaks[-1] if peaks else sha256()
    for peak in reversed(peaks[:-1]):
        root = sha256(NODE, peak, root)
    return root


def root_from_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root of an inclusion proof (RFC 6962 §2.1.1 in reverse); None for a wrong length."""
    if size == 1 or not proof:
        return leaf if size == 1 and not proof else None
    left = 1 << (size - 1).bit_length() - 1
    if index < left:
        inner = root_from_proof(leaf, index, left, proof[:-1])
        return inner and sha256(NODE, inner, proof[-1])
    inner = root_from_proof(leaf, index - left, size - left, proof[:-1])
    return inner and sha256(NODE, proof[-1], inner)


# (3) Who signed what: the trusted key, the keys that it handed over to, and what carries their signatures.


class Key:
    """The log's Ed25519 key, from a C2SP line `name+id+base64`, and the keys that followed it."""

    def __init__(self, line: str) -> None:
        try:
            self.name, key_id, encoded = line.split("+", 2)
            public = base64.b64decode(encoded, validate=True)
            self.public = Ed25519PublicKey.from_public_bytes(public[1:])
        except ValueError:
            raise Unusable("the key file doesn't hold an Ed25519 verifier key") from None
        self.line, self.fingerprint = line, sha256(public[1:]).hex()
        self.key_id = sha256(self.name.encode(), b"\n", public)[:4]
        if public[0] != 1 or self.key_id.hex() != key_id:
            raise Unusable("the key file holds a key of another kind, or one that isn't what its id says")
        # Each key of the log with the sizes of which it signs heads: after < size <= upto.
        self.keys: list[tuple[Key, int, int]] = [(self, -1, sys.maxsize)]

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        try:
            self.public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def follow(self, note: str) -> None:
        """Trust the next key if it and the newest key so far have both signed the handover."""
        (newest, after, _), lines = self.keys[-1], note.split("\n")
        fits = len(lines) == 8 and lines[:2] == [HANDOVER, newest.line] and lines[4] == lines[7] == ""
        need(fits and SIZE.fullmatch(lines[3]) is not None, "handover", "not one from the key that is trusted so far")
        following, size = Key(lines[2]), int(lines[3])
        need(following.name == self.name and size > after, "handover", "of another log, or older than the one before")
        check_signature_line(newest, lines[:4], lines[5], "handover")
        check_signature_line(following, lines[:4], lines[6], "handover")
        self.keys[-1:] = [(newest, after, size), (following, size, sys.maxsize)]


def check_signature_line(key: Key, text: Sequence[str], line: str, where: str) -> None:
    """Check a signature line of a C2SP note: a dash, the key's name, base64 of key id and signature."""
    signer, _, encoded = line.rpartition(" ")
    signature = read_base64(encoded, f"{where}, signature")
    trusted = signer == f"— {key.name}" and signature[:4] == key.key_id
    need(trusted, where, "signed by another key than the trusted one")
    signed = key.has_signed("".join(f"{line}\n" for line in text).encode(), signature[4:])
    need(signed, where, "the signature isn't the trusted key's over this")


def open_checkpoint(note: object, trusted: Key, where: str) -> tuple[int, bytes]:
    """Return (size, root) of a note: origin, size, root, a blank line, one signature line of the log."""
    lines = note.split("\n") if isinstance(note, str) else []
    fits = len(lines) == 6 and lines[3] == lines[5] == "" and SIZE.fullmatch(lines[1]) is not None
    need(fits, where, "a checkpoint has three lines, a blank one and one signature")
    size, root = int(lines[1]), read_base64(lines[2], f"{where}, root", 32)
    key = next((key for key, after, upto in trusted.keys if after < size <= upto), trusted)
    check_signature_line(key, lines[:3], lines[4], where)
    need(lines[0] == key.name, where, "the checkpoint isn't one of this log")
    return size, root


def check_signed(document: Members, label: str, trusted: Key, where: str) -> None:
    """Remove the signature, of any of the log's keys, and check it over label, newline, canonical rest."""
    signature = read_base64(document.pop("signature"), f"{where}, signature")
    signed = label.encode() + b"\n" + canonical(document)
    by_us = any(key.has_signed(signed, signature) for key, _, _ in trusted.keys)
    need(by_us, where, "the signature isn't the trusted key's over this")


# (4) One entry after another: its form, its place in the tree, and that of each object none is missing or doubled.


class Chains:
    """Each object's newest version and digest, so that a dropped, doubled or foreign entry shows.

    Kept in a temporary database of SQLite's own, gone when the program ends: memory doesn't grow with the log.
    """

    def __init__(self, *, may_begin_late: bool) -> None:
        self.may_begin_late, self.objects = may_begin_late, 0
        self.newest = sqlite3.connect("", isolation_level=None)
        self.newest.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -32768; BEGIN;"
            "CREATE TABLE newest (key BLOB PRIMARY KEY, version INTEGER, digest TEXT) WITHOUT ROWID"
        )

    def check(self, entry: Members, raw: bytes, where: str) -> None:
        """Check the entry's form and its place: version + 1, `previous` is the SHA-256 of the one before."""
        check_form(entry, where)
        key, version = sha256(canonical([entry["object"], entry["object_id"]])), entry["version"]
        known = self.newest.execute("SELECT version, digest FROM newest WHERE key = ?", (key,)).fetchone()
        before, digest = known or (0, None)
        if self.may_begin_late and not known and type(version) is int and version > 1:
            before, digest = version - 1, entry["previous"] or "missing"
        if type(version) is not int or version != before + 1:
            raise Broken(f"{where}: expected version {before + 1} of this {entry['object']}")
        if entry["previous"] != digest:
            raise Broken(f"{where}: `previous` isn't the hash of version {before} of this {entry['object']}")
        self.newest.execute("INSERT OR REPLACE INTO newest VALUES (?, ?, ?)", (key, version, sha256(raw).hex()))
        self.objects += not known


def check_form(entry: Members, where: str) -> None:
    members(entry, ENTRY, where)
    need(type(entry["format"]) is int and entry["format"] == 1, where, "not an audit entry of format 1")
    texts = all(isinstance(entry[name], str) for name in ("actor", "event", "object", "object_id"))
    need(texts, where, "actor, event, object or object_id isn't text")
    forms = isinstance(entry["data"], dict) and isinstance(entry["subject"], (str, type(None)))
    need(forms, where, "data or subject isn't of its form")
    try:
        exists = bool(INSTANT.fullmatch(entry["at"]) and datetime.fromisoformat(entry["at"]))
    except (TypeError, ValueError):
        exists = False
    need(exists, where, "`at` isn't an instant in UTC that exists")


def check_proven(item: Members, head: tuple[int, bytes], behind: int, chains: Chains, where: str) -> int:
    """Check an entry's proof against the tree `head` (size, root) and its order; return its index."""
    members(item, {"entry", "index", "proof"}, where)
    (size, root), index, proof, raw = head, item["index"], item["proof"], canonical(item["entry"])
    in_order = type(index) is int and behind < index < size
    need(in_order, where, "its index isn't behind the one before it and within the checkpoint")
    need(isinstance(proof, list), where, "its proof isn't a list")
    steps = [read_base64(step, f"{where}, proof") for step in proof]
    leads = root_from_proof(sha256(LEAF, raw), index, size, steps) == root
    need(leads, where, "its proof doesn't lead to the signed root")
    chains.check(item["entry"], raw, where)
    return int(index)


# (5) The four kinds of file. Each answers a summary, or raises Broken.


def verify_export(file: BinaryIO, key: Key) -> str:
    """Verify the whole log, or from its first kept entry on if the beginning was pruned.

    Indexes run 0, 1, 2, ... to the signed size, the root over all entries is the signed one, and the versions of each
    object run 1, 2, 3, ...
    """
    lines = lines_of(file)
    raw, where = next(lines)
    pruned = {"pruned"} if b',"pruned":' in raw else set()
    header = read_canonical(raw, {"format", "origin", "size"} | pruned, where)
    ours = header["format"] == EXPORT_FORMAT and header["origin"] == key.name and type(header["size"]) is int
    need(ours, where, "not an export of the log that the trusted key is named after")
    start, peaks, chains = 0, list[bytes](), Chains(may_begin_late=bool(pruned))
    if pruned:
        # Roots over what was removed after its retention. If they aren't right, the root at the end isn't either.
        gone = members(header["pruned"], {"roots", "size"}, where)
        start, roots = gone["size"], gone["roots"]
        fits = type(start) is int and 0 < start < header["size"] and isinstance(roots, list)
        need(fits and len(roots) == start.bit_count(), where, "another number of roots than its size has")
        peaks = [read_base64(root, where, 32) for root in roots]
    for index in range(start, header["size"]):
        raw, where = next(lines)
        line = read_canonical(raw, {"entry", "index"}, where)
        if type(line["index"]) is not int or line["index"] != index:
            raise Broken(f"{where}: expected index {index}")
        # The line is canonical, so these are the entry's own bytes, not an encoding made here.
        entry = raw[len(b'{"entry":') : -len(b',"index":%d}' % index)]
        add_leaf(peaks, index, entry)
        chains.check(line["entry"], entry, where)
    raw, where = next(lines)
    size, root = open_checkpoint(read_canonical(raw, {"checkpoint"}, where)["checkpoint"], key, where)
    need(not file.read(1), where, "nothing may follow this line")
    need(size == header["size"], where, f"the checkpoint is over {size} entries, the export has {header['size']}")
    need(root == root_of(peaks), where, "the root over the entries above isn't the signed one; some entry was changed")
    without = f", the first {start} of {size} were pruned" if start else ""
    return f"{size - start} entries of {chains.objects} objects{without}\n{named(size, root)}"


def verify_slice(file: BinaryIO, key: Key) -> str:
    """Verify an excerpt: signed by the log, each entry proven to be in the signed tree.

    Between an object's first and last entry none is missing; unless the excerpt is of one system or law, no index is
    missing either.
    """
    lines = lines_of(file)
    raw, where = next(lines)
    header = read_canonical(raw, {"checkpoint", "end", "filter", "first", "format", "origin"}, where)
    ours = header["format"] == SLICE_FORMAT and header["origin"] == key.name
    need(ours, where, "not an excerpt of the log that the trusted key is named after")
    head = open_checkpoint(header["checkpoint"], key, where)
    about, first, end = read_filter(header, head[0], where)
    dense = header["filter"]["system"] is None and header["filter"]["regime"] is None
    chains, newest, count, digest = Chains(may_begin_late=True), first - 1, 0, hashlib.sha256(raw + b"\n")
    while (line := next(lines))[0].startswith(b'{"entry":'):
        raw, where = line
        item = read_canonical(raw, {"entry", "index", "proof"}, where)
        index = check_proven(item, head, newest, chains, where)
        need(index < end, where, "its index is out of range")
        need(index == newest + 1 or not dense, where, f"expected index {newest + 1}")
        newest, count = index, count + 1
        digest.update(raw + b"\n")
    raw, where = line
    trailer = read_canonical(raw, {"entries", "sha256", "signature"}, where)
    check_signed(trailer, SLICE_FORMAT, key, where)
    need(not file.read(1), where, "nothing may follow this line")
    same = type(trailer["entries"]) is int and (trailer["entries"], trailer["sha256"]) == (count, digest.hexdigest())
    need(same, where, "signed over other lines than those above")
    need(newest + 1 == end or not dense, where, "entries are missing before the end of the range")
    return f"excerpt of {count} entries, {about}\n{named(*head)}"


def verify_certificate(file: BinaryIO, key: Key) -> str:
    """Verify a certificate: signed by the log, each entry proven, of one subject, none missing."""
    content = file.read()
    need(content.endswith(b"\n"), "certificate", "no newline at its end")
    names = {"certificate", "checkpoint", "entries", "format", "signature"}
    document = read_canonical(content[:-1], names, "certificate")
    need(document["format"] == CERTIFICATE_FORMAT, "certificate", "not of this format")
    check_signed(document, CERTIFICATE_FORMAT, key, "certificate")
    head = open_checkpoint(document["checkpoint"], key, "certificate, checkpoint")
    claimed, entries = document["certificate"], document["entries"]
    need(isinstance(claimed, dict) and isinstance(claimed.get("subject"), str), "certificate", "names no subject")
    need(isinstance(entries, list) and entries != [], "certificate", "holds no entries")
    chains, newest = Chains(may_begin_late=False), -1
    for number, item in enumerate(entries):
        where = f"certificate, entry {number}"
        newest = check_proven(item, head, newest, chains, where)
        need(item["entry"]["subject"] == claimed["subject"], where, "of another subject")
    return f"certificate of {len(entries)} entries\n{named(*head)}"


def verify_manifest(manifest: BinaryIO, file: BinaryIO, key: Key) -> str:
    """Verify a table or report: its manifest is signed by the log and names exactly this file's bytes."""
    document = read_canonical(next(lines_of(manifest))[0], MANIFEST, "manifest")
    need(not manifest.read(1), "manifest", "nothing may follow its line")
    check_signed(document, MANIFEST_FORMAT, key, "manifest")
    need(document["format"] == MANIFEST_FORMAT, "manifest", "not of this format")
    head = open_checkpoint(document["checkpoint"], key, "manifest, checkpoint")
    about, _, _ = read_filter(document, head[0], "manifest")
    digest = hashlib.sha256()
    while piece := file.read(LONGEST_LINE_BYTES):
        digest.update(piece)
    same = document["file"] == {"bytes": file.tell(), "sha256": digest.hexdigest()}
    need(same, "file", "not the one that the manifest signs")
    return f"{document['kind']} of {document['rows']} rows, {about}\n{named(*head)}"


def read_filter(document: Members, size: int, where: str) -> tuple[str, int, int]:
    """Return the claimed content of a file in words, and its range first <= index < end."""
    asked = members(document["filter"], {"from", "regime", "system", "to"}, where)
    first, end = document["first"], document["end"]
    within = type(first) is int and type(end) is int and 0 <= first <= end <= size
    need(within, where, "its range isn't one of the checkpoint's")
    words = [f"{name} {asked[name]}" for name in ("from", "to", "system", "regime") if asked[name] is not None]
    return ", ".join([*words, f"indexes {first} to {end}"]), first, end


def named(size: int, root: bytes) -> str:
    return f"checkpoint {size} {base64.b64encode(root).decode()}"


# (6) The command line.


def read_key(path: Path, handovers: Sequence[Path]) -> Key:
    line, *notes = [each.read_text(encoding="utf-8") for each in (path, *handovers)]
    if not line.endswith("\n") or line.count("\n") != 1:
        raise Unusable("the key file holds one line")
    key = Key(line[:-1])
    print(f"trusting   {key.name}, key fingerprint (SHA-256) {key.fingerprint}")
    for note in notes:
        key.follow(note)
        print(f"then       key fingerprint (SHA-256) {key.keys[-1][0].fingerprint}, from size {key.keys[-1][1]} on")
    return key


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one file and print the verdict. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="verify_audit.py", description="Verify an Expunge audit export, offline.")
    parser.add_argument("export", nargs="?", type=Path, help="the audit export or excerpt (JSON lines)")
    parser.add_argument("--certificate", type=Path, help="verify a certificate instead of an export")
    parser.add_argument("--manifest", type=Path, help="verify the file by this manifest")
    parser.add_argument("--key", type=Path, help="the log's public key (default: audit.pub beside the file)")
    parser.add_argument("--handover", type=Path, action="append", default=[], help="a rotation's note, oldest first")
    options = parser.parse_args(arguments)
    if (options.export is None) == (options.certificate is None) or (options.certificate and options.manifest):
        print("give one file: an export, or --certificate and a certificate", file=sys.stderr)
        return 2
    path: Path = options.export or options.certificate
    try:
        key = read_key(options.key or path.parent / "audit.pub", options.handover)
        with path.open("rb") as file, (options.manifest or path).open("rb") as other:
            # An export or an excerpt is only a guess from the first line; either one checks that line in full.
            is_slice = SLICE_FORMAT.encode() in other.readline(LONGEST_LINE_BYTES)
            other.seek(0)
            if options.certificate:
                summary = verify_certificate(file, key)
            elif options.manifest:
                summary = verify_manifest(other, file, key)
            else:
                summary = verify_slice(file, key) if is_slice else verify_export(file, key)
    except Broken as broken:
        print(f"BROKEN     {broken}")
        return 1
    except (Unusable, OSError, UnicodeDecodeError) as unusable:
        print(f"UNUSABLE   {unusable}", file=sys.stderr)
        return 2
    print(f"VERIFIED   {summary}".replace("\n", "\n           "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
