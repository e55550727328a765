"""Compare texts without regard to case: the one rule for every connector.

It never makes two addresses of one.
"""

from __future__ import annotations


def in_one_case(text: str) -> str:
    """Return the text in lower case, without steps between alphabets, and without case folding.

    The Kelvin sign (U+212A) stays no `k`, and `straße` no `strasse`: the vendor has two addresses, of two people.
    """
    if text.isascii():
        # The same, at once: a search answers hundreds of rows, and each is compared.
        return text.lower()
    return "".join(low if len(low := c.lower()) == 1 and low.isascii() == c.isascii() else c for c in text)
