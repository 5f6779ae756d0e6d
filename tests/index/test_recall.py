"""Recall floors of the graph: every metric, code and rerank on small made data, then on real vectors."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import BIT_METRICS, FLOAT_METRICS, METRICS, nearest, recall, recall_with_ties, sample

import semblance as sb

N, D, Q, K = 1200, 48, 60, 10
COMBINATIONS = [
    (metric, codes, rerank)
    for metric in FLOAT_METRICS
    for codes in ("f32", "f16", "bf16", "i8", "i4", "b1")
    for rerank in (None, "f32", "f16", "bf16", "i8")
    if codes != rerank and (codes, rerank) != ("b1", None)
] + [(metric, "b1", None) for metric in BIT_METRICS]
# Without a finer copy the codes' own precision decides which of two near rows is first.
FLOORS = {"f32": 0.99, "f16": 0.98, "bf16": 0.93, "i8": 0.93, "i4": 0.7, "b1": 0.99}
FINENESS = {"f32": 0, "f16": 1, "bf16": 2, "i8": 2, "i4": 3, "b1": 0}
PRECISION = {"f32": 1e-5, "f16": 2e-3, "bf16": 2e-2, "i8": 4e-2, "i4": 1e-1, "b1": 1e-6}

# By inner product short rows are nobody's closest: on odd data a graph knows them less well (docs/performance.md).
FLOOR = dict.fromkeys(METRICS, 0.97) | {"ip": 0.95}


@pytest.mark.parametrize(("metric", "codes", "rerank"), COMBINATIONS)
def test_floor_of_every_combination(metric: str, codes: str, rerank: str | None) -> None:
    rows, queries = sample(metric, N, D), sample(metric, Q, D, seed=1)
    near = nearest(rows, queries, K, metric)[1]
    index = sb.Index.build(rows, metric=metric, codes=codes, rerank=rerank)
    ids, distances = index.search(queries, K, ef=200)
    finest = rerank or codes
    assert recall_with_ties(rows, queries, ids, metric) >= FLOORS[finest]
    np.testing.assert_allclose(distances, near, atol=PRECISION[finest] * max(1.0, np.abs(near).max()))
    assert index.check().ok


@pytest.mark.parametrize(("metric", "codes", "rerank"), COMBINATIONS)
def test_graph_finds_what_a_scan_of_the_same_codes_finds(metric: str, codes: str, rerank: str | None) -> None:
    rows, queries = sample(metric, N, D), sample(metric, Q, D, seed=1)
    index = sb.Index.build(rows, metric=metric, codes=codes, rerank=rerank)
    walked, scanned = index.search(queries, K, ef=400), index.search(queries, K, exact=True)
    assert recall(walked.ids, scanned.ids) >= (0.99 if FINENESS[rerank or codes] <= FINENESS[codes] else 0.97)


@pytest.mark.parametrize("metric", METRICS)
def test_flat_index_is_exact(metric: str) -> None:
    rows, queries = sample(metric, N, 64), sample(metric, Q, 64, seed=1)
    index = sb.Index.build(rows, metric=metric, kind="flat")
    truth = sb.exact(rows, queries, K, metric)
    for hits in (index.search(queries, K), index.search(queries, K, exact=True)):
        np.testing.assert_array_equal(hits.ids, truth.ids)
        np.testing.assert_allclose(hits.distances, truth.distances, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 7, 8, 25, 384, 784])
def test_dimensions(metric: str, d: int) -> None:
    if metric == "cosine" and d == 1:
        pytest.skip("one dimension has two directions: every row is a tie")
    if metric in BIT_METRICS:
        d *= 8
    rows, queries = sample(metric, 400, d), sample(metric, 20, d, seed=1)
    index = sb.Index.build(rows, metric=metric)
    assert recall_with_ties(rows, queries, index.search(queries, K, ef=200).ids, metric) >= FLOOR[metric]
    assert index.check().ok


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("max_degree", [8, 16, 64])
def test_degrees(metric: str, max_degree: int) -> None:
    rows, queries = sample(metric, 800, 64), sample(metric, 40, 64, seed=1)
    index = sb.Index.build(rows, metric=metric, max_degree=max_degree, ef_construction=max(max_degree, 100))
    assert recall_with_ties(rows, queries, index.search(queries, K, ef=300).ids, metric) >= 0.97
    assert index.check().ok
    assert index.stats()["largest_degree"] <= max_degree


@pytest.mark.parametrize("metric", METRICS)
def test_every_row_finds_itself(metric: str) -> None:
    """A graph with rows out of reach would lose some of them at any ef."""
    rows = sample(metric, 1500, 64)
    index = sb.Index.build(rows, metric=metric)
    assert index.check().reachable == len(rows)
    if metric == "ip":  # a row's largest inner product is not the one with itself
        assert recall_with_ties(rows, rows, index.search(rows, 1, ef=100).ids, metric) >= 0.99
    else:
        assert (index.search(rows, 1, ef=100).distances[:, 0] < 1e-2).mean() >= 0.995


@pytest.mark.parametrize("metric", METRICS)
def test_rows_in_clusters_far_apart_are_all_reached(metric: str) -> None:
    """One cluster after the other: a graph without long links would know only the first."""
    rng = np.random.default_rng(0)
    if metric in BIT_METRICS:
        centres = rng.integers(0, 256, size=(30, 16), dtype=np.uint8)
        rows = np.repeat(centres, 40, axis=0) ^ np.packbits(rng.random((1200, 128)) < 0.02, axis=1)
    else:
        rows = (np.repeat(rng.normal(size=(30, 16)) * 10, 40, axis=0) + rng.normal(size=(1200, 16)) / 10).astype("f4")
    # Rows of a cluster differ by less than 8 or 16 bits hold: only full precision tells them apart.
    codes = "b1" if metric in BIT_METRICS else "f32"
    index = sb.Index.build(rows, metric=metric, codes=codes)
    assert index.check().reachable == len(rows)
    assert recall_with_ties(rows, rows[::7], index.search(rows[::7], K, ef=200).ids, metric) >= FLOOR[metric]


@pytest.mark.parametrize("codes", ["b1", "f32", "i8"])
@pytest.mark.parametrize(("groups", "copies"), [(50, 80), (200, 40)])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_copies_of_a_row_do_not_fill_its_list(metric: str, groups: int, copies: int, codes: str) -> None:
    rng = np.random.default_rng(0)
    kinds = sample(metric, groups, 96)
    rows = np.repeat(kinds, copies, axis=0)[rng.permutation(groups * copies)]
    index = sb.Index.build(rows, metric=metric, codes=codes)
    queries = kinds[:40] * 1.001
    farthest = sb.exact(rows, queries, K, metric).distances[:, -1:]
    assert np.mean(index.search(queries, K, ef=64).distances <= farthest + PRECISION["i8"]) >= 0.95


@pytest.mark.once
@pytest.mark.data
@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_glosses(glosses: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    """The floors of the contract; glosses have unit length, so rows of other lengths are made of them for ip and l2."""
    rows, queries = glosses
    if metric != "cosine":
        rows = rows * np.random.default_rng(3).uniform(0.8, 1.2, size=(len(rows), 1)).astype(np.float32)
    index = sb.Index.build(rows, metric=metric)
    assert_floors(index, rows, queries)


@pytest.mark.data
@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_glove25(glove_index: dict[str, sb.Index], glove25: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    assert_floors(glove_index[metric], *glove25)


@pytest.mark.once
@pytest.mark.data
@pytest.mark.parametrize("metric", BIT_METRICS)
def test_signs_of_glosses(glosses: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    rows, queries = (np.packbits(v[:8000] > 0, axis=1) for v in glosses)
    index = sb.Index.build(rows, metric=metric)
    for ef, floor in ((100, 0.95), (300, 0.99)):
        assert recall_with_ties(rows, queries, index.search(queries, K, ef=ef).ids, metric) >= floor


def assert_floors(index: sb.Index, rows: np.ndarray, queries: np.ndarray) -> None:
    truth = sb.exact(rows, queries, K, index.metric).ids
    measured = {ef: recall(index.search(queries, K, ef=ef).ids, truth) for ef in (100, 300)}
    assert measured[100] >= 0.95, measured
    assert measured[300] >= 0.99, measured
    assert index.check().ok
