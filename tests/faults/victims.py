"""Healthy files of every kind, and what a user does with them: the answers that a damaged copy must give, or refuse."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import semblance as sb
from semblance.encode import checksums
from semblance.encode.static import StaticModel
from semblance.encode.tokenize import Tokenizer

D, N = 16, 150
Answers = list[np.ndarray]


@dataclass(frozen=True)
class Victim:
    """One kind of file: ``make`` writes it, ``answer`` opens and asks it, ``change`` alters and saves it."""

    make: Callable[[Path], None]
    answer: Callable[[Path, bool, bool], tuple[Any, Answers]]  # path, verify, mmap -> what was opened, what it said
    change: Callable[[Any, Path], None]
    files: tuple[str, ...] = ("",)  # endings of the files that may be damaged; "" is the path itself
    own: bool = True  # a file of semblance's format, whose checksums an attacker can make right
    seen: bool = True  # damage is: answers that are not the healthy ones are wrong


def rows(metric: str, n: int, seed: int = 0) -> np.ndarray:
    """Rows of D dimensions, packed bits where the metric is of bits."""
    rng = np.random.default_rng(seed)
    if metric in ("hamming", "jaccard"):
        return rng.integers(0, 256, (n, D // 8), np.uint8)
    return rng.normal(size=(n, D)).astype(np.float32)


# -- indexes


def index_victim(n: int = N, **params: Any) -> Victim:
    def make(path: Path) -> None:
        index = sb.Index(D, max_degree=8, ef_construction=40, **params)
        index.add(rows(index.metric, n))
        index.remove([3, 77])
        index.save(path)

    return Victim(make, ask_index, change_index)


def ask_index(path: Path, verify: bool, mmap: bool) -> tuple[sb.Index, Answers]:
    index = sb.Index.load(path, verify=verify, mmap=mmap)
    queries = rows(index.metric, 6, seed=1)
    if queries.shape[1] * (8 if queries.dtype == np.uint8 else 1) != index.dim:
        raise sb.FormatError(f"an index of {index.dim} dimensions where {D} were saved")
    ids = index.ids()
    hits = (
        index.search(queries, 5),
        index.search(queries, 20, ef=60, allowed=ids[::3]),
        index.search(queries, 5, exact=True),
        index.within(queries, 10.0),
    )
    index.check()
    return index, [ids, index.get(ids), *(part for hit in hits for part in hit)]


def change_index(index: sb.Index, path: Path) -> None:
    more = rows(index.metric, 20, seed=2)
    index.add(more)
    index.search(more, 5)
    index.remove(index.ids()[:5])
    index.compact()
    index.search(more, 5)
    index.save(path)
    sb.Index.load(path)


# -- an index of several spaces

SPACES = {"title": 8, "body": 8}


def items(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Vectors in each space."""
    both = rows("l2", n, seed)
    return {"title": both[:, :8].copy(), "body": both[:, 8:].copy()}


def make_spaces(path: Path) -> None:
    index = sb.SpacesIndex(SPACES, max_degree=8, ef_construction=40)
    index.add(items(N), np.arange(N))
    index.remove([3, 77])
    index.save(path)


def ask_spaces(path: Path, verify: bool, mmap: bool) -> tuple[sb.SpacesIndex, Answers]:
    index = sb.SpacesIndex.load(path, verify=verify, mmap=mmap)
    queries = items(6, seed=1)
    hits = (index.search(queries, 5), index.search(queries, 20, ef=60, weights={"title": 2.0, "body": 0.5}))
    return index, [part for hit in hits for part in hit]


def change_spaces(index: sb.SpacesIndex, path: Path) -> None:
    more = items(20, seed=2)
    index.add(more, np.arange(1000, 1020))
    index.search(more, 5)
    index.remove([1000, 1])
    index.save(path)
    sb.SpacesIndex.load(path)


# -- tables


def table_victim(keys: Any, missing: str) -> Victim:
    def make(path: Path) -> None:
        table = sb.EmbeddingTable.from_dense(rows("l2", N), dtype="i8", keys=keys, missing=missing)
        if keys is not None:
            with table.writer() as writer:
                writer.upsert(keys[:4], rows("l2", 4, seed=3))
                writer.remove(keys[5:7])
        table.save(path)

    def ask(path: Path, verify: bool, mmap: bool) -> tuple[sb.EmbeddingTable, Answers]:
        table = sb.EmbeddingTable.load(path, verify=verify, mmap=mmap)
        asked = np.arange(N) if keys is None else keys
        if missing == "error":
            asked = asked[:5]
        return table, [
            table.lookup(asked),
            table.pool(asked, [0, 2, len(asked)], mode="mean"),
            table.score(rows("l2", 1, seed=4)[0, : table.dim], asked),
        ]

    def change(table: sb.EmbeddingTable, path: Path) -> None:
        asked = [1, 2] if keys is None else list(keys[:2])
        with table.writer() as writer:
            writer.upsert(asked, np.ones((2, table.dim), np.float32))
        table.lookup(asked)
        table.save(path)
        sb.EmbeddingTable.load(path)

    return Victim(make, ask, change)


# -- the static encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "##a", "##b", "cat", "dog", "##s", "."]
TEXTS = ["a cat", "dogs. cats", "", "abba [SEP] h", "x"]


