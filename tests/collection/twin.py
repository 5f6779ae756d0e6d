"""The slow twins: an exact NumPy index and a hashing text encoder, with the faces that a collection uses."""

from __future__ import annotations

import functools
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np

from semblance import ArgumentError, storage


class TwinIndex:
    """Exact search over a dict of rows; the reference that a real index is compared with."""

    def __init__(self, d: int, metric: str = "cosine", **options: Any) -> None:
        self.dim, self.metric, self.options = d, metric, options
        self.metadata: dict[str, str] = {}
        self.rows: dict[int, np.ndarray] = {}

    @classmethod
    def build(cls, vectors: np.ndarray, ids: np.ndarray, metric: str = "cosine", **options: Any) -> TwinIndex:
        index = cls(vectors.shape[1], metric, **options)
        index.add(vectors, ids)
        return index

    def __len__(self) -> int:
        return len(self.rows)

    def ids(self) -> np.ndarray:
        return np.array(list(self.rows), np.int64)

    def add(self, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        if any(key in self.rows for key in ids.tolist()):
            raise ArgumentError("ids: expected new ids")
        return self.upsert(vectors, ids)

    def upsert(self, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(ids), self.dim)
        self.rows = {**self.rows, **dict(zip(ids.tolist(), vectors.copy(), strict=True))}
        return ids

    def remove(self, ids: np.ndarray) -> int:
        gone = set(ids.tolist()) & self.rows.keys()
        self.rows = {key: row for key, row in self.rows.items() if key not in gone}
        return len(gone)

    def get(self, ids: np.ndarray) -> np.ndarray:
        return np.stack([self.rows[key] for key in ids.tolist()])

    def allow(self, ids: np.ndarray) -> frozenset[int]:
        return frozenset(ids.tolist())

    def search(
        self, queries: np.ndarray, k: int, ef: int | None = None, allowed: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows
        keys = np.array([key for key in rows if allowed is None or key in allowed], np.int64)
        ids = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        if len(keys):
            matrix = np.stack([rows[key] for key in keys.tolist()])
            every = distances_of(queries, matrix, self.metric)
            order = np.argsort(every, axis=1, kind="stable")[:, :k]
            ids[:, : order.shape[1]] = keys[order]
            distances[:, : order.shape[1]] = np.take_along_axis(every, order, 1)
        return ids, distances

    def compact(self) -> None:
        self.rows = dict(self.rows)

    def stats(self) -> dict[str, Any]:
        return {"rows": len(self), "live": len(self)}

    def check(self) -> SimpleNamespace:
        return SimpleNamespace(ok=True)

    def save(self, path: str, metadata: dict[str, str] | None = None) -> None:
        ids = self.ids()
        vectors = self.get(ids) if len(ids) else np.empty((0, self.dim), np.float32)
        parameters = {f"user.{key}": value for key, value in (metadata or {}).items()}
        storage.write(
            path, {"ids": ids, "vectors": vectors}, {"metric": self.metric, "dim": str(self.dim), **parameters}
        )

    @classmethod
    def load(cls, path: str) -> TwinIndex:
        tensors, parameters = storage.read(path)
        index = cls(int(parameters["dim"]), parameters["metric"])
        index.add(tensors["vectors"], tensors["ids"])
        index.metadata = {key[5:]: value for key, value in parameters.items() if key.startswith("user.")}
        return index


def distances_of(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    if metric == "l2":
        return ((queries[:, None, :] - rows[None, :, :]) ** 2).sum(2)
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return 1.0 - queries @ rows.T


@functools.cache
def _direction(word: str, dim: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dim)


class HashEncoder:
    """A bag of words, each word hashed to a direction: texts that share words are near."""

    def __init__(self, dim: int = 32, fingerprint: str = "hash-1") -> None:
        self.dim, self.fingerprint = dim, fingerprint

    def encode(self, inputs: list[str], /) -> np.ndarray:
        out = np.zeros((len(inputs), self.dim), np.float32)
        for at, text in enumerate(inputs):
            for word in text.lower().split() or [""]:
                out[at] += _direction(word, self.dim)
        return out / np.linalg.norm(out, axis=1, keepdims=True)
