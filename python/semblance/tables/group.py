"""Many tables read in one call, side by side into one array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._core import table as _native
from ..arrays import describe, one_of
from ..errors import ArgumentError
from .arrays import Floats, float_array, integer_array, thread_count
from .table import EmbeddingTable, Mode

if TYPE_CHECKING:
    from ..gpu import GpuTableGroup

_MODES = ("sum", "mean", "max")


class TableGroup:
    """Fields of an example, each read from a table; several fields may share one.

    Parameters
    ----------
    tables
        Tables by name, of any dimensions and formats.
    fields
        Field name -> table name, or (table name, mode of its bags). None: one field a table, of the same name, "sum".
        The order of the fields is the order of their columns.

    Raises
    ------
    ArgumentError
        For a field whose table or mode does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from semblance.tables import EmbeddingTable, TableGroup
    >>> user = EmbeddingTable.from_dense(np.eye(3, dtype=np.float32), dtype="f32")
    >>> item = EmbeddingTable.from_dense(np.ones((4, 2), np.float32), dtype="f32")
    >>> group = TableGroup({"user": user, "item": item}, fields={"user": "user", "seen": ("item", "sum")})
    >>> group.lookup({"user": [2, 0], "seen": ([0, 1, 2], [0, 1, 3])}).tolist()
    [[0.0, 0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 2.0, 2.0]]
    """

    def __init__(
        self,
        tables: Mapping[str, EmbeddingTable],
        fields: Mapping[str, str | tuple[str, Mode]] | None = None,
    ) -> None:
        specs: Mapping[str, str | tuple[str, Mode]] = {name: name for name in tables} if fields is None else fields
        if not specs:
            raise ArgumentError("fields: expected at least one field, got none")
        self._tables: list[EmbeddingTable] = []
        modes: list[str] = []
        for field, spec in specs.items():
            pair = (spec, "sum") if isinstance(spec, str) else spec
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ArgumentError(f"fields[{field!r}]: expected a table name, or one and a mode, got {pair!r:.80}")
            name = one_of(pair[0], f"fields[{field!r}]: table", list(tables))
            mode = one_of(pair[1], f"fields[{field!r}]: mode", _MODES)
            if not isinstance(tables[name], EmbeddingTable):
                raise ArgumentError(f"tables: expected an EmbeddingTable for {name!r}, got {describe(tables[name])}")
            self._tables.append(tables[name])
            modes.append(mode)
        self._names, self._modes = list(specs), modes
        slots = [table._slot for table in self._tables]
        self._native = _native.Group(self._names, slots, modes, _Prepare(self._names, self._tables))

    @property
    def fields(self) -> tuple[str, ...]:
        """Field names in the order of their columns."""
        return tuple(self._names)

    @property
    def dim(self) -> int:
        """Columns of the output: the sum of the fields' dimensions."""
        return self._native.width

    @property
    def nbytes(self) -> int:
        """Bytes of the tables; what several of them share is counted once."""
        arrays: dict[int, int] = {}
        for table in self._tables:
            arrays |= table._generation.arrays()
        return sum(arrays.values())

    def to(self, device: Literal["cuda"], *, cache_rows: int | None = None) -> GpuTableGroup:
        """Copy the tables' generations to a GPU, where one launch reads all fields: docs/gpu.md.

        Parameters
        ----------
        device, cache_rows
            As for `EmbeddingTable.to`; the cache is each table's.

        Returns
        -------
        semblance.gpu.GpuTableGroup

        Raises
        ------
        UnsupportedError, CapacityError
            As for `EmbeddingTable.to`.
        """
        from ..gpu import GpuTableGroup

        pairs = zip(self._tables, self._modes, strict=True)
        return GpuTableGroup(dict(zip(self._names, pairs, strict=True)), device, cache_rows)

    def lookup(self, inputs: Any, out: Floats | None = None, *, threads: int = 0) -> Floats:
        """Rows of all fields for a batch of examples.

        Parameters
        ----------
        inputs : dict, or array of int64 of shape (batch, fields)
            A dict with an entry for every field: (batch,) keys, one an example; or (values, offsets) or (values,
            offsets, weights), a bag an example, pooled. Or int64 (batch, fields), one key a field: the fastest form.
        out : numpy.ndarray, float32 of shape (batch, dim), optional
            Writable and C-contiguous, to write into.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        numpy.ndarray
            float32 (batch, dim); `out` if it was given. Every field is read from one generation of its table.

        Raises
        ------
        ArgumentError, NotFoundError
            As for `EmbeddingTable.lookup` and `pool`; fields of different batch sizes. `out` is untouched.

        Notes
        -----
        Cost: the rows' memory, prefetched ahead across bags and fields; work is shared out by (field, examples).
        """
        return self._native.lookup(inputs, out, thread_count(threads))


class _Prepare:
    """Turns one field's entry into (values, offsets or None, weights or None) of the native types."""

    def __init__(self, names: list[str], tables: list[EmbeddingTable]) -> None:
        self._names, self._tables = names, tables

    def __call__(self, field: int, entry: object) -> tuple[object, object, object]:
        where, space = f"inputs[{self._names[field]!r}]", self._tables[field]._generation.layout.keys
        if not isinstance(entry, tuple):
            keys = space.array(where, entry)
            if keys.ndim != 1:
                raise ArgumentError(f"{where}: expected keys of shape (batch,), got {keys.shape}")
            return keys, None, None
        if len(entry) not in (2, 3):
            raise ArgumentError(f"{where}: expected (values, offsets) or (values, offsets, weights), got {len(entry)}")
        values = space.array(where, entry[0])
        weights = None if len(entry) == 2 or entry[2] is None else entry[2]
        factors = None if weights is None else float_array(where, weights, f"({np.size(values)},)", 1)
        return values, integer_array(where, entry[1]), factors
