"""Write the whole audit log as one file that anybody can verify without us.

The file, lines of canonical JSON (cli/verify_audit.py reads it on its own):

    {"format":"expunge-audit-export/1","origin":<name>,"size":<n>}
    {"entry":{...},"index":0}        ... n of them; an entry's bytes in the line are the bytes that were hashed
    {"checkpoint":<signed note over exactly n leaves>}

If the log's beginning was pruned, the header has one more member, and the entries begin at that size:

    "pruned":{"roots":[<base64>, ...],"size":<k>}      roots of the perfect subtrees of the first k, largest first

The same log gives the same bytes. Memory doesn't grow with the log. While it is written, every column of the log is
compared with the bytes: leaf hashes, inner nodes, every signed checkpoint. If something differs, the file is still
written to its end for the investigation, the findings are stored, and AuditLogBroken is raised.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from sqlalchemy import BigInteger, Connection, Engine, bindparam, cast, func, select

from service.audit.sequence import checkpoint_everything
from service.domain.audit.canonical_json import JsonValue, encode_canonical
from service.domain.audit.entry import NotAuditable, position_of
from service.domain.audit.merkle import GrowingTree, Node, leaf_hash
from service.domain.audit.signed_note import Checkpoint, SigningKey, TrustedKey, open_checkpoint
from service.store.audit_log.checkpoints import checkpoints_between
from service.store.audit_log.findings import AuditLogBroken, keep_findings
from service.store.audit_log.pruned import pruned_prefix
from service.store.audit_log.tree import nodes_completed_between, stored_tree
from service.store.execute import execute
from service.store.tables.audit import AuditHead, AuditLeaf

EXPORT_FORMAT = "expunge-audit-export/1"
_CHUNK = 1_024
_MOST_FINDINGS = 20
_LEAVES = (
    select(AuditLeaf.index, AuditLeaf.entry, AuditLeaf.leaf_hash, AuditLeaf.subject)
    .where(AuditLeaf.index < bindparam("size"))
    .order_by(AuditLeaf.index)
)
# An object's newest version is the number of its entries, so that both numbers are the size of the log.
_COUNTS = select(
    select(func.count()).select_from(AuditLeaf).scalar_subquery().label("leaves"),
    select(cast(func.coalesce(func.sum(AuditHead.version), 0), BigInteger)).scalar_subquery().label("versions"),
)


@dataclass(frozen=True)
class ExportedLog:
    """The number of entries that were written, and the signed checkpoint over them."""

    entries: int
    note: str


def export_audit(engine: Engine, signing_key: SigningKey, out: BinaryIO) -> ExportedLog:
    """Sequence the pending entries, sign a checkpoint, and write the log up to it.

    Raises AuditLogBroken; if the tree under the last checkpoint is damaged, before the first byte is written.
    """
    note = checkpoint_everything(engine, signing_key)
    checkpoint = open_checkpoint(note, signing_key.trusted)
    findings = _Findings()
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with reading.begin() as connection:
        _write(connection, checkpoint, note, out, _Recheck(connection, signing_key.trusted, findings))
    if findings.found:
        keep_findings(engine, *findings.found)
        raise findings.found[0]
    return ExportedLog(checkpoint.size, note)


def _write(connection: Connection, checkpoint: Checkpoint, note: str, out: BinaryIO, recheck: _Recheck) -> None:
    header: dict[str, JsonValue] = {"format": EXPORT_FORMAT, "origin": checkpoint.origin, "size": checkpoint.size}
    if recheck.start.size:
        roots = [base64.b64encode(root).decode() for root in recheck.start.peaks]
        header["pruned"] = {"roots": roots, "size": recheck.start.size}
    out.write(encode_canonical(header) + b"\n")
    # A server-side cursor: the driver never holds more than one chunk.
    leaves = connection.execute(
        _LEAVES, {"size": checkpoint.size}, execution_options={"stream_results": True, "max_row_buffer": _CHUNK}
    )
    for rows in leaves.partitions(_CHUNK):
        chunk = [_StoredLeaf(place, bytes(raw), bytes(hashed), subject) for place, raw, hashed, subject in rows]
        # The bytes are written as they are stored, never decoded and encoded again: the verifier hashes what it reads.
        out.write(b"".join(b'{"entry":%b,"index":%d}\n' % (leaf.raw, leaf.place) for leaf in chunk))
        recheck.chunk(chunk)
    recheck.end(checkpoint)
    out.write(encode_canonical({"checkpoint": note}) + b"\n")


class _StoredLeaf(NamedTuple):
    """A row of the log."""

    place: int
    raw: bytes
    hash: bytes
    subject: str | None


@dataclass
class _Findings:
    found: list[AuditLogBroken] = field(default_factory=list)

    def add(self, code: str, detail: str) -> None:
        if len(self.found) < _MOST_FINDINGS:
            self.found.append(AuditLogBroken(code, detail))


class _Recheck:
    """Builds the tree from the written bytes, and compares all stored hashes and heads with it."""

    def __init__(self, connection: Connection, trusted: TrustedKey, findings: _Findings) -> None:
        self._connection = connection
        self._trusted = trusted
        self._findings = findings
        size = pruned_prefix(connection)
        self.start = stored_tree(connection, size)
        self._tree = GrowingTree(size, list(self.start.peaks))
        self._compare(self._signed(size - 1, size), {size: self._tree.root()})

    def chunk(self, leaves: Sequence[_StoredLeaf]) -> None:
        start = self._tree.size
        roots: dict[int, bytes] = {}
        complete: dict[Node, bytes] = {}
        signed = self._signed(start, start + len(leaves))
        sizes = {checkpoint.size for checkpoint in signed}
        for leaf in leaves:
            hashed = leaf_hash(leaf.raw)
            self._leaf(leaf, hashed)
            complete.update(self._tree.append(hashed))
            if self._tree.size in sizes:
                roots[self._tree.size] = self._tree.root()
        self._compare(signed, roots)
        inner = {node: hashed for node, hashed in complete.items() if node.level > 0}
        stored = nodes_completed_between(self._connection, start, self._tree.size)
        if inner != stored:
            for node in sorted(node for node in inner.keys() | stored.keys() if inner.get(node) != stored.get(node)):
                self._findings.add("stored_node_differs", f"level {node.level} index {node.place}")

    def end(self, checkpoint: Checkpoint) -> None:
        if (self._tree.size, self._tree.root()) != (checkpoint.size, checkpoint.root):
            self._findings.add("entries_differ_from_checkpoint", f"size {checkpoint.size}")
        counted = execute(self._connection, _COUNTS).one()
        if counted.leaves + self.start.size != counted.versions:
            self._findings.add("heads_differ", f"{counted.leaves} leaves, {counted.versions} by the objects' counters")

    def _compare(self, signed: Sequence[Checkpoint], roots: Mapping[int, bytes]) -> None:
        for checkpoint in signed:
            if checkpoint.root != roots[checkpoint.size]:
                self._findings.add("signed_root_differs", f"size {checkpoint.size}")

    def _leaf(self, leaf: _StoredLeaf, hashed: bytes) -> None:
        if leaf.place != self._tree.size:
            self._findings.add("index_missing", f"leaf {self._tree.size}")
        if hashed != leaf.hash:
            self._findings.add("leaf_hash_differs", f"leaf {leaf.place}")
        try:
            if position_of(leaf.raw).subject != leaf.subject:
                self._findings.add("subject_differs", f"leaf {leaf.place}")
        except NotAuditable:
            self._findings.add("not_an_entry", f"leaf {leaf.place}")

    def _signed(self, after: int, upto: int) -> list[Checkpoint]:
        try:
            return checkpoints_between(self._connection, after, upto, self._trusted)
        except AuditLogBroken as broken:
            self._findings.add(broken.code, broken.detail)
            return []
