"""Makes the embedded static encoder from the teacher and texts of the data folder: the one command behind it.

    SEMBLANCE_DATA=… python bench/encoders/make_default.py [OUT] [--cache FOLDER]

About half an hour of one core for the teacher; ``--cache`` keeps its vectors (f16) between runs.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from texts import SOURCES

import semblance as sb
from semblance.encode.distillation import Recipe
from semblance.encode.static import DEFAULT_FILE

MIXTURE = ("glosses", "examples")


def teacher_vectors(teacher: sb.Encoder, source: str, data: Path, cache: Path | None) -> np.ndarray:
    """The teacher's vectors of a source's texts (n, d): those of the data folder, of the cache, or new ones."""
    if source == "glosses":
        return np.load(data / "glosses/base_f16.npy").astype(np.float32)
    stored = None if cache is None else cache / f"{source}.npy"
    if stored is not None and stored.is_file():
        return np.load(stored).astype(np.float32)
    vectors = teacher.encode(SOURCES[source](data), progress=True).astype(np.float16)  # rounded as the cache would
    if stored is not None:
        np.save(stored, vectors)
    return vectors.astype(np.float32)


def main() -> None:
    """Distil and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", default=str(DEFAULT_FILE))
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--dtype", default="i8")
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    teacher = sb.Encoder(data / "minilm", device="cpu")
    texts = [text for source in MIXTURE for text in SOURCES[source](data)]
    vectors = np.concatenate([teacher_vectors(teacher, source, data, given.cache) for source in MIXTURE])
    made = sb.distill(
        teacher, 256, texts=texts, vectors=vectors, recipe=Recipe(dtype=given.dtype), name="static-en-256"
    )
    made.save(given.out)
    print(f"{given.out}: {Path(given.out).stat().st_size:,} bytes, {made.fingerprint}")
    print(made._model.source)


if __name__ == "__main__":
    main()
