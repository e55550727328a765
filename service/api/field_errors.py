"""Describe a failed validation as field problems: the place, a code, and the allowed values.

Decides the words of each kind of error. The framework's own words aren't used, because some of them repeat the input;
allowed values and names come from the schemas only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from service.domain.field_problems import MOST_PROBLEMS, FieldProblem, names_a_field, nearest

_UNKNOWN = "extra_forbidden"
_QUOTED = re.compile(r"'([^']*)'")
_INSTANT = "an RFC 3339 date-time with an offset, such as 2026-07-04T09:30:00Z"
_FIXED: Mapping[str, str] = MappingProxyType(
    {
        "not_rfc_3339": _INSTANT,
        "timezone_aware": _INSTANT,
        "datetime_from_date_parsing": _INSTANT,
        "datetime_parsing": _INSTANT,
        "outside_the_calendar": "an instant from 0001-01-02 to 9999-12-30, in UTC",
        "string_type": "a text",
        "list_type": "a list",
        "model_type": "an object",
        "model_attributes_type": "an object",
        "dict_type": "an object",
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "uuid_parsing": "a UUID",
        "uuid_type": "a UUID",
    }
)
_BOUNDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "string_pattern_mismatch": ("matches {}", "pattern"),
        "string_too_short": ("at least {} characters", "min_length"),
        "string_too_long": ("at most {} characters", "max_length"),
        "too_short": ("at least {} items", "min_length"),
        "too_long": ("at most {} items", "max_length"),
        "greater_than_equal": ("{} or more", "ge"),
        "less_than_equal": ("{} or less", "le"),
    }
)


def field_problems(
    found: Iterable[ErrorDetails],
    model: object,
    *,
    may_repeat: Callable[[str, str | None], bool] = lambda name, near: names_a_field(name),
) -> list[FieldProblem]:
    """Return the problems of a failed validation.

    `found` are pydantic's errors, whose places begin with `body`, `query`, ... `model` is the validated type, which has
    the allowed names. `may_repeat(name, near)` says whether the name of an unknown field is repeated; if not, the
    problem's place is the object that has the field.
    """
    return [_problem(item, model, may_repeat) for item in islice(found, MOST_PROBLEMS)]


def pointer(loc: Sequence[str | int]) -> str:
    """Return the place: a JSON pointer into the body, else `query/name` or `header/name`."""
    place, *rest = loc
    if place != "body":
        return "/".join([str(place), *map(str, rest)])
    return "".join(f"/{part}" for part in rest)


def unknown_name(name: str, allowed: Sequence[str], place: Sequence[str | int]) -> FieldProblem:
    """Return the problem of a name that isn't one of `allowed`, in the object at `place`."""
    near = nearest(name, allowed)
    told = [*place, name] if names_a_field(name) else place
    return FieldProblem(pointer(told), _UNKNOWN, tuple(allowed), near)


def field_names(model: object, path: Sequence[str | int] = ()) -> tuple[str, ...]:
    """Return the field names of the object at `path` of a schema; none if they aren't known."""
    current = _model_of(model)
    for part in path:
        if isinstance(part, int):
            continue  # an item of a list: the schema of the items is found within the list's type
        fields = {} if current is None else {each.alias or name: each for name, each in current.model_fields.items()}
        current = _model_of(fields[part].annotation) if part in fields else None
    if current is None:
        return ()
    return tuple(each.alias or name for name, each in current.model_fields.items())


def _problem(item: ErrorDetails, model: object, may_repeat: Callable[[str, str | None], bool]) -> FieldProblem:
    loc, reason, context = item["loc"], str(item["type"]), item.get("ctx", {})
    if reason == _UNKNOWN:
        *place, name = loc
        allowed = field_names(model, place[1:])
        near = nearest(name, allowed)
        told = loc if may_repeat(str(name), near) else place
        return FieldProblem(pointer(told), reason, allowed, near)
    if reason in ("enum", "literal_error"):
        allowed = tuple(_QUOTED.findall(str(context.get("expected", ""))))
        return FieldProblem(pointer(loc), reason, allowed, nearest(item.get("input"), allowed))
    expected = _FIXED.get(reason)
    if reason in _BOUNDS:
        words, name = _BOUNDS[reason]
        expected = words.format(context.get(name))
    return FieldProblem(pointer(loc), reason, expected=expected)


def _model_of(annotation: object) -> type[BaseModel] | None:
    """Return the first schema within a type: itself, or in a list, a union or an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_of(inner)
        if found is not None:
            return found
    return None
