"""Tables whose rows are made when they are read: of rows of other tables, or of a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._core import table as _native
from ..errors import ArgumentError, FormatError, UnsupportedError
from .arrays import Bytes, Ints
from .generation import VERSION, Generation, Layout, buckets_of, from_tensors, layout_of
from .publishing import Published
from .table import EmbeddingTable
from .updates import TableWriter

MADE_KIND = "made_table"
_DEEPEST = 4  # parts of parts of parts: more is no table but an attack
_MEAN_ROWS = 4096  # made at a time for the mean row

Codes: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Recipe:
    """How rows are made.

    "composed": of one row of each part, found by a rule, and put together; "mixed": the parts' rows one after the
    other; "seeded": of a seed; "overlapping": every run of neighbouring values of one array is a row.
    """

    kind: str
    parameters: Mapping[str, Any]
    rows: int | None = None  # None: every key has a row
    parts: tuple[State, ...] = ()
    codes: Codes | None = None
    values: Bytes | None = None

    def build(self, keys: tuple[Any, ...]) -> _native.Table:
        return _BUILDERS[self.kind](self, keys)

    @property
    def row_bytes(self) -> int:
        """Bytes that making one row reads."""
        if self.values is not None:
            return int(self.parameters["dim"]) * int(self.values.shape[1])
        if self.kind == "mixed":
            return max(part.row_bytes for part in self.parts)
        own = 0 if self.codes is None else int(self.codes.shape[1]) * self.codes.itemsize
        picks = self.parameters.get("picks", [])
        return own + sum(int(self.parts[number].row_bytes) for number, _, _ in picks)


@dataclass(frozen=True)
class Made:
    """One immutable state of a made table, in the place of a `Generation`."""

    layout: Layout
    recipe: Recipe
    buckets: Bytes | None = None
    missing_row: Bytes | None = None
    number: int = 0
    native: _native.Table = field(init=False, compare=False)

    def __post_init__(self) -> None:
        layout = self.layout
        keys = (self.recipe.rows, self.buckets, layout.policy, self.missing_row, layout.padding)
        object.__setattr__(self, "native", self.recipe.build(keys))

    @property
    def delta(self) -> None:
        """Made tables are never written to."""
        return None

    @property
    def row_bytes(self) -> int:
        return self.recipe.row_bytes

    def live_count(self) -> int | None:
        return self.recipe.rows

    def sizes(self) -> dict[str, int]:
        codes = 0 if self.recipe.codes is None else self.recipe.codes.nbytes
        keys = 0 if self.buckets is None else self.buckets.nbytes
        rows = self.nbytes - codes - keys
        return {"rows_nbytes": rows, "codes_nbytes": codes, "keys_nbytes": keys, "delta_nbytes": 0}

    @property
    def nbytes(self) -> int:
        return sum(self.arrays().values())

    def arrays(self) -> dict[int, int]:
        found = {id(array): array.nbytes for array in self._own().values()}
        for part in self.recipe.parts:
            found |= part.arrays()
        return found

    def _own(self) -> dict[str, NDArray[Any]]:
        named: dict[str, NDArray[Any] | None] = {
            "buckets": self.buckets,
            "missing_row": self.missing_row,
            "codes": self.recipe.codes,
            "values": self.recipe.values,
        }
        return {name: array for name, array in named.items() if array is not None}

    def tensors(self) -> dict[str, NDArray[Any]]:
        named = self._own()
        for number, part in enumerate(self.recipe.parts):
            named |= {f"part{number}.{name}": array for name, array in part.tensors().items()}
        return named

    def metadata(self) -> dict[str, str]:
        recipe = self.recipe
        spec = {
            "kind": recipe.kind,
            "parameters": dict(recipe.parameters),
            "rows": recipe.rows,
            "parts": [part.metadata() for part in recipe.parts],
        }
        own = {"kind": MADE_KIND, "table_version": VERSION, **self.layout.metadata()}
        return {**own, "recipe": json.dumps(spec, sort_keys=True)}


State: TypeAlias = Generation | Made


def _build_composed(recipe: Recipe, keys: tuple[Any, ...]) -> _native.Table:
    picks = recipe.parameters["picks"]
    parts = [(recipe.parts[number].native, rule, parameter) for number, rule, parameter in picks]
    return _native.composed(parts, recipe.parameters["combine"], recipe.codes, keys)


def _build_mixed(recipe: Recipe, keys: tuple[Any, ...]) -> _native.Table:
    return _native.mixed([part.native for part in recipe.parts], keys)


def _build_seeded(recipe: Recipe, keys: tuple[Any, ...]) -> _native.Table:
    p = recipe.parameters
    return _native.seeded(p["dim"], p["seed"], p["deviation"], p["distribution"], keys)


def _build_overlapping(recipe: Recipe, _: tuple[Any, ...]) -> _native.Table:
    if recipe.values is None:
        raise ValueError("no tensor 'values'")
    return _native.overlapping(recipe.parameters["dtype"], recipe.parameters["dim"], recipe.values)


_BUILDERS: dict[str, Callable[[Recipe, tuple[Any, ...]], _native.Table]] = {
    "composed": _build_composed,
    "mixed": _build_mixed,
    "seeded": _build_seeded,
    "overlapping": _build_overlapping,
}


class MadeTable(EmbeddingTable):
    """An `EmbeddingTable` whose rows are made when they are read; made by the functions of `semblance.tables`.

    It reads as every table does and is saved and loaded like one, its parts with it. It cannot be written to, and it
    keeps the state that its parts had when it was made.
    """

    _generation: Made  # type: ignore[assignment]

    def __init__(self, state: Made) -> None:
        super().__init__(state)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        layout, rows = self._generation.layout, self._generation.recipe.rows
        count = "any key" if rows is None else rows
        return f"MadeTable({count} x {layout.dim}, {self._generation.recipe.kind}, keys={layout.keys.kind})"

    @property
    def codes(self) -> Codes:
        """(n, parts) uint8 or uint16: the codeword of every row in every codebook. Not for writing.

        Raises
        ------
        UnsupportedError
            For a table without codebooks.
        """
        codes = self._generation.recipe.codes
        if codes is None:
            raise UnsupportedError("codes: expected a table of codebooks, got one without")
        view = codes.view()
        view.flags.writeable = False
        return view

    def writer(self) -> TableWriter:
        """Raise UnsupportedError: write to the parts, and make the table again."""
        raise self._read_only("writer")

    def rollback(self) -> None:
        """Raise UnsupportedError, as `writer` does."""
        raise self._read_only("rollback")

    def compact(self) -> None:
        """Raise UnsupportedError, as `writer` does."""
        raise self._read_only("compact")

    def compact_in_background(self) -> Future[bool]:
        """Raise UnsupportedError, as `writer` does."""
        raise self._read_only("compact_in_background")

    def replace(self, other: Published) -> None:
        """Raise UnsupportedError, as `writer` does.

        Parameters
        ----------
        other : EmbeddingTable
            Not looked at.
        """
        raise self._read_only("replace")

    @staticmethod
    def _read_only(call: str) -> UnsupportedError:
        return UnsupportedError(
            f"{call}: expected a table of stored rows, got one whose rows are made (write its parts)"
        )


def with_mean_row(layout: Layout, recipe: Recipe, buckets: Bytes | None, missing: str) -> Made:
    """The state under a policy that needs a row of the table itself: "mean" and "row:n"."""
    if missing in ("zero", "error"):
        return Made(layout, recipe, buckets)
    bare = recipe.build((recipe.rows, None, "error", None, None))
    rows = recipe.rows
    assert rows is not None
    if missing.startswith("row:"):
        row = _made_rows(bare, np.array([int(missing[4:])], np.int64), layout.dim)[0]
    else:
        total = np.zeros(layout.dim, np.float64)
        for first in range(0, rows, _MEAN_ROWS):
            numbers = np.arange(first, min(rows, first + _MEAN_ROWS))
            total += _made_rows(bare, numbers, layout.dim).sum(axis=0, dtype=np.float64)
        row = (total / max(rows, 1)).astype(np.float32)
    return Made(layout, recipe, buckets, np.ascontiguousarray(row).view(np.uint8))


def _made_rows(native: _native.Table, numbers: Ints, dim: int) -> NDArray[np.float32]:
    out = np.empty((len(numbers), dim), np.float32)
    native.lookup(numbers, out, 0)
    return out


def table_from_tensors(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> EmbeddingTable:
    """The table that a file holds, of either kind."""
    state = state_from_tensors(tensors, metadata)
    return MadeTable(state) if isinstance(state, Made) else EmbeddingTable(state)


def state_from_tensors(tensors: Mapping[str, Any], metadata: Mapping[str, str], depth: int = 0) -> State:
    """The state that `tensors()` and `metadata()` describe; FormatError where they do not fit together."""
    if metadata.get("kind") != MADE_KIND:
        return from_tensors(tensors, metadata)
    layout = layout_of(metadata, MADE_KIND)
    if depth >= _DEEPEST:
        raise FormatError(f"table file: expected parts of parts at most {_DEEPEST} deep, got more")
    try:
        spec = json.loads(metadata["recipe"])
        parts = tuple(
            state_from_tensors(_part(tensors, number), part, depth + 1) for number, part in enumerate(spec["parts"])
        )
        recipe = Recipe(
            spec["kind"], spec["parameters"], spec["rows"], parts, tensors.get("codes"), tensors.get("values")
        )
        buckets = buckets_of(tensors) if layout.keys.kind in ("int64", "str") and "buckets" in tensors else None
        row = tensors.get("missing_row") if layout.policy == "row" else None
        made = Made(layout, recipe, buckets, row)
    except FormatError:
        raise
    except (ArgumentError, KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(f"table file: expected a whole recipe, got {error!r}") from error
    if recipe.codes is not None:
        _check_codes(recipe)
    return made


def _part(tensors: Mapping[str, Any], number: int) -> dict[str, Any]:
    start = f"part{number}."
    return {name[len(start) :]: array for name, array in tensors.items() if name.startswith(start)}


def _check_codes(recipe: Recipe) -> None:
    assert recipe.codes is not None
    for number, rule, column in recipe.parameters["picks"]:
        if rule == "codes":
            size, largest = len(recipe.parts[number].native), recipe.codes[:, column].max(initial=0)
            if len(recipe.codes) and largest >= size:
                raise FormatError(f"table file: expected codes below {size} in column {column}, got {largest}")
