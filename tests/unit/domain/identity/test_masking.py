"""The mask of an identifier that a reviewer sees."""

import pytest

from connectors.base.values import Identifier
from service.domain.identity.mask import mask


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("email", "ada.lovelace@example.test", "a***@e***.test"),
        ("email", "ada@example.test", "***@e***.test"),
        ("email", "adal@abc.test", "a***@***.test"),
        ("email", "adalove@localhost", "a***@***"),
        ("email", "_ada@example.test", "***@e***.test"),
        ("email", "not an email", "***il"),
        ("phone", "+12125550123", "***23"),
        ("phone", "5550123", "***"),
        ("phone", "+12125550123;ext=4", "***"),
        ("customer_id", "cust-000042", "***42"),
        ("customer_id", "cust-42", "***"),
        ("customer_id", "ada@example.test", "***st"),
        ("customer_id", "", "***"),
    ],
)
def test_masks(kind: str, value: str, shown: str) -> None:
    assert mask(Identifier(kind, value)) == shown
