"""Graph search on a card: recall, queries a second in a batch of 10,000, and the time of a single query.

    python bench/gpu/graph.py [--rows 1000000] [--dim 384] [--codes f16 i8] [--ef 32 64 128] [--vectors file.npy]

Recall is against exact search on the same rows. Without --vectors rows are drawn around 1,000 centres. The roofline
counts the bytes of rows and links of the walk at the number of nodes that the same walk visits on the CPU. Needs torch
with CUDA for events and for queries that lie on the card. Nothing here was run on a card yet.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from timing import copy_bandwidth, milliseconds, require_card, roofline

import semblance as sb

K, BATCH, CHECKED, SINGLES = 10, 10_000, 1000, 300


def drawn(rows: int, dim: int, seed: int, centres: Any) -> Any:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows, dim), dtype=np.float32)
    return centres[rng.integers(0, len(centres), rows)] + 0.7 * noise


def recall(found: Any, truth: Any) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))


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
    centres = np.random.default_rng(0).standard_normal((1000, options.dim), dtype=np.float32)
    everything = np.load(options.vectors) if options.vectors else drawn(options.rows + BATCH, options.dim, 1, centres)
    vectors, queries = everything[:-BATCH], np.ascontiguousarray(everything[-BATCH:], np.float32)
    start = time.perf_counter()
    index = sb.Index.build(vectors, metric="cosine", rerank="f16")
    print(f"{len(index)} x {options.dim}, built on the CPU in {time.perf_counter() - start:.0f} s")
    truth = index.search(queries[:CHECKED], K, exact=True).ids
    on_card = torch.from_numpy(queries).cuda()
    degree = index.stats()["mean_degree"]
    for codes in options.codes:
        there = sb.gpu.GraphIndex.from_index(index, codes=codes)
        row_bytes = options.dim * {"f32": 4, "f16": 2, "i8": 1, "b1": 0.125}[codes]
        for ef in options.ef:
            share = recall(there.search(queries[:CHECKED], K, ef=ef, mode="batch").ids, truth)
            ms = milliseconds(lambda there=there, ef=ef: there.search(on_card, K, ef=ef, mode="batch", on_device=True))
            moved = (
                BATCH * ef * degree * (row_bytes + 4)
            )  # an upper bound: links to rows seen before are not read again
            print(f"{codes} ef {ef}: recall@{K} {share:.3f}, {BATCH / ms * 1e3 / 1e6:.2f} M queries/s")
            print(roofline("  rows and links, at most", moved, ms, bandwidth))
            singles = [
                milliseconds(
                    lambda i=i, there=there, ef=ef: there.search(on_card[i : i + 1], K, ef=ef, on_device=True), 1, 0
                )
                for i in range(SINGLES)
            ]
            alone = recall(
                np.concatenate([there.search(queries[i : i + 1], K, ef=ef).ids for i in range(100)]), truth[:100]
            )
            print(f"  one query: p50 {np.median(singles[50:]) * 1e3:.0f} us, recall@{K} {alone:.3f}")


if __name__ == "__main__":
    main()
