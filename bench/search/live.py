"""What changes cost searches: speed beside a writer, recall after half of the rows were replaced in place.

    SEMBLANCE_DATA=... python bench/search/live.py [--rows N] [--seconds S]

One thread searches the glosses in batches of 100 while another adds and removes rows, one hundred at a time; then every
second row is replaced by a row kept back, through `upsert`, and recall is compared with a fresh build of the same rows.
"""

from __future__ import annotations

import argparse
import threading
import time

import numpy as np
from recall_table import load, recall

import semblance as sb

K, EF, BATCH = 10, 64, 100


def search_for(index: sb.Index, queries: np.ndarray, seconds: float) -> float:
    """Queries per second over that time."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        at = done % (len(queries) - BATCH)
        index.search(queries[at : at + BATCH], K, ef=EF, threads=1)
        done += BATCH
    return done / (time.perf_counter() - start)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    base, queries, _ = load(given.rows + given.rows // 2)
    first, fresh = base[: given.rows], base[given.rows :]
    index = sb.Index.build(first)
    stop, changed = threading.Event(), [0]

    def write() -> None:
        turn = 0
        while not stop.is_set():
            ids = np.arange(100) + 10**6 + 100 * (turn % 20)
            index.upsert(fresh[:100] if turn % 2 else fresh[100:200], ids, threads=1)
            index.remove(ids)
            changed[0] += 200
            turn += 1

    alone, beside = [], []
    for _ in range(3):
        alone.append(search_for(index, queries, given.seconds))
        stop.clear()
        writer = threading.Thread(target=write)
        writer.start()
        beside.append(search_for(index, queries, given.seconds))
        stop.set()
        writer.join()
    seconds = 3 * given.seconds
    print(f"searches alone {np.median(alone):,.0f}/s, beside a writer {np.median(beside):,.0f}/s", end=" ")
    print(f"({np.median(beside) / np.median(alone):.0%}), {changed[0] / seconds:,.0f} changes/s")
    replaced = np.arange(0, given.rows, 2)
    index = sb.Index.build(first)
    for start in range(0, len(replaced), 1000):
        index.upsert(fresh[start : start + 1000], replaced[start : start + 1000])
    rows = first.copy()
    rows[replaced] = fresh[: len(replaced)]
    truth = sb.exact(rows, queries, K).ids
    rebuilt = sb.Index.build(rows)
    for ef in (40, EF, 100, 200):
        found = [recall(one.search(queries, K, ef=ef).ids, truth) for one in (index, rebuilt)]
        print(f"ef {ef}: recall after replacing half {found[0]:.4f}, of a fresh build {found[1]:.4f}")
    index.compact()
    print(f"after compact, ef {EF}: {recall(index.search(queries, K, ef=EF).ids, truth):.4f}")


if __name__ == "__main__":
    main()
