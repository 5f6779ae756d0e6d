"""What serving costs beside look-ups: the share of the memory's bandwidth, and latency while rows are published.

    python bench/tables/serving.py [--threads 1] [--seconds 10]

Bandwidth: bags over a table far larger than the caches, in bytes of rows (and of the whole cache lines that hold them),
against what memory_bounds.cpp finds: streaming, and the same rows at random with nothing done to them. Latency:
look-ups of one batch, first alone, then while another thread publishes 1 % of the rows every second, in ten
publications; the same with its changes folded in by another thread again and again. Start and swap: how long a file
takes to serve its first rows, and what memory a swap to a new file takes beside what the kernel can drop (clean pages
of files).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import semblance as sb


def memory_bounds(rows: int, row_bytes: int, threads: int) -> tuple[float, float]:
    """GB/s of streaming, and of such rows at random with nothing done to them; needs a C++ compiler."""
    source = Path(__file__).parent / "memory_bounds.cpp"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "memory_bounds"
        flags = ["-std=c++20", "-O3", "-march=native", "-pthread"]
        subprocess.run(["c++", *flags, str(source), "-o", str(program)], check=True)
        found = subprocess.run([program, str(rows), str(row_bytes), str(threads)], check=True, stdout=subprocess.PIPE)
    stream, gather = map(float, found.stdout.split())
    return stream, gather


def bandwidth(rows: int, dim: int, dtype: str, threads: int) -> None:
    rng = np.random.default_rng(0)
    block = rng.standard_normal((10_000, dim), dtype=np.float32)
    table = sb.EmbeddingTable.from_dense(np.tile(block, (rows // 10_000, 1)), dtype)
    row_bytes = table.stats()["row_bytes"]
    bags, length = 512, 40  # short calls, so that the best is seldom interrupted
    sets = [rng.integers(0, len(table), bags * length) for _ in range(8)]
    offsets = np.arange(0, bags * length + 1, length)
    out = np.empty((bags, dim), np.float32)
    times = []
    for _ in range(16):
        for values in sets:
            begin = time.perf_counter()
            table.pool(values, offsets, out=out, threads=threads)
            times.append(time.perf_counter() - begin)
    lines = np.mean([(start % 64 + row_bytes + 63) // 64 * 64 for start in np.arange(0, 64 * row_bytes, row_bytes)])
    stream, gather = memory_bounds(len(table), row_bytes, threads)
    best, median = min(times), float(np.median(times))
    print(
        f"{table} {table.nbytes / 1e6:.0f} MB, threads={threads}, streaming {stream:.1f} GB/s, bare gather {gather:.1f}"
    )
    for name, seconds in (("best", best), ("median", median)):
        rate = bags * length / seconds / 1e9
        print(
            f"   {name}: rows {rate * row_bytes:.1f} GB/s = {rate * row_bytes / stream:.0%} of streaming, "
            f"{rate * row_bytes / gather:.0%} of a bare gather; cache lines {rate * lines:.1f} GB/s = "
            f"{rate * lines / stream:.0%} of streaming"
        )


def latencies(table: sb.EmbeddingTable, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, len(table), 1024) for _ in range(64)]
    out = np.empty((1024, table.dim), np.float32)
    seen, end = [], time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        table.lookup(batches[len(seen) % 64], out, threads=1)
        seen.append(time.perf_counter() - begin)
    return np.array(seen) * 1e6


def publish(table: sb.EmbeddingTable, stop: threading.Event) -> None:
    """A tenth of 1 % of the rows every tenth of a second, folded in every ten seconds."""
    rng = np.random.default_rng(1)
    count, published = len(table) // 1000, 0
    rows = rng.standard_normal((count, table.dim), dtype=np.float32)
    while not stop.wait(0.1):
        with table.writer() as writer:
            writer.upsert(rng.integers(0, len(table), count), rows)
        published += 1
        if published % 100 == 0:
            table.compact()


def compare(alone: np.ndarray, beside: np.ndarray, doing: str) -> None:
    """Print percentiles of latencies, microseconds."""
    for q in (50, 99, 99.9):
        a, b = np.percentile(alone, q), np.percentile(beside, q)
        print(f"   p{q}: alone {a:.1f} us, while {doing} {b:.1f} us, ratio {b / a:.2f}")


def latencies_beside(work: Callable[[threading.Event], None], table: sb.EmbeddingTable, seconds: float) -> np.ndarray:
    """Latencies while another thread works until it is told to stop."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        return latencies(table, seconds)
    finally:
        stop.set()
        thread.join()


def disturbed(rows: int, dim: int, seconds: float) -> None:
    table = sb.EmbeddingTable.from_dense(np.random.default_rng(0).standard_normal((rows, dim), dtype=np.float32))
    latencies(table, 1.0)
    alone = latencies(table, seconds)
    beside = latencies_beside(lambda stop: publish(table, stop), table, seconds)
    print(f"{table}, batch 1024, {table.generation} generations published in {seconds:.0f} s")
    compare(alone, beside, "publishing")


def folded(rows: int, dim: int, seconds: float) -> None:
    """Latencies while changes are written and folded in, one compaction after the other."""
    table = sb.EmbeddingTable.from_dense(np.random.default_rng(0).standard_normal((rows, dim), dtype=np.float32))
    alone, times = latencies(table, seconds), []

    def fold(stop: threading.Event) -> None:
        while not stop.is_set():
            with table.writer() as writer:
                writer.upsert(np.arange(rows // 100), np.zeros((rows // 100, dim), np.float32))
            begin = time.perf_counter()
            table.compact_in_background().result()
            times.append(time.perf_counter() - begin)

    beside = latencies_beside(fold, table, seconds)
    print(f"{table}, {len(times)} compactions of 1 % of the rows, {np.median(times) * 1e3:.0f} ms each")
    compare(alone, beside, "compacting")


def resident() -> tuple[float, float]:
    """MB of this process that only it has, and of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1e3, int(lines["RssFile"].split()[0]) / 1e3


def swapped(rows: int, dim: int) -> None:
    """From a file to its first rows, and from one file to the next."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("old.safetensors", "new.safetensors")]
        for seed, path in enumerate(paths):
            block = np.random.default_rng(seed).standard_normal((10_000, dim), dtype=np.float32)
            sb.EmbeddingTable.from_dense(np.tile(block, (rows // 10_000, 1))).save(path)
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            table = sb.EmbeddingTable.load(paths[0], mmap=True, verify=False)
            table.lookup(np.arange(0, rows, rows // 1000))
            times.append(time.perf_counter() - begin)
        table.replace(sb.EmbeddingTable.load(paths[0], mmap=True, verify=False))  # all pages are there
        own, files = resident()
        begin = time.perf_counter()
        table.replace(sb.EmbeddingTable.load(paths[1], mmap=True, verify=False))
        seconds = time.perf_counter() - begin
        own_after, files_after = resident()
    size = table.nbytes / 1e6
    print(f"{table}, {size:.0f} MB: from a mapped file to 1,000 rows {min(times) * 1e3:.1f} ms (best of 5)")
    print(
        f"   swap to another file in {seconds * 1e3:.0f} ms: memory of its own {own:.0f} to {own_after:.0f} MB, table "
        f"included {(size + own_after) / (size + own):.2f} times; clean pages of files {files:.0f} to {files_after:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    for dtype in ("i8", "i4"):
        bandwidth(4_000_000, 128, dtype, args.threads)
    disturbed(1_000_000, 64, args.seconds)
    folded(1_000_000, 64, args.seconds)
    swapped(4_000_000, 128)


if __name__ == "__main__":
    main()
