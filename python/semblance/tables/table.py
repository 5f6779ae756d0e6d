"""Quantised embedding tables: rows of 2 to 32 bits a value, looked up, pooled and scored without decoding the table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import table as _native
from ..arrays import as_array, one_of
from ..errors import ArgumentError, UnsupportedError
from .arrays import Floats, float_array, integer_array, output_array, thread_count
from .generation import DTYPES, Generation, Layout, check_missing, missing_row, score_many
from .keys import KeySpace, key_space
from .publishing import Published

if TYPE_CHECKING:
    from ..gpu import GpuTable

Mode: TypeAlias = Literal["sum", "mean", "max"]
Dtype: TypeAlias = Literal["f32", "f16", "bf16", "i8", "i4", "i2", "fp8"]
Progress: TypeAlias = Callable[[int, int], object]


class EmbeddingTable(Published):
    """A table of embedding rows, read by key. Made by `from_dense` or `load`.

    All reading calls are safe from many threads at once and release the GIL. Every output element is one chain of fused
    multiply-adds in the order of the bag, so results are the same bits on every instruction set and with any number of
    threads; for i8, i4 and i2 they are FBGEMM's bits too.
    """

    @classmethod
    def from_dense(
        cls,
        weights: ArrayLike,
        dtype: Dtype = "i8",
        keys: ArrayLike | Sequence[str] | None = None,
        missing: str = "error",
        padding: int | str | None = None,
        *,
        threads: int = 0,
        progress: Progress | None = None,
    ) -> EmbeddingTable:
        """Quantise dense rows into a table.

        Parameters
        ----------
        weights : array_like, float32 or float16 of shape (n, d)
            Finite. i8, i4 and i2 store a scale and a bias a row as fp16, the bias the row's least value rounded down:
            a value comes back within scale / 2. fp8 (e4m3) stores a scale a row.
        dtype : {"f32", "f16", "bf16", "i8", "i4", "i2", "fp8"}
            The format of the rows.
        keys : array_like of int or sequence of str, shape (n,), optional
            Distinct; by default the keys are the row numbers 0 .. n - 1.
        missing : str
            What a key that is not there stands for: "error" (the call is refused), "zero", "mean" (the mean of
            `weights`) or "row:n".
        padding : int or str, optional
            A key that stands for no row at all: zeros in `lookup`, not counted in means.
        threads : int
            0 = all cores, 1 = the calling thread only.
        progress : callable(done, total), optional
            Told how far the rows, then the keys, have come.

        Returns
        -------
        EmbeddingTable
            Generation 0, over arrays of its own.

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, no column, NaN, infinity, a value beyond the format's range, an unknown policy, keys
            that come twice. Nothing is kept.
        CapacityError
            2^32 - 1 keys or more.

        Notes
        -----
        Cost: one pass over `weights`; 64 bytes for every 3.5 keys where there are `keys`. Row layout: FBGEMM's
        (Khudia et al., "FBGEMM: Enabling High-Performance Low-Precision Deep Learning Inference", 2021).

        Examples
        --------
        >>> import numpy as np
        >>> from semblance.tables import EmbeddingTable
        >>> table = EmbeddingTable.from_dense(np.eye(3, 4, dtype=np.float32), keys=["red", "green", "blue"])
        >>> table.lookup(["blue"]).round(2)
        array([[0., 0., 1., 0.]], dtype=float32)
        """
        dense = float_array("weights", weights, "(n, d)", 2)
        one_of(dtype, "dtype", DTYPES)
        if dense.shape[1] == 0:
            raise ArgumentError(f"weights: expected at least one column, got shape {dense.shape}")
        check_missing(missing, len(dense))
        space, own_keys = (KeySpace("rows"), None) if keys is None else key_space(keys, len(dense))
        layout = Layout(
            dtype, dense.shape[1], space, missing, None if padding is None else space.one("padding", padding)
        )
        rows = _native.encode(dense, dtype, thread_count(threads), progress)
        buckets = None if own_keys is None else _native.build_buckets(own_keys, progress)
        return cls(Generation(layout, rows, buckets, missing_row(missing, rows, dense, dtype)))

    @property
    def dim(self) -> int:
        """Values in a row."""
        return self._generation.layout.dim

    @property
    def dtype(self) -> str:
        """The row format."""
        return self._generation.layout.dtype

    @property
    def missing(self) -> str:
        """The policy for unknown keys."""
        return self._generation.layout.missing

    @property
    def nbytes(self) -> int:
        """Bytes of rows, heads and key buckets, in memory or mapped."""
        return self._generation.nbytes

    def __len__(self) -> int:
        if self._rows is None:
            raise UnsupportedError("len: expected a table with a number of rows, got one where every key has a row")
        return self._rows

    def __contains__(self, key: object) -> bool:
        generation = self._generation
        return generation.layout.keys.one("key", key) in generation.native

    def __repr__(self) -> str:
        layout = self._generation.layout
        return f"EmbeddingTable({len(self)} x {layout.dim}, {layout.dtype}, keys={layout.keys.kind})"

    def lookup(self, keys: Any, out: Floats | None = None, *, threads: int = 0) -> Floats:
        """The rows of `keys`, decoded.

        Parameters
        ----------
        keys : array_like of int or str, of any shape, or one key
            In the table's kind of keys.
        out : numpy.ndarray, float32 of shape (*keys.shape, d), optional
            Writable and C-contiguous, to write into.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        numpy.ndarray
            float32 (*keys.shape, d); `out` if it was given.

        Raises
        ------
        ArgumentError, NotFoundError
            Under the policy "error": a row number out of range, a key that is not there. ArgumentError also for keys
            or `out` of another form. `out` is untouched.

        Examples
        --------
        >>> table = EmbeddingTable.from_dense(np.ones((2, 3), np.float32), missing="zero")
        >>> table.lookup([[1, 7]]).tolist()
        [[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]
        """
        generation = self._generation
        wanted = generation.layout.keys.array("keys", keys)
        result = output_array(out, (*wanted.shape, generation.layout.dim))
        generation.native.lookup(wanted, result, thread_count(threads))
        return result

    def pool(
        self,
        values: Any,
        offsets: ArrayLike,
        weights: ArrayLike | None = None,
        mode: Mode = "sum",
        out: Floats | None = None,
        *,
        threads: int = 0,
    ) -> Floats:
        """Pool jagged bags of rows.

        Parameters
        ----------
        values : array_like of int or str, shape (m,)
            Keys of all bags, one bag after the other.
        offsets : array_like of int, shape (bags + 1,)
            Bag b is values[offsets[b]:offsets[b + 1]]; from 0 to m, never decreasing.
        weights : array_like, float32 of shape (m,), optional
            Finite factors, for "sum" and "mean". As in FBGEMM a mean divides by the number of keys in the bag, not by
            the sum of the weights.
        mode : {"sum", "mean", "max"}
            "max" is elementwise.
        out : numpy.ndarray, float32 of shape (bags, d), optional
            Writable and C-contiguous, to write into.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        numpy.ndarray
            float32 (bags, d); `out` if it was given. An empty bag gives zeros in every mode.

        Raises
        ------
        ArgumentError, NotFoundError
            As for `lookup`; ArgumentError also for offsets, weights or a mode of another form. `out` is untouched.

        Notes
        -----
        Cost: the memory of the rows read; rows are prefetched ahead across bags. Bags are shared out among threads.

        Examples
        --------
        >>> table = EmbeddingTable.from_dense(np.eye(3, dtype=np.float32), dtype="f32")
        >>> table.pool([0, 1, 2], [0, 2, 3]).tolist()
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        generation = self._generation
        keys = generation.layout.keys.array("values", values)
        bounds = integer_array("offsets", offsets)
        factors = None if weights is None else float_array("weights", weights, f"({keys.size},)", 1)
        result = output_array(out, (max(bounds.size - 1, 0), generation.layout.dim))
        generation.native.pool(keys, bounds, factors, mode, result, thread_count(threads))
        return result

    def score(self, query: ArrayLike, keys: Any, *, threads: int = 0) -> Floats:
        """Dot products of queries and rows, computed on the codes.

        Parameters
        ----------
        query : array_like, float32 of shape (d,) or (q, d)
            Finite.
        keys : array_like of int or str
            Any shape with one query. With q queries: (k,) scores every query against the same keys, (q, k) each query
            against its own.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        numpy.ndarray
            float32, of the keys' shape with one query, else (q, k). Unknown keys under "zero", and padding, score 0.

        Raises
        ------
        ArgumentError, NotFoundError
            As for `lookup`, and for queries of another form.

        Notes
        -----
        With scale s and bias b of a row: s * (query . codes) + b * sum(query), in 16 lanes on every processor.

        Examples
        --------
        >>> table = EmbeddingTable.from_dense(np.eye(3, dtype=np.float32), dtype="f32")
        >>> table.score([1.0, 2.0, 3.0], [2, 0]).tolist()
        [3.0, 1.0]
        """
        generation = self._generation
        many = as_array(query, "query", f"float32 of shape ({self.dim},) or (q, {self.dim})").ndim == 2
        queries = float_array("query", query, f"({'q, ' * many}{self.dim})", 2 if many else 1)
        wanted = generation.layout.keys.array("keys", keys)
        if not many:
            result = np.empty(wanted.shape, np.float32)
            generation.native.score(queries, wanted, result, thread_count(threads))
            return result
        return score_many(generation, queries, wanted, thread_count(threads))

    def to(self, device: Literal["cuda"], *, cache_rows: int | None = None) -> GpuTable:
        """Copy this generation to the current GPU: docs/gpu.md.

        Parameters
        ----------
        device : {"cuda"}
        cache_rows : int, optional
            Keep only so many rows there and read the others from pinned host memory; no call may name more.

        Returns
        -------
        semblance.gpu.GpuTable

        Raises
        ------
        UnsupportedError, CapacityError
            No GPU here, or rows that are made when they are read; no room.
        """
        from ..gpu import GpuTable

        return GpuTable(self, device, cache_rows)

    def stats(self) -> dict[str, Any]:
        """Counts and bytes by part; look-ups and unknown keys since the table was made or loaded.

        Returns
        -------
        dict
            ``rows`` that can be found (None: every key), ``dim``, ``dtype``, ``row_bytes``, ``nbytes`` and its parts,
            ``looked_up`` and ``unknown_keys``, ``generation`` and its age in seconds.

        Examples
        --------
        >>> EmbeddingTable.from_dense(np.eye(3, dtype=np.float32), "f32").stats()["rows_nbytes"]
        36
        """
        generation = self._generation
        return {
            "rows": self._rows,
            "dim": generation.layout.dim,
            "dtype": generation.layout.dtype,
            "row_bytes": generation.row_bytes,
            "nbytes": generation.nbytes,
            **generation.sizes(),
            "looked_up": self._counted[0] + generation.native.looked_up,
            "unknown_keys": self._counted[1] + generation.native.unknown,
            "generation": generation.number,
            "generation_age_s": time.time() - self._published,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as one safetensors file: temporary file, fsync, rename.

        Parameters
        ----------
        path : str or PathLike
            The file, replaced if it exists. Unpublished changes and the generation before are not kept.

        Raises
        ------
        ArgumentError
            A folder that is missing or cannot be written.
        CapacityError
            No room on the disk; the old file stays.

        Notes
        -----
        Cost: one checksum pass and one write of `nbytes` bytes.

        Examples
        --------
        >>> import tempfile, os
        >>> path = os.path.join(tempfile.mkdtemp(), "table.safetensors")
        >>> EmbeddingTable.from_dense(np.eye(3, dtype=np.float32)).save(path)
        >>> len(EmbeddingTable.load(path))
        3
        """
        from .. import storage

        tensors, metadata = self._tensors()
        storage.write(os.fspath(path), tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False, verify: bool = True) -> EmbeddingTable:
        """Open a saved table.

        Parameters
        ----------
        path : str or PathLike
            A file of `save`.
        mmap : bool
            Serve rows straight from the file's pages, without a copy; the file must not change in place meanwhile.
        verify : bool
            Check the checksums of the whole file, which reads all of it.

        Returns
        -------
        EmbeddingTable
            As saved, but from generation 0 and with no look-ups counted.

        Raises
        ------
        FormatError
            For a file that is damaged, foreign or newer; the message names the section.
        NotFoundError
            For no file; a `FormatError` and a `FileNotFoundError` too.
        """
        from .. import storage

        tensors, metadata = storage.read(os.fspath(path), mmap=mmap, verify=verify)
        for name in () if mmap else ("rows", "buckets"):
            part = tensors.get(name)
            if part is not None and part.dtype == np.uint8 and part.ndim == 2:
                tensors[name] = _native.settled(part)
        return cls._from_tensors(tensors, metadata)

    def _tensors(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        generation = self._generation
        return generation.tensors(), generation.metadata()

    @classmethod
    def _from_tensors(cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> EmbeddingTable:
        from .made import table_from_tensors

        return table_from_tensors(tensors, metadata)
