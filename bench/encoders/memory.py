"""Resident memory while many texts are encoded, their vectors dropped.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/memory.py [--texts N] [--minilm-texts N] [--plot FILE]

Texts of mixed lengths come from a generator, a fiftieth of them a call; each encoder has a process of its own (0 texts
leave one out). Prints the resident set along the way, and how far it strays from its middle after the first tenth (the
warm-up).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from mixed import mixed_texts

import semblance as sb

CALLS = 50
Curve = list[tuple[int, float]]  # texts done, resident MB


def resident() -> float:
    """Megabytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def repeated(texts: list[str], count: int) -> Iterator[str]:
    """``count`` texts, none equal to another."""
    return (f"{number} {texts[number % len(texts)]}" for number in range(count))


def measured(model: str, count: int) -> Curve:
    """The resident set after each call; ``model`` is a folder, "" the embedded encoder."""
    encoder = sb.Encoder(model, device="cpu") if model else sb.Encoder()
    source, done, curve = repeated(mixed_texts(Path(os.environ["SEMBLANCE_DATA"]), 20_000), count), 0, []
    while chunk := list(islice(source, max(count // CALLS, 1))):
        encoder.encode(chunk)
        done += len(chunk)
        curve.append((done, resident()))
    return curve


def say(name: str, curve: Curve) -> None:
    """The curve in words."""
    settled = np.array([megabytes for _, megabytes in curve[len(curve) // 10 :]])
    middle = float(np.median(settled))
    above, below = (100 * (settled.max() / middle - 1), 100 * (1 - settled.min() / middle))
    shown = " ".join(f"{count}:{megabytes:.0f}" for count, megabytes in curve[:: max(len(curve) // 10, 1)])
    print(f"{name}: {curve[-1][0]} texts, resident MB {shown}")
    print(f"after warm-up: median {middle:.0f} MB, at most {above:.1f} % above it and {below:.1f} % below", flush=True)


def draw(curves: dict[str, Curve], path: str) -> None:
    """The curves as a picture, a panel each."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(curves), figsize=(4.5 * len(curves), 2.6), squeeze=False)
    for axes, (name, curve) in zip(panels[0], curves.items(), strict=True):
        axes.plot(*zip(*curve, strict=True))
        axes.set(xlabel="texts encoded", ylabel="resident MB", title=name, ylim=(0, 1.3 * max(mb for _, mb in curve)))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=200_000, help="through the embedded encoder")
    parser.add_argument("--minilm-texts", type=int, default=6_000, help="through MiniLM")
    parser.add_argument("--plot", help="a picture of the curves (needs matplotlib)")
    given = parser.parse_args()
    minilm = str(Path(os.environ["SEMBLANCE_DATA"]) / "minilm")
    curves = {}
    for name, model, count in (("embedded", "", given.texts), ("MiniLM, ONNX", minilm, given.minilm_texts)):
        if count:
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                curves[name] = alone.apply(measured, (model, count))
            say(name, curves[name])
    print(f"load {os.getloadavg()[0]:.1f}")
    if given.plot:
        draw(curves, given.plot)


if __name__ == "__main__":
    main()
