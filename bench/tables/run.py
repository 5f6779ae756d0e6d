"""Quantised table look-ups beside FBGEMM and torch: same rows, same indices, same process, outputs checked equal.

    OMP_NUM_THREADS=1 python bench/tables/run.py --threads 1 [--json out.json] [--only 26x16] [--batches 16]

Needs torch==2.13.0 and fbgemm-gpu-cpu==1.8.0 beside semblance. Times are microseconds a call: minimum and median over
interleaved rounds, so that all contestants meet the same state of the machine. Every call takes the next of several
batches, as a server's calls do; with --batches 1 the rows of the one batch stay in the caches. Real keys are the
columns of $SEMBLANCE_DATA/local/criteo_10k, every distinct value a row; without that folder the shape is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from click_model import read_clicks
from peers import Fbgemm, Torch

import semblance as sb


@dataclass
class Shape:
    name: str
    tables: int
    rows: int
    dim: int
    batch: int
    bag: int  # 0: one key an example
    dtype: str = "i8"
    keyed: bool = False
    real: bool = False  # Criteo's columns
    goal: float = 0.0  # times the better peer


SHAPES = [
    Shape("26x16 one-hot b1", 26, 20_000, 16, 1, 0, goal=10),
    Shape("26x16 one-hot b128", 26, 20_000, 16, 128, 0, goal=4),
    Shape("26x16 one-hot b1024", 26, 20_000, 16, 1024, 0, goal=3),
    Shape("4x250k x64 256 bags of 20 i8", 4, 250_000, 64, 256, 20, goal=1.25),
    Shape("4x250k x64 256 bags of 20 i4", 4, 250_000, 64, 256, 20, "i4", goal=1.25),
    Shape("8x500k x128 64 bags of 30 i8", 8, 500_000, 128, 64, 30, goal=1.25),
    Shape("4x50k x64 256 bags of 20 fp8", 4, 50_000, 64, 256, 20, "fp8", goal=50),
    Shape("26x16 hashed keys b1024", 26, 20_000, 16, 1024, 0, keyed=True, goal=4),
    Shape("26x16 real skewed keys b1024", 26, 0, 16, 1024, 0, real=True, goal=1.25),
    Shape("26x64 real skewed keys b128", 26, 0, 64, 128, 0, real=True, goal=1.25),
]


def real_columns() -> np.ndarray | None:
    """Row numbers (10000, 26), or None without the data."""
    folder = os.path.join(os.environ.get("SEMBLANCE_DATA", ""), "local")
    if not os.path.isdir(os.path.join(folder, "criteo_10k")):
        return None
    keys = read_clicks(folder, 0).keys
    return np.stack([np.unique(column, return_inverse=True)[1].ravel() for column in keys.T], axis=1)


def build(shape: Shape, rng: np.random.Generator) -> tuple[list[sb.EmbeddingTable], list[np.ndarray] | None]:
    tables, keys = [], []
    real = real_columns() if shape.real else None
    for t in range(shape.tables):
        rows = shape.rows if real is None else int(real[:, t].max()) + 1
        weights = rng.standard_normal((rows, shape.dim), dtype=np.float32)
        weights[:, 0] = 448 if shape.dtype == "fp8" else weights[:, 0]  # scale 1: FBGEMM's fp8 has none
        own = np.sort(rng.choice(4 * shape.rows, shape.rows, replace=False)) if shape.keyed else None
        tables.append(
            sb.EmbeddingTable.from_dense(weights, shape.dtype, keys=own, missing="zero" if shape.keyed else "error")
        )
        keys.append(own)
    return tables, keys if shape.keyed else None


def bags_of(
    shape: Shape, rng: np.random.Generator, keys: list[np.ndarray] | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    bags = []
    real = real_columns() if shape.real else None
    if real is not None:
        examples = rng.choice(len(real), shape.batch, replace=False)
        return [(real[examples, t], np.arange(shape.batch + 1)) for t in range(shape.tables)]
    for t in range(shape.tables):
        count = shape.batch * max(shape.bag, 1)
        values = rng.integers(0, shape.rows, count) if keys is None else rng.choice(keys[t], count)
        bags.append((values, np.arange(0, count + 1, max(shape.bag, 1))))
    return bags


def ours(
    shape: Shape, group: sb.TableGroup, out: np.ndarray, bags: list, threads: int
) -> list[tuple[str, Callable[[], np.ndarray]]]:
    if shape.bag:
        inputs = {f"t{i}": bag for i, bag in enumerate(bags)}
        return [("semblance", lambda: group.lookup(inputs, out, threads=threads))]
    columns = {f"t{i}": values for i, (values, _) in enumerate(bags)}
    matrix = np.stack([values for values, _ in bags], axis=1)
    return [
        ("semblance", lambda: group.lookup(columns, out, threads=threads)),
        ("semblance matrix", lambda: group.lookup(matrix, out, threads=threads)),
    ]


def measure(calls: dict[str, list[Callable[[], np.ndarray]]], seconds: float) -> dict[str, dict[str, float]]:
    """A round calls each contestant for all batches in turn; fresh processes, warmed by the check before."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, batches in calls.items():
            for call in batches * max(1, 3 // len(batches)):
                begin = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - begin) * 1e6)
    return {name: {"min_us": min(seen), "median_us": float(np.median(seen))} for name, seen in times.items()}


def run(shape: Shape, threads: int, seconds: float, batches: int) -> dict:
    rng = np.random.default_rng(0)
    tables, keys = build(shape, rng)
    peers = [Fbgemm(shape.dtype, tables, keys)]
    if shape.dtype in ("i8", "i4") and not shape.keyed:
        peers.append(Torch(shape.dtype, tables))
    group = sb.TableGroup({f"t{i}": table for i, table in enumerate(tables)})
    out = np.empty((shape.batch, group.dim), np.float32)
    calls: dict[str, list[Callable[[], np.ndarray]]] = defaultdict(list)
    equal = {peer.name: True for peer in peers}
    for _ in range(batches):
        bags = bags_of(shape, rng, keys)
        own = ours(shape, group, out, bags, threads)
        for form, call in own:
            calls[form].append(call)
        expected = own[0][1]().copy()
        for peer in peers:
            calls[peer.name].append(peer.prepare(bags))
            got = calls[peer.name][-1]()
            equal[peer.name] &= bool(np.array_equal(got, expected))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
    times = measure(calls, seconds)
    ratios = {}
    for form in (form for form, _ in own):
        for figure in ("min_us", "median_us"):
            best = min(times[peer.name][figure] for peer in peers)
            ratios[f"{form} {figure}"] = best / times[form][figure]
    return {
        "shape": shape.name,
        "threads": threads,
        "goal": shape.goal,
        "us": times,
        "times_better_peer": ratios,
        "same_bits": equal,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = []
    for shape in (shape for shape in SHAPES if args.only in shape.name):
        if shape.real and real_columns() is None:
            print(f"{shape.name}: left out, no local/criteo_10k in SEMBLANCE_DATA")
            continue
        results.append(run(shape, args.threads, args.seconds, args.batches))
        last = results[-1]
        print(shape.name, f"threads={args.threads} load={os.getloadavg()[0]:.1f} goal={shape.goal}")
        for name, figures in last["us"].items():
            print(f"   {name:18s} min {figures['min_us']:9.1f}  median {figures['median_us']:9.1f}")
        print(
            "   ratio",
            {key: round(value, 2) for key, value in last["times_better_peer"].items()},
            last["same_bits"],
            flush=True,
        )
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
