"""What fewer bits and fewer layers of MiniLM gain and lose: speed, nearness to the whole model, STS-B.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/settings.py [--texts 400] [--sts]

Texts per CPU-second over dictionary entries (best of 3 interleaved rounds), the mean cosine to fp32 with all layers
and, with ``--sts``, Spearman's correlation on the STS-B test pairs.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from quality import sts
from texts import glosses

import semblance as sb

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"precision": "fp16"},
    {"precision": "w8"},
    {"precision": "dynamic-int8"},
    {"layers": 5},
    {"layers": 3},
    {"dims": 128},
)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--sts", action="store_true", help="also STS-B, which takes minutes")
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    texts = glosses(data)[:: 115_659 // given.texts][: given.texts]
    encoders = [sb.Encoder(data / "minilm", device="cpu", **setting) for setting in SETTINGS]
    best, vectors = [np.inf] * len(encoders), [np.empty(0)] * len(encoders)
    for _ in range(3):
        for place, encoder in enumerate(encoders):
            start = time.process_time()
            vectors[place] = encoder.encode(texts)
            best[place] = min(best[place], time.process_time() - start)
    print("| setting | texts/CPU-s | mean cosine to fp32 | STS-B test |\n|---|---|---|---|")
    for place, encoder in enumerate(encoders):
        name = ", ".join(f"{key}={value}" for key, value in SETTINGS[place].items()) or "fp32, 6 layers"
        same = vectors[place].shape == vectors[0].shape
        near = f"{np.einsum('nd,nd->n', vectors[place], vectors[0]).mean():.4f}" if same else "–"
        quality = f"{sts(encoder, data):.4f}" if given.sts else "–"
        print(f"| {name} | {len(texts) / best[place]:.0f} | {near} | {quality} |", flush=True)
    print(f"load: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
