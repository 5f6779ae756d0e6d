"""One ranking out of several, against sums in a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import semblance as sb


def random_hits(rng: np.random.Generator, q: int, k: int) -> sb.Hits:
    """Distinct ids a query out of few, some rows padded."""
    ids = np.array([rng.permutation(12)[:k] for _ in range(q)], np.int64).reshape(q, k)
    distances = np.sort(rng.random((q, k)), axis=1).astype(np.float32)
    absent = np.arange(k) >= rng.integers(0, k + 1, size=(q, 1))
    return sb.Hits(np.where(absent, -1, ids), np.where(absent, np.inf, distances).astype(np.float32))


def by_dict(rankings: list, method: str, weights: list, query: int) -> dict[int, float]:
    sums: dict[int, float] = {}
    for weight, hits in zip(weights, rankings, strict=True):
        found = [(int(i), float(d)) for i, d in zip(hits.ids[query], hits.distances[query], strict=True) if i >= 0]
        span = (found[-1][1] - found[0][1] or 1.0) if found else 1.0
        for rank, (i, d) in enumerate(found, 1):
            gain = 1 / (60 + rank) if method == "rrf" else 1 - (d - found[0][1]) / span
            sums[i] = sums.get(i, 0.0) + weight * gain
    return sums


@given(st.integers(0, 2**32 - 1), st.sampled_from(["rrf", "weighted"]), st.integers(1, 4), st.integers(1, 15))
def test_sums_as_in_a_dict(seed: int, method: str, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    rankings = [random_hits(rng, 5, int(rng.integers(1, 9))) for _ in range(count)]
    weights = rng.random(count).tolist()
    fused = sb.fuse(rankings, method, k, weights)
    assert fused.ids.dtype == np.int64
    assert fused.distances.dtype == np.float32
    for query in range(5):
        sums = by_dict(rankings, method, weights, query)
        enough = min(k, len(sums))
        ids = fused.ids[query, :enough].tolist()
        assert len(set(ids)) == enough
        best = sorted(sums.values(), reverse=True)[:enough]
        np.testing.assert_allclose([sums[i] for i in ids], best, rtol=1e-6)
        np.testing.assert_allclose(-fused.distances[query, :enough], best, rtol=1e-5, atol=1e-7)
        assert (fused.ids[query, enough:] == -1).all()
        assert np.isposinf(fused.distances[query, enough:]).all()


def test_ties_go_to_the_smaller_id() -> None:
    one = sb.Hits(np.array([[5]]), np.array([[0.1]], np.float32))
    two = sb.Hits(np.array([[3]]), np.array([[0.1]], np.float32))
    assert sb.fuse([one, two], k=3).ids.tolist() == [[3, 5, -1]]
    assert sb.fuse([one, two], k=1, weights=[2, 1]).ids.tolist() == [[5]]


HITS = sb.Hits(np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sb.fuse([]), "rankings: expected a list of Hits"),
        (lambda: sb.fuse(HITS), "rankings: expected a list of Hits"),
        (lambda: sb.fuse([1]), r"rankings\[0\]: expected Hits, got int"),
        (lambda: sb.fuse([HITS, sb.Hits(HITS.ids[:0], HITS.distances[:0])]), r"rankings\[1\]: expected ids and dist"),
        (lambda: sb.fuse([HITS], method="sum"), "method: expected one of rrf, weighted, got 'sum'"),
        (lambda: sb.fuse([HITS], k=0), "k: expected a whole number from 1"),
        (lambda: sb.fuse([HITS], weights=[1, 2]), "weights: expected 1 numbers"),
        (lambda: sb.fuse([HITS], weights=[-1]), r"weights\[0\]: expected a number from 0"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(sb.ArgumentError, match=message):
        call()  # type: ignore[operator]
