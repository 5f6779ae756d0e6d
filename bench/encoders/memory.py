"""Resident memory while many texts are encoded, their vectors dropped.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/memory.py [--texts 200000] [--minilm] [--plot FILE]

Texts of mixed lengths come from a generator, 4,096 a call. Prints the resident set every twentieth of the way, and how
far it strays from its middle after the first tenth (the warm-up).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from mixed import mixed_texts

import semblance as sb


def resident() -> float:
    """Megabytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def repeated(texts: list[str], count: int) -> Iterator[str]:
    """``count`` texts, none equal to another."""
    return (f"{number} {texts[number % len(texts)]}" for number in range(count))


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--minilm", action="store_true", help="MiniLM instead of the embedded encoder")
    parser.add_argument("--plot", help="a picture of the curve (needs matplotlib)")
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    encoder = sb.Encoder(data / "minilm", device="cpu") if given.minilm else sb.Encoder()
    source, window = repeated(mixed_texts(data, 20_000), given.texts), min(4096, given.texts // 20)
    done, curve = 0, []
    while chunk := list(islice(source, window)):
        encoder.encode(chunk)
        done += len(chunk)
        curve.append((done, resident()))
    settled = np.array([megabytes for count, megabytes in curve if count > given.texts / 10])
    middle = float(np.median(settled))
    above, below = (100 * (settled.max() / middle - 1), 100 * (1 - settled.min() / middle))
    shown = " ".join(f"{count // 1000}k:{megabytes:.0f}" for count, megabytes in curve[:: max(len(curve) // 20, 1)])
    print(f"{encoder.name}: {given.texts} texts, resident MB {shown}")
    print(f"after warm-up: median {middle:.0f} MB, at most {above:.1f} % above it and {below:.1f} % below")
    print(f"load {os.getloadavg()[0]:.1f}")
    if given.plot:
        draw(curve, encoder.name, given.plot)


def draw(curve: list[tuple[int, float]], name: str, path: str) -> None:
    """The curve as a picture."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 2.5))
    axes.plot(*zip(*curve, strict=True))
    axes.set(xlabel="texts encoded", ylabel="resident MB", title=name, ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
