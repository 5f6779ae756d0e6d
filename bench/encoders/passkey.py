"""A passkey hidden in documents of growing length, found by its owner's name, for each way with long texts.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/passkey.py [--people 20] [--words 100 400 800 1600]

After the personalised passkey retrieval of LongEmbed (Zhu et al., EMNLP 2024): one document a person, filler around one
sentence with the key, at depths spread evenly; the cell is the share of people whose document is the nearest.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

import semblance as sb

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NAMES = (
    "Maria Otto Ahmed Ingrid Pablo Wei Fatima Boris Chloe Dmitri Elena Farid Greta Hiro Ines Jamal Kira Luca Mei Noah"
)


def documents(names: list[str], words: int) -> list[str]:
    """One text of about so many words a person."""
    filler, made = FILLER.split(), []
    for number, name in enumerate(names):
        before = (words - 12) * (2 * number + 1) // (2 * len(names))
        fill = [filler[i % len(filler)] for i in range(words - 12)]
        key = 71_234 + 876 * number
        made.append(
            " ".join([*fill[:before], f"{name}'s pass key is {key}. Remember it. {name}'s is {key}.", *fill[before:]])
        )
    return made


def accuracy(encoder: sb.Encoder, names: list[str], words: int) -> float:
    """Share of the people whose own document is the nearest to the question for their key."""
    questions = encoder.encode([f"what is the pass key of {name}?" for name in names])
    nearest = (questions @ encoder.encode(documents(names, words)).T).argmax(axis=1)
    return float((nearest == np.arange(len(names))).mean())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--words", type=int, nargs="*", default=[100, 400, 800, 1600])
    given = parser.parse_args()
    folder, names = Path(os.environ["SEMBLANCE_DATA"]) / "minilm", NAMES.split()[: given.people]
    print(f"| long= | {' | '.join(f'{words} words' for words in given.words)} |")
    print("|---" * (1 + len(given.words)) + "|")
    for method in ("truncate", "windows", "group", "interpolate"):
        encoder = sb.Encoder(folder, device="cpu", long=method)
        cells = " | ".join(f"{accuracy(encoder, names, words):.2f}" for words in given.words)
        print(f"| {method} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
