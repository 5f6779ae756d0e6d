"""Exact search on a card against the card's own ceilings and against peers.

    python bench/gpu/flat.py [--rows 1000000] [--dim 384] [--codes bf16 i8 f32] [--batches 1 128 10000]

Each line counts bytes and operations: few queries are bound by reading the rows once, many by the matrix rate that a
large torch product of the same type reaches on the card. A search is timed as a CUDA graph, and as a call from Python
with all that the host does for it. Answers are compared before they are timed. Peers: torch's product and topk,
Faiss-GPU and cuVS where they can be imported. Needs torch with CUDA. Not run on a card yet.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from data import drawn, recall
from timing import copy_bandwidth, milliseconds, replay_milliseconds, require_card, roofline

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
    share = recall(index.search(queries[:CHECKED], K).ids, truth)
    assert share > {"f32": 0.999, "bf16": 0.95, "i8": 0.95}[codes], f"{codes}: recall@{K} {share:.3f}"
    print(f"{codes}: recall@{K} {share:.4f}")


def search_lines(vectors: Any, queries: Any, codes: str, batches: list[int]) -> None:
    n, d = vectors.shape
    index = sb.gpu.FlatIndex(d, "ip", codes)
    index.add(vectors)
    check(index, vectors, queries, codes)
    bandwidth, rate = copy_bandwidth(), matrix_rate(codes)
    print(f"copy {bandwidth / 1e12:.2f} TB/s, product {rate / 1e12:.0f} Tera-operations/s")
    others = peers(vectors, codes)
    for batch in batches:
        on_card = torch.from_numpy(queries[:batch]).cuda()
        ids = torch.empty((batch, K), dtype=torch.int64, device="cuda")
        distances = torch.empty((batch, K), device="cuda")

        def search(stream: Any, on_card: Any = on_card, out: Any = (ids, distances)) -> None:
            index.search(on_card, K, out=out, stream=stream)

        ms = replay_milliseconds([search])
        called = milliseconds(lambda search=search: search(torch.cuda.current_stream()))
        operations = 2 * n * d * batch
        print(roofline(f"flat {codes} {n}x{d}, batch {batch}", n * d * BYTES[codes], ms, bandwidth), end="; ")
        share = operations / (ms / 1e3) / rate
        print(f"{operations / 1e12:.3f} Tera-operations = {share:.0%} of a product's; {batch / ms * 1e3:.0f} queries/s")
        print(f"    called from Python: {called:.3f} ms")
        for name, other in others.items():
            theirs = milliseconds(lambda q=on_card, f=other: f(q), 10)
            print(f"    {name}: {theirs:.3f} ms, {theirs / called:.2f} times ours as called")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--codes", nargs="+", default=["bf16", "i8", "f32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 128, 10_000])
    options = parser.parse_args()
    print(require_card(), "·", sb.__version__)
    vectors = drawn(options.rows, options.dim)
    queries = drawn(max(1000, *options.batches), options.dim, seed=2)
    for codes in options.codes:
        search_lines(vectors, queries, codes, options.batches)


if __name__ == "__main__":
    main()
