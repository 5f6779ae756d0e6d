"""Graph search over a copy of an index that lies on the card."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .. import choosing
from ..arrays import F32, I64, bit_rows, count, flag, float_rows, int_ids
from ..errors import ArgumentError
from ..results import Hits
from .native import require
from .streams import given_out, is_on_device, shape_of

if TYPE_CHECKING:
    from ..index import Index

__all__ = ["GraphIndex"]

CODES = ("f32", "f16", "i8", "b1")
RERANKS = ("f32", "f16", "i8")
MAX_K = 1024
_MAX_DIM = 16384
_NO_LINK = np.uint32(0xFFFFFFFF)
_BINARY = ("hamming", "jaccard")
_SEEDS = 32
_SINGLE_WALKS = 8
_BATCH_WIDTH, _SINGLE_WIDTH = 2, 4
_FEW_QUERIES = 64  # below it a query alone does not fill the card
_BLOCKS = 512  # that share the rows of a scan


class _Allowed(NamedTuple):
    native: Any
    rows: int


class GraphIndex:
    """A copy of an HNSW index on a GPU, searched there; made by `from_index`.

    Compiled, and checked by running the same kernels on the CPU; not run on a card yet.

    Examples
    --------
    >>> import numpy as np, semblance as sb
    >>> index = sb.Index.build(np.eye(8, dtype=np.float32), metric="l2")
    >>> if sb.gpu.is_available():
    ...     on_card = sb.gpu.GraphIndex.from_index(index)
    ...     assert on_card.search(np.eye(8)[:1], k=1).ids.tolist() == [[0]]
    """

    def __init__(self, native: Any, index: Index, codes: str, rerank: str | None, ids: I64) -> None:
        self._native, self._ef = native, index.ef
        self._dim, self._metric, self._codes, self._rerank = index.dim, index.metric, codes, rerank
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    @classmethod
    def from_index(cls, index: Index, codes: str = "auto", rerank: str | None = "auto") -> GraphIndex:
        """Copy an index as it is now.

        Parameters
        ----------
        index : semblance.Index
            Of kind "hnsw", with rows and without removed ones that `Index.compact` has yet to drop.
        codes : {"auto", "f32", "f16", "i8", "b1"}
            What the walk reads. "auto" is "f16", or "f32" where half precision does not tell the rows apart, and "b1"
            (the rows themselves) for hamming and jaccard. "b1" of other metrics is a bit a value, above or below the
            rows' mean, and needs `rerank`.
        rerank : {"auto", None, "f32", "f16", "i8"}
            A finer copy by which what the walk found is ordered and its distances are given. "auto" is "f32", the
            values that the index stores, unless `codes` hold those already.

        Returns
        -------
        GraphIndex

        Raises
        ------
        UnsupportedError
            No GPU can be used here; `semblance.gpu.reason` says why.
        ArgumentError
            An index or a parameter of another kind; "f16" for values beyond 65504.
        CapacityError
            The copy does not fit into the card's memory; the message says how many bytes were wanted.

        Notes
        -----
        Cost: one pass over the rows on the host to code them, and their copy; for codes "auto" under l2 and ip also 128
        exact searches on the host. Of the graph only the base level is taken: walks start from a sample of rows instead
        of the upper levels.
        """
        _check_codes(index, codes, rerank)
        require("GraphIndex.from_index")
        from .. import _cuda

        frozen = index._native.freeze()
        try:
            tensors = frozen.tensors()
            ids, links = tensors["ids"].copy(), tensors["graph.links"].copy()
            entry = int(tensors["graph.entry"][0])
        finally:
            frozen.release()
        _check_whole(index, len(ids))
        links[np.logical_or.accumulate(links == _NO_LINK, axis=1)] = _NO_LINK
        rows = index.get(ids)
        walk, fine = _chosen(index, codes, rerank, rows)
        walked = _coded(rows, walk, index.metric)
        finer = None if fine is None else _coded(rows, fine, index.metric)
        native = _cuda.GraphIndex(index.metric, index.dim, walked, finer, links, ids, entry)
        return cls(native, index, walk, fine, ids)

    @property
    def dim(self) -> int:
        """Dimensions of a vector, or bits of a row."""
        return self._dim

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self._metric

    @property
    def codes(self) -> str:
        """What the walk reads."""
        return self._codes

    @property
    def rerank(self) -> str | None:
        """The finer copy, or None."""
        return self._rerank

    @property
    def nbytes(self) -> int:
        """Bytes of the card's memory: codes, links and ids."""
        return int(self._native.nbytes())

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        form = f"metric={self.metric!r}, codes={self.codes!r}, rerank={self.rerank!r}"
        return f"gpu.GraphIndex(d={self.dim}, {form}, rows={len(self)})"

    def allow(self, ids: Any) -> _Allowed:
        """Make a filter for searches: a bitmap and a list on the card.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Ids that searches may return; those that are not there are ignored.

        Returns
        -------
        a filter for ``search(allowed=...)``

        Raises
        ------
        ArgumentError
            Wrong dtype or shape.
        """
        rows = self._rows_of(ids)
        return _Allowed(self._native.allow(rows), len(rows))

    def _allowed_for(self, ids: Any, stream: Any) -> _Allowed:
        """Like `allow`, for one search."""
        rows = self._rows_of(ids)
        return _Allowed(self._native.allow_for(rows, stream), len(rows))

    def _rows_of(self, ids: Any) -> Any:
        wanted = np.unique(int_ids(ids, "allowed"))
        at = np.searchsorted(self._sorted, wanted)
        there = at < len(self._sorted)
        there[there] = self._sorted[at[there]] == wanted[there]
        return np.sort(self._order[at[there]]).astype(np.uint32)

    def search(
        self,
        queries: Any,
        k: int = 10,
        ef: int | None = None,
        allowed: Any = None,
        *,
        mode: Literal["auto", "batch", "single"] = "auto",
        on_device: bool = False,
        out: tuple[Any, Any] | None = None,
        stream: Any = None,
    ) -> Hits:
        """Find the k nearest rows of each query, approximately.

        Parameters
        ----------
        queries : array_like, float of shape (q, d), or packed uint8 of shape (q, d / 8)
            On the host, or on the card as float32 (uint8).
        k : int
            Rows to return, 1 to 1,024.
        ef : int, optional
            Rows that a walk keeps, k to 2,048; more finds more. By default the index's.
        allowed : what `allow` made, or array_like of int ids, optional
            Rows that may be returned. Few of them are scanned, exactly; for many the walk keeps more rows.
        mode : {"auto", "batch", "single"}
            "batch": one block a query. "single": several blocks walk for each query, from starts of their own, with
            half of `ef` each, for latency; "auto" takes it below 64 queries, where a query may find other rows.
        on_device, out, stream
            As for `gpu.FlatIndex.search`; so a search for queries on the card, with what `allow` made for a filter if
            any, can be captured in a CUDA graph.

        Returns
        -------
        Hits
            ``ids`` int64 (q, k) and ``distances`` float32 (q, k), closest first, ties to the row added first. Padded
            with id -1 and infinity only where there are fewer rows; with ``on_device=True`` or `out` also where a
            filtered walk found fewer.

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, NaN, infinity, a zero query under cosine, k or ef out of range.
        CapacityError
            The card has no memory left for the search; the index works on.

        Notes
        -----
        Within a mode the same query gives the same bits whatever runs beside it. Distances are computed in f32 from the
        finest copy.
        """
        k = count(k, "k", 1, MAX_K)
        ef = count(max(self._ef, k) if ef is None else ef, "ef", k, 2048)
        if mode not in ("auto", "batch", "single"):
            raise ArgumentError(f"mode: expected 'auto', 'batch' or 'single', got {mode!r}")
        rows = self._queries(queries)
        call = _Call(rows, k, ef, mode == "single" or (mode == "auto" and shape_of(rows)[0] < _FEW_QUERIES))
        kept = allowed if allowed is None or isinstance(allowed, _Allowed) else self._allowed_for(allowed, stream)
        to = _To(given_out(out), flag(on_device, "on_device"), stream)
        return self._search(call, kept, to)

    def _queries(self, queries: Any) -> Any:
        if is_on_device(queries):
            return queries
        if self._metric in _BINARY:
            return bit_rows(queries, "queries", self._dim)
        return float_rows(queries, "queries", self._dim)

    def _search(self, call: _Call, allowed: _Allowed | None, to: _To) -> Hits:
        """Walks, or a scan where few rows are allowed or where walks found fewer rows than there are."""
        possible = len(self) if allowed is None else allowed.rows
        ef = math.ceil(call.ef * len(self) / max(possible, 1))
        native = None if allowed is None else allowed.native
        scans = allowed is not None and (ef > 2048 or possible <= 16 * call.ef)
        ids, distances = self._native.search(call.queries, call.scan() if scans else call.walk(ef), native, *to)
        if to.on_device or to.out is not None or scans:
            return Hits(ids, distances)
        short = np.flatnonzero(ids[:, min(call.k, possible) - 1] < 0)
        if len(short):
            everything = self._allowed_for(self._sorted, to.stream).native if native is None else native
            some = call.queries if is_on_device(call.queries) else call.queries[short]
            found = self._native.search(some, call.scan(), everything, *to)
            for whole, part in zip((ids, distances), found, strict=True):
                whole[short] = part[short] if is_on_device(call.queries) else part
        return Hits(ids, distances)


