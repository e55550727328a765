"""Stream the log, or an excerpt of it that proves itself, as lines that are the same each time.

Decides the excerpt's format and where an interrupted transfer continues, and that every line is checked before it is
sent. The whole log has export_audit's format. An excerpt, lines of canonical JSON (cli/verify_audit.py reads it with
its own code):

    {"checkpoint":<note>,"end":<n>,"filter":{...},"first":<n>,"format":"expunge-audit-slice/1","origin":<name>}
    {"entry":{...},"index":<n>,"proof":[<base64>,...]}     each proof leads to the checkpoint's root
    {"entries":<n>,"sha256":<hex of all lines above>,"signature":<base64>}

The signature is over "expunge-audit-slice/1", a newline and the canonical JSON of the last line without it, so that no
entry can be taken out of an excerpt. `filter` and the range are domain.audit.selection's.

The log is pinned to one signed size, so that the same question gives the same bytes at any later time. An interrupted
transfer continues at an index: `start` leaves out every line before that entry's. Memory doesn't grow with the log, and
no transaction is open while a slow client reads.

Of a log whose beginning was removed (prune_audit) all remaining entries are sent as an excerpt, and the excerpt of a
law or system lacks requests and steps whose first entry was removed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine

from service.audit.exports.full import EXPORT_FORMAT
from service.audit.sequence import checkpoint_everything
from service.domain.audit.canonical_json import JsonValue, encode_canonical
from service.domain.audit.entry import EntryMembers, NotAuditable, decode_entry
from service.domain.audit.merkle import GrowingTree, is_included, leaf_hash
from service.domain.audit.selection import Choice, Selection
from service.domain.audit.signed_note import Checkpoint, SigningKey, open_logged_checkpoint
from service.domain.errors import NotFound
from service.store.audit_log.findings import AuditLogBroken, keep_findings
from service.store.audit_log.pages import LoggedEntry, read_pages, signed_at
from service.store.audit_log.pruned import pruned_prefix
from service.store.audit_log.tree import inclusion_proofs, stored_tree

SLICE_FORMAT = "expunge-audit-slice/1"


@dataclass(frozen=True)
class Excerpt:
    """A question to the log at one signed size: the selection, the range, and the choice of each entry."""

    note: str
    checkpoint: Checkpoint
    selection: Selection
    first: int
    end: int
    choice: Choice = field(repr=False)

    @property
    def is_whole_log(self) -> bool:
        """Whether every entry that was ever logged is in it, so that it needs no proofs."""
        return self.selection.is_everything and self.first == 0


def select_entries(
    engine: Engine, signing_key: SigningKey, selection: Selection, *, size: int | None = None
) -> Excerpt:
    """Pin the log, as of now or at a signed `size`, and find the range of the selection.

    Raises NotFound where no checkpoint of that size was signed; AuditLogBroken.
    """
    note = checkpoint_everything(engine, signing_key) if size is None else signed_at(engine, size, signing_key.trusted)
    if note is None:
        raise NotFound("no checkpoint was signed over that many entries", field="query/size")
    checkpoint = open_logged_checkpoint(note, signing_key.trusted)
    with engine.begin() as connection:
        start = pruned_prefix(connection)
    if checkpoint.size < start:
        raise NotFound("those entries were removed when their retention was over", field="query/size")
    choice = Choice(selection)
    if selection.is_everything:
        return Excerpt(note, checkpoint, selection, start, checkpoint.size, choice)
    with findings_kept(engine):
        for entry in signed_entries(engine, checkpoint):
            _see(choice, entry)
    first, end = choice.range()
    return Excerpt(note, checkpoint, selection, first, end, choice)


def excerpt_lines(engine: Engine, signing_key: SigningKey, excerpt: Excerpt, *, start: int = 0) -> Iterator[bytes]:
    """Return the lines, from the header or from the entry at `start` on.

    Raises AuditLogBroken before the last line: the lines that were sent before can't be verified, because their end is
    missing.
    """
    with findings_kept(engine):
        if excerpt.is_whole_log:
            yield from _whole_log(engine, excerpt, start)
        else:
            yield from _slice(engine, signing_key, excerpt, start)


def chosen_entries(engine: Engine, excerpt: Excerpt) -> Iterator[tuple[LoggedEntry, EntryMembers]]:
    """Return the excerpt's entries and their members, without proofs.

    Raises AuditLogBroken if the entries don't agree with the checkpoint, also after the last one was returned.
    """
    with findings_kept(engine):
        for entry in signed_entries(engine, excerpt.checkpoint):
            if excerpt.first <= entry.index < excerpt.end:
                members = decoded(entry)
                if excerpt.selection.is_dense or excerpt.choice.wants(members):
                    yield entry, members


def signed_entries(engine: Engine, checkpoint: Checkpoint) -> Iterator[LoggedEntry]:
    """Yield the log's entries up to a checkpoint, and hash them meanwhile.

    Raises AuditLogBroken after the last one if they don't agree with the checkpoint.
    """
    with engine.begin() as connection:
        tree = stored_tree(connection, pruned_prefix(connection))
    for page in read_pages(engine, tree.size, checkpoint.size):
        for entry in page:
            tree.append(leaf_hash(entry.raw))
            yield entry
    _check_root(tree, checkpoint)


def _whole_log(engine: Engine, excerpt: Excerpt, start: int) -> Iterator[bytes]:
    size = excerpt.checkpoint.size
    if start == 0:
        yield _line({"format": EXPORT_FORMAT, "origin": excerpt.checkpoint.origin, "size": size})
    with engine.begin() as connection:
        tree = stored_tree(connection, min(start, size))
    for page in read_pages(engine, start, size):
        for entry in page:
            tree.append(leaf_hash(entry.raw))
        yield b"".join(b'{"entry":%b,"index":%d}\n' % (entry.raw, entry.index) for entry in page)
    _check_root(tree, excerpt.checkpoint)
    yield _line({"checkpoint": excerpt.note})


def _slice(engine: Engine, signing_key: SigningKey, excerpt: Excerpt, start: int) -> Iterator[bytes]:
    header = _line(
        {
            "checkpoint": excerpt.note,
            "end": excerpt.end,
            "filter": excerpt.selection.as_json(),
            "first": excerpt.first,
            "format": SLICE_FORMAT,
            "origin": excerpt.checkpoint.origin,
        }
    )
    digest, count = hashlib.sha256(header), 0
    if start == 0:
        yield header
    for page in _proven_pages(engine, excerpt):
        sent = []
        for entry, proof in page:
            steps = ",".join(f'"{base64.b64encode(step).decode()}"' for step in proof).encode()
            line = b'{"entry":%b,"index":%d,"proof":[%b]}\n' % (entry.raw, entry.index, steps)
            digest.update(line)
            count += 1
            if entry.index >= start:
                sent.append(line)
        if sent:
            yield b"".join(sent)
    end: dict[str, JsonValue] = {"entries": count, "sha256": digest.hexdigest()}
    signature = signing_key.sign(SLICE_FORMAT.encode() + b"\n" + encode_canonical(end))
    yield _line(end | {"signature": base64.b64encode(signature).decode()})


def _proven_pages(engine: Engine, excerpt: Excerpt) -> Iterator[Sequence[tuple[LoggedEntry, tuple[bytes, ...]]]]:
    size, root = excerpt.checkpoint.size, excerpt.checkpoint.root
    for page in read_pages(engine, excerpt.first, excerpt.end):
        chosen = [entry for entry in page if excerpt.selection.is_dense or excerpt.choice.wants(decoded(entry))]
        with engine.begin() as connection:
            proofs = inclusion_proofs(connection, [entry.index for entry in chosen], size)
        for entry in chosen:
            if not is_included(leaf_hash(entry.raw), entry.index, size, proofs[entry.index], root):
                raise AuditLogBroken("entry_not_in_tree", f"leaf {entry.index} of checkpoint {size}")
        yield [(entry, proofs[entry.index]) for entry in chosen]


def _check_root(tree: GrowingTree, checkpoint: Checkpoint) -> None:
    if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
        raise AuditLogBroken("entries_differ_from_checkpoint", f"size {checkpoint.size}")


def _see(choice: Choice, entry: LoggedEntry) -> None:
    try:
        choice.see(entry.index, entry.raw)
    except NotAuditable:
        raise AuditLogBroken("not_an_entry", f"leaf {entry.index}") from None


def decoded(entry: LoggedEntry) -> EntryMembers:
    """An entry's members. Raises AuditLogBroken for bytes that aren't an entry."""
    try:
        return decode_entry(entry.raw)
    except NotAuditable:
        raise AuditLogBroken("not_an_entry", f"leaf {entry.index}") from None


def _line(members: dict[str, JsonValue]) -> bytes:
    return encode_canonical(members) + b"\n"


@contextmanager
def findings_kept(engine: Engine) -> Iterator[None]:
    """Store the finding of a block that raises AuditLogBroken."""
    try:
        yield
    except AuditLogBroken as broken:
        keep_findings(engine, broken)
        raise
