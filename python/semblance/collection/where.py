"""Translate a ``where`` condition into SQL that holds nothing of the user's text but bound values.

Every token of the condition is either on a list (operators, keywords, functions), a number, or becomes a bound value or
a reference to the record's own field. So no text can form a statement, a sub-select or a comment: what is not on the
lists is an `ArgumentError`. SQLite then judges the grammar, behind an authorizer, on a connection that cannot write.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError

Where = str | tuple[str, Sequence[Any] | Mapping[str, Any]]
Path = tuple[str, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = _words(
    "AND OR NOT IN IS NULL ISNULL NOTNULL LIKE GLOB ESCAPE BETWEEN TRUE FALSE CASE WHEN THEN ELSE END COLLATE"
)
COLLATIONS = frozenset({"NOCASE", "BINARY", "RTRIM"})
FUNCTIONS = _words(
    "abs coalesce ifnull iif instr length lower ltrim max min nullif replace round rtrim substr trim typeof upper"
)
# Words that only a statement would use; as a field's name they need double quotes.
_STATEMENT_WORDS = _words(
    "SELECT FROM WHERE UNION EXCEPT INTERSECT INSERT UPDATE DELETE DROP CREATE ALTER ATTACH DETACH PRAGMA VACUUM "
    "EXISTS WITH VALUES RETURNING MATCH REGEXP CAST RAISE JOIN LIMIT ORDER GROUP HAVING BEGIN COMMIT ROLLBACK"
)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--|/\*)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<name>[^\W\d]\w*)
      | (?P<parameter>\?|:[^\W\d]\w*)
      | (?P<operator>\|\||<<|>>|<=|>=|<>|!=|==|[=<>+\-*/%&|~(),.])""",
    re.VERBOSE,
)
_MAX_LENGTH = 1_000_000
_MAX_DEPTH = 200


@dataclass(frozen=True)
class Condition:
    """An SQL expression over the table ``records``, and the values bound to its question marks."""

    sql: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def field_path(name: str) -> Path:
    """Return the JSON path of a field's name: ``"director.name"`` is ``name`` inside ``director``."""
    path = tuple(name.split("."))
    if not all(path) or '"' in name or "\0" in name:
        raise ArgumentError(f"field: expected a name such as year or director.name, without quotes, got {name!r}")
    return path


def json_path(path: Path) -> str:
    """Return the path in SQLite's notation, every step quoted."""
    return "$" + "".join(f'."{step}"' for step in path)


def compile_where(where: Where, columns: Mapping[Path, str]) -> Condition:
    """Return the condition as safe SQL.

    Parameters
    ----------
    where : str or (str, sequence or mapping)
        The condition; question marks or ``:names`` in it take the values beside it. A list as a value stands after IN.
    columns : mapping of path to str
        The fields that have a column of their own; all others are read from the record's JSON.

    Raises
    ------
    ArgumentError
        Anything that is not a condition over the record's own fields, or values that do not fit its parameters.
    """
    text, given = where if isinstance(where, tuple) and len(where) == 2 else (where, ())
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f'where: expected a condition such as "year >= 1990", got {where!r}')
    if len(text) > _MAX_LENGTH:
        raise ArgumentError(
            f"where: expected at most {_MAX_LENGTH} characters, got {len(text)} (bind long lists as values)"
        )
    return _Translation(text, given, columns).run()


