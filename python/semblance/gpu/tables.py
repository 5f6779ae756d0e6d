"""Embedding tables on a GPU: rows copied there, or a cache of them, read by kernels that give the CPU's bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, NotFoundError, UnsupportedError
from .native import require
from .streams import is_on_device, shape_of

if TYPE_CHECKING:
    from ..tables import EmbeddingTable
    from ..tables.generation import Generation

__all__ = ["GpuTable", "GpuTableGroup"]

_NO_ROW, _NO_PADDING = -1, -2
_MODES = ("sum", "mean", "max")


class _Bags(NamedTuple):
    """One field as the native call takes it, and how many bags it has."""

    values: Any
    offsets: Any
    weights: Any
    bags: int


class _Rows:
    """The rows of one generation on the card, and how keys become their numbers."""

    def __init__(self, where: str, table: EmbeddingTable, cache_rows: int) -> None:
        from .. import _cuda
        from ..tables.made import MadeTable

        if isinstance(table, MadeTable):
            raise UnsupportedError(f"{where}: expected a table of stored rows, got one whose rows are made when read")
        self.generation: Generation = table._generation
        g = self.generation
        layout = g.layout
        parts = [g.rows, *([] if g.delta is None else [g.delta.rows])]
        if g.missing_row is not None:
            parts.append(g.missing_row[None])
        self.native = _cuda.CardTable(layout.dtype, layout.dim, [np.ascontiguousarray(p) for p in parts], cache_rows)
        self.missing = sum(map(len, parts)) - 1 if g.missing_row is not None else _NO_ROW
        self.padding = _NO_PADDING if layout.padding is None else layout.padding

    @property
    def strict(self) -> bool:
        return self.generation.layout.missing == "error"

    def values(self, where: str, keys: Any) -> tuple[Any, tuple[int, ...]]:
        """Row numbers, and the shape of the keys: resolved on the host, or the keys themselves if on the card."""
        layout = self.generation.layout
        if not is_on_device(keys):
            wanted = layout.keys.array(where, keys)
            return self.generation.native.row_numbers(wanted), wanted.shape
        if layout.keys.kind != "rows" or self.generation.delta is not None or self.native.cached:
            raise UnsupportedError(
                f"{where}: expected keys of the host for a table with keys, changes or a cache of rows"
            )
        return keys, shape_of(keys)

    def bags(self, where: str, entry: Any) -> _Bags:
        """Keys, one a bag, or (values, offsets) or (values, offsets, weights)."""
        from ..tables.arrays import float_array, integer_array

        parts = entry if isinstance(entry, tuple) else (entry,)
        if not 1 <= len(parts) <= 3 or (isinstance(entry, tuple) and len(parts) == 1):
            raise ArgumentError(f"{where}: expected (values, offsets) or (values, offsets, weights), got {len(parts)}")
        values, shape = self.values(where, parts[0])
        if len(shape) != 1:
            raise ArgumentError(f"{where}: expected keys of one axis, got shape {shape}")
        if not isinstance(entry, tuple):
            return _Bags(values, None, None, shape[0])
        offsets = parts[1] if is_on_device(parts[1]) else integer_array(where, parts[1])
        weights = parts[2] if len(parts) == 3 else None
        if weights is not None and not is_on_device(weights):
            weights = float_array(where, weights, f"({shape[0]},)", 1)
        return _Bags(values, offsets, weights, max(shape_of(offsets)[0] - 1, 0))


class _Field(NamedTuple):
    rows: _Rows
    bags: _Bags
    mode: str
    column: int


class _Call(NamedTuple):
    """How a result is wanted."""

    out: Any
    on_device: bool
    stream: Any
    check: bool


def _pool(fields: Sequence[_Field], shape: tuple[int, int], call: _Call) -> Any:
    """Runs the fields into `call.out`, or a new array of the shape, and returns it."""
    from .. import _cuda
    from ..tables.arrays import output_array

    out = call.out
    if out is not None and not is_on_device(out):
        out = output_array(out, shape)
    counts = call.check and any(f.rows.strict and not isinstance(f.bags.values, np.ndarray) for f in fields)
    native = [(f.rows.native, *f.bags[:3], f.mode, f.column, f.rows.missing, f.rows.padding) for f in fields]
    result, unknown = _cuda.pool(native, out, shape, counts, call.on_device, call.stream)
    if unknown:
        raise NotFoundError(f"values: expected row numbers of the tables, got {unknown} that are none")
    return result


class GpuTable:
    """A copy of a table's rows on a GPU, made by `EmbeddingTable.to`; it keeps the generation it was made of.

    Results are the bits of the CPU's table in every format: each output element is the same chain of fused
    multiply-adds in the order of the bag. Keys of the host are resolved there; row numbers may also lie on the GPU
    (``__cuda_array_interface__`` or DLPack), and so may `out`. Compiled, and checked by running the same kernels on the
    CPU; not run on a card yet.

    Parameters
    ----------
    table : EmbeddingTable
        Of stored rows. What is written to it later is not seen.
    device : {"cuda"}
        The current CUDA device.
    cache_rows : int, optional
        Keep only so many rows on the GPU and read the others from pinned host memory.

    Raises
    ------
    UnsupportedError
        No GPU here, or a table whose rows are made when they are read.
    CapacityError
        The rows do not fit; the message says how many bytes were wanted.

    Notes
    -----
    Cost: on the GPU a row takes its bytes on the CPU rounded up to a multiple of 16.

    Examples
    --------
    >>> import numpy as np, semblance as sb
    >>> table = sb.EmbeddingTable.from_dense(np.eye(3, 4, dtype=np.float32))
    >>> if sb.gpu.is_available():
    ...     assert (table.to("cuda").lookup([2]) == table.lookup([2])).all()
    """

    def __init__(self, table: EmbeddingTable, device: str = "cuda", cache_rows: int | None = None) -> None:
        cache = _checked(device, cache_rows)
        require("EmbeddingTable.to('cuda')")
        self._rows = _Rows("table", table, cache)

    @property
    def dim(self) -> int:
        """Values in a row."""
        return self._rows.generation.layout.dim

    @property
    def dtype(self) -> str:
        """The row format."""
        return self._rows.generation.layout.dtype

    @property
    def generation(self) -> int:
        """The number of the generation that was copied."""
        return self._rows.generation.number

    @property
    def nbytes(self) -> int:
        """Bytes of the GPU's memory."""
        return self._rows.native.nbytes

    def lookup(
        self, keys: Any, out: Any = None, *, on_device: bool = False, stream: Any = None, check: bool = True
    ) -> Any:
        """The rows of `keys`, decoded.

        Parameters
        ----------
        keys : array_like of int or str, of any shape, or an int64 array of shape (n,) on the GPU
            On the GPU: row numbers, of a table without keys of its own.
        out : numpy.ndarray or GPU array, float32 of shape (*keys.shape, d), optional
            Where the result goes; a GPU array has one axis of keys and is the stream's work.
        on_device : bool
            Without `out`: True leaves the result on the GPU, (n, d), as `gpu.FlatIndex.search` does.
        stream : CUDA stream, optional
            In whose order it runs; by default the default stream.
        check : bool
            Whether unknown row numbers on the GPU are looked for under the policy "error". That waits for the stream;
            False does not and gives zeros for them. With keys and `out` on the GPU the call then allocates nothing,
            returns at once and can be captured in a CUDA graph.

        Returns
        -------
        numpy.ndarray or GPU array
            float32 (*keys.shape, d); `out` if it was given.

        Raises
        ------
        ArgumentError, NotFoundError
            As for `EmbeddingTable.lookup`. `out` is untouched, unless the keys lay on the GPU.
        UnsupportedError
            Keys on the GPU, where the table resolves them on the host.
        CapacityError
            No memory left on the GPU, or more rows in one call than the cache has; the table stays usable.
        """
        from ..tables.arrays import output_array

        values, shape = self._rows.values("keys", keys)
        n = math.prod(shape)
        if isinstance(values, np.ndarray):
            values = values.reshape(-1)
        if out is not None and not is_on_device(out):
            out = output_array(out, (*shape, self.dim)).reshape(n, self.dim)
        field = _Field(self._rows, _Bags(values, None, None, n), "sum", 0)
        result = _pool([field], (n, self.dim), _Call(out, on_device, stream, check))
        return result.reshape(*shape, self.dim) if isinstance(result, np.ndarray) else result

    def pool(
        self,
        values: Any,
        offsets: Any,
        weights: Any = None,
        mode: str = "sum",
        out: Any = None,
        *,
        on_device: bool = False,
        stream: Any = None,
        check: bool = True,
    ) -> Any:
        """Pool jagged bags of rows.

        Parameters
        ----------
        values, offsets, weights, mode
            As for `EmbeddingTable.pool`; or int64, int64 and float32 arrays on the GPU. There no one checks `offsets`:
            one that is negative or beyond the values counts as their end.
        out, on_device, stream, check
            As for `lookup`; `out` has the shape (bags, d).

        Returns
        -------
        numpy.ndarray or GPU array
            float32 (bags, d); `out` if it was given. The CPU's bits, in every format and mode.

        Raises
        ------
        ArgumentError, NotFoundError, UnsupportedError, CapacityError
            As for `lookup`.

        Notes
        -----
        Cost: the rows' memory, read by up to 16 bytes a lane; with everything on the GPU one launch.
        """
        if mode not in _MODES:
            raise ArgumentError(f"mode: expected one of {', '.join(_MODES)}, got {mode!r}")
        bags = self._rows.bags("values", (values, offsets, weights))
        return _pool([_Field(self._rows, bags, mode, 0)], (bags.bags, self.dim), _Call(out, on_device, stream, check))

    def stats(self) -> dict[str, int]:
        """``nbytes`` on the GPU; of a cache also the ``hits`` and ``misses`` of keys and rows since it was made."""
        native = self._rows.native
        cache = {"hits": native.hits, "misses": native.misses} if native.cached else {}
        return {"nbytes": native.nbytes, **cache}


