"""How build time, query time and memory grow with the rows, and what the fitted growth says of larger indexes.

    SEMBLANCE_DATA=... python bench/search/scale.py [--rows N ...] [--windows N] [--out FOLDER]

Rows are the first N glosses (384 dimensions); with --windows, N sliding windows of words over the glosses and SciFact
texts through the static encoder (256 dimensions) instead, so that a million rows of real text can be had. Each size is
built on one thread and tuned to recall@10 of 0.95 on held-out queries; times are the thread's own, so that other work
on the machine counts little. Fits a power of the rows to each figure and prints what it says of 1M, 10M and 100M.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from recall_table import load

import semblance as sb

SIZES, LARGER = (10_000, 20_000, 40_000, 80_000, 115_659), (10**6, 10**7, 10**8)
QUERIES, K, RECALL, WORDS = 500, 10, 0.95, 12


def windows_of_texts() -> Iterator[str]:
    """Windows of WORDS words, from the first to the last of each text, a word further each time."""
    data = Path(os.environ["SEMBLANCE_DATA"])
    with gzip.open(data / "glosses" / "glosses.jsonl.gz", "rt") as glosses:
        texts = [json.loads(line)["text"] for line in glosses]
    corpus = next((data / "scifact").rglob("corpus.jsonl*"))
    with gzip.open(corpus, "rt") if corpus.suffix == ".gz" else corpus.open() as abstracts:
        texts += [json.loads(line)["text"] for line in abstracts]
    words = [word for text in texts for word in text.split()]
    for start in range(len(words) - WORDS):
        yield " ".join(words[start : start + WORDS])


def windows(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and queries, float32, in random order: neighbours of a window are among the rows and the queries alike."""
    vectors = sb.Encoder().encode(list(itertools.islice(windows_of_texts(), count + QUERIES)))
    order = np.random.default_rng(0).permutation(len(vectors))
    return vectors[order[QUERIES:]], vectors[order[:QUERIES]]


def measure(rows: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Build, tune and search; seconds of the thread."""
    start = time.thread_time()
    index = sb.Index.build(rows, threads=1)
    build = time.thread_time() - start
    report = index.tune(queries, K, RECALL)
    taken = []
    for _ in range(5):
        start = time.thread_time()
        index.search(queries, K, threads=1)
        taken.append(time.thread_time() - start)
    bytes_a_row = sum(index.stats()["bytes"].values()) / len(rows)
    query = float(np.median(taken)) / len(queries)
    return {"build_s": build, "query_us": query * 1e6, "bytes": bytes_a_row, "ef": report.ef, "recall": report.recall}


def power(sizes: list[int], values: list[float]) -> tuple[float, float]:
    """Factor and exponent of values ~ factor * rows ** exponent."""
    exponent, log_factor = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(np.exp(log_factor)), float(exponent)


def draw(sizes: list[int], figures: list[dict[str, float]], fits: dict[str, tuple[float, float]], file: Path) -> None:
    """Measured points and fitted lines up to 100M rows."""
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, (name, label) in zip(axes, (("build_s", "build, CPU s"), ("query_us", "query, us")), strict=True):
        factor, exponent = fits[name]
        span = np.array([sizes[0], LARGER[-1]], float)
        axis.loglog(span, factor * span**exponent, "--", label=f"rows ^ {exponent:.2f}")
        axis.loglog(sizes, [figure[name] for figure in figures], "o")
        axis.set(xlabel="rows", ylabel=label)
        axis.legend()
    picture.tight_layout()
    picture.savefig(file, dpi=90)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--windows", type=int)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    rows, queries = windows(given.windows) if given.windows else load(max(given.rows))[:2]
    sizes = sorted({min(n, len(rows)) for n in given.rows})
    print(
        "| rows | build CPU s | us a row | query us | ef · recall | bytes a row | MB |\n|---|---|---|---|---|---|---|"
    )
    figures = []
    for n in sizes:
        f = measure(rows[:n], queries[:QUERIES])
        figures.append(f)
        cells = (
            f"{f['build_s']:.1f} | {f['build_s'] / n * 1e6:.0f} | {f['query_us']:.1f} | {f['ef']} · {f['recall']:.4f}"
        )
        print(f"| {n:,} | {cells} | {f['bytes']:,.0f} | {f['bytes'] * n / 1e6:,.0f} |", flush=True)
    if len(sizes) < 2:
        return
    fits = {name: power(sizes, [figure[name] for figure in figures]) for name in ("build_s", "query_us")}
    print("\n| predicted for | build CPU h | query us | GB |\n|---|---|---|---|")
    for n in LARGER:
        build, query = (factor * n**exponent for factor, exponent in fits.values())
        print(f"| {n:,} | {build / 3600:,.2f} | {query:,.0f} | {figures[-1]['bytes'] * n / 1e9:,.1f} |")
    print(f"\nexponents: build {fits['build_s'][1]:.3f}, query {fits['query_us'][1]:.3f}")
    draw(sizes, figures, fits, given.out / "scale.png")


if __name__ == "__main__":
    main()
