"""Filtered searches against Faiss with a bitmap selector: recall@10 and queries per second by selectivity.

    SEMBLANCE_DATA=... python bench/search/filters.py [--rounds N] [--shares S ...] [--kinds K ...] [--cache FOLDER]

Rows are the glosses. *Random* filters allow a share of all rows; *far* and *near* ones are correlated with the queries,
which all lie around one of them: allowed are the rows least, or most, like their mean. Settings go up until recall@10
reaches 0.95; of Faiss's indexes (graph, inverted lists, scan) the fastest that reaches it counts, or the one with the
highest recall where none does. All are measured in turns, one thread, in the
thread's own time, medians of rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from recall_table import load, recall

import semblance as sb

SHARES = (0.001, 0.01, 0.05, 0.2, 0.5, 1.0)
K, FLOOR = 10, 0.95
EFS = (10, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512, 1024)
PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FAISS = {"HNSW32,SQ8": EFS, "IVF1024,Flat": PROBES, "IVF1024,SQ8": PROBES, "Flat": (0,)}

Search = Callable[[int], np.ndarray]


def of_faiss(name: str, base: np.ndarray, cache: Path | None) -> faiss.Index:
    """Build the index, or read it from the cache."""
    file = cache / f"{name}.faiss" if cache else None
    if file and file.exists():
        return faiss.read_index(str(file))
    index = faiss.index_factory(base.shape[1], name, faiss.METRIC_INNER_PRODUCT)
    if name.startswith("HNSW"):
        index.hnsw.efConstruction = 200
    index.train(base[::4])
    index.add(base)
    if file:
        faiss.write_index(index, str(file))
    return index


def of_ours(base: np.ndarray, cache: Path | None) -> sb.Index:
    """Build the index, or read it from the cache."""
    file = cache / "ours.semblance" if cache else None
    if file and file.exists():
        return sb.Index.load(file)
    index = sb.Index.build(base)
    if file:
        index.save(file)
    return index


def settings_of(name: str, effort: int, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
    """Faiss's parameters of one search."""
    if name.startswith("HNSW"):
        return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
    if name.startswith("IVF"):
        return faiss.SearchParametersIVF(nprobe=effort, sel=selector)
    return faiss.SearchParameters(sel=selector)


def timed(search: Search, effort: int) -> float:
    """Seconds that the calling thread computed: what other work on the machine takes does not count."""
    start = time.thread_time()
    search(effort)
    return time.thread_time() - start


def settle(search: Search, efforts: tuple[int, ...], truth: np.ndarray) -> tuple[int, float]:
    """Return the first effort that reaches the floor, or the best, and its recall."""
    reached = [(0.0, efforts[0])]
    for effort in efforts:
        reached.append((recall(search(effort), truth), effort))
        if reached[-1][0] >= FLOOR:
            return effort, reached[-1][0]
    best, effort = max(reached, key=lambda pair: pair[0])
    return effort, best


def around_one(queries: np.ndarray, count: int) -> np.ndarray:
    """Return the queries most like the first."""
    return queries[np.argsort(-(queries @ queries[0]))[:count]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--kinds", nargs="+", choices=["random", "far", "near"], default=["random", "far", "near"])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--faiss", nargs="*", choices=FAISS, default=list(FAISS))
    given = parser.parse_args()
    base, queries, _ = load(115_659)
    ours = of_ours(base, given.cache)
    theirs = {name: of_faiss(name, base, given.cache) for name in given.faiss}
    faiss.omp_set_num_threads(1)
    topical = around_one(queries, given.queries)
    like = np.argsort(base @ topical.mean(axis=0))
    shuffled = np.random.default_rng(0).permutation(len(base))
    kinds = {"random": (shuffled, queries[: given.queries]), "far": (like, topical), "near": (like[::-1], topical)}
    print("| filter | share | semblance ef · recall · queries/s | Faiss, best · effort · recall · queries/s | ratio |")
    print("|---|---|---|---|---|", flush=True)
    for kind in given.kinds:
        order, asked = kinds[kind]
        for share in given.shares:
            print(row(kind, share, order, asked, base, ours, theirs, given.rounds), flush=True)


def row(kind, share, order, asked, base, ours, theirs, rounds) -> str:
    """One line of the table."""
    chosen = np.sort(order[: max(K, round(len(base) * share))])
    truth = chosen[sb.exact(base[chosen], asked, K).ids]
    allowed = ours.allow(chosen) if share < 1 else None
    packed = np.packbits(np.isin(np.arange(len(base)), chosen), bitorder="little")
    selector = faiss.IDSelectorBitmap(len(base), faiss.swig_ptr(packed)) if share < 1 else None

    searches: dict[str, tuple[Search, tuple[int, ...]]] = {
        "semblance": (lambda ef: ours.search(asked, K, ef=ef, allowed=allowed, threads=1).ids, EFS)
    }
    for name, index in theirs.items():

        def search(effort: int, name: str = name, index: faiss.Index = index) -> np.ndarray:
            return index.search(asked, K, params=settings_of(name, effort, selector))[1]

        searches[name] = (search, FAISS[name])
    settled = {name: settle(search, efforts, truth) for name, (search, efforts) in searches.items()}
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        for name, (search, _) in searches.items():
            seconds[name].append(timed(search, settled[name][0]))
    speeds = {name: len(asked) / float(np.median(taken)) for name, taken in seconds.items()}
    reaching = [name for name in theirs if settled[name][1] >= FLOOR]
    best = max(reaching, key=speeds.__getitem__) if reaching else max(theirs, key=lambda name: settled[name][1])
    cells = [f"{settled[name][0]} · {settled[name][1]:.4f} · {speeds[name]:,.0f}" for name in ("semblance", best)]
    return f"| {kind} | {share:.1%} | {cells[0]} | {best} · {cells[1]} | {speeds['semblance'] / speeds[best]:.1f} |"


if __name__ == "__main__":
    main()
