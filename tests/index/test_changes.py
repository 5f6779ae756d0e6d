"""add, upsert, remove, get, compact, ids, len and in: what the index holds after each."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from brute_force import METRICS, nearest, recall_with_ties, same_index, sample

import semblance as sb

KINDS = ("hnsw", "flat")


def stored(metric: str, rows: np.ndarray) -> np.ndarray:
    """Rows as `get` gives them back."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows


@pytest.fixture(params=[(m, kind) for m in METRICS for kind in KINDS], ids="-".join)
def empty(request: pytest.FixtureRequest) -> sb.Index:
    metric, kind = request.param
    return sb.Index(32, metric=metric, kind=kind)


def test_empty_index(empty: sb.Index) -> None:
    queries = sample(empty.metric, 3, 32)
    for exact in (False, True):
        hits = empty.search(queries, k=4, exact=exact)
        assert isinstance(hits, tuple)
        assert hits.ids.tolist() == [[-1] * 4] * 3
        assert np.isposinf(hits.distances).all()
        ranges = empty.within(queries, 1.0, exact=exact)
        assert ranges.offsets.tolist() == [0] * 4
        assert len(ranges.ids) == len(ranges.distances) == 0
    assert len(empty) == 0
    assert empty.ids().shape == (0,)
    assert empty.ids().dtype == np.int64
    assert 0 not in empty
    assert empty.remove([1, 2]) == 0
    empty.compact()
    assert empty.check().ok
    assert empty.get(np.empty(0, np.int64)).shape[0] == 0
    assert empty.diverse(queries[:1], k=2, pool=5).ids.tolist() == [[-1, -1]]
    assert empty.search(queries, k=2, allowed=[5]).ids.tolist() == [[-1, -1]] * 3


def test_single_row(empty: sb.Index) -> None:
    row = sample(empty.metric, 1, 32)
    assert empty.add(row, [2**63 - 1]).tolist() == [2**63 - 1]
    for exact in (False, True):
        hits = empty.search(row, k=3, exact=exact)
        assert hits.ids.tolist() == [[2**63 - 1, -1, -1]]
        assert np.isfinite(hits.distances[0, 0])
        assert np.isposinf(hits.distances[0, 1:]).all()
    assert 2**63 - 1 in empty
    assert empty.check().ok
    assert empty.remove([2**63 - 1]) == 1
    assert empty.search(row, k=1).ids.tolist() == [[-1]]


def test_nothing_added(empty: sb.Index) -> None:
    none = sample(empty.metric, 0, 32)
    assert empty.add(none).shape == (0,)
    assert empty.upsert(none, []).shape == (0,)
    assert empty.search(none, k=2).ids.shape == (0, 2)
    assert len(empty) == 0
    assert len(empty.add(sample(empty.metric, 1, 32))) == 1


def test_ids_are_consecutive_from_the_largest(empty: sb.Index) -> None:
    rows = sample(empty.metric, 6, 32)
    given = empty.add(rows[:2])
    assert given.tolist() == [0, 1]
    assert given.dtype == np.int64
    assert empty.add(rows[2:3], [40]).tolist() == [40]
    assert empty.add(rows[3:5]).tolist() == [41, 42]
    empty.remove([42])
    assert empty.add(rows[5:]).tolist() == [43]
    assert empty.ids().tolist() == [0, 1, 40, 41, 43]


def test_get_returns_what_was_stored(empty: sb.Index) -> None:
    rows = sample(empty.metric, 50, 32)
    empty.add(rows, np.arange(100, 150))
    wanted = [149, 100, 120, 120]
    got = empty.get(wanted)
    if rows.dtype == np.uint8:
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, rows[np.array(wanted) - 100])
    else:
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, stored(empty.metric, rows)[np.array(wanted) - 100], atol=2e-3)
    with pytest.raises(sb.NotFoundError, match=r"ids: expected ids that are in the index, got 7"):
        empty.get([100, 7])
    empty.remove([120])
    with pytest.raises(sb.NotFoundError, match="120"):
        empty.get([120])


@pytest.mark.parametrize("codes", ["f32", "f16", "bf16", "i8", "i4", "b1"])
@pytest.mark.parametrize("rerank", [None, "f32", "f16", "i8"])
def test_get_has_the_precision_of_the_finest_copy(codes: str, rerank: str | None) -> None:
    if codes == rerank or (codes == "b1" and rerank is None):
        pytest.skip("the same copy twice is kept once; neighbour codes keep no rows of their own")
    rows = sample("l2", 40, 25)
    index = sb.Index(25, metric="l2", codes=codes, rerank=rerank)
    index.add(rows)
    got = index.get(np.arange(40))
    finest = rerank or codes
    largest = np.abs(rows).max(axis=1, keepdims=True)
    steps = {"f32": 0 * largest, "f16": largest * 2**-11, "bf16": largest * 2**-8, "i8": largest / 127 / 2 * 1.01,
             "i4": largest / 10}  # fmt: skip
    assert (np.abs(got - rows) <= steps[finest]).all()


