"""SOQL as text into a tree. What isn't supported here is refused with MALFORMED_QUERY, never ignored.

Decides grammar only: whether objects and fields exist, and what may be compared, is `sandbox_query`'s.
Supported: field paths, COUNT(), nested sub-selects, WHERE with =, !=, <>, <, >, <=, >=, LIKE, IN, NOT IN, semi-joins,
AND, OR, NOT, parentheses; ORDER BY, LIMIT, OFFSET. Refused: aggregates, GROUP BY, HAVING, TYPEOF, FIELDS(), USING
SCOPE, WITH, FOR, ALL ROWS, date literals such as LAST_N_DAYS, INCLUDES, EXCLUDES, aliases, and AND mixed with OR
without parentheses.
Source: SOQL and SOSL Reference (read 2026-11-22).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from connectors.salesforce.sandbox.wire import parse_instant, refuse

MAX_CHARACTERS = 100_000
MAX_TEXT = 4_000

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<instant>\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))?)"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z]\w*(?:\.\w+)*)"
    r"|(?P<mark><=|>=|!=|<>|[=<>(),]))",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_OPERATORS = {"=", "!=", "<>", "<", ">", "<=", ">=", "LIKE"}
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        "AND AS ASC DESC EXCLUDES FIRST FROM GROUP HAVING IN INCLUDES LAST LIKE LIMIT NOT NULL NULLS OFFSET OR ORDER "
        "SELECT TYPEOF USING WHERE WITH FOR ALL",
    )
)


@dataclass(frozen=True)
class Literal:
    """A value in a condition; `kind` is text, number, boolean, instant or null. Texts of LIKE keep `\\_` and `\\%`."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Comparison:
    """`path operator value`."""

    path: str
    operator: str
    literal: Literal


@dataclass(frozen=True)
class Among:
    """`path [NOT] IN (values)`."""

    path: str
    literals: tuple[Literal, ...]
    is_negated: bool


@dataclass(frozen=True)
class SemiJoin:
    """`path [NOT] IN (SELECT ...)`."""

    path: str
    query: Select
    is_negated: bool


@dataclass(frozen=True)
class Not:
    """The contrary."""

    term: Condition


@dataclass(frozen=True)
class Logic:
    """Terms under one AND or one OR."""

    operator: str
    terms: tuple[Condition, ...]


Condition = Comparison | Among | SemiJoin | Not | Logic


@dataclass(frozen=True)
class Order:
    """One term of ORDER BY."""

    path: str
    is_descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Select:
    """A whole query, or a nested one whose `source` is a relationship's name."""

    paths: tuple[str, ...]
    nested: tuple[Select, ...]
    is_count: bool
    source: str
    where: Condition | None
    order: tuple[Order, ...]
    limit: int | None
    offset: int


def parse(text: str) -> Select:
    """Parse one statement. Raises ApiError(400, MALFORMED_QUERY)."""
    if len(text) > MAX_CHARACTERS:
        raise malformed("SOQL statements cannot be longer than 100000 characters.")
    parser = _Parser(text)
    found = parser.select(0)
    parser.end()
    return found


