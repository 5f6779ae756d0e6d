"""Writes those files of format version 1 that tests/golden/v1 lacks. A released file is never written again.

python tests/golden/make_v1.py tests/golden/v1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import semblance as sb
from semblance.encode.static import StaticModel
from semblance.encode.tokenize import Tokenizer


def rows(n: int, d: int) -> np.ndarray:
    """Vectors of whole numbers from -4 to 4, by a rule that needs no random generator: row i, column j."""
    i, j = np.arange(n)[:, None], np.arange(d)[None]
    return ((i * 7 + j * 5 + i * j * 3 + i * i) % 151 % 9 - 4).astype(np.float32)


def bits(n: int, d: int) -> np.ndarray:
    return np.packbits(rows(n, d) > 0, axis=1)


def cosine(path: Path) -> None:
    index = sb.Index(16, max_degree=8, ef_construction=40, seed=3)
    index.add(rows(150, 16) + 0.5, np.arange(150) * 2)
    index.remove([0, 20, 298])
    index.ef = 77
    index.save(path, {"made_by": "tests/golden/make_v1.py"})


def flat(path: Path) -> None:
    index = sb.Index(12, metric="l2", kind="flat")
    index.add(rows(100, 12), np.arange(100) + 1000)
    index.upsert(rows(5, 12)[::-1], np.arange(1000, 1005))
    index.save(path)


def hamming(path: Path) -> None:
    index = sb.Index(64, metric="hamming", max_degree=8, ef_construction=40)
    index.add(bits(150, 64), np.arange(150))
    index.save(path)


def neighbour_codes(path: Path) -> None:
    index = sb.Index(32, metric="l2", codes="b1", rerank="f16", max_degree=8, ef_construction=40, seed=5)
    index.add(rows(60, 32), np.arange(60) * 3)
    index.remove([9])
    index.save(path)


def split_rows(path: Path) -> None:
    index = sb.Index(20, metric="ip", codes="i4", rerank="i8", max_degree=8, ef_construction=40, seed=5)
    index.add(rows(150, 20), np.arange(150) + 7)
    index.remove([9])
    index.save(path)


def numbered_table(path: Path) -> None:
    table = sb.EmbeddingTable.from_dense(rows(50, 12), dtype="i8", keys=np.arange(50) * 11, missing="zero")
    with table.writer() as writer:
        writer.upsert([11, 5], rows(2, 12) + 1)
        writer.remove([22])
    table.save(path)


def named_table(path: Path) -> None:
    keys = [f"key {i}" for i in range(40)]
    sb.EmbeddingTable.from_dense(rows(40, 9), dtype="f16", keys=keys, missing="mean").save(path)


def coded_table(path: Path) -> None:
    sb.tables.product(rows(60, 8), 4, 16, threads=1).save(path)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "##s", "runs", "."]


def encoder(path: Path) -> None:
    tokenizer = Tokenizer(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                               "strip_accents": None, "lowercase": True},
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "post_processor": None,
                "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                          "max_input_chars_per_word": 100, "vocab": {word: i for i, word in enumerate(WORDS)}},
            }
        )
    )  # fmt: skip
    table = sb.EmbeddingTable.from_dense(rows(len(WORDS), 12) + 0.5, dtype="i8")
    StaticModel(table, tokenizer, empty_id=3, max_tokens=6, name="golden", source={"of": "make_v1.py"}).save(path)


FILES = {
    "index-hnsw-cosine.sb": cosine, "index-flat-l2.sb": flat, "index-hnsw-hamming.sb": hamming,
    "index-neighbour-codes.sb": neighbour_codes, "index-hnsw-i4.sb": split_rows,
    "table-numbers.sb": numbered_table, "table-words.sb": named_table, "table-product.sb": coded_table,
    "encoder.sb": encoder,
}  # fmt: skip


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        if not (folder / name).exists():
            make(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
