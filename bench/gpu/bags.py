"""Embedding bags on a card: 26 tables x 1M rows x 64 columns, batch 16k, 20 keys a bag, beside torch and FBGEMM.

    python bench/gpu/bags.py [--dtype i8 i4 f16 fp8] [--rows 1000000] [--batch 16384] [--bag 20] [--tables 26]

Every result is checked to be the CPU's bits before it is timed. All are timed as CUDA graphs, ours also as a call from
Python. Bytes are what each reads and writes: compare f32 with f32, and i8 with i8; torch's f16 sums are f16, ours are
f32. Needs torch with CUDA; FBGEMM is measured where fbgemm_gpu is installed. Nothing here was run on a card yet.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import copy_bandwidth, milliseconds, replay_milliseconds, require_card, roofline

import semblance as sb

Inputs = dict[str, tuple[Any, Any]]  # values and offsets by table
Peer = Callable[[Inputs], object]

ROW_BYTES = {"f32": 256, "f16": 128, "bf16": 128, "i8": 68, "i4": 36, "i2": 20, "fp8": 68}
DIM, BATCHES = 64, 4  # every call takes the next batch: repeated ones would find rows in the card's cache


def inputs_of(options: argparse.Namespace, seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    offsets = np.arange(options.batch + 1, dtype=np.int64) * options.bag
    return {str(t): (rng.integers(0, options.rows, int(offsets[-1])), offsets) for t in range(options.tables)}


def to_card(inputs: Inputs) -> Inputs:
    return {name: (torch.from_numpy(v).cuda(), torch.from_numpy(o).cuda()) for name, (v, o) in inputs.items()}


def torch_peer(options: argparse.Namespace, weights: Any, dtype: torch.dtype) -> Peer:
    """torch.nn.functional.embedding_bag, a launch a table; it writes what it reads: sums of float16 are float16."""
    tables = [torch.from_numpy(weights).cuda().to(dtype, copy=True) for _ in range(options.tables)]

    def call(inputs: Inputs) -> object:
        bag = torch.nn.functional.embedding_bag
        return [bag(v, rows, o[:-1], mode="sum") for rows, (v, o) in zip(tables, inputs.values(), strict=True)]

    return call


def fbgemm_peer(options: argparse.Namespace) -> Peer | None:
    """Table-batched int8 bags of FBGEMM with float32 sums, all tables in one call."""
    try:
        from fbgemm_gpu.split_embedding_configs import SparseType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
        from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen
    except ImportError:
        return None
    specs = [(str(t), options.rows, DIM, SparseType.INT8, EmbeddingLocation.DEVICE) for t in range(options.tables)]
    bags = IntNBitTableBatchedEmbeddingBagsCodegen(specs, output_dtype=SparseType.FP32, device="cuda")
    bags.fill_random_weights()
    made: dict[int, tuple[Any, Any]] = {}

    def call(inputs: Inputs) -> object:
        if id(inputs) not in made:
            values = torch.cat([v for v, _ in inputs.values()]).int()
            counts = torch.full((options.tables * options.batch,), options.bag, device="cuda").cumsum(0)
            made[id(inputs)] = (values, torch.cat([counts.new_zeros(1), counts]).int())
        return bags(*made[id(inputs)])

    return call


def moved_bytes(options: argparse.Namespace, row: int, number: int = 8, value: int = 4) -> int:
    """Of a batch: a row and its number of so many bytes for each key, and sums of `value` bytes."""
    return options.tables * options.batch * (options.bag * (row + number) + DIM * value)


def table_lines(options: argparse.Namespace, weights: Any, batches: list[tuple[Inputs, Inputs]], peak: float) -> None:
    """Times of the tables of each format; `batches` hold the same on the host and on the card."""
    for dtype in options.dtype:
        group = sb.TableGroup({str(t): sb.EmbeddingTable.from_dense(weights, dtype) for t in range(options.tables)})
        there = group.to("cuda")
        out = torch.empty((options.batch, there.dim), device="cuda")
        host, card = batches[0]
        assert there.lookup(card, out=out, check=False) is out
        assert out.cpu().numpy().tobytes() == group.lookup(host).tobytes()

        def looking(inputs: Inputs, there: Any = there, out: Any = out) -> Callable[[Any], object]:
            return lambda stream: there.lookup(inputs, out=out, check=False, stream=stream)

        lookups = [looking(card) for _, card in batches]
        print(
            roofline(f"semblance {dtype}", moved_bytes(options, ROW_BYTES[dtype]), replay_milliseconds(lookups), peak)
        )
        turn = itertools.cycle(lookups)
        called = milliseconds(lambda turn=turn: next(turn)(torch.cuda.current_stream()))
        print(f"    called from Python: {called:.3f} ms")


def peer_lines(options: argparse.Namespace, weights: Any, cards: list[Inputs], peak: float) -> None:
    """The same bags by others, as CUDA graphs too; bytes are those of what each reads and writes."""
    peers: dict[str, tuple[int, Callable[[], Peer | None]]] = {
        "torch f16, f16 sums": (
            moved_bytes(options, 2 * DIM, value=2),
            lambda: torch_peer(options, weights, torch.float16),
        ),
        "torch f32": (moved_bytes(options, 4 * DIM), lambda: torch_peer(options, weights, torch.float32)),
        "fbgemm i8": (moved_bytes(options, DIM + 4, number=4), lambda: fbgemm_peer(options)),
    }
    for name, (moved, made) in peers.items():
        peer = made()
        if peer is None:
            print(f"{name}: not installed")
            continue
        calls = [lambda _, peer=peer, card=card: peer(card) for card in cards]
        print(roofline(name, moved, replay_milliseconds(calls), peak))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", nargs="+", default=["i8", "f16", "f32"], choices=list(ROW_BYTES))
    for name, default in (("rows", 1_000_000), ("batch", 16384), ("bag", 20), ("tables", 26)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print(require_card(), "·", sb.__version__)
    peak = copy_bandwidth()
    print(f"copy: {peak / 1e12:.2f} TB/s")
    weights = np.random.default_rng(0).standard_normal((options.rows, DIM)).astype(np.float32)
    batches = [(inputs, to_card(inputs)) for inputs in (inputs_of(options, seed) for seed in range(BATCHES))]
    table_lines(options, weights, batches, peak)
    peer_lines(options, weights, [card for _, card in batches], peak)


if __name__ == "__main__":
    main()
