"""Exact search on a card, and graphs built on it, against the card's own ceilings and against peers.

    python bench/gpu/flat.py [--rows 1000000] [--dim 384] [--codes bf16 i8 f32] [--batches 1 128 10000] [--build]

Each line counts bytes and operations: few queries are bound by reading the rows once, many by the matrix rate that a
large torch product of the same type reaches on the card. Answers are compared before they are timed. Peers: torch's
product and topk, Faiss-GPU and cuVS where they can be imported. Needs torch with CUDA. Not run on a card yet.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import copy_bandwidth, milliseconds, require_card, roofline

import semblance as sb

K = 10
BYTES = {"f32": 4, "bf16": 2, "i8": 1}
CHECKED = 100


def matrix_rate(codes: str, size: int = 8192) -> float:
    """Operations a second of a large product of the type; i8 is measured as bf16, whose peak is half."""
    dtype = torch.float32 if codes == "f32" else torch.bfloat16
    a = torch.randn(size, size, device="cuda", dtype=dtype)
    ms = milliseconds(lambda: a @ a, 10)
    return 2 * size**3 / (ms / 1e3)


def torch_search(rows: Any, queries: Any, slab: int = 1 << 20) -> Any:
    """Products and topk, in slabs of queries whose scores fit."""
    step = max(1, slab * 1024 // len(rows))
    return [torch.topk(queries[at : at + step] @ rows.T, K) for at in range(0, len(queries), step)]


def peers(vectors: Any, codes: str) -> dict[str, Callable[[Any], object]]:
    """What else can search here, by name."""
    found: dict[str, Callable[[Any], object]] = {}
    rows = torch.from_numpy(vectors).cuda()
    if codes != "i8":
        typed = rows if codes == "f32" else rows.bfloat16()
        found["torch matmul+topk"] = lambda queries: torch_search(typed, queries.to(typed.dtype))
    if importlib.util.find_spec("faiss"):
        import faiss

        if hasattr(faiss, "StandardGpuResources"):
            index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), vectors.shape[1])
            index.add(vectors)
            found["Faiss-GPU"] = lambda queries: index.search(queries.cpu().numpy(), K)
    if importlib.util.find_spec("cuvs"):
        from cuvs.neighbors import brute_force

        built = brute_force.build(rows, metric="inner_product")
        found["cuVS"] = lambda queries: brute_force.search(built, queries, K)
    return found


def check(index: Any, vectors: Any, queries: Any, codes: str) -> None:
    truth = sb.exact(vectors, queries[:CHECKED], K, "ip").ids
    found = index.search(queries[:CHECKED], K).ids
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)])
    assert recall > {"f32": 0.999, "bf16": 0.95, "i8": 0.95}[codes], f"{codes}: recall@{K} {recall:.3f}"


def search_lines(vectors: Any, queries: Any, codes: str, batches: list[int]) -> None:
    n, d = vectors.shape
    index = sb.gpu.FlatIndex(d, "ip", codes)
    index.add(vectors)
    check(index, vectors, queries, codes)
    bandwidth, rate = copy_bandwidth(), matrix_rate(codes)
    others = peers(vectors, codes)
    for batch in batches:
        on_card = torch.from_numpy(queries[:batch]).cuda()
        stream = torch.cuda.current_stream()
        ms = milliseconds(lambda q=on_card, s=stream: index.search(q, K, on_device=True, stream=s))
        operations = 2 * n * d * batch
        print(roofline(f"flat {codes} {n}x{d}, batch {batch}", n * d * BYTES[codes], ms, bandwidth), end="; ")
        share = operations / (ms / 1e3) / rate
        print(f"{operations / 1e12:.3f} Tera-operations = {share:.0%} of a product's; {batch / ms * 1e3:.0f} queries/s")
        for name, search in others.items():
            theirs = milliseconds(lambda q=on_card, f=search: f(q), 10)
            print(f"    {name}: {theirs:.3f} ms, {theirs / ms:.2f} times ours")


def build_line(vectors: Any, queries: Any) -> None:
    start = time.perf_counter()
    index = sb.Index.build(vectors, metric="cosine", codes="b1", device="cuda")
    seconds = time.perf_counter() - start
    truth = sb.exact(vectors, queries[:1000], K).ids
    found = index.search(queries[:1000], K, ef=100).ids
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)])
    operations = 2 * len(vectors) ** 2 * vectors.shape[1]
    print(
        f"build of {len(vectors)}x{vectors.shape[1]}: {seconds:.1f} s, {operations / 1e15:.2f} Peta-operations;",
        end=" ",
    )
    print(f"recall@{K} {recall:.3f} at ef 100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--codes", nargs="+", default=["bf16", "i8", "f32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 128, 10_000])
    parser.add_argument("--build", action="store_true")
    options = parser.parse_args()
    print(require_card(), "·", sb.__version__)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((options.rows, options.dim), dtype=np.float32)
    queries = rng.standard_normal((max(1000, *options.batches), options.dim), dtype=np.float32)
    for codes in options.codes:
        search_lines(vectors, queries, codes, options.batches)
    if options.build:
        build_line(vectors, queries)


if __name__ == "__main__":
    main()
