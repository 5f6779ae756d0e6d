"""Items with vectors in several named spaces, searched in one or in any weighted mix of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .arrays import F32, I64, Progress
from .errors import ArgumentError, FormatError
from .filters import Allowed
from .index import Index
from .results import Hits, Report, TuneReport
from .spaces_layout import SpacesLayout, Weights

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SpacesIndex"]

PathLike: TypeAlias = "str | os.PathLike[str]"

_SPACES_KEY = "semblance.spaces"
_METRICS = ("cosine", "ip")


class SpacesIndex:
    """Nearest items by a weighted sum of distances in named spaces, the weights chosen by each query.

    One `Index` over the items' vectors laid side by side serves every choice: under an inner product a weight may as
    well stand at the query's part as at the item's.

    Parameters
    ----------
    spaces : mapping of str to int
        Dimensions of each space; in all, with one more a space, at most 65,536.
    metric : {"cosine", "ip"}
        Distance in each space: 1 - cosine or 1 - inner product.
    kind, codes, max_degree, ef_construction, seed
        As for `Index`.
    rerank : str or None
        As for `Index`, but ``"auto"`` is float32: beside a large weight a small one counts only in exact sums.

    Raises
    ------
    ArgumentError
        For a parameter outside its range.

    Notes
    -----
    An item may lack spaces: its distance there is 1, as if it were orthogonal to the query. Beside each part stands one
    more dimension, which is 1 where the part is lacking and 0 in every query, so that all rows are equally long and
    lie in a graph by their angles (decision 8). Costs are those of an `Index` of ``sum(d + 1)`` dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> index = SpacesIndex({"shape": 2, "colour": 2})
    >>> _ = index.add({"shape": [[1.0, 0.0], [0.0, 1.0]], "colour": [[0.0, 1.0], [1.0, 0.0]]}, ids=[7, 8])
    >>> query = {"shape": [[1.0, 0.1]], "colour": [[1.0, 0.1]]}
    >>> index.search(query, k=1, weights={"shape": 1.0, "colour": 0.1}).ids.tolist()
    [[7]]
    >>> index.search({"colour": [[1.0, 0.1]]}, k=1).ids.tolist()
    [[8]]
    """

    def __init__(
        self,
        spaces: Mapping[str, int],
        metric: str = "cosine",
        kind: str = "hnsw",
        codes: str = "auto",
        rerank: str | None = "auto",
        max_degree: int = 32,
        ef_construction: int = 200,
        seed: int = 0,
    ) -> None:
        if not isinstance(metric, str) or metric not in _METRICS:
            raise ArgumentError(f"metric: expected one of {_METRICS}, got {metric!r}")
        self._layout = SpacesLayout(spaces, metric)
        rerank = "f32" if rerank == "auto" else rerank
        self._index = Index(self._layout.dim, metric, kind, codes, rerank, max_degree, ef_construction, seed)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def spaces(self) -> dict[str, int]:
        """Dimensions by name."""
        return dict(self._layout.spaces)

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self._index.metric

    @property
    def index(self) -> Index:
        """The `Index` over the items' vectors laid side by side, with one more dimension after each."""
        return self._index

    @property
    def metadata(self) -> dict[str, str]:
        """What the file it was loaded from says beside the index."""
        return {key: value for key, value in self._index.metadata.items() if key != _SPACES_KEY}

    @property
    def ef(self) -> int:
        """Candidates that a search keeps where it is not told (`tune` sets it)."""
        return self._index.ef

    @ef.setter
    def ef(self, value: int) -> None:
        self._index.ef = value

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, id: object) -> bool:
        return id in self._index

    def __repr__(self) -> str:
        return (
            f"SpacesIndex({self._layout.spaces}, metric={self.metric!r}, kind={self._index.kind!r}, items={len(self)})"
        )

    def ids(self) -> I64:
        """Return all ids, int64 (n,), in the order in which their present vectors were added."""
        return self._index.ids()

    def stats(self) -> dict[str, Any]:
        """Return `Index.stats` of the index behind, and ``spaces``."""
        return {**self._index.stats(), "spaces": self.spaces}

    def check(self) -> Report:
        """Return what `Index.check` finds in the index behind."""
        return self._index.check()

    # -- changing it ---------------------------------------------------------------------------------------------------

    def add(self, vectors: Any, ids: Any = None, *, threads: int = 0, progress: Progress = False) -> I64:
        """Add items under new ids; they become visible together when the call ends.

        Parameters
        ----------
        vectors : mapping of str to array_like, float of shape (n, d of the space), or array_like of shape (n, sum of d)
            All items' vectors by space. A row of NaN says that the item lacks the space, as all do where the space is
            left out. An array holds the spaces side by side, in their order.
        ids, threads, progress
            As in `Index.add`.

        Returns
        -------
        numpy.ndarray
            The ids, int64 (n,).

        Raises
        ------
        ArgumentError
            Unknown space, wrong shape or dtype, NaN beside numbers, infinity, a zero vector under cosine, an item
            without any vector, ids as in `Index.add`; nothing is added.

        Examples
        --------
        >>> import numpy as np
        >>> index = SpacesIndex({"image": 2, "text": 3})
        >>> index.add({"text": np.eye(3), "image": [[1, 0.5], [np.nan, np.nan], [0.5, 1]]}).tolist()
        [0, 1, 2]
        """
        return self._index.add(self._layout.rows(vectors), ids, threads=threads, progress=progress)

    def upsert(self, vectors: Any, ids: Any, *, threads: int = 0, progress: Progress = False) -> I64:
        """Add items, replacing those whose ids exist in all their spaces.

        Parameters
        ----------
        vectors
            As in `add`.
        ids, threads, progress
            As in `Index.upsert`.

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
        >>> index = SpacesIndex({"image": 2, "text": 2})
        >>> index.upsert({"image": [[1.0, 0.0]]}, [5]), index.upsert({"text": [[0.0, 1.0]]}, [5]), len(index)
        (array([5]), array([5]), 1)
        """
        return self._index.upsert(self._layout.rows(vectors), ids, threads=threads, progress=progress)

    def remove(self, ids: Any, *, missing: str = "ignore") -> int:
        """Remove items: from the moment the call returns no search returns them.

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
            As in `Index.remove`; nothing is removed.
        """
        return self._index.remove(ids, missing=missing)

    def compact(self, *, threads: int = 0, progress: Progress = False) -> None:
        """Rebuild without the removed items, whose bytes are erased; searches go on meanwhile.

        Parameters
        ----------
        threads, progress
            As in `Index.compact`.

        Raises
        ------
        CapacityError
            No memory for the second copy; nothing is changed.
        """
        self._index.compact(threads=threads, progress=progress)

    # -- asking it -----------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: Any,
        k: int = 10,
        weights: Weights | None = None,
        ef: int | None = None,
        allowed: Any = None,
        exact: bool = False,
        *,
        threads: int = 0,
    ) -> Hits:
        """Find the k items with the smallest weighted sum of distances.

        Parameters
        ----------
        queries : mapping of str to array_like, float of shape (q, d of the space), or array_like of shape (q, sum of d)
            The spaces that count, each with as many queries; an array holds all of them side by side.
        k : int
            Items to return, 1 to 1,048,576.
        weights : mapping of str to float or array_like of shape (q,), optional
            Weight of each space, of any size; 1 where none is given. Below 0 an item gets farther the more it is like
            the query. Weights of spaces that are not asked for do not count.
        ef, allowed, exact, threads
            As in `Index.search`.

        Returns
        -------
        Hits
            ``ids`` int64 (q, k) and ``distances`` float32 (q, k): sums of weight times distance in the space, which is
            1 where the item lacks it.

        Raises
        ------
        ArgumentError
            Unknown or no space, different numbers of queries, weights that are no finite numbers or all 0, and as in
            `Index.search`.

        Examples
        --------
        >>> index = SpacesIndex({"image": 2, "text": 2})
        >>> _ = index.add({"image": [[1, 0.0], [0.0, 1]], "text": [[0.0, 1], [0.0, 1]]})
        >>> hits = index.search({"image": [[1.0, 0.0]], "text": [[0.0, 1.0]]}, k=2, weights={"text": 0.5})
        >>> hits.ids.tolist(), hits.distances.round(3).tolist()
        ([[0, 1]], [[0.0, 1.0]])
        """
        rows, total, size = self._layout.weighted(queries, weights)
        ids, distances = self._index.search(rows, k, ef, allowed, exact, threads=threads)
        scores = (self._layout.length * size) * (1.0 - distances.astype(np.float64))
        summed = np.where(ids < 0, np.inf, total - scores).astype(np.float32)
        return Hits(ids, summed)

    def get(self, ids: Any) -> dict[str, F32]:
        """Return stored vectors at the finest precision kept (unit vectors under cosine).

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Ids that are in the index.

        Returns
        -------
        dict of str to numpy.ndarray
            float32 (n, d) by space, NaN where the item lacks it.

        Raises
        ------
        NotFoundError
            For the first id that is not there.

        Examples
        --------
        >>> index = SpacesIndex({"image": 2, "text": 1})
        >>> _ = index.add({"image": [[3.0, 0.0]]})
        >>> {name: vectors.tolist() for name, vectors in index.get([0]).items()}
        {'image': [[1.0, 0.0]], 'text': [[nan]]}
        """
        return self._layout.vectors(self._index.get(ids))

    def allow(self, ids: Any) -> Allowed:
        """Make a filter once that any number of searches use.

        Parameters
        ----------
        ids : array_like of int, shape (n,), or bool mask of shape (len(index),) in the order of `ids()`
            As in `Index.allow`.

        Returns
        -------
        Allowed
            Follows changes of the index.

        Raises
        ------
        ArgumentError
            Wrong dtype or shape.
        """
        return self._index.allow(ids)

    def tune(
        self, queries: Any, k: int = 10, recall: float = 0.95, weights: Weights | None = None, *, threads: int = 0
    ) -> TuneReport:
        """Set `ef` to the smallest value whose recall at k reaches a target, with these queries and weights.

        Parameters
        ----------
        queries, weights
            As in `search`, shape (q, d of the space) each; a few hundred give the recall to about a point.
        k, recall, threads
            As in `Index.tune`.

        Returns
        -------
        TuneReport
            As of `Index.tune`.

        Raises
        ------
        ArgumentError
            As in `search` and `Index.tune`.

        Examples
        --------
        >>> import numpy as np
        >>> vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
        >>> index = SpacesIndex({"a": 4, "b": 4})
        >>> _ = index.add(vectors)
        >>> index.tune(vectors[:20], k=5, recall=0.9, weights={"b": 0.2}).reached
        True
        """
        return self._index.tune(self._layout.weighted(queries, weights)[0], k, recall, threads=threads)

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
        """Write the index to a file, which appears whole or not at all; `Index.load` opens it as the index behind.

        Parameters
        ----------
        path, metadata
            As in `Index.save`.

        Raises
        ------
        ArgumentError
            As in `Index.save`.
        CapacityError
            No room left on the disk. A file that was there stays as it was.
        """
        user = dict(self.metadata if metadata is None else metadata)
        self._index.save(path, {**user, _SPACES_KEY: json.dumps(self._layout.spaces)})

    @classmethod
    def load(cls, path: PathLike, mmap: bool = False, verify: bool = True) -> Self:
        """Read an index from a file that `save` wrote.

        Parameters
        ----------
        path, mmap, verify
            As in `Index.load`.

        Returns
        -------
        SpacesIndex
            Searches give what the saved index gave.

        Raises
        ------
        FormatError
            As for `Index.load`; a file of an index without spaces.

        Examples
        --------
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "items.sb")
        >>> SpacesIndex({"image": 4, "text": 2}).save(path)
        >>> SpacesIndex.load(path).spaces
        {'image': 4, 'text': 2}
        """
        index = Index.load(path, mmap=mmap, verify=verify)
        text = index.metadata.get(_SPACES_KEY)
        where = f"{os.fspath(path)}: metadata: {_SPACES_KEY}"
        if text is None:
            raise FormatError(f"{where}: expected the names of spaces, got none (a plain index: sb.Index.load)")
        try:
            made = cls(json.loads(text), index.metric, kind="flat")
        except (ValueError, RecursionError) as error:  # ArgumentError is a ValueError
            raise FormatError(f"{where}: expected names and dimensions of spaces, got {text!r:.80}") from error
        if made._index.dim != index.dim:
            raise FormatError(f"{where}: expected {index.dim} dimensions in all, got {made._index.dim}")
        made._index = index
        return made