class _Translation:
    def __init__(self, text: str, given: Any, columns: Mapping[Path, str]) -> None:
        self.text = text
        self.columns = columns
        self.parameters = _Parameters(given)
        self.tokens = list(_tokens(text))
        self.at = 0
        self.sql: list[str] = []
        self.values: list[Any] = []
        self.closers: list[str] = []

    def run(self) -> Condition:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            getattr(self, "_" + token.kind)(token)
        if self.closers:
            raise _refused(self.text, len(self.text), "a closing parenthesis", "the end")
        self.parameters.check_all_used()
        return Condition("(" + " ".join(self.sql) + ")", tuple(self.values))

    def _number(self, token: _Token) -> None:
        if len(token.text) > 40:
            raise _refused(self.text, token.at, "a number of at most 40 characters", token.text[:40])
        self.sql.append(token.text)

    def _text(self, token: _Token) -> None:
        self._bind(token.text[1:-1].replace("''", "'"))

    def _parameter(self, token: _Token) -> None:
        value = self.parameters.take(token.text)
        if isinstance(value, list):
            self.sql.append("(SELECT value FROM json_each(?))")
            self.values.append(json.dumps(value))
        else:
            self._bind(value)

    def _operator(self, token: _Token) -> None:
        if token.text == "(":
            self._open(token, "(", ")")
        elif token.text == ")":
            if not self.closers:
                raise _refused(self.text, token.at, "an opening parenthesis before", ")")
            self.sql.append(self.closers.pop())
        elif token.text == ".":
            raise _refused(self.text, token.at, "a field's name before", ".")
        else:
            self.sql.append(token.text)

    def _name(self, token: _Token) -> None:
        word = token.text.upper()
        if word in KEYWORDS:
            self.sql.append(word)
        elif self.sql and self.sql[-1] == "COLLATE":
            if word not in COLLATIONS:
                raise _refused(self.text, token.at, f"one of {', '.join(sorted(COLLATIONS))}", token.text)
            self.sql.append(word)
        elif self._next_is("("):
            self._function(token)
        elif word in _STATEMENT_WORDS:
            raise _refused(self.text, token.at, "a condition over the record's own fields", token.text)
        else:
            self._field(token)

    def _quoted(self, token: _Token) -> None:
        self._field(token)

    def _function(self, token: _Token) -> None:
        name = token.text.lower()
        self.at += 1
        if name == "contains":
            path = self._path(self._take("a field's name"))
            if self._take("a comma").text != ",":
                raise _refused(self.text, token.at, "contains(field, value)", token.text)
            self._open(token, "EXISTS (SELECT 1 FROM json_each(records.fields, ?) AS each WHERE each.value IS (", "))")
            self.values.append(json_path(path))
        elif name in FUNCTIONS:
            self._open(token, name + "(", ")")
        else:
            raise _refused(self.text, token.at, f"a function of contains, {', '.join(sorted(FUNCTIONS))}", token.text)

    def _field(self, token: _Token) -> None:
        path = self._path(token)
        if path in (("id",), ("text",)):
            self.sql.append(f"records.{path[0]}")
        elif path in self.columns:
            self.sql.append(f"records.{self.columns[path]}")
        else:
            self.sql.append("json_extract(records.fields, ?)")
            self.values.append(json_path(path))

    def _path(self, token: _Token) -> Path:
        steps = [self._step(token)]
        while self._next_is("."):
            self.at += 1
            steps.append(self._step(self._take("a field's name after the dot")))
        return tuple(steps)

    def _step(self, token: _Token) -> str:
        name = token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text
        if token.kind not in ("name", "quoted") or '"' in name or "\0" in name:
            raise _refused(self.text, token.at, "a field's name", token.text)
        return name

    def _open(self, token: _Token, opener: str, closer: str) -> None:
        if len(self.closers) >= _MAX_DEPTH:
            raise _refused(self.text, token.at, f"at most {_MAX_DEPTH} nested parentheses", "more")
        self.sql.append(opener)
        self.closers.append(closer)

    def _bind(self, value: Any) -> None:
        self.sql.append("?")
        self.values.append(value)

    def _next_is(self, text: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at].text == text

    def _take(self, want: str) -> _Token:
        if self.at == len(self.tokens):
            raise _refused(self.text, len(self.text), want, "the end")
        self.at += 1
        return self.tokens[self.at - 1]


class _Parameters:
    """The values beside the condition: by place for ``?``, by name for ``:name``."""

    def __init__(self, given: Any) -> None:
        by_name = isinstance(given, Mapping)
        if not by_name and (isinstance(given, str | bytes) or not isinstance(given, Sequence)):
            raise ArgumentError(f"where: expected (condition, values), the values a sequence or mapping, got {given!r}")
        self.named: Mapping[str, Any] = given if by_name else {}
        self.placed: list[Any] = [] if by_name else list(given)
        self.used: set[str] = set()
        self.taken = 0

    def take(self, token: str) -> Any:
        if token == "?":
            if self.taken == len(self.placed):
                raise ArgumentError(f"where: expected a value for every ?, got {len(self.placed)}")
            self.taken += 1
            return bindable(self.placed[self.taken - 1])
        if token[1:] not in self.named:
            raise ArgumentError(f"where: expected a value for {token}, got {sorted(self.named)}")
        self.used.add(token[1:])
        return bindable(self.named[token[1:]])

    def check_all_used(self) -> None:
        if self.taken != len(self.placed) or self.used != set(self.named):
            got = len(self.placed) or sorted(self.named)
            raise ArgumentError(
                f"where: expected as many values as parameters, got {got} for {self.taken or self.used}"
            )


def bindable(value: Any) -> Any:
    """Return a value that SQLite binds: None, bool, int, float, str, or a list of those."""
    if isinstance(value, list | tuple | Set) or (hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1):
        items = value.tolist() if hasattr(value, "tolist") else value
        return [_scalar(item) for item in items]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ArgumentError(f"where: expected integers of 64 bits, got {value}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ArgumentError(f"where: expected finite numbers, got {value}")
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str) and _is_utf8(value):
        return value
    raise ArgumentError(f"where: expected values of None, bool, int, float, str, or lists of them, got {value!r}")


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup == "comment":
            raise _refused(text, at, "a condition over the record's own fields", text[at : at + 20])
        if match.lastgroup != "space":
            if not _is_utf8(match.group()):
                raise _refused(text, at, "valid text", ascii(match.group()[:20]))
            yield _Token(str(match.lastgroup), match.group(), at)
        at = match.end()


def _refused(text: str, at: int, want: str, got: str) -> ArgumentError:
    return ArgumentError(f"where: expected {want}, got {got!r} at character {at + 1} of {text[:200]!r}")
