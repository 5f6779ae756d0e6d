"""Filtered searches against Faiss HNSW with a bitmap selector: recall@10 and queries per second by selectivity.

    SEMBLANCE_DATA=... python bench/search/filters.py [--rounds N]

Rows are the glosses. *Random* filters allow a share of all rows; *correlated* ones allow the rows farthest from the
query's own neighbourhood: those least similar to the mean of the queries. Settings go up until recall@10 reaches 0.95;
both libraries are measured in turns, one thread, medians of rounds.
"""

from __future__ import annotations

import argparse
import time

import faiss
import numpy as np
from recall_table import load, recall

import semblance as sb

SHARES = (0.001, 0.01, 0.05, 0.2, 0.5, 1.0)
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
K, QUERIES, FLOOR = 10, 500, 0.95


def timed(search) -> tuple[float, np.ndarray]:
    """Seconds and ids."""
    start = time.perf_counter()
    found = search()
    return time.perf_counter() - start, found


def truth_of(base: np.ndarray, queries: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Exact neighbours among the allowed rows."""
    return allowed[sb.exact(base[allowed], queries, K).ids]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    base, queries, _ = load(115_659)
    queries = queries[:QUERIES]
    ours = sb.Index.build(base)
    theirs = faiss.IndexHNSWFlat(base.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    theirs.hnsw.efConstruction = 200
    theirs.add(base)
    faiss.omp_set_num_threads(1)
    near_first = np.argsort(-(base @ queries.mean(axis=0)))
    shuffled = np.random.default_rng(0).permutation(len(base))
    print("| filter | share | semblance ef · recall · queries/s | Faiss ef · recall · queries/s | ratio |")
    print("|---|---|---|---|---|")
    for kind, order in (("random", shuffled), ("correlated", near_first[::-1])):
        for share in SHARES:
            chosen = np.sort(order[: max(K, int(len(base) * share))])
            truth = truth_of(base, queries, chosen)
            allowed = ours.allow(chosen) if share < 1 else None
            bits = np.zeros(len(base), np.uint8)
            bits[chosen] = 1
            packed = np.packbits(bits, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(base), faiss.swig_ptr(packed)) if share < 1 else None

            def search_ours(width, allowed=allowed):
                return ours.search(queries, K, ef=width, allowed=allowed, threads=1).ids

            def search_theirs(width, selector=selector):
                settings = faiss.SearchParametersHNSW(efSearch=width, sel=selector)
                return theirs.search(queries, K, params=settings)[1]

            picked = []
            for search in (search_ours, search_theirs):
                width = next((w for w in WIDTHS if recall(search(w), truth) >= FLOOR), WIDTHS[-1])
                picked.append((search, width, recall(search(width), truth), []))
            for _ in range(given.rounds):
                for search, width, _, seconds in picked:
                    seconds.append(timed(lambda search=search, width=width: search(width))[0])
            speeds = [QUERIES / float(np.median(seconds)) for *_, seconds in picked]
            cells = [f"{w} · {r:.4f} · {s:,.0f}" for (_, w, r, _), s in zip(picked, speeds, strict=True)]
            print(f"| {kind} | {share:.1%} | {' | '.join(cells)} | {speeds[0] / speeds[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
