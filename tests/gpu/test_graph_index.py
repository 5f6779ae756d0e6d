"""Graph search on a card against exact search: recall, distances, filters, the same bits."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import semblance as sb

ROWS, DIM, K = 400, 24, 10


def vectors(n: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def indexes() -> dict[str, sb.Index]:
    rows = vectors(ROWS, 0)
    ids = np.arange(ROWS) * 7 + 3
    return {metric: sb.Index.build(rows, ids=ids, metric=metric, codes="f32") for metric in ("cosine", "ip", "l2")}


def recall(found: sb.Hits, truth: sb.Hits) -> float:
    pairs = [(set(a) - {-1}, set(b) - {-1}) for a, b in zip(found.ids.tolist(), truth.ids.tolist(), strict=True)]
    return float(np.mean([len(a & b) / len(b) for a, b in pairs]))


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("mode", ["batch", "single"])
def test_finds_what_exact_search_finds(gpu: ModuleType, indexes: Any, metric: str, mode: Any) -> None:
    index, queries = indexes[metric], vectors(4, 1)
    truth = index.search(queries, K, exact=True)
    there = sb.gpu.GraphIndex.from_index(index)
    found = there.search(queries, K, ef=64, mode=mode)
    assert recall(found, truth) >= 0.95
    same = found.ids == truth.ids
    np.testing.assert_allclose(found.distances[same], truth.distances[same], rtol=1e-5, atol=1e-5)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    one = there.search(queries[2:3], K, ef=64, mode=mode)
    assert one.ids.tolist() == found.ids[2:3].tolist()
    assert one.distances.tobytes() == found.distances[2:3].tobytes()


@pytest.mark.parametrize(
    ("codes", "rerank", "least"),
    [("f32", None, 0.95), ("f16", None, 0.95), ("i8", None, 0.85), ("i8", "f16", 0.95), ("b1", "f32", 0.8)],
)
def test_codes(gpu: ModuleType, indexes: Any, codes: str, rerank: str | None, least: float) -> None:
    index, queries = indexes["l2"], vectors(4, 2)
    there = sb.gpu.GraphIndex.from_index(index, codes=codes, rerank=rerank)
    found = there.search(queries, K, ef=200, mode="batch")
    assert recall(found, index.search(queries, K, exact=True)) >= least
    assert (there.codes, there.rerank, len(there), there.dim, there.metric) == (codes, rerank, ROWS, DIM, "l2")
    assert there.nbytes >= sb.gpu.GraphIndex.from_index(index, codes="i8", rerank=None).nbytes or codes == "b1"


@pytest.mark.parametrize(("metric", "length"), [("l2", 1e-9), ("l2", 3e5), ("ip", 1e6), ("cosine", 1e-24)])
def test_rows_that_half_precision_does_not_hold(gpu: ModuleType, metric: Any, length: float) -> None:
    rows, queries = vectors(ROWS, 9) * np.float32(length), vectors(3, 10) * np.float32(length)
    index = sb.Index.build(rows, metric=metric, codes="f32")
    there = sb.gpu.GraphIndex.from_index(index)
    assert (there.codes, there.rerank) == (("f16", "f32") if metric == "cosine" else ("f32", None))
    found, truth = there.search(queries, K, ef=64), index.search(queries, K, exact=True)
    assert recall(found, truth) >= 0.95
    np.testing.assert_allclose(found.distances[:, 0], truth.distances[:, 0], rtol=1e-4, atol=1e-5 * length**2)
    if length > 1:
        for options in ({"codes": "f16"}, {"codes": "i8", "rerank": "f16"}):
            with pytest.raises(sb.ArgumentError, match="magnitudes that f16 codes hold, up to 65504"):
                sb.gpu.GraphIndex.from_index(index, **options)


@pytest.mark.parametrize("scale", [1e-24, 1.0, 1e15])
def test_queries_of_any_length_under_cosine(gpu: ModuleType, indexes: Any, scale: float) -> None:
    queries = vectors(3, 11)
    there = sb.gpu.GraphIndex.from_index(indexes["cosine"])
    expected = indexes["cosine"].search(queries, K, exact=True)
    assert recall(there.search(queries * np.float32(scale), K, ef=64), expected) >= 0.95


@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_bits(gpu: ModuleType, metric: str) -> None:
    bits = np.random.default_rng(5).integers(0, 256, (300, 9), dtype=np.uint8)
    index = sb.Index.build(bits, metric=metric)
    queries = bits[:3] ^ np.uint8(4)
    found, truth = (
        sb.gpu.GraphIndex.from_index(index).search(queries, 5, ef=100, mode="batch"),
        index.search(queries, 5, exact=True),
    )
    np.testing.assert_allclose(found.distances, truth.distances, rtol=1e-6)
    assert found.ids[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [0.9, 0.4, 0.02])
def test_filters(gpu: ModuleType, indexes: Any, share: float) -> None:
    index, queries = indexes["l2"], vectors(3, 3)
    ids = index.ids()[np.random.default_rng(4).random(ROWS) < share]
    there = sb.gpu.GraphIndex.from_index(index)
    allowed = there.allow(np.concatenate([ids, [10**9]]))
    found, truth = (
        there.search(queries, K, ef=32, allowed=allowed, mode="batch"),
        index.search(queries, K, exact=True, allowed=ids),
    )
    assert set(found.ids.ravel()) <= {*ids.tolist(), -1}
    assert ((found.ids == -1) == (truth.ids == -1)).all()
    assert recall(found, truth) >= (1 if share < 0.1 else 0.9)
    assert there.search(queries, K, allowed=[]).ids.tolist() == [[-1] * K] * 3


def test_many_neighbours_and_walks_that_find_too_few(gpu: ModuleType, indexes: Any) -> None:
    index, queries = indexes["l2"], vectors(2, 6)
    there = sb.gpu.GraphIndex.from_index(index, codes="f32")
    found = there.search(queries, 1000, mode="batch")
    assert (found.ids[:, :ROWS] >= 0).all()
    assert (found.ids[:, ROWS:] == -1).all()
    assert found.ids.tolist() == index.search(queries, 1000, exact=True).ids.tolist()
    far = np.argsort(((index.get(index.ids()) - queries[0]) ** 2).sum(axis=1))[ROWS // 2 :]
    away = index.ids()[far]  # half of the rows, all on the other side
    held = there.search(queries[:1], 20, ef=20, allowed=away, mode="batch")
    assert (held.ids >= 0).all()


def test_results_and_queries_on_the_card(gpu: ModuleType, indexes: Any) -> None:
    there, queries = sb.gpu.GraphIndex.from_index(indexes["cosine"]), vectors(3, 7)
    expected = there.search(queries, K)
    found = there.search(gpu.to_device(queries), K, on_device=True)
    assert found.ids.numpy().tolist() == expected.ids.tolist()
    assert found.distances.numpy().tobytes() == expected.distances.tobytes()
    pair = gpu.to_device(np.zeros((3, K), np.int64)), gpu.to_device(np.zeros((3, K), np.float32))
    for allowed in (None, indexes["cosine"].ids()):
        written = there.search(gpu.to_device(queries), K, allowed=allowed, out=pair)
        assert written.ids is pair[0]
        assert written.distances is pair[1]
        assert pair[0].numpy().tolist() == expected.ids.tolist()
    with pytest.raises(sb.ArgumentError, match=r"out\[0\]: expected <i8 of shape \(2, 10\)"):
        there.search(vectors(2, 7), K, out=pair)


def test_bad_input(gpu: ModuleType, indexes: Any) -> None:
    index = indexes["cosine"]
    there = sb.gpu.GraphIndex.from_index(index)
    removed = sb.Index.build(vectors(20, 8))
    removed.remove([3])
    wrong: list[tuple[str, Any]] = [
        ("k: ", lambda: there.search(vectors(1, 0), 1025)),
        ("ef: ", lambda: there.search(vectors(1, 0), 10, ef=9)),
        ("mode: ", lambda: there.search(vectors(1, 0), mode="fast")),
        ("queries", lambda: there.search(vectors(1, 0)[:, :5])),
        ("queries", lambda: there.search(np.zeros((1, DIM), np.float32))),
        ("queries", lambda: there.search(gpu.to_device(np.zeros((1, 3), np.float32)))),
        ("codes: ", lambda: sb.gpu.GraphIndex.from_index(index, codes="i4")),
        ("rerank: ", lambda: sb.gpu.GraphIndex.from_index(index, codes="b1", rerank=None)),
        ("kind 'hnsw'", lambda: sb.gpu.GraphIndex.from_index(sb.Index(3, kind="flat"))),
        ("at least one row", lambda: sb.gpu.GraphIndex.from_index(sb.Index(3))),
        ("got 1 of 20: compact", lambda: sb.gpu.GraphIndex.from_index(removed)),
    ]
    for message, call in wrong:
        with pytest.raises(sb.ArgumentError, match=message):
            call()
    removed.compact()
    assert len(sb.gpu.GraphIndex.from_index(removed)) == 19