class GpuTableGroup:
    """A copy of a `TableGroup` on a GPU, made by `TableGroup.to`; all its fields are read by one launch for each 64.

    Tables that several fields share are copied once.
    """

    def __init__(
        self, tables: Mapping[str, tuple[EmbeddingTable, str]], device: str = "cuda", cache_rows: int | None = None
    ) -> None:
        cache = _checked(device, cache_rows)
        require("TableGroup.to('cuda')")
        copies: dict[int, _Rows] = {}
        for name, (table, _) in tables.items():
            if id(table) not in copies:
                copies[id(table)] = _Rows(f"tables[{name!r}]", table, cache)
        self._copies = list(copies.values())
        self._fields = {name: (copies[id(table)], mode) for name, (table, mode) in tables.items()}

    @property
    def fields(self) -> tuple[str, ...]:
        """Field names in the order of their columns."""
        return tuple(self._fields)

    @property
    def dim(self) -> int:
        """Columns of the output."""
        return sum(rows.generation.layout.dim for rows, _ in self._fields.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the GPU's memory."""
        return sum(rows.native.nbytes for rows in self._copies)

    def lookup(
        self, inputs: Any, out: Any = None, *, on_device: bool = False, stream: Any = None, check: bool = True
    ) -> Any:
        """Rows of all fields for a batch of examples.

        Parameters
        ----------
        inputs : dict, or array of int64 of shape (batch, fields)
            As for `TableGroup.lookup`; a dict's arrays may lie on the GPU, field by field.
        out, on_device, stream, check
            As for `GpuTable.lookup`; `out` has the shape (batch, dim).

        Returns
        -------
        numpy.ndarray or GPU array
            float32 (batch, dim); `out` if it was given. The CPU's bits.

        Raises
        ------
        ArgumentError, NotFoundError, UnsupportedError, CapacityError
            As for `GpuTable.lookup`; fields of different batch sizes.
        """
        entries = self._entries(inputs)
        fields: list[_Field] = []
        column = 0
        for name, (rows, mode) in self._fields.items():
            bags = rows.bags(f"inputs[{name!r}]", entries[name])
            if fields and bags.bags != fields[0].bags.bags:
                raise ArgumentError(f"inputs[{name!r}]: expected {fields[0].bags.bags} examples, got {bags.bags}")
            fields.append(_Field(rows, bags, mode, column))
            column += rows.generation.layout.dim
        return _pool(fields, (fields[0].bags.bags, column), _Call(out, on_device, stream, check))

    def _entries(self, inputs: Any) -> Mapping[str, Any]:
        if isinstance(inputs, Mapping):
            if set(inputs) != set(self._fields):
                raise ArgumentError(f"inputs: expected the fields {list(self._fields)}, got {list(inputs)}")
            return inputs
        keys = np.asarray(inputs)
        if keys.ndim != 2 or keys.shape[1] != len(self._fields):
            raise ArgumentError(f"inputs: expected a dict or shape (batch, {len(self._fields)}), got {keys.shape}")
        return {name: np.ascontiguousarray(keys[:, i]) for i, name in enumerate(self._fields)}


def _checked(device: str, cache_rows: int | None) -> int:
    if device != "cuda":
        raise ArgumentError(f"device: expected 'cuda', got {device!r}")
    if cache_rows is not None and not 0 < cache_rows < 1 << 31:
        raise ArgumentError(f"cache_rows: expected None or 1 to 2^31 - 1, got {cache_rows}")
    return cache_rows or 0
