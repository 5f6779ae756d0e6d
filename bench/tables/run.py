"""Quantised table look-ups beside FBGEMM and torch: same rows, same indices, same process, outputs checked equal.

    python bench/tables/run.py [--threads 1 2] [--seconds 3] [--json out.json] [--only 26x16] [--batches 16]

Prints the whole table of aims in under six minutes: every shape at each number of threads, then what serving costs.
Needs torch==2.13.0 and fbgemm-gpu-cpu==1.8.0 beside semblance. Times are microseconds a call: minimum and median over
interleaved rounds, so that all contestants meet the same state of the machine. Every call takes the next of several
batches, as a server's calls do; with --batches 1 the rows of the one batch stay in the caches. Real keys are the
columns of $SEMBLANCE_DATA/local/criteo_10k, every distinct value a row; without that folder the shape is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from click_model import read_clicks
from peers import Fbgemm, Torch
from serving import bandwidth, disturbed

import semblance as sb
from semblance import tables as st


@dataclass
class Shape:
    name: str
    tables: int
    rows: int
    dim: int
    batch: int
    bag: int  # 0: one key an example
    dtype: str = "i8"
    keys: str = ""  # "own": arbitrary ones; "pruned": row numbers of which a quarter has a row
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
    Shape("26x16 hashed keys b1024", 26, 20_000, 16, 1024, 0, keys="own", goal=4),
    Shape("26x16 pruned b1024", 26, 20_000, 16, 1024, 0, keys="pruned", goal=4),
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
        own = np.sort(rng.choice(4 * shape.rows, shape.rows, replace=False)) if shape.keys else None
        if shape.keys == "pruned":
            remap = np.full(4 * shape.rows, -1)
            remap[own] = np.arange(shape.rows)
            tables.append(st.pruned(weights, remap, dtype=shape.dtype))
        else:
            missing = "zero" if shape.keys else "error"
            tables.append(sb.EmbeddingTable.from_dense(weights, shape.dtype, keys=own, missing=missing))
        keys.append(own)
    return tables, keys if shape.keys else None


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


def measure(
    calls: dict[str, list[Callable[[], np.ndarray]]], seconds: float, threads: int
) -> dict[str, dict[str, float]]:
    """A round calls each contestant for all batches in turn; fresh processes, warmed by the check before.

    Our two forms take turns round by round: one right after the other would find its rows in the caches, which peers,
    with tables of their own, never do.
    OpenMP's threads spin for milliseconds after a peer's last call, on a core that the next contestant needs: with
    several threads each waits for that to end, awake, so that its own core stays so too.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    forms = [name for name in calls if name.startswith("semblance")]
    end = time.perf_counter() + seconds
    for turn in itertools.count():
        if time.perf_counter() >= end and turn >= len(forms):
            break
        for name, batches in calls.items():
            if name in forms and name != forms[turn % len(forms)]:
                continue
            rest = time.perf_counter() + (0.008 if threads > 1 else 0)
            while time.perf_counter() < rest:
                pass
            for call in batches * max(1, 3 // len(batches)):
                begin = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - begin) * 1e6)
    return {name: {"min_us": min(seen), "median_us": float(np.median(seen))} for name, seen in times.items()}


def run(shape: Shape, threads: int, seconds: float, batches: int) -> dict:
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    tables, keys = build(shape, rng)
    peers = [Fbgemm(shape.dtype, tables, keys)]
    if shape.dtype in ("i8", "i4") and not shape.keys:
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
    times = measure(calls, seconds, threads)
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


def show(result: dict) -> None:
    print(f"{result['shape']}, threads {result['threads']}, load {os.getloadavg()[0]:.1f}")
    for name, figures in result["us"].items():
        print(f"   {name:18s} min {figures['min_us']:9.1f}  median {figures['median_us']:9.1f}")
    print("   same bits", result["same_bits"], flush=True)


def show_table(results: list[dict]) -> None:
    print("\n| shape | form | threads | times the better peer, min / median | aim |\n|---|---|---|---|---|")
    for result in results:
        ratios = result["times_better_peer"]
        for form in [key.removesuffix(" min_us") for key in ratios if key.endswith(" min_us")]:
            least, median = ratios[f"{form} min_us"], ratios[f"{form} median_us"]
            kind = "matrix" if form.endswith("matrix") else "dict"
            print(
                f"| {result['shape']} | {kind} | {result['threads']} | {least:.2f} / {median:.2f} | {result['goal']} |"
            )


def in_own_process(args: argparse.Namespace, threads: int) -> list[dict]:
    """Peers' OpenMP takes its number of threads once; a pool that spins would disturb runs of fewer threads."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results.json")
        own = ["--threads", str(threads), "--seconds", str(args.seconds), "--batches", str(args.batches)]
        command = [sys.executable, __file__, *own, "--only", args.only, "--json", path]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        with open(path) as file:
            return json.load(file)


def run_all(args: argparse.Namespace) -> list[dict]:
    results = []
    for shape in (shape for shape in SHAPES if args.only in shape.name):
        if shape.real and real_columns() is None:
            print(f"{shape.name}: left out, no local/criteo_10k in SEMBLANCE_DATA")
            continue
        results.append(run(shape, args.threads[0], args.seconds, args.batches))
        show(results[-1])
    show_table(results)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--json")
    args = parser.parse_args()
    if len(args.threads) > 1:
        results = [result for threads in args.threads for result in in_own_process(args, threads)]
        show_table(results)
    else:
        results = run_all(args)
    if not args.only and (len(args.threads) > 1 or not args.json):
        for threads in args.threads:
            bandwidth(4_000_000, 128, "i8", threads)
        disturbed(1_000_000, 64, 10.0)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