def tokenizer_json() -> str:
    """BERT's tokenizer over a few words."""
    return json.dumps(
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
    )  # fmt: skip


def make_encoder(path: Path) -> None:
    table = sb.EmbeddingTable.from_dense(rows("l2", len(WORDS)), dtype="i8")
    StaticModel(table, Tokenizer(tokenizer_json()), empty_id=0).save(path)


def ask_encoder(path: Path, verify: bool, mmap: bool) -> tuple[sb.Encoder, Answers]:
    encoder = sb.Encoder(path)
    return encoder, [encoder.encode(TEXTS)]


def change_encoder(encoder: sb.Encoder, path: Path) -> None:
    encoder.tokens(TEXTS)
    encoder.save(path)
    sb.Encoder(path)


# -- a folder with an ONNX model

DATA = "rows.bin"


def make_folder(path: Path, kept: bool) -> None:
    """A model with its rows in a file of their own; with or without SHA256SUMS."""
    sys.path.append(str(Path(__file__).parent.parent / "encode"))
    import onnx
    from tiny_models import write_folder

    write_folder(path)
    model = onnx.load(path / "model.onnx")
    onnx.save(model, path / "model.onnx", save_as_external_data=True, location=DATA, size_threshold=0)
    if kept:
        checksums.write(path, [file for file in path.rglob("*") if file.is_file()])


def ask_folder(path: Path, verify: bool, mmap: bool) -> tuple[sb.Encoder, Answers]:
    encoder = sb.Encoder(path)
    return encoder, [encoder.encode(["the big cat runs", "", "undog trees."])]


def change_folder(encoder: sb.Encoder, path: Path) -> None:
    encoder.tokens(TEXTS)
    saved = path.with_name("saved")
    shutil.rmtree(saved, ignore_errors=True)
    encoder.save(saved)
    sb.Encoder(saved)


def folder_victim(kept: bool) -> Victim:
    files = ("model.onnx", DATA, "tokenizer.json", "config.json", "modules.json", "1_Pooling/config.json")
    files += (checksums.NAME,) if kept else ()
    endings = tuple(f"/{name}" for name in files)
    return Victim(lambda path: make_folder(path, kept), ask_folder, change_folder, endings, own=False, seen=kept)


# -- collections


def make_collection(path: Path) -> None:
    with sb.Collection.open(path, dim=D, indexed=("n",)) as db:
        vectors = rows("l2", N)
        db.add([{"id": i, "vector": vectors[i], "text": f"record {i}", "n": i} for i in range(N)])
        db.remove([3, 77])


def ask_collection(path: Path, verify: bool, mmap: bool) -> tuple[sb.Collection, Answers]:
    db = sb.Collection.open(path)
    try:
        found = [db.search(query, k=5) for query in rows("l2", 4, seed=1)]
        found += [db.search(rows("l2", 1, seed=1)[0], k=3, where="n < 50")]
        found += [db.search(rows("l2", 1, seed=6)[0], k=2, where="text LIKE '%9'")]
        said = [(hit.id, round(hit.score, 5), hit.record) for hits in found for hit in hits]
        return db, [np.array([json.dumps(said, default=str)])]
    except BaseException:
        db.close()
        raise


def change_collection(db: sb.Collection, path: Path) -> None:
    try:
        db.upsert([{"id": 1, "vector": rows("l2", 1, seed=5)[0]}])
        db.remove([2])
        db.check()
        db.compact()
    finally:
        db.close()
    sb.Collection.open(path).close()


STRINGS = [f"key {i}" for i in range(N)]
VICTIMS: dict[str, Victim] = {
    "index cosine i8": index_victim(metric="cosine"),
    "index l2 flat": index_victim(metric="l2", kind="flat", codes="f32"),
    "index ip f16": index_victim(metric="ip", codes="f16"),
    "index l2 neighbour codes": index_victim(metric="l2", codes="b1"),
    "index l2 distance profile": index_victim(1100, metric="l2", codes="b1"),  # made from 1024 rows on
    "index ip i4": index_victim(metric="ip", codes="i4", rerank="i8"),
    "index spaces": Victim(make_spaces, ask_spaces, change_spaces),
    "index hamming": index_victim(metric="hamming"),
    "table of rows": table_victim(None, "error"),
    "table of numbers": table_victim(np.arange(N) * 1_000_003, "zero"),
    "table of words": table_victim(STRINGS, "mean"),
    "encoder": Victim(make_encoder, ask_encoder, change_encoder),
    "ONNX folder": folder_victim(kept=False),
    "ONNX folder, SHA256SUMS": folder_victim(kept=True),
    "collection": Victim(make_collection, ask_collection, change_collection, (".index",)),
    "database": Victim(make_collection, ask_collection, change_collection, ("",), own=False),
}


def copy(healthy: Path, to: Path) -> None:
    """Copy the file and those beside it that belong to it; what an earlier copy left is removed."""
    for old in to.parent.glob(to.name + "*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    if healthy.is_dir():
        shutil.copytree(healthy, to)
        return
    for part in healthy.parent.glob(healthy.name + "*"):
        shutil.copyfile(part, to.parent / (to.name + part.name[len(healthy.name) :]))