class _To(NamedTuple):
    """Where hits go, and in whose order."""

    out: tuple[Any, Any] | None
    on_device: bool
    stream: Any


class _Call(NamedTuple):
    """A search, as far as it does not hang on the filter."""

    queries: Any
    k: int
    ef: int
    single: bool

    def walk(self, ef: int) -> tuple[int, int, int, int, int, bool]:
        if self.single:
            return self.k, max(self.k, ef // 2), _SINGLE_WALKS, _SINGLE_WIDTH, _SEEDS, False
        return self.k, ef, 1, _BATCH_WIDTH, _SEEDS, False

    def scan(self) -> tuple[int, int, int, int, int, bool]:
        parts = max(1, _BLOCKS // max(1, shape_of(self.queries)[0]))
        return self.k, max(self.k, self.ef), parts, 1, 1, True


def _check_codes(index: Index, codes: str, rerank: str | None) -> None:
    if index.kind != "hnsw":
        raise ArgumentError(f"index: expected kind 'hnsw', got {index.kind!r} (gpu.FlatIndex searches all rows)")
    if index.dim > _MAX_DIM:
        raise ArgumentError(f"index: expected at most {_MAX_DIM} dimensions, got {index.dim}")
    binary = index.metric in _BINARY
    if codes != "auto" and codes not in (("b1",) if binary else CODES):
        raise ArgumentError(f"codes: expected 'auto' or one of {('b1',) if binary else CODES}, got {codes!r}")
    if rerank not in (None, "auto", *(() if binary else RERANKS)):
        raise ArgumentError(f"rerank: expected None, 'auto' or one of {() if binary else RERANKS}, got {rerank!r}")
    if not binary and codes == "b1" and rerank is None:
        raise ArgumentError("rerank: expected finer codes beside codes 'b1', got None")


def _chosen(index: Index, codes: str, rerank: str | None, rows: Any) -> tuple[str, str | None]:
    """The codes of the walk and of the finer copy."""
    if index.metric in _BINARY:
        return "b1", None
    walk = codes
    if codes == "auto":
        half = index.metric == "cosine" or choosing.half_is_enough(rows, index.metric, int(index._params["seed"]), 0)
        walk = "f16" if half else "f32"
    if rerank == "auto":
        return walk, None if walk == "f32" else "f32"
    return walk, rerank


def _check_whole(index: Index, rows: int) -> None:
    if rows == 0:
        raise ArgumentError("index: expected at least one row, got an empty one")
    if rows != len(index):
        raise ArgumentError(f"index: expected no removed rows, got {rows - len(index)} of {rows}: compact() it first")


def _coded(rows: Any, codes: str, metric: str) -> tuple[str, Any, F32 | None, F32 | None]:
    """Rows as the card reads them, each padded with zeros to a multiple of 16 bytes; scales; the mean."""
    if metric in _BINARY:
        return codes, _padded(rows), None, None
    values = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows
    if codes == "b1":
        centre = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        return codes, _padded(np.packbits(values > centre, axis=1, bitorder="little")), None, centre
    if codes == "i8":
        scales = (np.abs(values).max(axis=1) / np.float32(127)).astype(np.float32)
        divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
        return codes, _padded(np.rint(values / divisors).clip(-127, 127).astype(np.int8)), scales, None
    if codes == "f16":
        largest, limit = max(values.max(), -values.min()), np.finfo(np.float16).max
        if largest > limit:
            raise ArgumentError(
                f"codes, rerank: expected magnitudes that f16 codes hold, up to {limit}, got {largest} ('f32' holds it)"
            )
    return codes, _padded(values.astype(np.float16 if codes == "f16" else np.float32)), None, None


def _padded(rows: Any) -> Any:
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 16)))
