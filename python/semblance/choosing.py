"""Which codes ``codes="auto"`` takes: the fastest whose recall, measured on a sample of the rows, is enough."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import codecs
from .arrays import I64, count, number
from .errors import ArgumentError
from .ground_truth import exact as exact_search
from .tuning import SMALLEST_RECALL, recall_at_k

__all__ = ["Choice"]

LEAST = 20_000  # rows: with fewer the usual codes are taken unmeasured, for they are small and quick whatever they are
_SAMPLE, _QUERIES, _K, _EF, _EF_CONSTRUCTION = 2048, 128, 10, 64, 64
_NEAREST = 100  # rows around a query, among which float16 has to find the closest _K
_LARGEST_HALF = 65504.0 / 16  # room for larger rows that come later
_RECALL_OF_HALF = 0.999
_PIECE = 10_000  # rows looked at together
_ROW_EXTRA = 24  # bytes a row beside codes and base links: id, death, id map, upper links


@dataclass(frozen=True)
class Choice:
    """What `Index.build` settled for ``codes="auto"``, and what it measured on a sample of the rows.

    ``measured`` holds (codes, rerank, bytes a row, recall at 10 and ef 64) of each candidate that was tried, from the
    fastest on; the first to reach ``recall`` within ``memory`` bytes was taken, else the one with the best recall.
    """

    codes: str
    rerank: str | None
    recall: float
    memory: int | None
    reached: bool
    measured: list[tuple[str, str | None, int, float]] = field(default_factory=list)


def candidates(metric: str, d: int, rerank: str | None, half: bool) -> list[tuple[str, str | None]]:
    """Codes and finer copies from the fastest to the slowest walk; a `rerank` other than "auto" keeps its own.

    ``half`` says that float16 holds the rows as well as float32 does (`half_is_enough`).

    The order is that of memory read a visited node: one block of neighbour codes, or about a dozen rows of half a byte,
    one, two or four bytes a dimension.
    """
    codes, finer = codecs.resolve(metric, "hnsw", "auto", "auto", d)
    wide = "f16" if half else "f32"
    ranked = [
        (codes, finer and wide),
        ("i4", "i8"),
        ("i4", wide),
        ("i8", None),
        ("i8", wide),
        ("f16", None),
        ("f32", None),
    ]
    if not half:
        ranked.remove(("f16", None))
    ranked = list(dict.fromkeys(ranked))
    if rerank == "auto":
        return ranked
    return [pair for pair in ranked if pair[1] == rerank] or [codecs.resolve(metric, "hnsw", "auto", rerank, d)]


def half_is_enough(rows: npt.NDArray[Any], metric: str, seed: int, threads: int) -> bool:
    """Whether float16 tells these rows apart, and none is near the end of its range.

    The 100 rows closest to each of 128 are ranked again with float16's values, the farthest first where equal:
    the first 10 have to be as close as before. Costs 128 exact searches.
    """
    if any(not np.abs(rows[i : i + _PIECE]).max() <= _LARGEST_HALF for i in range(0, len(rows), _PIECE)):
        return False
    rng = np.random.default_rng(seed)
    queries = rows[np.sort(rng.choice(len(rows), size=min(len(rows), _QUERIES), replace=False))]
    nearest = exact_search(rows, queries, min(len(rows), _NEAREST), metric, threads=threads)
    k = min(_K, nearest.ids.shape[1])
    kept = 0
    for query, near, distances in zip(queries, nearest.ids[:, ::-1], nearest.distances[:, ::-1], strict=True):
        rounded = rows[near].astype(np.float16).astype(np.float32)
        found: I64 = exact_search(rounded, query[None], k, metric, threads=1).ids
        kept += int((distances[found] <= distances[-k]).sum())
    return bool(kept >= _RECALL_OF_HALF * k * len(queries))


def bytes_a_row(codes: str, rerank: str | None, d: int, max_degree: int) -> int:
    """About what a row of an index takes, the graph included."""

    def row(name: str | None) -> int:
        sizes = {"f32": 4 * d, "f16": 2 * d, "bf16": 2 * d, "i8": d + 8, "i4": d // 2 + 8, None: 0}
        return sizes[name] if name not in ("i8", "i4") else (sizes[name] + 15) // 16 * 16

    graph = 4 * max_degree + _ROW_EXTRA
    if codes == "b1":
        places = (max_degree + 31) // 32 * 32
        return graph + places * ((d + 15) // 16 * 2 + 12) + row(rerank)
    if (codes, rerank) == ("i4", "i8"):
        return graph + (2 * ((d + 7) // 8 * 4) + 12 + 15) // 16 * 16
    return graph + row(codes) + row(rerank)


def settle(
    index: Any, rows: npt.NDArray[Any], params: dict[str, Any], recall: float, memory: int | None, threads: int
) -> Choice | None:
    """`choose` for the arguments of `Index.build` and the empty index they make; None where nothing is to choose."""
    recall = number(recall, "recall", SMALLEST_RECALL, 1.0)
    if params.get("codes", "auto") != "auto" or index.kind == "flat" or index.metric in codecs.BINARY_METRICS:
        if memory is not None:
            raise ArgumentError("memory: expected None, or codes='auto' for float vectors in a graph beside it")
        return None
    options: dict[str, Any] = {name: int(index._params[name]) for name in ("max_degree", "seed")}
    options |= {"metric": index.metric, "rerank": params.get("rerank", "auto"), "threads": threads}
    memory = None if memory is None else count(memory, "memory", 1, 2**63 - 1)
    return choose(rows, type(index).build, options, recall, memory)


def choose(
    rows: npt.NDArray[Any],
    make: Callable[..., Any],
    options: dict[str, Any],
    recall: float,
    memory: int | None,
) -> Choice:
    """Settle the codes of a graph over float rows.

    Parameters
    ----------
    rows : float of shape (n, d)
        What will be indexed. Neither the order of threads nor time decides: the same rows give the same choice.
    make : callable
        `Index.build`.
    options : dict
        Its ``metric``, ``rerank``, ``max_degree``, ``seed`` and ``threads``.
    recall : float
        Recall at 10 to reach on the sample.
    memory : int or None
        Bytes that the index may take.

    Returns
    -------
    Choice
        Up to 2,048 sampled rows are indexed and 128 others searched at ef 64, for each candidate until one will do;
        with fewer than 20,000 rows and no budget, or with too few to sample, nothing is measured.

    Raises
    ------
    ArgumentError
        Where nothing fits into `memory`.
    """
    n, d = rows.shape
    metric, rerank = options["metric"], options["rerank"]
    tried = n >= 4 * _QUERIES and (n >= LEAST or memory is not None)
    half = metric == "cosine"
    if tried and rerank == "auto" and not half:
        with suppress(ArgumentError):  # rows that no index takes: adding them all says which and why
            half = half_is_enough(rows, metric, options["seed"], options["threads"])
    ranked = candidates(metric, d, rerank, half)
    sizes = {pair: bytes_a_row(*pair, d, options["max_degree"]) for pair in ranked}
    fitting = [pair for pair in ranked if memory is None or sizes[pair] * n <= memory]
    if not fitting:
        least = min(sizes.values()) * n
        raise ArgumentError(
            f"memory: expected at least {least:,} bytes for {n:,} rows of {d} dimensions, got {memory:,}"
        )
    if not tried:
        return Choice(*fitting[0], recall, memory, False)
    try:
        measured = _measure(rows, make, options, [(*pair, sizes[pair]) for pair in fitting], recall)
    except ArgumentError:  # as above
        return Choice(*fitting[0], recall, memory, False)
    best = max(measured, key=lambda row: row[3])
    return Choice(best[0], best[1], recall, memory, best[3] >= recall, measured)


def _measure(
    rows: npt.NDArray[Any],
    make: Callable[..., Any],
    options: dict[str, Any],
    candidates: list[tuple[str, str | None, int]],
    recall: float,
) -> list[tuple[str, str | None, int, float]]:
    """Try candidates on a sample until one reaches the recall."""
    rng = np.random.default_rng(options["seed"])
    picked = rng.choice(len(rows), size=min(len(rows), _SAMPLE + _QUERIES), replace=False)
    queries, sample = rows[np.sort(picked[:_QUERIES])], rows[np.sort(picked[_QUERIES:])]
    exact = make(sample, **{**options, "kind": "flat", "codes": "f32", "rerank": None})
    truth: I64 = exact.search(queries, _K).ids
    small = {**options, "ef_construction": max(_EF_CONSTRUCTION, options["max_degree"])}
    measured: list[tuple[str, str | None, int, float]] = []
    for codes, finer, size in candidates:
        index = make(sample, **{**small, "codes": codes, "rerank": finer})
        found: I64 = index.search(queries, _K, ef=_EF).ids
        measured.append((codes, finer, size, recall_at_k(found, truth)))
        if measured[-1][3] >= recall:
            break
    return measured
