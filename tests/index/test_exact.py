"""`exact` is ground truth: equal to the definitions of the metrics, at every size and with ties."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import BIT_METRICS, FLOAT_METRICS, METRICS, distances, nearest, sample

import semblance as sb

TOLERANCE = {"cosine": 3e-6, "ip": 3e-5, "l2": 3e-5, "hamming": 0.0, "jaccard": 1e-6}


def dims_of(metric: str) -> list[int]:
    return [8, 64, 200, 384, 784] if metric in BIT_METRICS else [1, 7, 8, 25, 384, 784]


def assert_nearest(hits: sb.Hits, rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> None:
    """Each distance is that of its id, and no row left out is closer than the last one by more than rounding."""
    every = distances(rows, queries, metric)
    scale = TOLERANCE[metric] * np.maximum(1.0, np.abs(every).max())
    kept = min(k, len(rows))
    assert hits.ids.shape == hits.distances.shape == (len(queries), k)
    assert hits.ids.dtype == np.int64
    assert hits.distances.dtype == np.float32
    assert (hits.ids[:, kept:] == -1).all()
    assert np.isinf(hits.distances[:, kept:]).all()
    ids, got = hits.ids[:, :kept], hits.distances[:, :kept]
    assert all(len(set(row)) == kept for row in ids.tolist())
    np.testing.assert_allclose(got, np.take_along_axis(every, ids, axis=1), rtol=0, atol=scale)
    np.testing.assert_allclose(got, np.sort(every, axis=1)[:, :kept], rtol=0, atol=scale)
    assert (np.diff(got, axis=1) >= 0).all()


@pytest.mark.parametrize(("metric", "d"), [(m, d) for m in METRICS for d in dims_of(m)])
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_definition(metric: str, d: int, threads: int) -> None:
    rows, queries = sample(metric, 700, d), sample(metric, 9, d, seed=1)
    for k in (1, 10, 700, 703):
        assert_nearest(sb.exact(rows, queries, k, metric, threads=threads), rows, queries, k, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_smaller_id(metric: str) -> None:
    distinct = sample(metric, 12, 64)
    rows = np.concatenate([distinct, distinct, distinct])
    hits = sb.exact(rows, distinct, 36, metric)
    for ids, found in zip(hits.ids, hits.distances, strict=True):
        for distance in np.unique(found):
            tied = ids[found == distance]
            assert (np.diff(tied) > 0).all()
    best = hits.ids[:, :3]
    np.testing.assert_array_equal(best, np.arange(12)[:, None] + np.array([0, 12, 24]))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows(metric: str) -> None:
    rows = np.repeat(sample(metric, 1, 64), 300, axis=0)
    hits = sb.exact(rows, rows[:2], 20, metric)
    np.testing.assert_array_equal(hits.ids, np.tile(np.arange(20), (2, 1)))


def test_small_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(4)
    rows, queries = (rng.integers(-3, 4, size=(n, 25)).astype(np.float32) for n in (500, 20))
    for metric in ("ip", "l2"):
        ids, found = sb.exact(rows, queries, 40, metric)
        truth = nearest(rows, queries, 40, metric)
        np.testing.assert_array_equal(ids, truth[0])
        np.testing.assert_array_equal(found, truth[1])


@pytest.mark.parametrize("metric", METRICS)
def test_no_rows_and_no_queries(metric: str) -> None:
    rows = sample(metric, 5, 16)
    hits = sb.exact(rows[:0], rows, 3, metric)
    assert (hits.ids == -1).all()
    assert np.isinf(hits.distances).all()
    assert sb.exact(rows, rows[:0], 3, metric).ids.shape == (0, 3)


def test_cosine_ignores_length_and_never_leaves_its_range() -> None:
    rows = sample("cosine", 200, 25)
    scales = np.logspace(-15, 15, 200, dtype=np.float32)[:, None]
    plain, scaled = (sb.exact(r, rows[:20], 10, "cosine") for r in (rows, rows * scales))
    np.testing.assert_array_equal(plain.ids, scaled.ids)
    np.testing.assert_allclose(plain.distances, scaled.distances, atol=1e-6)
    opposite = sb.exact(np.concatenate([rows, -rows]), rows[:20], 400, "cosine").distances
    assert opposite.min() >= 0
    assert opposite.max() <= 2 + 1e-6


def test_l2_of_a_row_to_itself_is_zero() -> None:
    rows = sample("l2", 100, 384) * 1000
    assert (sb.exact(rows, rows, 1, "l2").distances == 0).all()


def test_empty_sets_of_bits_are_equal_under_jaccard() -> None:
    rows = np.array([[0, 0], [255, 0]], np.uint8)
    hits = sb.exact(rows, rows[:1], 2, "jaccard")
    assert hits.ids.tolist() == [[0, 1]]
    assert hits.distances.tolist() == [[0.0, 1.0]]


def test_a_near_tie_far_from_the_origin_is_told_apart_under_l2() -> None:
    """|a - b|^2 is not computed as |a|^2 - 2ab + |b|^2 in float32, which cancels."""
    rows = np.full((50, 16), 1000, np.float32)
    rows[:, 0] += np.arange(50, dtype=np.float32) / 16
    ids, found = sb.exact(rows, rows[:1], 50, "l2")
    np.testing.assert_array_equal(ids[0], np.arange(50))
    np.testing.assert_allclose(found[0], (np.arange(50) / 16) ** 2, rtol=1e-5)


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_large_and_small_magnitudes(metric: str) -> None:
    """Squares of these leave float32's range if they are summed carelessly."""
    for scale in (1e-18, 1e17):
        rows, queries = sample(metric, 100, 8) * np.float32(scale), sample(metric, 5, 8, seed=1) * np.float32(scale)
        hits = sb.exact(rows, queries, 10, metric)
        assert np.isfinite(hits.distances).all()
        if metric == "cosine" or scale > 1:
            truth, _ = nearest(rows, queries, 10, metric)
            np.testing.assert_array_equal(hits.ids, truth)


def test_tiny_rows_have_a_direction_too() -> None:
    """Their inverse lengths are beyond float32: such rows were left out."""
    rows = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    tiny = rows.copy()
    tiny[100:200] *= np.float32(1e-30)
    tiny[300] = [1e-45, 0, 0, 0, 0]
    rows[300] = [1, 0, 0, 0, 0]
    found, wanted = (sb.exact(some, some[::50], 700, "cosine") for some in (tiny, rows))
    assert (found.ids >= 0).all()
    np.testing.assert_allclose(found.distances, wanted.distances, atol=1e-5)
