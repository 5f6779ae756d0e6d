"""The index: vectors under 64-bit ids, searched while they change, kept in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import choosing, codecs, kernels, storage
from ._core import index as _native
from .arrays import I64, Progress, as_array, count, describe, int_ids, one_of, progress_callback, thread_count
from .errors import ArgumentError, FormatError
from .metadata import as_bytes, parameter, whole
from .results import Report
from .searching import MAX_EF, Searchable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Index"]

PathLike: TypeAlias = "str | os.PathLike[str]"

_KIND = "index"
_WORDS = ("metric", "kind", "codes", "rerank")
_NUMBERS = ("d", "max_degree", "ef_construction", "seed", "ef")
_KNOWN = frozenset(f"index.{name}" for name in _WORDS + _NUMBERS)
_DEFAULT_EF = 64
_DENSE_DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


class Index(Searchable):
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
        What a walk reads: "auto", "f32", "f16", "bf16", "i8", "i4" or "b1", see `semblance.codecs`.
    rerank : str or None
        A finer copy that reorders what the walk found; `get` returns rows at its precision.
    max_degree : int
        Links a row on the graph's base level, 8 to 256.
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
    searching ``ef * max_degree / 2`` a query. Memory a row: the codes, the finer copy, ``4 * max_degree`` bytes of
    links and about 20 more.

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
    choice: choosing.Choice | None = None

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
        if not isinstance(metric, str) or metric not in codecs.METRICS:
            raise ArgumentError(f"metric: expected one of {codecs.METRICS}, got {metric!r}")
        if not isinstance(kind, str) or kind not in ("hnsw", "flat"):
            raise ArgumentError(f"kind: expected 'hnsw' or 'flat', got {kind!r}")
        d = count(d, "d", 1, _native.MAX_DIM)
        self._binary = metric in codecs.BINARY_METRICS
        if self._binary and d % 8:
            raise ArgumentError(f"d: expected a multiple of 8 bits for metric '{metric}', got {d}")
        max_degree = count(max_degree, "max_degree", 8, _native.MAX_DEGREE)
        ef_construction = count(ef_construction, "ef_construction", max_degree, MAX_EF)
        seed = count(seed, "seed", 0, 2**63 - 1)
        codes, rerank = codecs.resolve(metric, kind, codes, rerank, d)
        self._params = {
            "d": str(d), "metric": metric, "kind": kind, "codes": codes, "rerank": rerank or "",
            "max_degree": str(max_degree), "ef_construction": str(ef_construction), "seed": str(seed),
        }  # fmt: skip
        self._dim = d
        self._metric = metric
        graph = (max_degree, ef_construction, seed)
        self._native = _native.Index(d, metric, kind == "hnsw", codes, rerank or "", graph)
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

    def __repr__(self) -> str:
        names = ("metric", "kind", "codes", "rerank")
        shown = "".join(f", {name}={getattr(self, name)!r}" for name in names)
        return f"Index(d={self.dim}{shown}, rows={len(self)})"

    def stats(self) -> dict[str, Any]:
        """Counts, bytes by part, parameters and degrees of the graph; costs one pass over the links.

        Returns
        -------
        dict
            ``rows`` (with those removed and not compacted), ``live``, ``bytes`` by part, ``mean_degree``, ``isa``,
            ``code_bits`` of a neighbour (neighbour codes), ...

        Examples
        --------
        >>> Index(2).stats()["live"]
        0
        """
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
        threads = thread_count(threads)
        callback, close = progress_callback(progress, "index")
        try:
            return self._native.add(rows, wanted, replace, threads, callback)
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
        one_of(missing, "missing", ("ignore", "error"))
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

        Raises
        ------
        CapacityError
            No memory for the second copy; nothing is changed.

        Examples
        --------
        >>> index = Index(2)
        >>> _ = index.add([[1.0, 0.0], [0.0, 1.0]])
        >>> _ = index.remove([0])
        >>> index.compact()
        >>> index.stats()["rows"]
        1
        """
        threads = thread_count(threads)
        callback, close = progress_callback(progress, "compact")
        try:
            self._native.compact(threads, callback)
        finally:
            close()

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
        ArgumentError
            Metadata that is not text, a folder that is missing or cannot be written to.
        CapacityError
            No room left on the disk. A file that was there stays as it was.

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
        for key, value in user.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ArgumentError(f"metadata: expected str to str, got {describe(key)} to {describe(value)}")
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
        semblance.storage.MissingFileError: nothing-here.sb: expected a file, got none
        """
        tensors, meta = storage.read(path, mmap=mmap, verify=verify)
        if meta.get("kind") != _KIND:
            raise FormatError(f"{os.fspath(path)}: expected a file of kind '{_KIND}', got {meta.get('kind')!r}")
        try:
            unknown = sorted(key for key in meta if key.startswith("index.") and key not in _KNOWN)
            if unknown:
                raise FormatError(f"{unknown[0]}: expected a parameter that this version knows, got another")
            words = {key: parameter(meta, key) for key in _WORDS}
            numbers = {key: whole(meta, key) for key in _NUMBERS}
            ef = numbers.pop("ef")
            words["rerank"] = words["rerank"] or None
            index = cls(**numbers, **words)  # type: ignore[arg-type]
            index.ef = ef
            index._native.restore({name: as_bytes(name, array) for name, array in tensors.items()})
        except (ArgumentError, FormatError) as error:
            raise FormatError(f"{os.fspath(path)}: {error}") from error
        index.metadata = {key.removeprefix("user."): value for key, value in meta.items() if key.startswith("user.")}
        return index

    @classmethod
    def build(
        cls,
        vectors: Any,
        ids: Any = None,
        *,
        threads: int = 0,
        progress: Progress = False,
        recall: float = 0.95,
        memory: int | None = None,
        device: str = "cpu",
        **params: Any,
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
        recall : float
            What ``codes="auto"`` should reach at k 10 and ef 64 on a sample of the rows.
        memory : int, optional
            Bytes that the index may take: a bound for ``codes="auto"``.
        device : {"cpu", "cuda"}
            Where the graph of float vectors is linked, see ``docs/gpu.md``; the index is the same kind of index.
        **params
            As for `Index`, without d.

        Returns
        -------
        Index
            One seed, one file at any thread count. ``choice`` says how ``codes="auto"`` was settled; from 20,000 rows
            on its finer copy is float16 (to 65,504) where that tells rows apart.

        Raises
        ------
        ArgumentError
            As for `Index` and `add`; a memory that no codes fit into, or beside codes that are named.
        UnsupportedError
            ``device="cuda"`` where no GPU can be used.

        Examples
        --------
        >>> import numpy as np
        >>> len(Index.build(np.eye(4, dtype=np.float32), metric="ip"))
        4
        """
        array = as_array(vectors, "vectors", "shape (n, d)")
        if array.ndim != 2:
            raise ArgumentError(f"vectors: expected shape (n, d), got {describe(array)}")
        one_of(device, "device", ("cpu", "cuda"))
        bits = 8 if str(params.get("metric")) in codecs.BINARY_METRICS else 1
        if device == "cuda" and (bits == 8 or params.get("kind", "hnsw") != "hnsw"):
            raise ArgumentError("device: expected 'cpu' for a flat index or packed bits, got 'cuda'")
        index = cls(array.shape[1] * bits, **params)
        choice = choosing.settle(index, array, params, recall, memory, threads)
        if choice is not None:
            index = cls(array.shape[1], **{**params, "codes": choice.codes, "rerank": choice.rerank})
            index.choice = choice
        if device == "cuda":
            from .gpu.graph_build import add_linked

            rows, workers = index._rows(array, "vectors"), thread_count(threads)
            wanted = None if ids is None else int_ids(ids, "ids", len(rows))
            add_linked(index._native, _native.node_levels, index._params, rows, wanted, workers, progress)
        else:
            index.add(array, ids, threads=threads, progress=progress)
        return index