def test_upsert_replaces_and_adds(empty: sb.Index) -> None:
    rows = sample(empty.metric, 60, 32)
    empty.add(rows[:40])
    assert empty.upsert(rows[40:], np.arange(30, 50)).tolist() == list(range(30, 50))
    assert len(empty) == 50
    assert sorted(empty.ids()) == list(range(50))
    now = np.concatenate([rows[:30], rows[40:]])
    np.testing.assert_allclose(empty.get(np.arange(50)), stored(empty.metric, now), atol=2e-3)
    hits = empty.search(rows[:30], k=50, ef=200)
    assert (np.sort(hits.ids, axis=1) == np.arange(50)).all()
    assert empty.check().ok


def test_upsert_of_the_same_row_changes_no_answer(empty: sb.Index) -> None:
    rows = sample(empty.metric, 80, 32)
    empty.add(rows)
    before = empty.search(rows, k=5, ef=80)
    for _ in range(3):
        empty.upsert(rows, np.arange(80))
    after = empty.search(rows, k=5, ef=300)
    np.testing.assert_array_equal(before.distances, after.distances)
    assert len(empty) == 80
    empty.compact()
    assert empty.stats()["rows"] == 80


def test_removed_rows_are_gone(empty: sb.Index) -> None:
    rows = sample(empty.metric, 300, 32)
    empty.add(rows)
    gone = np.arange(0, 300, 3)
    assert empty.remove(np.concatenate([gone, gone, [10_000]])) == len(gone)
    assert empty.remove(gone) == 0
    assert len(empty) == 200
    kept = np.setdiff1d(np.arange(300), gone)
    np.testing.assert_array_equal(empty.ids(), kept)
    assert all(i in empty for i in kept)
    assert not any(i in empty for i in gone)
    for options in ({"ef": 50}, {"exact": True}, {"allowed": np.arange(300)}):
        ids = empty.search(rows[gone], k=20, **options).ids
        assert not np.isin(ids, gone).any()
        assert (ids >= 0).all()
    truth = kept[nearest(rows[kept], rows[gone], 10, empty.metric)[0]]
    found = empty.search(rows[gone], k=10, ef=100).ids
    positions = np.searchsorted(kept, found)
    assert recall_with_ties(rows[kept], rows[gone], positions, empty.metric) >= 0.95, (truth[:1], found[:1])


def test_remove_of_a_missing_id_raises_only_when_asked(empty: sb.Index) -> None:
    empty.add(sample(empty.metric, 5, 32))
    with pytest.raises(sb.ArgumentError, match="ids: expected ids that are in the index, got 9"):
        empty.remove([1, 9], missing="error")
    assert len(empty) == 5
    assert empty.remove([1, 9]) == 1
    assert empty.remove([2], missing="error") == 1


def test_removed_ids_can_be_added_again(empty: sb.Index) -> None:
    rows = sample(empty.metric, 20, 32)
    empty.add(rows)
    empty.remove(np.arange(20))
    assert len(empty) == 0
    assert (empty.search(rows, k=1).ids == -1).all()
    empty.add(rows[::-1], np.arange(20))
    np.testing.assert_allclose(empty.get([0]), stored(empty.metric, rows[-1:]), atol=2e-3)
    assert empty.check().ok


def test_compact_keeps_answers_and_frees_rows(empty: sb.Index) -> None:
    rows = sample(empty.metric, 400, 32)
    empty.add(rows, np.arange(1000, 1400))
    empty.remove(np.arange(1000, 1400, 2))
    before = empty.search(rows[:50], k=10, exact=True)
    ids = empty.ids()
    empty.compact()
    after = empty.search(rows[:50], k=10, exact=True)
    np.testing.assert_array_equal(before.distances, after.distances)
    np.testing.assert_array_equal(empty.ids(), ids)
    assert empty.stats()["rows"] == len(empty) == 200
    assert empty.search(rows[:50], k=200, ef=200).ids.min() >= 1000
    assert empty.check().ok
    assert empty.add(rows[:1]).tolist() == [1400]


def test_compact_of_an_index_without_live_rows(empty: sb.Index) -> None:
    rows = sample(empty.metric, 50, 32)
    empty.add(rows)
    empty.remove(np.arange(50))
    empty.compact()
    assert empty.stats()["rows"] == 0
    assert (empty.search(rows, k=2).ids == -1).all()
    empty.add(rows)
    assert empty.check().ok


@pytest.mark.parametrize("metric", METRICS)
def test_batches_add_up(metric: str) -> None:
    rows, queries = sample(metric, 1000, 48), sample(metric, 40, 48, seed=1)
    index = sb.Index(48, metric=metric)
    for start, stop in ((0, 1), (1, 3), (3, 50), (50, 51), (51, 700), (700, 1000)):
        index.add(rows[start:stop])
    assert recall_with_ties(rows, queries, index.search(queries, 10, ef=200).ids, metric) >= 0.97
    assert index.check().ok
    assert index.check().reachable == 1000


