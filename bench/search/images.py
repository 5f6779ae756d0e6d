"""Images to search among: handwritten digits of 28 x 28 pixels, as an .npz for `compare.py --data`.

    python bench/search/images.py --out images.npz [--rows 100000] [--queries 1000] [--seed 0]

Each row is one of scikit-learn's 1,797 digits (UCI ML, Kaynak 1995; 8 x 8 pixels), turned, sheared, shifted and scaled
a little by chance, drawn at 28 x 28 and 0 to 255: 784 dimensions of low intrinsic dimension, compared by l2. Queries
are drawn from digits and transformations of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits
from tqdm import tqdm

SIDE, SOURCE = 28, 8


def drawn(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One digit under a random affine map, (784,)."""
    angle, shear = rng.normal(0.0, 0.15), rng.normal(0.0, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[1.0, shear], [0.0, 1.0]]
    matrix = turn * (SOURCE / 22) * rng.uniform(0.85, 1.15, 2)  # the digit fills 22 of the 28 pixels
    offset = (SOURCE - 1) / 2 - matrix @ np.full(2, (SIDE - 1) / 2) + rng.normal(0.0, 0.4, 2)
    image = affine_transform(digit, matrix, offset, (SIDE, SIDE), order=1)
    return np.clip(image * (255 / 16), 0, 255).ravel()


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    digits = load_digits().images
    rng = np.random.default_rng(given.seed)
    held_out = rng.permutation(len(digits)) < len(digits) // 10
    parts = []
    for source, count in ((digits[~held_out], given.rows), (digits[held_out], given.queries)):
        picked = source[rng.integers(len(source), size=count)]
        parts.append(np.array([drawn(d, rng) for d in tqdm(picked)], np.float32))
    np.savez(given.out, base=parts[0], query=parts[1], metric="l2")


if __name__ == "__main__":
    main()
