"""score_tile of every instruction set beside NumPy's matrix product (its BLAS), one thread, same arrays, same run.

Usage: OPENBLAS_NUM_THREADS=1 python bench/kernels/tile_vs_numpy.py [dim] [queries] [rows]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import semblance as sb
from semblance._core import kernels

REPEATS = 9


def cpu_seconds(call: Callable[[], object]) -> float:
    """Median processor time of the calling thread."""
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def main() -> None:
    dim, n_queries, n_rows = (int(sys.argv[i]) if len(sys.argv) > i else v for i, v in ((1, 384), (2, 128), (3, 20000)))
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((n_queries, dim), np.float32)
    rows = rng.standard_normal((n_rows, dim), np.float32)
    product = queries @ rows.T
    operations = 2.0 * dim * n_queries * n_rows
    seconds = {"numpy": cpu_seconds(lambda: queries @ rows.T)}
    for isa in sb.kernels.available():
        np.testing.assert_allclose(-kernels.score_tile("ip", queries, rows, isa=isa), product, atol=1e-5 * dim)
        seconds[isa] = cpu_seconds(lambda isa=isa: kernels.score_tile("ip", queries, rows, isa=isa))
    print(f"inner products, dim {dim}, {n_queries} queries x {n_rows} rows, median of {REPEATS}, one thread")
    for name, each in seconds.items():
        ratio = seconds["numpy"] / each
        print(f"{name:11s} {operations / each * 1e-9:8.1f} GFLOP/s {each * 1e3:8.2f} ms  {ratio:5.2f} x numpy")


if __name__ == "__main__":
    main()