@pytest.mark.parametrize("metric", METRICS)
def test_rows_added_one_by_one(metric: str) -> None:
    rows = sample(metric, 200, 48)
    index = sb.Index(48, metric=metric)
    for i, row in enumerate(rows):
        assert index.add(row[None]).tolist() == [i]
    assert recall_with_ties(rows, rows, index.search(rows, 10, ef=200).ids, metric) >= 0.99
    assert index.check().reachable == 200


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_equal_rows(metric: str, kind: str) -> None:
    row, other = sample(metric, 1, 32), sample(metric, 1, 32, seed=5)
    index = sb.Index(32, metric=metric, kind=kind)
    index.add(np.repeat(row, 1000, axis=0))
    index.add(other)
    hits = index.search(row, k=50)
    assert len(set(hits.ids[0])) == 50
    assert hits.ids.min() >= 0
    assert np.ptp(hits.distances) == 0
    every = index.search(row, k=1001, ef=1100)
    assert sorted(every.ids[0]) == list(range(1001))
    assert 1000 in index.search(other, k=1001, ef=1100).ids[0]
    report = index.check()
    assert report.ok
    assert report.reachable == 1001
    assert index.search(row, k=10, allowed=[1000, 3]).ids[0].tolist().count(-1) == 8


def test_most_rows_replaced_in_place_keeps_recall() -> None:
    rows, fresh, queries = (sample("cosine", n, 48, seed=s) for s, n in enumerate((1500, 1500, 60)))
    index = sb.Index.build(rows)
    for start in range(0, 1500, 100):
        index.upsert(fresh[start : start + 100], np.arange(start, start + 100))
    truth = sb.Index.build(fresh)
    assert len(index) == 1500
    for one in (index, truth):
        assert recall_with_ties(fresh, queries, one.search(queries, 10, ef=150).ids, "cosine") >= 0.97


def test_contains_and_properties() -> None:
    index = sb.Index(8, metric="l2", kind="flat")
    index.add(sample("l2", 2, 8), [5, 6])
    for inside in (5, np.int64(6), np.uint8(5)):
        assert inside in index
    for outside in (7, -1, 2**63, 2**70, 5.0, "5", None, True, (5,)):
        assert outside not in index
    assert (index.dim, index.metric, index.kind, index.codes, index.rerank) == (8, "l2", "flat", "f32", None)
    assert "rows=2" in repr(index)
    assert len(repr(index.allow([5, 6]))) > 0
    assert len(index.allow([5, 6])) == 2


def test_stats() -> None:
    index = sb.Index.build(sample("cosine", 300, 48), codes="i8", max_degree=16)
    index.remove([1, 2])
    stats = index.stats()
    assert (stats["rows"], stats["live"]) == (300, 298)
    assert {"codes", "rerank", "graph", "ids"} <= stats["bytes"].keys()
    assert stats["bytes"]["rerank"] == 300 * 48 * 2
    assert 0 < stats["mean_degree"] <= stats["largest_degree"] <= 16
    assert stats["isa"] == sb.kernels.active()
    assert stats["metric"] == "cosine"


def test_build_takes_everything_that_the_index_takes() -> None:
    rows = sample("hamming", 30, 64)
    index = sb.Index.build(rows, np.arange(30) * 2, metric="hamming", kind="flat", threads=2)
    assert (index.dim, len(index)) == (64, 30)
    other = sb.Index(64, metric="hamming", kind="flat")
    other.add(rows, np.arange(30) * 2)
    assert same_index(index, other, rows)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("codes", ["f32", "f16", "bf16", "i8", "i4"])
def test_zero_and_tiny_rows(metric: str, codes: str) -> None:
    """Codes with a scale of their own must not divide by it when it is zero."""
    rows = np.zeros((6, 8), np.float32)
    rows[1] = 1e-38
    rows[2] = 1e-42
    rows[3] = 1.0
    rows[4] = -1.0
    rows[5, 0] = 1e-30
    index = sb.Index(8, metric=metric, codes=codes, rerank=None)
    index.add(rows)
    hits = index.search(rows, k=6)
    assert (hits.ids >= 0).all()
    assert np.isfinite(hits.distances).all()
    np.testing.assert_allclose(index.get(np.arange(6)), rows, atol=1e-2)
    if metric == "l2":
        assert hits.ids[3, 0] == 3
        assert hits.ids[4, 0] == 4


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize(("codes", "rerank"), [("f16", None), ("i8", "f16"), ("f32", "f16")])
def test_values_beyond_float16(metric: str, codes: str, rerank: str | None) -> None:
    """float16 ends at 65,504: a row beyond it is refused, or found by a finite distance, but is never lost."""
    index = sb.Index(4, metric=metric, codes=codes, rerank=rerank)
    rows = np.array([[1e6, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    with contextlib.suppress(sb.ArgumentError):
        index.add(rows)
    if len(index) == 0:
        with pytest.raises(sb.ArgumentError, match=r"vectors\[0\]: expected .*, got "):
            index.add(rows)
        return
    hits = index.search(rows, k=2)
    assert sorted(hits.ids[0]) == [0, 1]
    assert np.isfinite(hits.distances).all()
