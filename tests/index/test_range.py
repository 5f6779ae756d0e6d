"""within: every row inside the radius and none outside."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import METRICS, distances, sample

import semblance as sb

N, D, Q = 1500, 32, 20
SLACK = {"cosine": 2e-4, "ip": 1e-3, "l2": 1e-3, "hamming": 0.0, "jaccard": 1e-6}


def check_ranges(ranges: sb.Ranges, every: np.ndarray, radius: float, slack: float, floor: float) -> None:
    offsets, ids, found = ranges
    assert offsets.dtype == ids.dtype == np.int64
    assert found.dtype == np.float32
    assert offsets[0] == 0
    assert offsets[-1] == len(ids) == len(found)
    assert (np.diff(offsets) >= 0).all()
    hit, due = 0, 0
    for q, row in enumerate(every):
        own, near = ids[offsets[q] : offsets[q + 1]], found[offsets[q] : offsets[q + 1]]
        assert len(set(own.tolist())) == len(own)
        assert (np.diff(near) >= 0).all()
        assert (near <= np.float32(radius)).all()
        np.testing.assert_allclose(near, row[own], atol=slack)
        inside = np.flatnonzero(row <= radius - slack)
        assert len(own) <= (row <= radius + slack).sum()
        hit, due = hit + len(np.intersect1d(own, inside)), due + len(inside)
    assert hit >= floor * due, (hit, due)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.002, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_against_all_distances(metric: str, share: float, kind: str) -> None:
    rows, queries = sample(metric, N, D), sample(metric, Q, D, seed=1)
    every = distances(rows, queries, metric)
    radius = float(np.quantile(every, share)) + 1e-3
    codes = "b1" if metric in ("hamming", "jaccard") else "f32"
    index = sb.Index.build(rows, metric=metric, kind=kind, codes=codes)
    scale = max(1.0, float(np.abs(every).max())) * 1e-6
    check_ranges(index.within(queries, radius, exact=True), every, radius, SLACK[metric] * 0.1 + scale, 1.0)
    floor = 1.0 if kind == "flat" else 0.95
    check_ranges(index.within(queries, radius, ef=300), every, radius, SLACK[metric] * 0.1 + scale, floor)


def test_copies_added_a_few_at_a_time_are_within_reach() -> None:
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, size=(64, 8), dtype=np.uint8)
    for _ in range(300):
        index = sb.Index(64, metric="jaccard", max_degree=8, ef_construction=20)
        for count in rng.integers(1, 9, size=8):
            index.add(pool[rng.integers(0, len(pool), size=count)])
        assert index.check().reachable == len(index)
        for query in pool[:3]:
            assert len(index.within(query[None], 1.0, ef=300).ids) == len(index)


@pytest.mark.parametrize("metric", METRICS)
def test_with_the_default_codes(metric: str) -> None:
    rows, queries = sample(metric, N, D), sample(metric, Q, D, seed=1)
    every = distances(rows, queries, metric)
    radius = float(np.quantile(every, 0.02)) + 1e-3
    index = sb.Index.build(rows, metric=metric)
    for options in ({}, {"exact": True}, {"threads": 1}):
        check_ranges(index.within(queries, radius, **options), every, radius, SLACK[metric], 0.95)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_allowed_and_removed(metric: str, exact: bool) -> None:
    rows, queries = sample(metric, N, D), sample(metric, Q, D, seed=1)
    every = distances(rows, queries, metric)
    radius = float(np.quantile(every, 0.1)) + 1e-3
    index = sb.Index.build(rows, metric=metric)
    index.remove(np.arange(0, N, 3))
    allowed = np.arange(0, N, 2)
    out = np.setdiff1d(np.arange(N), allowed[allowed % 3 > 0])
    every[:, out] = np.inf
    ranges = index.within(queries, radius, allowed=allowed, exact=exact, ef=300)
    assert not np.isin(ranges.ids, out).any()
    check_ranges(ranges, every, radius, SLACK[metric], 0.95)
    assert len(index.within(queries, radius, allowed=[]).ids) == 0


def test_edges() -> None:
    index = sb.Index(1, metric="l2", kind="flat")
    index.add([[0.0], [1.0], [2.0]])
    assert index.within([[1.0]], 0.0).ids.tolist() == [1]
    assert index.within([[1.0]], 1.0).ids.tolist() == [1, 0, 2]
    assert index.within([[1.0]], 0.999).ids.tolist() == [1]
    assert index.within([[1.0]], -1.0).ids.tolist() == []
    assert index.within(np.empty((0, 1), np.float32), 1.0).offsets.tolist() == [0]
    graph = sb.Index(1, metric="ip")
    graph.add([[0.0], [1.0], [2.0]])
    assert graph.within([[1.0]], -0.5).ids.tolist() == [2]
    assert graph.within([[1.0]], 1e30).ids.tolist() == [2, 1, 0]


def test_a_thousand_equal_rows_are_all_within() -> None:
    row = sample("l2", 1, 8)
    index = sb.Index.build(np.repeat(row, 1000, axis=0), metric="l2")
    assert sorted(index.within(row, 0.1).ids) == list(range(1000))
