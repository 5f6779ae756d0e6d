"""How vectors of several spaces lie side by side in one row, and how weights get into a query's row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from .arrays import F32, as_array, count, describe, float_rows
from .errors import ArgumentError

__all__ = ["SpacesLayout", "Weights"]

Weights: TypeAlias = "Mapping[str, Any]"

MAX_DIM = 65_536
_CHUNK = 8192  # rows that are normalised between two looks at Ctrl-C


class SpacesLayout:
    """Where each space's part of a row is; after each part one dimension says that the item lacks it.

    Attributes
    ----------
    spaces : dict of str to int
        Dimensions by name.
    parts : dict of str to slice
        The columns of each space; the next one is 1 where an item lacks it, 0 in queries.
    dim : int
        Columns in all.
    length : float
        Of every row under cosine, and so the factor between its cosine and the sum of its parts' ones.
    """

    def __init__(self, spaces: Any, metric: str) -> None:
        self.spaces = _checked_spaces(spaces)
        self.metric = metric
        self.parts, self.dim = {}, 0
        for name, d in self.spaces.items():
            self.parts[name] = slice(self.dim, self.dim + d)
            self.dim += d + 1
        if self.dim > MAX_DIM:
            raise ArgumentError(f"spaces: expected at most {MAX_DIM} dimensions with one more a space, got {self.dim}")
        self.length = float(np.sqrt(len(self.spaces))) if metric == "cosine" else 1.0

    def _split(self, value: Any, name: str) -> dict[str, F32]:
        """Each space's rows, float32 and equally many, in the order of the spaces."""
        if not isinstance(value, Mapping):
            array = as_array(value, name, f"a mapping from space to vectors, or {self._shape()}")
            if array.ndim != 2 or array.shape[1] != sum(self.spaces.values()):
                raise ArgumentError(f"{name}: expected a mapping, or {self._shape()}, got {describe(array)}")
            parts = np.split(array, np.cumsum(list(self.spaces.values()))[:-1], axis=1)
            value = dict(zip(self.spaces, parts, strict=True))
        self._check_names(value, name)
        given = {s: float_rows(value[s], f"{name}[{s!r}]", d) for s, d in self.spaces.items() if s in value}
        if not given:
            raise ArgumentError(f"{name}: expected at least one of the spaces {list(self.spaces)}, got none")
        first, rows = next(iter(given.items()))
        for other, more in given.items():
            if len(more) != len(rows):
                want = f"{len(rows)} vectors as in {first!r}"
                raise ArgumentError(f"{name}[{other!r}]: expected {want}, got {len(more)}")
        return given

    def _shape(self) -> str:
        return f"float32 of shape (n, {sum(self.spaces.values())})"

    def _check_names(self, given: Mapping[str, Any], name: str) -> None:
        for space in given:
            if space not in self.spaces:
                raise ArgumentError(f"{name}: expected spaces of {list(self.spaces)}, got {space!r:.80}")

    def rows(self, vectors: Any) -> F32:
        """Items as the index behind has them, float32 (n, sum of d + 1)."""
        given = self._split(vectors, "vectors")
        n = len(next(iter(given.values())))
        out = np.zeros((n, self.dim), np.float32)
        for begin in range(0, n, _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            lacking = np.ones((len(out[rows]), len(self.spaces)), bool)
            for at, (space, part) in enumerate(self.parts.items()):
                if space in given:
                    values, lacking[:, at] = self._part(given[space][rows], f"vectors[{space!r}]", begin)
                    out[rows, part] = values
                out[rows, part.stop] = lacking[:, at]
            if lacking.all(axis=1).any():
                at = begin + int(np.argmax(lacking.all(axis=1)))
                raise ArgumentError(f"vectors: expected a vector in at least one space, got none for item {at}")
        return out

    def vectors(self, rows: F32) -> dict[str, F32]:
        """Each space's vectors out of stored rows, float32 (n, d), NaN where the item lacks it."""
        out = {name: np.empty((len(rows), d), np.float32) for name, d in self.spaces.items()}
        for begin in range(0, len(rows), _CHUNK):
            some = rows[begin : begin + _CHUNK]
            for name, part in self.parts.items():
                values = np.array(some[:, part])
                if self.metric == "cosine":
                    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)
                values[some[:, part.stop] > 0] = np.nan
                out[name][begin : begin + _CHUNK] = values
        return out

    def _part(self, values: F32, name: str, first: int) -> tuple[F32, Any]:
        """Vectors of one space, unit vectors under cosine and 0 where the item lacks it; and which items do."""
        lacking: Any = np.isnan(values).all(axis=1)
        bad: Any = ~np.isfinite(values).all(axis=1) & ~lacking
        if bad.any():
            at = int(np.argmax(bad))
            raise ArgumentError(f"{name}[{first + at}]: expected finite numbers, or NaN alone, got {values[at]!r:.80}")
        return np.where(lacking[:, None], np.float32(0), self._unit(values, name, first, lacking)), lacking

    def _unit(self, values: F32, name: str, first: int, lacking: Any) -> F32:
        if self.metric != "cosine":
            return values
        lengths = np.linalg.norm(values.astype(np.float64), axis=1)
        zero = (lengths == 0) & ~lacking
        if zero.any():
            at = first + int(np.argmax(zero))
            raise ArgumentError(f"{name}[{at}]: expected a vector other than zero under cosine, got zeros")
        return (values / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)

    def weighted(self, queries: Any, weights: Weights | None) -> tuple[F32, Any, Any]:
        """Query rows, float32 (q, sum of d + 1), with weights of length 1; the sum and the length of the weights."""
        given = self._split(queries, "queries")
        n = len(next(iter(given.values())))
        by_space = self._weights(weights, n)
        asked = np.stack([by_space[space] for space in given])  # (spaces asked, q)
        size = np.linalg.norm(asked, axis=0)
        if n and not (size.min() > 0 and np.isfinite(size).all()):
            at = int(np.argmin(np.where(np.isfinite(size), size, 0)))
            got = dict(zip(given, asked[:, at].tolist(), strict=True))
            raise ArgumentError(f"weights: expected one of the spaces asked for to count, got {got} for query {at}")
        rows = np.zeros((n, self.dim), np.float32)
        for space, weight in zip(given, asked, strict=True):
            name = f"queries[{space!r}]"
            if not np.isfinite(given[space]).all():
                at = int(np.argmin(np.isfinite(given[space]).all(axis=1)))
                raise ArgumentError(f"{name}[{at}]: expected finite numbers, got {given[space][at]!r:.80}")
            unit = self._unit(given[space], name, 0, np.zeros(n, bool))
            rows[:, self.parts[space]] = unit * (weight / size)[:, None]
        return rows, asked.sum(axis=0)[:, None], size[:, None]

    def _weights(self, weights: Weights | None, n: int) -> dict[str, Any]:
        """Weights by space, float64 (q,) each."""
        if weights is not None and not isinstance(weights, Mapping):
            raise ArgumentError(f"weights: expected a mapping from space to number, got {describe(weights)}")
        given = weights or {}
        self._check_names(given, "weights")
        return {space: _weight(given.get(space, 1.0), f"weights[{space!r}]", n) for space in self.spaces}


def _checked_spaces(spaces: Any) -> dict[str, int]:
    if not isinstance(spaces, Mapping) or not spaces:
        raise ArgumentError(f"spaces: expected a mapping from name to dimensions, got {spaces!r:.80}")
    out = {}
    for name, d in spaces.items():
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"spaces: expected names that are text, got {name!r:.80}")
        out[name] = count(d, f"spaces[{name!r}]", 1, MAX_DIM)
    return out


def _weight(value: Any, name: str, n: int) -> Any:
    """One number a query, float64 (q,)."""
    want = f"a number, or one a query of shape ({n},)"
    array = as_array(value, name, want)
    if array.dtype.kind not in "fiu" or array.shape not in ((), (n,)):
        raise ArgumentError(f"{name}: expected {want}, got {value!r:.80}")
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name}: expected finite numbers, got {value!r:.80}")
    return np.broadcast_to(array.astype(np.float64), (n,))
