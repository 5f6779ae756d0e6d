"""Speed of the static encoder: native, through the ``tokenizers`` library, and model2vec over the same table.

    SEMBLANCE_DATA=… TOKENIZERS_PARALLELISM=false python bench/encoders/static_speed.py

Texts per CPU-second of the process, medians of the repeats taken in turns. model2vec (``pip install model2vec``) gets
the same tokenizer and the same rows as f32; without it its line is left out. Vectors are compared first: the two
paths of semblance to the last bit, model2vec to 1e-3 (it drops unknown tokens, so texts that have some are left out).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from texts import glosses

import semblance as sb
from semblance.encode.static import DEFAULT_FILE, StaticModel
from semblance.encode.wordpiece import WordPiece

Encode = Callable[[list[str]], np.ndarray]


def by_library() -> sb.Encoder:
    """The embedded encoder, its tokenizer run by the library."""
    served, WordPiece.of = WordPiece.of, lambda definition: None  # type: ignore[method-assign, assignment]
    try:
        return sb.Encoder._of(StaticModel.load(DEFAULT_FILE))
    finally:
        WordPiece.of = served  # type: ignore[method-assign]


def peer(encoder: sb.Encoder) -> Encode | None:
    """model2vec's encoder over the same rows; None where it is not installed."""
    if importlib.util.find_spec("model2vec") is None:
        return None
    from model2vec import StaticModel as Peer
    from tokenizers import Tokenizer

    table, tokenizer = encoder._model.table, encoder._model.tokenizer  # type: ignore[attr-defined]
    rows = table.lookup(np.arange(len(table)))
    made = Peer(rows, Tokenizer.from_str(tokenizer.definition), normalize=True)
    return lambda texts: np.asarray(made.encode(texts, use_multiprocessing=False))


def check(encoders: dict[str, Encode], texts: list[str]) -> None:
    """Every encoder gives the same vectors."""
    wanted = encoders["native"](texts)
    for name, encode in encoders.items():
        found = encode(texts)
        close = np.abs(found - wanted).max(axis=1)
        if name == "model2vec":
            assert np.median(close) < 1e-5, np.median(close)
            assert (close > 1e-3).mean() < 0.02, (close > 1e-3).mean()
        else:
            assert np.array_equal(found, wanted), name


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    texts = glosses(Path(os.environ["SEMBLANCE_DATA"]))[::5][: given.texts]
    native = sb.Encoder()
    encoders: dict[str, Encode] = {"native": native.encode, "library": by_library().encode}
    other = peer(native)
    if other is not None:
        encoders["model2vec"] = other
    check(encoders, texts[:2_000])
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(given.repeats):
        for name, encode in encoders.items():
            start = time.process_time()
            encode(texts)
            rates[name].append(len(texts) / (time.process_time() - start))
    print(f"{len(texts)} texts, Python {platform.python_version()}, ISA {sb.kernels.active()}")
    print("| tokenizer and look-up | texts/CPU-s, median | best | native is faster by |")
    print("|---|---|---|---|")
    for name, each in rates.items():
        ratio = np.median(rates["native"]) / np.median(each)
        print(f"| {name} | {np.median(each):,.0f} | {max(each):,.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