def malformed(message: str) -> Exception:
    """Salesforce's refusal of a statement."""
    return refuse(400, "MALFORMED_QUERY", message)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(self._split(text))
        self._at = 0

    @staticmethod
    def _split(text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise malformed(f"unexpected token at column {position}")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else ("end", "<EOF>")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _is(self, *words: str) -> bool:
        return all(self._peek(n)[0] == "word" and self._peek(n)[1].upper() == w for n, w in enumerate(words))

    def _take(self, *words: str) -> bool:
        if not self._is(*words):
            return False
        self._at += len(words)
        return True

    def _mark(self, mark: str) -> bool:
        if self._peek() != ("mark", mark):
            return False
        self._at += 1
        return True

    def _need(self, mark: str) -> None:
        if not self._mark(mark):
            raise self._unexpected()

    def _unexpected(self) -> Exception:
        return malformed(f"unexpected token: '{self._peek()[1][:40]}'")

    def end(self) -> None:
        if self._peek()[0] != "end":
            raise self._unexpected()

    def select(self, depth: int) -> Select:
        if not self._take("SELECT"):
            raise self._unexpected()
        paths: list[str] = []
        nested: list[Select] = []
        is_count = False
        if self._is("COUNT") and self._peek(1) == ("mark", "(") and depth == 0:
            self._at += 2
            self._need(")")
            is_count = True
        else:
            self._fields(paths, nested, depth)
        if not self._take("FROM"):
            raise self._unexpected()
        source = self._name(besides=("ORDER", "GROUP"))
        where = self._condition() if self._take("WHERE") else None
        order = self._order() if self._take("ORDER", "BY") else ()
        limit = self._number() if self._take("LIMIT") else None
        offset = self._number() if self._take("OFFSET") else 0
        if offset > 2000:
            raise refuse(400, "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        return Select(tuple(paths), tuple(nested), is_count, source, where, order, limit, offset)

    def _fields(self, paths: list[str], nested: list[Select], depth: int) -> None:
        while True:
            if self._mark("("):
                nested.append(self.select(depth + 1))
                self._need(")")
            else:
                paths.append(self._name())
            if not self._mark(","):
                break
        if len({p.lower() for p in paths}) != len(paths):
            raise refuse(400, "INVALID_FIELD", "duplicate field selected")

    def _name(self, *, besides: tuple[str, ...] = ()) -> str:
        """A name; some objects are called like a keyword."""
        kind, text = self._peek()
        if kind != "word" or (text.upper() in _RESERVED and text.upper() not in besides):
            raise self._unexpected()
        self._at += 1
        return text

    def _number(self) -> int:
        kind, text = self._next()
        if kind != "number" or not text.isdigit():
            self._at -= 1
            raise self._unexpected()
        return int(text)

    def _order(self) -> tuple[Order, ...]:
        terms: list[Order] = []
        while True:
            path = self._name()
            is_descending = not self._take("ASC") and self._take("DESC")
            nulls_last = False
            if self._take("NULLS"):
                nulls_last = not self._take("FIRST")
                if nulls_last and not self._take("LAST"):
                    raise self._unexpected()
            terms.append(Order(path, is_descending, nulls_last))
            if not self._mark(","):
                return tuple(terms)

    def _condition(self) -> Condition:
        terms = [self._term()]
        operator = ""
        while self._is("AND") or self._is("OR"):
            word = self._peek()[1].upper()
            if operator and word != operator:
                # Salesforce takes no mixture without parentheses.
                raise self._unexpected()
            operator = word
            self._at += 1
            if self._is("NOT"):
                raise self._unexpected()
            terms.append(self._term())
        return Logic(operator, tuple(terms)) if operator else terms[0]

    def _term(self) -> Condition:
        if self._take("NOT"):
            return Not(self._term())
        if self._mark("("):
            inner = self._condition()
            self._need(")")
            return inner
        path = self._name()
        is_negated = self._take("NOT")
        if self._take("IN"):
            return self._among(path, is_negated=is_negated)
        if is_negated:
            raise self._unexpected()
        operator = self._next()[1].upper()
        if operator not in _OPERATORS:
            self._at -= 1
            raise self._unexpected()
        literal = self._literal(is_pattern=operator == "LIKE")
        return Comparison(path, "!=" if operator == "<>" else operator, literal)

    def _among(self, path: str, *, is_negated: bool) -> Condition:
        self._need("(")
        if self._is("SELECT"):
            query = self.select(1)
            self._need(")")
            return SemiJoin(path, query, is_negated)
        literals = [self._literal()]
        while self._mark(","):
            literals.append(self._literal())
        self._need(")")
        return Among(path, tuple(literals), is_negated)

    def _literal(self, *, is_pattern: bool = False) -> Literal:
        kind, text = self._next()
        if kind == "text":
            return Literal("text", _unescaped(text[1:-1], is_pattern=is_pattern))
        if kind == "number":
            return Literal("number", float(text))
        if kind == "instant":
            try:
                return Literal("instant", parse_instant(text))
            except ValueError:
                raise malformed("invalid date") from None
        word = text.upper()
        if kind == "word" and word in ("TRUE", "FALSE", "NULL"):
            return Literal("null", None) if word == "NULL" else Literal("boolean", word == "TRUE")
        self._at -= 1
        raise self._unexpected()


def _unescaped(text: str, *, is_pattern: bool) -> str:
    """Resolve escapes; one that SOQL doesn't know is an error. In a pattern `\\_` and `\\%` stay escaped."""
    if len(text) > MAX_TEXT:
        raise malformed("string literal is longer than 4000 characters")
    result: list[str] = []
    position = 0
    while position < len(text):
        if text[position] != "\\":
            result.append(text[position])
            position += 1
            continue
        escaped = text[position + 1]
        if escaped in "_%" and is_pattern:
            result.append("\\" + escaped)
        elif escaped.lower() in _ESCAPES:
            result.append(("\\\\" if is_pattern else "\\") if escaped == "\\" else _ESCAPES[escaped.lower()])
        elif escaped == "u" and re.fullmatch(r"[0-9A-Fa-f]{4}", text[position + 2 : position + 6]):
            result.append(chr(int(text[position + 2 : position + 6], 16)))
            position += 4
        else:
            raise malformed(f"Illegal character sequence '\\{escaped}' in string literal")
        position += 2
    return "".join(result)
