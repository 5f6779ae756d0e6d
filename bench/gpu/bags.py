"""Embedding bags on a card: 26 tables x 1M rows x 64 columns, batch 16k, 20 keys a bag, beside torch and FBGEMM.

    python bench/gpu/bags.py [--dtype i8 i4 f16 fp8] [--rows 1000000] [--batch 16384] [--bag 20] [--tables 26]

Every result is checked to be the CPU's bits before it is timed. Needs torch with CUDA; FBGEMM is measured where
fbgemm_gpu is installed. Nothing here was run on a card yet.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import copy_bandwidth, milliseconds, require_card, roofline

import semblance as sb

ROW_BYTES = {"f32": 256, "f16": 128, "bf16": 128, "i8": 68, "i4": 36, "i2": 20, "fp8": 68}
DIM, BATCHES = 64, 4  # every call takes the next batch: repeated ones would find rows in the card's cache


def inputs_of(options: argparse.Namespace, seed: int) -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    offsets = np.arange(options.batch + 1, dtype=np.int64) * options.bag
    return {str(t): (rng.integers(0, options.rows, int(offsets[-1])), offsets) for t in range(options.tables)}


def to_card(inputs: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    return {name: (torch.from_numpy(v).cuda(), torch.from_numpy(o).cuda()) for name, (v, o) in inputs.items()}


def torch_peer(options: argparse.Namespace, weights: Any) -> Callable[[dict[str, tuple[Any, Any]]], object]:
    """torch.nn.functional.embedding_bag on float16 rows, a launch a table."""
    rows = torch.from_numpy(weights).cuda().half()

    def call(inputs: dict[str, tuple[Any, Any]]) -> object:
        return [torch.nn.functional.embedding_bag(v, rows, o[:-1], mode="sum") for v, o in inputs.values()]

    return call


def fbgemm_peer(options: argparse.Namespace, weights: Any) -> Callable[[dict[str, tuple[Any, Any]]], object] | None:
    """Table-batched int8 bags of FBGEMM, all tables in one call."""
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

    def call(inputs: dict[str, tuple[Any, Any]]) -> object:
        if id(inputs) not in made:
            values = torch.cat([v for v, _ in inputs.values()]).int()
            counts = torch.full((options.tables * options.batch,), options.bag, device="cuda").cumsum(0)
            made[id(inputs)] = (values, torch.cat([counts.new_zeros(1), counts]).int())
        return bags(*made[id(inputs)])

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", nargs="+", default=["i8"], choices=list(ROW_BYTES))
    for name, default in (("rows", 1_000_000), ("batch", 16384), ("bag", 20), ("tables", 26)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print(require_card(), "·", sb.__version__)
    bandwidth = copy_bandwidth()
    print(f"copy: {bandwidth / 1e12:.2f} TB/s")
    weights = np.random.default_rng(0).standard_normal((options.rows, DIM)).astype(np.float32)
    hosts = [inputs_of(options, seed) for seed in range(BATCHES)]
    cards = [to_card(inputs) for inputs in hosts]
    keys = options.tables * options.batch * options.bag
    written = options.tables * options.batch * DIM * 4
    for dtype in options.dtype:
        group = sb.TableGroup({str(t): sb.EmbeddingTable.from_dense(weights, dtype) for t in range(options.tables)})
        copy = group.to("cuda")
        out = torch.empty((options.batch, copy.dim), device="cuda")
        assert copy.lookup(cards[0], out=out, check=False) is out
        assert out.cpu().numpy().tobytes() == group.lookup(hosts[0]).tobytes()
        turn = itertools.cycle(cards)
        ms = milliseconds(lambda copy=copy, out=out, turn=turn: copy.lookup(next(turn), out=out, check=False))
        moved = keys * (ROW_BYTES[dtype] + 8) + written
        print(roofline(f"semblance {dtype}", moved, ms, bandwidth))
    peers = {"torch f16": torch_peer(options, weights), "fbgemm i8": fbgemm_peer(options, weights)}
    for name, call in peers.items():
        if call is None:
            print(f"{name}: not installed")
            continue
        turn = itertools.cycle(cards)
        row = 2 * DIM if name == "torch f16" else DIM + 4
        moved = keys * (row + 8) + written
        print(roofline(name, moved, milliseconds(lambda call=call, turn=turn: call(next(turn))), bandwidth))


if __name__ == "__main__":
    main()
