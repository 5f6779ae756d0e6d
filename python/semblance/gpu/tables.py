"""Embedding tables on a GPU: rows copied there, or a cache of them, read by kernels that give the CPU's bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, NotFoundError, UnsupportedError
from .native import require

if TYPE_CHECKING:
    from ..tables import EmbeddingTable
    from ..tables.arrays import Floats
    from ..tables.generation import Generation

__all__ = ["GpuTable", "GpuTableGroup"]

_NO_ROW, _NO_PADDING = -1, -2
_MODES = ("sum", "mean", "max")


class _CardArray(NamedTuple):
    """Where an array of the card is."""

    address: int
    shape: tuple[int, ...]


class _Bags(NamedTuple):
    """One field as the native call takes it, and how many bags it has."""

    values: NDArray[np.int64] | int
    offsets: NDArray[np.int64] | int | None
    weights: NDArray[np.float32] | int | None
    count: int


def _is_on_card(array: object) -> bool:
    return hasattr(array, "__cuda_array_interface__")


def _card_array(where: str, array: Any, dtype: type[np.generic], ndim: int, writable: bool = False) -> _CardArray:
    face = array.__cuda_array_interface__
    shape, wanted = tuple(face["shape"]), np.dtype(dtype)
    packed = np.empty(0, wanted).itemsize * np.cumprod((1, *shape[:0:-1]))[::-1]
    strides = face.get("strides")
    contiguous = strides is None or 0 in shape or tuple(strides) == tuple(packed)
    if np.dtype(face["typestr"]) != wanted or len(shape) != ndim or not contiguous:
        got = f"{np.dtype(face['typestr'])} of shape {shape}" + ("" if contiguous else ", strided")
        raise ArgumentError(f"{where}: expected contiguous {wanted} of {ndim} axes on the GPU, got {got}")
    address, read_only = face["data"]
    if writable and read_only:
        raise ArgumentError(f"{where}: expected a writable array, got a read-only one")
    return _CardArray(int(address), shape)


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

    def values(self, where: str, keys: Any, ndim: int) -> tuple[NDArray[np.int64] | int, tuple[int, ...]]:
        """Row numbers of the host, or the address of those on the card."""
        layout = self.generation.layout
        if not _is_on_card(keys):
            wanted = layout.keys.array(where, keys)
            if ndim and wanted.ndim != ndim:
                raise ArgumentError(f"{where}: expected {ndim} axes, got shape {wanted.shape}")
            return self.generation.native.row_numbers(wanted), wanted.shape
        plain = layout.keys.kind == "rows" and self.generation.delta is None and not self.native.cached
        if not plain:
            raise UnsupportedError(
                f"{where}: expected keys of the host for a table with keys, changes or a cache of rows"
            )
        card = _card_array(where, keys, np.int64, 1)
        return card.address, card.shape

    def bags(self, where: str, entry: Any) -> _Bags:
        """Keys, one a bag, or (values, offsets) or (values, offsets, weights)."""
        if not isinstance(entry, tuple):
            values, shape = self.values(where, entry, 1)
            return _Bags(values, None, None, shape[0])
        if len(entry) not in (2, 3):
            raise ArgumentError(f"{where}: expected (values, offsets) or (values, offsets, weights), got {len(entry)}")
        values, shape = self.values(where, entry[0], 1)
        weights = entry[2] if len(entry) == 3 else None
        return self._jagged(where, values, shape[0], entry[1], weights)

    def _jagged(self, where: str, values: NDArray[np.int64] | int, size: int, offsets: Any, weights: Any) -> _Bags:
        from ..tables.arrays import float_array, integer_array

        on_card = isinstance(values, int)
        if on_card != _is_on_card(offsets) or (weights is not None and on_card != _is_on_card(weights)):
            raise ArgumentError(
                f"{where}: expected values, offsets and weights all on the GPU or all on the host, got both"
            )
        if on_card:
            bounds = _card_array(where, offsets, np.int64, 1)
            factors = None if weights is None else _card_array(where, weights, np.float32, 1)
            if factors is not None and factors.shape != (size,):
                raise ArgumentError(f"{where}: expected weights of shape ({size},), got {factors.shape}")
            count = max(bounds.shape[0] - 1, 0)
            return _Bags(values, bounds.address, None if factors is None else factors.address, count)
        starts = integer_array(where, offsets)
        ones = None if weights is None else float_array(where, weights, f"({size},)", 1)
        return _Bags(values, starts, ones, max(starts.size - 1, 0))


class _Field(NamedTuple):
    rows: _Rows
    bags: _Bags
    mode: str
    column: int


def _pool(fields: Sequence[_Field], out: Any, shape: tuple[int, int], stream: int, check: bool) -> Any:
    """Runs the fields into `out`, or a new NumPy array of the shape, and returns it."""
    from .. import _cuda
    from ..tables.arrays import output_array

    for field in fields:
        if field.mode == "max" and field.bags.weights is not None:
            raise ArgumentError("weights: expected None with mode 'max', got an array")
    result: Any
    target: Any
    if out is not None and _is_on_card(out):
        card = _card_array("out", out, np.float32, 2, writable=True)
        if card.shape != shape:
            raise ArgumentError(f"out: expected shape {shape}, got {card.shape}")
        result, target = out, card.address
    else:
        result = target = output_array(out, shape)
    strict = check and any(f.rows.strict and isinstance(f.bags.values, int) for f in fields)
    native = [(f.rows.native, *f.bags[:3], f.mode, f.column, f.rows.missing, f.rows.padding) for f in fields]
    unknown = _cuda.pool(native, target, shape[0], shape[1], strict, stream)
    if unknown:
        raise NotFoundError(f"values: expected row numbers of the tables, got {unknown} that are none")
    return result


class GpuTable:
    """A copy of a table's rows on a GPU, made by `EmbeddingTable.to`; it keeps the generation it was made of.

    Results are the bits of the CPU's table in every format: each output element is the same chain of fused
    multiply-adds in the order of the bag. Keys of the host are resolved there; row numbers may also lie on the GPU (any
    array with ``__cuda_array_interface__``), and so may `out`.

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

    def lookup(self, keys: Any, out: Any = None, *, stream: int = 0, check: bool = True) -> Any:
        """The rows of `keys`, decoded.

        Parameters
        ----------
        keys : array_like of int or str, of any shape, or an int64 array of shape (n,) on the GPU
            On the GPU: row numbers, of a table that has no keys of its own.
        out : numpy.ndarray or GPU array, float32 of shape (*keys.shape, d), optional
            Where the result goes. On the GPU it may still be written when the call returns: it is the stream's work.
        stream : int
            The address of a CUDA stream; 0 is the default one.
        check : bool
            Whether unknown row numbers on the GPU are looked for under the policy "error". That waits for the stream;
            False does not, gives zeros for them, and can be captured in a CUDA graph.

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
        values, shape = self._rows.values("keys", keys, 0)
        count = int(np.prod(shape, dtype=np.int64))
        field = _Field(self._rows, _Bags(_flat(values), None, None, count), "sum", 0)
        flat = None if out is None else _as_rows(out, (*shape, self.dim))
        result = _pool([field], flat, (count, self.dim), stream, check)
        return result.reshape(*shape, self.dim) if out is None else out

    def pool(
        self,
        values: Any,
        offsets: Any,
        weights: Any = None,
        mode: str = "sum",
        out: Any = None,
        *,
        stream: int = 0,
        check: bool = True,
    ) -> Any:
        """Pool jagged bags of rows.

        Parameters
        ----------
        values, offsets, weights, mode
            As for `EmbeddingTable.pool`; or int64, int64 and float32 arrays on the GPU, whose `offsets` are trusted.
        out, stream, check
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
        Cost: the rows' memory, read by 16 bytes a lane; with everything on the GPU one launch and no allocation.
        """
        if mode not in _MODES:
            raise ArgumentError(f"mode: expected one of {', '.join(_MODES)}, got {mode!r}")
        bags = self._rows.bags("values", (values, offsets, weights))
        return _pool([_Field(self._rows, bags, mode, 0)], out, (bags.count, self.dim), stream, check)

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

    def lookup(self, inputs: Any, out: Any = None, *, stream: int = 0, check: bool = True) -> Any:
        """Rows of all fields for a batch of examples.

        Parameters
        ----------
        inputs : dict, or array of int64 of shape (batch, fields)
            As for `TableGroup.lookup`; a dict's arrays may lie on the GPU, field by field.
        out, stream, check
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
            if fields and bags.count != fields[0].bags.count:
                raise ArgumentError(f"inputs[{name!r}]: expected {fields[0].bags.count} examples, got {bags.count}")
            fields.append(_Field(rows, bags, mode, column))
            column += rows.generation.layout.dim
        return _pool(fields, out, (fields[0].bags.count, column), stream, check)

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


def _flat(values: NDArray[np.int64] | int) -> NDArray[np.int64] | int:
    return values if isinstance(values, int) else values.reshape(-1)


def _as_rows(out: Any, shape: tuple[int, ...]) -> Any:
    """`out` as the (rows, d) array that it is, once its own shape was checked."""
    from ..tables.arrays import output_array

    if _is_on_card(out):
        return out
    checked: Floats = output_array(out, shape)
    return checked.reshape(-1, shape[-1])
