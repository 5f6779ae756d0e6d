"""Graphs on a card: building one, recall, queries a second in a batch of 10,000, and the time of a single query.

    python bench/gpu/graph.py [--rows 1000000] [--dim 384] [--codes f16 i8] [--ef 32 64 128] [--vectors file.npy]

The index is built with ``device="cuda"``. Recall is against exact search by torch on the same rows. The roofline counts
the bytes of rows and links of a walk that scores every link of `ef` nodes. Needs torch with CUDA for events and for
queries that lie on the card. Nothing here was run on a card yet.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from data import drawn, nearest, recall
from timing import copy_bandwidth, milliseconds, replay_milliseconds, require_card, roofline

import semblance as sb

K, BATCH, CHECKED, SINGLES = 10, 10_000, 1000, 100


def built(vectors: Any, queries: Any, truth: Any) -> Any:
    start = time.perf_counter()
    index = sb.Index.build(vectors, metric="cosine", device="cuda")
    seconds = time.perf_counter() - start
    share = recall(index.search(queries[:CHECKED], K, ef=100).ids, truth)
    operations = 2 * len(vectors) ** 2 * vectors.shape[1]
    print(
        f"build of {len(vectors)}x{vectors.shape[1]}: {seconds:.1f} s, {operations / 1e15:.2f} Peta-operations;",
        end=" ",
    )
    print(f"recall@{K} {share:.3f} at ef 100 on the CPU")
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--codes", nargs="+", default=["f16", "i8"])
    parser.add_argument("--ef", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--vectors")
    options = parser.parse_args()
    print(require_card(), "·", sb.__version__)
    bandwidth = copy_bandwidth()
    everything = np.load(options.vectors) if options.vectors else drawn(options.rows + BATCH, options.dim)
    vectors, queries = everything[:-BATCH], np.ascontiguousarray(everything[-BATCH:], np.float32)
    truth = nearest(vectors, queries[:CHECKED], K)
    index = built(vectors, queries, truth)
    on_card = torch.from_numpy(queries).cuda()
    degree = index.stats()["mean_degree"]
    for codes in options.codes:
        there = sb.gpu.GraphIndex.from_index(index, codes=codes)
        row_bytes = options.dim * {"f32": 4, "f16": 2, "i8": 1, "b1": 0.125}[codes]
        for ef in options.ef:
            share = recall(there.search(queries[:CHECKED], K, ef=ef, mode="batch").ids, truth)
            ms = replay_milliseconds([searching(there, on_card, ef, "batch")])
            moved = BATCH * ef * degree * (row_bytes + 4)  # at most: links to rows seen before are not read again
            print(f"{codes} ef {ef}: recall@{K} {share:.3f}, {BATCH / ms * 1e3 / 1e6:.2f} M queries/s")
            print(roofline("  rows and links, at most", moved, ms, bandwidth))
            one_by_one(there, on_card, ef, truth)


def searching(there: Any, asked: Any, ef: int, mode: Any) -> Callable[[Any], object]:
    """A search by stream, always to the same place."""
    ids = torch.empty((len(asked), K), dtype=torch.int64, device="cuda")
    distances = torch.empty((len(asked), K), device="cuda")
    return lambda stream: there.search(asked, K, ef=ef, mode=mode, out=(ids, distances), stream=stream)


def one_by_one(there: Any, queries: Any, ef: int, truth: Any) -> None:
    """What a query alone takes: one CUDA graph after the other, and as a call from Python to an idle card."""
    searches = [searching(there, queries[i : i + 1], ef, "single") for i in range(SINGLES)]
    replayed = replay_milliseconds(searches)
    called = [milliseconds(lambda search=search: search(torch.cuda.current_stream()), 1, 1) for search in searches]
    found = [there.search(query[None].cpu().numpy(), K, ef=ef).ids for query in queries[:SINGLES]]
    share = recall(np.concatenate(found), truth[:SINGLES])
    print(f"  one query: replayed {replayed * 1e3:.0f} us, called p50 {np.median(called) * 1e3:.0f} us;", end=" ")
    print(f"recall@{K} {share:.3f}")


if __name__ == "__main__":
    main()
