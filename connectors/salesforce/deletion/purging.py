"""Out of the recycle bin for good: SOAP emptyRecycleBin, since REST has no such resource.

Only ids that were deleted by a call of their own: those that went along with a parent are purged with it and are
refused here. Rows may still be shown by queryAll for about a day.
Source: SOAP API, emptyRecycleBin(): at most 200 ids (read 2026-11-22). Mixed objects in one call: unconfirmed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from xml.sax.saxutils import escape

from connectors.base.errors import AnswerNotUnderstood, CredentialsRefused
from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.deletion.writing import Ask, Entry
from connectors.salesforce.org.org import Org

MAX_IDS = 200
_NAMESPACE = "{urn:partner.soap.sforce.com}"


class Purger:
    """Purges in one org."""

    def __init__(self, org: Org, ask: Ask) -> None:
        self._org = org
        self._ask = ask
        self.is_permitted = True

    def purge(self, entries: Sequence[Entry]) -> set[Key]:
        """Those that the vendor says are purged. Without the permission none, and `is_permitted` turns False."""
        purged: set[Key] = set()
        for start in range(0, len(entries), MAX_IDS):
            some = entries[start : start + MAX_IDS]
            allowed = {owners: self._ask(owners) for _, owners in some}
            keys = [key for key, owners in some if allowed[owners]]
            if not keys or not self.is_permitted:
                continue
            try:
                text = self._org.soap("emptyRecycleBin", "".join(f"<urn:ids>{escape(i)}</urn:ids>" for _, i in keys))
            except CredentialsRefused as error:
                if error.code != "missing_scope":
                    raise
                self.is_permitted = False
                continue
            done = _successes(text)
            if len(done) != len(keys):
                raise AnswerNotUnderstood("purge_rows", effect_unknown=True)
            purged |= {key for key, success in zip(keys, done, strict=True) if success}
        return purged


def _successes(text: str) -> list[bool]:
    """One truth per id, in the order asked. Entities are refused: nothing of Salesforce's has any."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise AnswerNotUnderstood("soap_answer", effect_unknown=True)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - no entities, checked above
    except ElementTree.ParseError:
        raise AnswerNotUnderstood("soap_answer", effect_unknown=True) from None
    results = [e for e in root.iter() if e.tag in (f"{_NAMESPACE}result", "result")]
    return [(e.findtext(f"{_NAMESPACE}success") or e.findtext("success")) == "true" for e in results]
