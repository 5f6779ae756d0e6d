"""Exact search over rows that lie on the card."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import I64, Progress, count, flag, int_ids, progress_callback
from ..errors import ArgumentError
from ..results import Hits
from .native import require
from .streams import given_out, rows_of, shape_of

__all__ = ["FlatIndex"]

METRICS = ("cosine", "ip", "l2")
CODES = ("f32", "bf16", "i8")
MAX_DIM = 65536
MAX_K = 1024


class FlatIndex:
    """Exact nearest neighbours on a GPU: every row is scored, on the tensor cores.

    Compiled, and checked by running the same kernels on the CPU; not run on a card yet.

    Parameters
    ----------
    d : int
        Dimensions of a vector, 1 to 65,536.
    metric : {"cosine", "ip", "l2"}
        As for `semblance.Index`.
    codes : {"f32", "bf16", "i8"}
        How rows and queries are stored. ``"f32"`` gives what `semblance.exact` gives, up to the rounding of sums;
        ``"bf16"`` and ``"i8"`` are exact over the rounded rows and queries, at half and a quarter of the bytes.

    Raises
    ------
    UnsupportedError
        No GPU can be used here; `semblance.gpu.reason` says why.
    ArgumentError
        For a parameter outside its range.

    Notes
    -----
    A batch costs one pass over the rows and ``q * n * d`` multiplications: few queries are bound by the card's memory,
    many by its tensor cores. Results are the same bits whatever the batch.

    Examples
    --------
    >>> import numpy as np, semblance as sb
    >>> if sb.gpu.is_available():
    ...     index = sb.gpu.FlatIndex(3, metric="l2")
    ...     _ = index.add(np.eye(3, dtype=np.float32), ids=[10, 20, 30])
    ...     assert index.search([[0, 1, 0.1]], k=2).ids.tolist() == [[20, 30]]
    """

    def __init__(self, d: int, metric: str = "cosine", codes: str = "f32") -> None:
        if metric not in METRICS:
            raise ArgumentError(f"metric: expected one of {METRICS}, got {metric!r}")
        if codes not in CODES:
            raise ArgumentError(f"codes: expected one of {CODES}, got {codes!r}")
        d = count(d, "d", 1, MAX_DIM)
        require("FlatIndex")
        from .. import _cuda

        self._native = _cuda.FlatIndex(d, metric, codes)
        self._dim, self._metric, self._codes = d, metric, codes
        self._next = 0

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._dim

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self._metric

    @property
    def codes(self) -> str:
        """How rows are stored."""
        return self._codes

    @property
    def nbytes(self) -> int:
        """Bytes of the card's memory that the rows and their ids take."""
        return self._native.nbytes()

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return f"gpu.FlatIndex(d={self.dim}, metric={self.metric!r}, codes={self.codes!r}, rows={len(self)})"

    def add(self, vectors: Any, ids: Any = None, *, stream: Any = None, progress: Progress = False) -> I64:
        """Add rows under new ids; returns when they are stored.

        Parameters
        ----------
        vectors : array_like, float of shape (n, d)
            On the host, or float32 on the card (``__cuda_array_interface__`` or DLPack).
        ids : array_like of int, shape (n,), optional
            At least 0. By default consecutive, from one more than the largest there was.
        stream : CUDA stream, optional
            In whose order arrays of the card are read.
        progress : bool or callable(done, total)
            As for `semblance.Index.add`.

        Returns
        -------
        numpy.ndarray
            The ids, int64 (n,).

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, NaN, infinity, a zero vector under cosine, an id that is there already; nothing is
            added.
        CapacityError
            The card has no memory left for the rows; nothing is added, and the index works on.
        """
        rows = rows_of(vectors, "vectors", self._dim)
        n = _length(rows)
        following = np.arange(self._next, self._next + n, dtype=np.int64)
        wanted = following if ids is None else int_ids(ids, "ids", n)
        callback, close = progress_callback(progress, "gpu index")
        try:
            self._native.add(rows, wanted, stream, callback)
        finally:
            close()
        if n:
            self._next = max(self._next, int(wanted.max()) + 1)
        return wanted

    def allow(self, ids: Any) -> Any:
        """Make a filter for searches: a bitmap on the card.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Ids that searches may return; those that are not there are ignored.

        Returns
        -------
        FlatAllowed
            For ``search(allowed=...)`` until rows are added.

        Raises
        ------
        ArgumentError
            Wrong dtype or shape.
        """
        return self._native.allow(int_ids(ids, "allowed"))

    def search(
        self,
        queries: Any,
        k: int = 10,
        allowed: Any = None,
        *,
        on_device: bool = False,
        out: tuple[Any, Any] | None = None,
        stream: Any = None,
    ) -> Hits:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        queries : array_like, float of shape (q, d)
            On the host, or float32 on the card.
        k : int
            Rows to return, 1 to 1,024.
        allowed : FlatAllowed or array_like of int, optional
            What `allow` made, or ids.
        on_device : bool
            True leaves the results on the card and does not wait for them: arrays with ``__cuda_array_interface__``,
            DLPack and ``numpy()``, written in the order of `stream`. Queries on the card are not checked: what is no
            number gets no neighbour. They must live until the search is done.
        out : pair of arrays of the card, optional
            Where to write: int64 and float32 of shape (q, k), C-contiguous. They are what is returned, and nothing
            waits for them. With queries on the card, and with what `allow` made for a filter if any, such a call can be
            captured in a CUDA graph.
        stream : CUDA stream, optional
            In whose order the search runs: a stream of torch or CuPy, or its address; by default the default stream.
            Results keep a stream alive, but not what an address is of.

        Returns
        -------
        Hits
            ``ids`` int64 (q, k) and ``distances`` float32 (q, k), closest first, ties to the row added first; padded
            with id -1 and infinity.

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, NaN, infinity, a zero query under cosine, k out of range.
        CapacityError
            The card has no memory left for the search; the index works on.
        """
        k = count(k, "k", 1, MAX_K)
        rows = rows_of(queries, "queries", self._dim)
        from .. import _cuda

        if allowed is not None and not isinstance(allowed, _cuda.FlatAllowed):
            allowed = self._native.allow_for(int_ids(allowed, "allowed"), stream)
        out, on_device = given_out(out), flag(on_device, "on_device")
        found = self._native.search(rows, k, allowed, out, on_device, stream)
        return Hits._make(found)


def _length(rows: Any) -> int:
    shape = shape_of(rows)
    if len(shape) != 2:
        raise ArgumentError(f"vectors: expected shape (n, d), got {shape}")
    return int(shape[0])
