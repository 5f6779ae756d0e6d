"""Vector search: the index, its results, and brute-force ground truth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import codecs, storage
from ._core import index as _native
from .arrays import (
    F32,
    I64,
    Progress,
    as_array,
    bit_rows,
    count,
    describe,
    float_rows,
    int_ids,
    progress_callback,
)
from .errors import ArgumentError, FormatError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Allowed", "Hits", "Index", "Ranges", "Report", "TuneReport", "exact"]

PathLike: TypeAlias = "str | os.PathLike[str]"

_KIND = "index"
_DEFAULT_EF = 64
_MAX_EF = 1 << 20
_DENSE_DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


class Hits(NamedTuple):
    """The nearest rows of each query, closest first.

    ``ids`` int64 (q, k) and ``distances`` float32 (q, k); where fewer than k rows exist, padded with id -1 and infinity.
    """

    ids: I64
    distances: F32


class Ranges(NamedTuple):
    """The rows within a radius of each query, closest first.

    Query ``i`` owns ``ids[offsets[i]:offsets[i + 1]]`` (int64) and the same slice of ``distances`` (float32).
    """

    offsets: I64
    ids: I64
    distances: F32


@dataclass(frozen=True)
class Report:
    """What `Index.check` found: ``problems`` is empty for a sound index."""

    rows: int
    live: int
    reachable: int
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class TuneReport:
    """What `Index.tune` measured: the chosen ``ef``, its ``recall``, and every (ef, recall) it tried."""

    ef: int
    recall: float
    reached: bool
    tried: list[tuple[int, float]]


class Allowed:
    """Ids that a search may return, made once by `Index.allow` and used in any number of searches."""

    __slots__ = ("_native", "ids")

    def __init__(self, ids: I64) -> None:
        self.ids = ids
        self._native = _native.Allowed(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Allowed({len(self.ids)} ids)"


class Index:
    """Nearest-neighbour search over vectors that may change while it runs.

    Searches may run in any number of threads while other threads add, remove or save: a search never waits for a
    writer, writers wait for one another. Rows get 64-bit ids.

    Parameters
    ----------
    d : int
        Dimensions of a vector, 1 to 65,536; bits (a multiple of 8) for ``"hamming"`` and ``"jaccard"``, whose rows are
        packed uint8 of shape (n, d / 8).
    metric : {"cosine", "ip", "l2", "hamming", "jaccard"}
        Distances: 1 - cosine, 1 - inner product, squared Euclidean, differing bits, 1 - Tanimoto. Smaller is closer.
    kind : {"hnsw", "flat"}
        A graph (approximate, sublinear) or a scan (exact, linear).
    codes : str
        What a walk reads, see `semblance.codecs`: ``"auto"``, ``"f32"``, ``"f16"``, ``"bf16"``, ``"i8"``, ``"b1"``.
    rerank : str or None
        A finer copy that reorders what the walk found; `get` returns rows at its precision.
    max_degree : int
        Links a row on the graph's base level, 4 to 256.
    ef_construction : int
        Candidates considered for them, at least `max_degree`.
    seed : int
        Same rows, parameters and seed give the same graph at any thread count (per instruction set).

    Raises
    ------
    ArgumentError
        For a parameter outside its range.

    Notes
    -----
    HNSW: Malkov and Yashunin, TPAMI 2020. Adding costs about ``ef_construction * max_degree / 2`` distances a row,
    searching ``ef * max_degree / 2`` a query. Memory a row: the codes, the finer copy, ``4 * max_degree`` bytes of links
    and about 20 more.

    Examples
    --------
    >>> import numpy as np
    >>> index = Index(3, metric="l2")
    >>> index.add(np.eye(3, dtype=np.float32), ids=[10, 20, 30]).tolist()
    [10, 20, 30]
    >>> index.search(np.array([[0, 1, 0.1]], dtype=np.float32), k=2).ids.tolist()
    [[20, 30]]
    """

    metadata: dict[str, str]

    def __init__(
        self,
        d: int,
        metric: str = "cosine",
        kind: str = "hnsw",
        codes: str = "auto",
        rerank: str | None = "auto",
        max_degree: int = 32,
        ef_construction: int = 200,
        seed: int = 0,
    ) -> None:
        if metric not in codecs.METRICS:
            raise ArgumentError(f"metric: expected one of {codecs.METRICS}, got {metric!r}")
        if kind not in ("hnsw", "flat"):
            raise ArgumentError(f"kind: expected 'hnsw' or 'flat', got {kind!r}")
        d = count(d, "d", 1, _native.MAX_DIM)
        self._binary = metric in codecs.BINARY_METRICS
        if self._binary and d % 8:
            raise ArgumentError(f"d: expected a multiple of 8 bits for metric '{metric}', got {d}")
        max_degree = count(max_degree, "max_degree", 4, _native.MAX_DEGREE)
        ef_construction = count(ef_construction, "ef_construction", max_degree, _MAX_EF)
        seed = count(seed, "seed", 0, 2**63 - 1)
        codes, rerank = codecs.resolve(metric, kind, codes, rerank)
        self._params = {
            "d": str(d), "metric": metric, "kind": kind, "codes": codes, "rerank": rerank or "",
            "max_degree": str(max_degree), "ef_construction": str(ef_construction), "seed": str(seed),
        }  # fmt: skip
        self._dim = d
        self._metric = metric
        self._native = _native.Index(d, metric, kind == "hnsw", codes, rerank or "", (max_degree, ef_construction, seed))
        self._ef = _DEFAULT_EF
        self.metadata = {}

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Dimensions of a vector (bits for binary metrics)."""
        return self._dim

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self._metric

    @property
    def kind(self) -> str:
        """``"hnsw"`` or ``"flat"``."""
        return self._params["kind"]

    @property
    def codes(self) -> str:
        """What a walk reads, ``"auto"`` settled."""
        return self._params["codes"]

    @property
    def rerank(self) -> str | None:
        """The finer copy that reorders results, ``"auto"`` settled."""
        return self._params["rerank"] or None

    @property
    def ef(self) -> int:
        """Candidates that a search keeps where it is not told (`tune` sets it); larger finds more and costs more."""
        return self._ef

    @ef.setter
    def ef(self, value: int) -> None:
        self._ef = count(value, "ef", 1, _MAX_EF)

    def __len__(self) -> int:
        return len(self._native)

    def __contains__(self, id: object) -> bool:
        if isinstance(id, bool) or not isinstance(id, (int, np.integer)):
            return False
        return 0 <= id < 2**63 and self._native.contains(int(id))

    def __repr__(self) -> str:
        rerank = f", rerank='{self.rerank}'" if self.rerank else ""
        return f"Index(d={self.dim}, metric='{self.metric}', kind='{self.kind}', codes='{self.codes}'{rerank}, rows={len(self)})"

    def ids(self) -> I64:
        """All ids, int64 (n,), in the order in which their present rows were added."""
        return self._native.ids()

    def stats(self) -> dict[str, Any]:
        """Counts, bytes by part, degrees of the graph and the instruction set in use; costs one pass over the links."""
        from . import kernels

        return {**self._native.stats(), **self._params, "ef": self.ef, "isa": kernels.active()}

    # -- changing it ---------------------------------------------------------------------------------------------------

    def add(self, vectors: Any, ids: Any = None, *, threads: int = 0, progress: Progress = False) -> I64:
        """Add rows under new ids; they become visible together when the call ends.

        Parameters
        ----------
        vectors : array_like, float of shape (n, d), or packed uint8 of shape (n, d / 8)
            Converted to float32. Under cosine the direction is stored, not the length.
        ids : array_like of int, shape (n,), optional
            At least 0. By default consecutive, from one more than the largest there was.
        threads : int
            0 = all cores, 1 = the calling thread only.
        progress : bool or callable(done, total)
            True shows a bar.

        Returns
        -------
        numpy.ndarray
            The ids, int64 (n,).

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, NaN, infinity, a zero vector under cosine, an id that is negative, double or there
            already; nothing is added.
        CapacityError
            No memory for the rows; nothing is added.

        Examples
        --------
        >>> import numpy as np
        >>> Index(2).add(np.array([[1, 0], [0, 1]], dtype=np.float32)).tolist()
        [0, 1]
        """
        return self._write(vectors, ids, False, threads, progress)

    def upsert(self, vectors: Any, ids: Any, *, threads: int = 0, progress: Progress = False) -> I64:
        """Add rows, replacing those whose ids exist: each is found at every moment, as the old row or as the new one.

        Parameters, returns and errors are those of `add`; ids may exist, but each is given once, and they must be given.

        Parameters
        ----------
        vectors : array_like, float of shape (n, d), or packed uint8 of shape (n, d / 8)
            The rows.
        ids : array_like of int, shape (n,)
            At least 0.
        threads, progress
            As in `add`.

        Returns
        -------
        numpy.ndarray
            The ids, int64 (n,).

        Raises
        ------
        ArgumentError
            As in `add`; nothing is changed.

        Examples
        --------
        >>> import numpy as np
        >>> index = Index(2)
        >>> index.upsert([[1.0, 0.0]], [5]), index.upsert([[0.0, 1.0]], [5]), len(index)
        (array([5]), array([5]), 1)
        """
        if ids is None:
            raise ArgumentError("ids: expected int64 of shape (n,), got None")
        return self._write(vectors, ids, True, threads, progress)

    def _write(self, vectors: Any, ids: Any, replace: bool, threads: int, progress: Progress) -> I64:
        rows = self._rows(vectors, "vectors")
        wanted = None if ids is None else int_ids(ids, "ids", len(rows))
        threads = _threads(threads)
        callback, close = progress_callback(progress, "index")
        try:
            given = self._native.add(rows, wanted, replace, threads, callback)
            if callback is not None:
                callback(len(rows), len(rows))
            return given
        finally:
            close()

    def remove(self, ids: Any, *, missing: str = "ignore") -> int:
        """Remove rows: from the moment the call returns no search returns them.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Ids to remove.
        missing : {"ignore", "error"}
            What to do about ids that are not there.

        Returns
        -------
        int
            How many were removed.

        Raises
        ------
        ArgumentError
            Wrong dtype or shape; with ``missing="error"`` also for an id that is not there. Nothing is removed.

        Notes
        -----
        Costs a look-up an id. The rows' memory is given back by `compact`.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> index.remove([0, 7]), 0 in index
        (1, False)
        """
        wanted = int_ids(ids, "ids")
        if missing not in ("ignore", "error"):
            raise ArgumentError(f"missing: expected 'ignore' or 'error', got {missing!r}")
        if missing == "error":
            absent = [int(i) for i in wanted if i not in self]
            if absent:
                raise ArgumentError(f"ids: expected ids that are in the index, got {absent[0]}")
        return self._native.remove(wanted)

    def compact(self, *, threads: int = 0, progress: Progress = False) -> None:
        """Rebuild without the removed rows, whose bytes are erased; searches go on meanwhile, writers wait.

        Parameters
        ----------
        threads : int
            0 = all cores, 1 = the calling thread only.
        progress : bool or callable(done, total)
            True shows a bar.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> _ = index.remove([0])
        >>> index.compact()
        >>> index.stats()["rows"]
        1
        """
        threads = _threads(threads)
        callback, close = progress_callback(progress, "compact")
        try:
            self._native.compact(threads, callback)
        finally:
            close()

    # -- asking it -----------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: Any,
        k: int = 10,
        ef: int | None = None,
        allowed: Any = None,
        exact: bool = False,
        *,
        threads: int = 0,
    ) -> Hits:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        queries : array_like, float of shape (q, d), or packed uint8 of shape (q, d / 8)
            Converted to float32.
        k : int
            Rows to return, 1 to 1,048,576.
        ef : int, optional
            Candidates the walk keeps, at least k; by default `ef` of the index, or k where that is larger.
        allowed : Allowed, array_like of int ids, or bool mask in the order of `ids()`, optional
            Only these rows are returned, and never fewer than min(k, allowed rows).
        exact : bool
            Scan all rows at the finest stored precision.
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        Hits
            ``ids`` int64 (q, k) and ``distances`` float32 (q, k), closest first, padded with -1 and infinity.

        Raises
        ------
        ArgumentError
            Wrong shape or dtype, NaN, infinity, a zero query under cosine, k < 1, ef < k.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> ids, distances = index.search([[1.0, 0.1]], k=1)
        >>> ids.tolist()
        [[0]]
        """
        rows = self._rows(queries, "queries")
        if type(k) is not int or not 1 <= k <= _native.MAX_K:
            k = count(k, "k", 1, _native.MAX_K)
        ef = max(self._ef, k) if ef is None else count(ef, "ef", k, _MAX_EF)
        native_allowed = None if allowed is None else self._allowed(allowed)._native
        if threads:
            threads = _threads(threads)
        return Hits._make(self._native.search(rows, k, ef, bool(exact), native_allowed, threads))

    def within(
        self,
        queries: Any,
        radius: float,
        ef: int | None = None,
        allowed: Any = None,
        exact: bool = False,
        *,
        threads: int = 0,
    ) -> Ranges:
        """Find all rows within a distance of each query.

        Parameters
        ----------
        queries : array_like, float of shape (q, d), or packed uint8 of shape (q, d / 8)
            Converted to float32.
        radius : float
            Largest distance, in the metric's own unit; finite.
        ef : int, optional
            Candidates of the walk that finds where to start.
        allowed, exact, threads
            As in `search`.

        Returns
        -------
        Ranges
            ``offsets`` int64 (q + 1,), ``ids`` int64 and ``distances`` float32, closest first in each query.

        Raises
        ------
        ArgumentError
            As in `search`; a radius that is no finite number.

        Examples
        --------
        >>> index = Index(1, metric="l2", kind="flat")
        >>> _ = index.add([[0.0], [1.0], [5.0]])
        >>> index.within([[0.5]], radius=1.0).ids.tolist()
        [0, 1]
        """
        rows = self._rows(queries, "queries")
        try:
            radius = float(radius)
        except (TypeError, ValueError):
            radius = float("nan")
        if not np.isfinite(radius):
            raise ArgumentError(f"radius: expected a finite number, got {radius!r}")
        ef = max(self._ef, 100) if ef is None else count(ef, "ef", 1, _MAX_EF)
        native_allowed = None if allowed is None else self._allowed(allowed)._native
        return Ranges._make(self._native.within(rows, radius, ef, bool(exact), native_allowed, _threads(threads)))

    def get(self, ids: Any) -> npt.NDArray[Any]:
        """Return stored rows at the finest precision kept (unit vectors under cosine).

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Ids that are in the index.

        Returns
        -------
        numpy.ndarray
            float32 (n, d), or packed uint8 (n, d / 8).

        Raises
        ------
        NotFoundError
            For the first id that is not there.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[3.0, 0.0]])
        >>> index.get([0]).tolist()
        [[1.0, 0.0]]
        """
        return self._native.get(int_ids(ids, "ids"))

    def allow(self, ids: Any) -> Allowed:
        """Make a filter once that any number of searches use.

        Parameters
        ----------
        ids : array_like of int, shape (n,), or bool mask of shape (len(index),) in the order of `ids()`
            Ids that are not in the index (yet) are kept: the filter is about ids, whatever rows they have.

        Returns
        -------
        Allowed
            Follows changes of the index.

        Raises
        ------
        ArgumentError
            Wrong dtype or shape.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> index.search([[1.0, 0.1]], k=1, allowed=index.allow([1])).ids.tolist()
        [[1]]
        """
        return self._allowed(ids)

    def _allowed(self, allowed: Any) -> Allowed:
        if isinstance(allowed, Allowed):
            return allowed
        array = as_array(allowed, "allowed", "ids or a bool mask")
        if array.dtype == np.bool_:
            present = self.ids()
            if array.shape != present.shape:
                raise ArgumentError(f"allowed: expected a bool mask of shape ({len(present)},), got {describe(array)}")
            return Allowed(np.ascontiguousarray(present[array]))
        return Allowed(int_ids(array, "allowed"))

    def diverse(
        self,
        query: Any,
        k: int = 10,
        pool: int = 100,
        balance: float = 0.5,
        groups: Mapping[int, Any] | None = None,
        *,
        ef: int | None = None,
        allowed: Any = None,
    ) -> Hits:
        """Find near rows that differ from one another (maximal marginal relevance).

        Parameters
        ----------
        query : array_like, float of shape (d,) or (1, d)
            One query.
        k : int
            Rows to return.
        pool : int
            Nearest rows to choose from, at least k.
        balance : float
            1 = nearness alone, 0 = difference alone.
        groups : mapping from id to group, optional
            Rows are chosen evenly over the groups of the pool (ids without one form a group of their own).
        ef, allowed
            As in `search`.

        Returns
        -------
        Hits
            One query's rows in the order chosen, ids int64 (1, k) and distances float32 (1, k).

        Raises
        ------
        ArgumentError
            As in `search`; pool < k, balance outside [0, 1].

        Notes
        -----
        Carbonell and Goldstein, SIGIR 1998. Costs one search and ``k * pool`` distances.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [1.0, 0.01], [0.6, 0.8]])
        >>> index.diverse([1.0, 0.0], k=2, pool=3, balance=0.3).ids.tolist()
        [[0, 2]]
        """
        from .diversity import choose_diverse

        row = as_array(query, "query", f"float32 of shape ({self._dim},)")
        row = row[None] if row.ndim == 1 else row
        if row.shape[0] != 1:
            raise ArgumentError(f"query: expected one query, got {describe(row)}")
        k = count(k, "k", 1, _native.MAX_K)
        pool = count(pool, "pool", k, _native.MAX_K)
        if not 0.0 <= balance <= 1.0:
            raise ArgumentError(f"balance: expected a number from 0 to 1, got {balance}")
        hits = self.search(row, pool, None if ef is None else max(ef, pool), allowed)
        found = hits.ids[0] >= 0
        ids, distances = hits.ids[0][found], hits.distances[0][found]
        between = exact_distances(self.get(ids), self._metric)
        order = choose_diverse(distances, between, k, balance, None if groups is None else [groups.get(int(i)) for i in ids])
        out = Hits(np.full((1, k), -1, np.int64), np.full((1, k), np.inf, np.float32))
        out.ids[0, : len(order)] = ids[order]
        out.distances[0, : len(order)] = distances[order]
        return out

    def tune(self, queries: Any, k: int = 10, recall: float = 0.95, *, threads: int = 0) -> TuneReport:
        """Set `ef` to the smallest value whose recall at k, measured against exact search, reaches a target.

        Parameters
        ----------
        queries : array_like, float of shape (q, d)
            Typical queries; a few hundred give the recall to about a point.
        k : int
            Rows a search returns.
        recall : float
            Target in (0, 1].
        threads : int
            0 = all cores, 1 = the calling thread only.

        Returns
        -------
        TuneReport
            With ``reached=False`` where no ef up to the largest tried reaches the target; `ef` is then the best tried.

        Raises
        ------
        ArgumentError
            As in `search`; no queries, a target outside (0, 1].

        Notes
        -----
        Costs one exact search and about a dozen approximate ones over the queries.

        Examples
        --------
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
        >>> index = Index.build(rows)
        >>> index.tune(rows[:50], k=5, recall=0.9).reached
        True
        """
        rows = self._rows(queries, "queries")
        k = count(k, "k", 1, _native.MAX_K)
        if not 0.0 < recall <= 1.0:
            raise ArgumentError(f"recall: expected a number in (0, 1], got {recall}")
        if len(rows) == 0 or len(self) == 0:
            raise ArgumentError(f"queries: expected at least one query and one row, got {len(rows)} and {len(self)}")
        truth = self.search(rows, k, exact=True, threads=threads).ids

        def measure(ef: int) -> float:
            found = self.search(rows, k, ef=ef, threads=threads).ids
            return float(np.mean([_overlap(a, b) for a, b in zip(found, truth, strict=True)]))

        tried: dict[int, float] = {}
        low, high = k, k
        while tried.setdefault(high, measure(high)) < recall and high < min(len(self), _MAX_EF):
            low, high = high + 1, min(high * 2, max(len(self), k), _MAX_EF)
        while low < high and tried[high] >= recall:
            middle = (low + high) // 2
            if tried.setdefault(middle, measure(middle)) >= recall:
                high = middle
            else:
                low = middle + 1
        self.ef = high
        return TuneReport(high, tried[high], tried[high] >= recall, sorted(tried.items()))

    def check(self) -> Report:
        """Look for contradictions between rows, ids and graph; costs one pass over everything, writers wait.

        Returns
        -------
        Report
            ``ok`` is True for a sound index; ``reachable`` counts the rows that a walk can come to.

        Examples
        --------
        >>> Index(2).check().ok
        True
        """
        return Report(**self._native.check())

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
        """Write the index to a file, which appears whole or not at all; searches go on, writers wait.

        Parameters
        ----------
        path : path-like
            Replaced if it exists.
        metadata : mapping of str to str, optional
            Kept with the file and given back as `metadata`; by default what the index was loaded with.

        Raises
        ------
        OSError
            The folder is missing, read-only or full; a file that was there stays as it was.

        Notes
        -----
        The safetensors format, see ``docs/file-format.md``.

        Examples
        --------
        >>> import tempfile, os
        >>> folder = tempfile.mkdtemp()
        >>> Index(2).save(os.path.join(folder, "empty.sb"))
        >>> len(Index.load(os.path.join(folder, "empty.sb")))
        0
        """
        user = dict(self.metadata if metadata is None else metadata)
        frozen = self._native.freeze()
        try:
            tensors = frozen.tensors()
            for part, name in (("codes", self.codes), ("rerank", self.rerank)):
                if name in _DENSE_DTYPES:
                    tensors[part] = tensors[part].view(_DENSE_DTYPES[name])
            meta = {f"index.{key}": value for key, value in self._params.items()}
            meta.update({"kind": _KIND, "index.ef": str(self.ef)}, **{f"user.{key}": v for key, v in user.items()})
            storage.write(path, tensors, meta)
        finally:
            frozen.release()
        self.metadata = user

    @classmethod
    def load(cls, path: PathLike, mmap: bool = False, verify: bool = True) -> Self:
        """Read an index from a file.

        Parameters
        ----------
        path : path-like
            A file that `save` wrote.
        mmap : bool
            Serve from the mapped file without copying rows; the first change copies them.
        verify : bool
            Compare checksums. False skips only that: structure is always checked, so no file can crash a search.

        Returns
        -------
        Index
            Searches give what the saved index gave.

        Raises
        ------
        FormatError
            Missing, empty, truncated, damaged, foreign or newer file; the message names the section.

        Examples
        --------
        >>> Index.load("nothing-here.sb")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        semblance.errors.FormatError: nothing-here.sb: expected a file, got none
        """
        tensors, meta = storage.read(path, mmap=mmap, verify=verify)
        if meta.get("kind") != _KIND:
            raise FormatError(f"{os.fspath(path)}: expected a file of kind '{_KIND}', got {meta.get('kind')!r}")
        try:
            params = {key.removeprefix("index."): value for key, value in meta.items() if key.startswith("index.")}
            ef = int(params.pop("ef"))
            numbers = {key: int(params.pop(key)) for key in ("d", "max_degree", "ef_construction", "seed")}
            rerank = params.pop("rerank") or None
            index = cls(**numbers, **params, rerank=rerank)  # type: ignore[arg-type]
            index.ef = ef
            index._native.restore({name: _as_bytes(name, array) for name, array in tensors.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: {error}") from error
        index.metadata = {key.removeprefix("user."): value for key, value in meta.items() if key.startswith("user.")}
        return index

    @classmethod
    def build(
        cls, vectors: Any, ids: Any = None, *, threads: int = 0, progress: Progress = False, **params: Any
    ) -> Self:
        """Make an index of many vectors at once.

        Parameters
        ----------
        vectors : array_like, float of shape (n, d), or packed uint8 of shape (n, d / 8)
            The rows; they settle d.
        ids : array_like of int, shape (n,), optional
            Consecutive from 0 by default.
        threads, progress
            As in `add`.
        **params
            As for `Index`, without d.

        Returns
        -------
        Index
            The same seed gives the same file at any thread count.

        Raises
        ------
        ArgumentError
            As for `Index` and `add`.

        Examples
        --------
        >>> import numpy as np
        >>> len(Index.build(np.eye(4, dtype=np.float32), metric="ip"))
        4
        """
        array = as_array(vectors, "vectors", "shape (n, d)")
        if array.ndim != 2:
            raise ArgumentError(f"vectors: expected shape (n, d), got {describe(array)}")
        bits = 8 if params.get("metric") in codecs.BINARY_METRICS else 1
        index = cls(array.shape[1] * bits, **params)
        index.add(array, ids, threads=threads, progress=progress)
        return index

    def _rows(self, value: Any, name: str) -> npt.NDArray[Any]:
        return bit_rows(value, name, self._dim) if self._binary else float_rows(value, name, self._dim)


def exact(vectors: Any, queries: Any, k: int = 10, metric: str = "cosine", *, threads: int = 0) -> Hits:
    """Brute force over float32 rows: ground truth.

    Parameters
    ----------
    vectors : array_like, float of shape (n, d), or packed uint8 of shape (n, d / 8)
        Rows; their position is their id.
    queries : array_like of shape (q, d) or (q, d / 8)
        As the rows.
    k : int
        Rows to return.
    metric : str
        As for `Index`.
    threads : int
        0 = all cores, 1 = the calling thread only.

    Returns
    -------
    Hits
        ``ids`` int64 (q, k) and ``distances`` float32 (q, k); ties go to the smaller id.

    Raises
    ------
    ArgumentError
        Wrong shape or dtype, NaN, infinity, a zero vector under cosine, k < 1.

    Notes
    -----
    ``q * n * d`` multiplications in cache-sized tiles.

    Examples
    --------
    >>> exact([[0.0], [2.0], [3.0]], [[2.2]], k=2, metric="l2").ids.tolist()
    [[1, 2]]
    """
    if metric not in codecs.METRICS:
        raise ArgumentError(f"metric: expected one of {codecs.METRICS}, got {metric!r}")
    array = as_array(vectors, "vectors", "shape (n, d)")
    if array.ndim != 2 or not 1 <= array.shape[1] <= _native.MAX_DIM:
        raise ArgumentError(f"vectors: expected shape (n, d) with d from 1 to {_native.MAX_DIM}, got {describe(array)}")
    k = count(k, "k", 1, _native.MAX_K)
    rows = bit_rows if metric in codecs.BINARY_METRICS else float_rows
    dim = array.shape[1] * (8 if metric in codecs.BINARY_METRICS else 1)
    return Hits._make(
        _native.exact(rows(array, "vectors", dim), rows(queries, "queries", dim), k, metric, _threads(threads))
    )


def exact_distances(rows: npt.NDArray[Any], metric: str) -> F32:
    """All distances between rows, float32 (n, n)."""
    ids, distances = exact(rows, rows, max(len(rows), 1), metric)
    out = np.zeros((len(rows), len(rows)), np.float32)
    if len(rows):
        np.put_along_axis(out, ids, distances, axis=1)
    return out


def _threads(threads: int) -> int:
    return count(threads, "threads", 0, 1024)


def _overlap(found: I64, truth: I64) -> float:
    present = truth[truth >= 0]
    return len(np.intersect1d(found, present)) / max(len(present), 1)


def _as_bytes(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.view(np.uint8) if name in ("codes", "rerank") and array.ndim == 2 else array
