"""Texts of mixed lengths a second: semblance against fastembed and sentence-transformers, in one run.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/peers.py [--texts 10000] [--threads 2] [--rounds 3]

Rounds are interleaved, so that a busy machine is busy for all. Every peer's vectors are compared with semblance's; the
table gives the best and the median round. Models come from the data folder, nothing from the network.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"

from competitors import COMPETITORS
from mixed import mixed_texts


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(COMPETITORS))
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    texts = mixed_texts(data, given.texts)
    encoders = {name: COMPETITORS[name](data / "minilm", given.threads) for name in given.only}
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    cpu: dict[str, list[float]] = {name: [] for name in encoders}
    vectors: dict[str, np.ndarray] = {}
    for encode in encoders.values():
        encode(texts[:64])
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    for _ in range(given.rounds):
        for name, encode in encoders.items():
            start, used = time.perf_counter(), time.process_time()
            vectors[name] = encode(texts)
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    print(f"load after: {os.getloadavg()[0]:.1f}; {len(texts)} texts, {given.threads} threads")
    print("| encoder | texts/s best | median | texts/CPU-s median | largest difference |")
    print("|---|---|---|---|---|")
    for name in encoders:
        difference = np.abs(vectors[name] - vectors[given.only[0]]).max()
        rates = [len(texts) / f(values[name]) for f, values in
                 ((min, seconds), (statistics.median, seconds), (statistics.median, cpu))]  # fmt: skip
        print(f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} | {rates[2]:.0f} | {difference:.1e} |")
        assert difference < 1e-4, "the encoders do not say the same"


if __name__ == "__main__":
    main()
