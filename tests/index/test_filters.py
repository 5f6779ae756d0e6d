"""Searches among allowed ids: never a row that is not allowed, never fewer than there are, near-exact recall."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import FLOAT_METRICS, METRICS, distances, nearest, sample

import semblance as sb

N, D, Q, K = 3000, 32, 30, 10
SHARES = [0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0]


LAYOUTS = [(metric, "auto") for metric in METRICS] + [
    (metric, codes) for metric in FLOAT_METRICS for codes in ("b1", "i4")
]


@pytest.fixture(scope="module", params=LAYOUTS, ids="-".join)
def filled(request: pytest.FixtureRequest) -> tuple[sb.Index, np.ndarray, np.ndarray]:
    metric, codes = request.param
    rows = sample(metric, N, D)
    # The allowed rows nearest to a query may be far from it, where many are as near as eight bits tell.
    rerank = "f32" if codes == "i4" else "auto"
    index = sb.Index.build(rows, np.arange(N) * 3 + 1, metric=metric, codes=codes, rerank=rerank)
    return index, rows, sample(metric, Q, D, seed=1)


def share_found(hits: sb.Hits, wanted: np.ndarray, rows: np.ndarray, queries: np.ndarray, metric: str) -> float:
    """Recall, after what holds for every result; `wanted` are the allowed ids that exist, `rows` their vectors."""
    k = hits.ids.shape[1]
    enough = min(k, len(wanted))
    assert ((hits.ids >= 0).sum(axis=1) == enough).all()
    assert (hits.ids[:, enough:] == -1).all()
    found = hits.ids[:, :enough]
    assert np.isin(found, wanted).all()
    assert all(len(set(row)) == enough for row in found.tolist())
    if enough == 0:
        return 1.0
    every = distances(rows, queries, metric)
    kth = np.sort(every, axis=1)[:, enough - 1 : enough]
    order = np.argsort(wanted)
    positions = order[np.searchsorted(wanted, found, sorter=order)]
    return float((np.take_along_axis(every, positions, axis=1) <= kth + 1e-3 * np.maximum(1, np.abs(kth))).mean())


def assert_filtered(hits: sb.Hits, wanted: np.ndarray, rows: np.ndarray, queries: np.ndarray, metric: str) -> None:
    assert share_found(hits, wanted, rows, queries, metric) >= 0.95


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("form", ["ids", "mask", "allowed"])
def test_random_filters(filled: tuple[sb.Index, np.ndarray, np.ndarray], share: float, form: str) -> None:
    index, rows, queries = filled
    chosen = np.sort(np.random.default_rng(7).permutation(N)[: int(N * share)])
    ids = chosen * 3 + 1
    mask = np.isin(index.ids(), ids)
    allowed = {"ids": ids, "mask": mask, "allowed": index.allow(ids)}[form]
    for options in ({}, {"ef": 100}, {"exact": True}, {"threads": 1}):
        hits = index.search(queries, K, allowed=allowed, **options)
        assert_filtered(hits, ids, rows[chosen], queries, index.metric)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("side", ["near", "far"])
def test_correlated_filters(filled: tuple[sb.Index, np.ndarray, np.ndarray], share: float, side: str) -> None:
    """Only the rows nearest to a query, or only those farthest from it, are allowed: recall as without a filter."""
    index, rows, queries = filled
    queries = queries[:20]
    plain = share_found(index.search(queries, K), index.ids(), rows, queries, index.metric)
    recalls = []
    for query in queries:
        order = nearest(rows, query[None], N, index.metric)[0][0]
        chosen = (order if side == "near" else order[::-1])[: int(N * share)]
        hits = index.search(query[None], K, allowed=chosen * 3 + 1)
        recalls.append(share_found(hits, chosen * 3 + 1, rows[chosen], query[None], index.metric))
    assert np.mean(recalls) >= min(0.95, plain)


@pytest.mark.parametrize("count", [0, 1, 5, 9, 10, 11])
def test_few_allowed(filled: tuple[sb.Index, np.ndarray, np.ndarray], count: int) -> None:
    index, rows, queries = filled
    chosen = np.random.default_rng(count).permutation(N)[:count]
    hits = index.search(queries, K, allowed=chosen * 3 + 1)
    assert_filtered(hits, chosen * 3 + 1, rows[chosen], queries, index.metric)
    exact = index.search(queries, K, allowed=chosen * 3 + 1, exact=True)
    np.testing.assert_allclose(hits.distances, exact.distances, atol=1e-5)


def test_k_beyond_the_allowed(filled: tuple[sb.Index, np.ndarray, np.ndarray]) -> None:
    index, rows, queries = filled
    for count, k in ((200, 500), (2000, 2500), (3000, 3001)):
        chosen = np.arange(count)
        hits = index.search(queries[:5], k, allowed=chosen * 3 + 1)
        assert_filtered(hits, chosen * 3 + 1, rows[:count], queries[:5], index.metric)


def test_odd_lists_of_ids(filled: tuple[sb.Index, np.ndarray, np.ndarray]) -> None:
    index, rows, queries = filled
    plain = index.search(queries, K, allowed=[1, 4, 7])
    for odd in ([1, 4, 7, 7, 1], [7, 4, 1, 999_999], (1, 4, 7, 2, -5), np.array([7, 1, 4], np.uint8)):
        np.testing.assert_array_equal(index.search(queries, K, allowed=odd).ids, plain.ids)
    assert (index.search(queries, K, allowed=[]).ids == -1).all()
    assert (index.search(queries, K, allowed=np.zeros(N, bool)).ids == -1).all()
    assert_filtered(index.search(queries, K, allowed=np.ones(N, bool)), index.ids(), rows, queries, index.metric)


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_filter_follows_changes(metric: str, kind: str) -> None:
    """A filter is about ids: whatever rows they have now, and those that come later."""
    rows, queries = sample(metric, 900, D), sample(metric, Q, D, seed=1)
    index = sb.Index(D, metric=metric, kind=kind)
    index.add(rows[:600])
    wanted = np.arange(0, 700, 5)
    filter_ = index.allow(wanted)
    content = {i: rows[i] for i in range(600)}

    def compare() -> None:
        present = np.array([i for i in wanted if i in content])
        vectors = np.array([content[i] for i in present])
        for threads in (1, 2):
            hits = index.search(queries, K, allowed=filter_, threads=threads)
            assert_filtered(hits, present, vectors, queries, metric)

    compare()
    index.upsert(rows[600:700], np.arange(0, 100))
    content.update(zip(range(100), rows[600:700], strict=True))
    compare()
    index.remove(np.arange(0, 600, 10))
    content = {i: row for i, row in content.items() if i % 10}
    compare()
    index.compact()
    compare()
    index.add(rows[700:900], np.arange(600, 800))
    content.update(zip(range(600, 800), rows[700:900], strict=True))
    compare()
    index.remove(np.arange(0, 800, 5))
    assert (index.search(queries, K, allowed=filter_).ids == -1).all()


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_a_filter_made_by_one_index_serves_another(kind: str) -> None:
    """Ids that exist in the other index mean the same there, whatever rows they have, however large it is."""
    rows = sample("l2", 3000, 8)
    one, two = sb.Index(8, metric="l2", kind=kind), sb.Index(8, metric="l2", kind=kind)
    one.add(rows[:100])
    two.add(rows, np.arange(3000)[::-1])
    shared = one.allow([3, 7, 70])
    for _ in range(3):
        for index in (one, two):
            hits, fresh = (index.search(rows[:5], 4, allowed=a) for a in (shared, [3, 7, 70]))
            assert set(hits.ids.ravel().tolist()) == {3, 7, 70, -1}
            np.testing.assert_array_equal(hits.distances, fresh.distances)


def test_a_filter_outlives_its_index() -> None:
    """The next index may lie where the last one lay: its rows are its own all the same."""
    rows = sample("l2", 3000, 8)
    first = sb.Index(8, metric="l2")
    shared = first.allow([3, 7, 70])
    del first
    for turn in range(20):
        index = sb.Index(8, metric="l2", kind="flat" if turn % 3 else "hnsw")
        n = 100 if turn % 2 else 1000
        index.add(rows[:n], np.arange(n)[::-1] if turn % 4 < 2 else np.arange(n))
        assert set(index.search(rows[:5], 4, allowed=shared).ids.ravel().tolist()) == {3, 7, 70, -1}


@pytest.mark.parametrize("form", ["ids", "mask", "allowed", "mixed"])
@pytest.mark.parametrize("side", ["near", "far"])
def test_a_filter_a_query(filled: tuple[sb.Index, np.ndarray, np.ndarray], form: str, side: str) -> None:
    """Each query among its own nearest or farthest rows, every share of them, in one call."""
    index, rows, queries = filled
    shares = np.resize(SHARES, Q)
    order = nearest(rows, queries, N, index.metric)[0]
    chosen = [(o if side == "near" else o[::-1])[: int(N * share)] for o, share in zip(order, shares, strict=True)]
    make = [lambda i: i, lambda i: np.isin(index.ids(), i), index.allow, lambda i: i.tolist()]
    forms = {"ids": [0], "mask": [1], "allowed": [2], "mixed": [0, 1, 2, 3]}[form]
    allowed = [make[forms[q % len(forms)]](ids * 3 + 1) for q, ids in enumerate(chosen)]
    if form == "mixed":
        allowed[-1], chosen[-1] = None, np.arange(N)
    for options in ({"threads": 1}, {"threads": 2, "ef": 100}, {"exact": True}):
        hits = index.search(queries, K, allowed=allowed, **options)
        shares_found = [
            share_found(sb.Hits(*(part[q : q + 1] for part in hits)), ids * 3 + 1, rows[ids], queries[q : q + 1],
                        index.metric)
            for q, ids in enumerate(chosen)
        ]  # fmt: skip
        assert np.mean(shares_found) >= (1.0 if "exact" in options else 0.95)
        for q in (0, 3, Q - 1):
            alone = index.search(queries[q : q + 1], K, allowed=allowed[q], **options)
            np.testing.assert_array_equal(alone.ids[0], hits.ids[q])


def test_filters_of_every_query_in_one_array(filled: tuple[sb.Index, np.ndarray, np.ndarray]) -> None:
    index, _, queries = filled
    ids = np.random.default_rng(0).permutation(N)[: Q * 20].reshape(Q, 20) * 3 + 1
    by_list = index.search(queries, K, allowed=list(ids))
    masks = np.array([np.isin(index.ids(), row) for row in ids])
    for allowed in (ids, masks, tuple(ids)):
        np.testing.assert_array_equal(index.search(queries, K, allowed=allowed).ids, by_list.ids)
    ranges = index.within(queries, float(by_list.distances.max()) + 1e-3, allowed=ids, exact=True)
    for q in range(Q):
        found = ranges.ids[ranges.offsets[q] : ranges.offsets[q + 1]]
        assert np.isin(found, ids[q]).all()
        assert set(by_list.ids[q].tolist()) <= set(found.tolist())


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_filters_of_queries_follow_changes(kind: str) -> None:
    rows, queries = sample("l2", 600, D), sample("l2", 4, D, seed=1)
    index = sb.Index(D, metric="l2", kind=kind)
    index.add(rows)
    kept = index.allow(np.arange(100))
    allowed = [kept, kept, np.arange(50, 150), None]
    for _ in range(2):
        index.remove(np.arange(0, 600, 2))
        hits = index.search(queries, 60, allowed=allowed)
        assert ((hits.ids >= 0).sum(axis=1) == [50, 50, 50, 60]).all()
        assert (hits.ids[hits.ids >= 0] % 2 == 1).all()
        ranges = index.within(queries, 1e6, allowed=allowed, exact=True)
        assert np.diff(ranges.offsets).tolist() == [50, 50, 50, 300]
        index.compact()


def test_wrong_filters_of_queries_are_named() -> None:
    index = sb.Index.build(sample("l2", 20, 4), metric="l2")
    queries = sample("l2", 2, 4)
    bad = [
        ([[1]], "allowed: expected one filter for all queries or 2, one each, got 1"),
        (np.zeros((3, 4), np.int64), "allowed: expected one filter for all queries or 2, one each, got 3"),
        ([[1], [0.5]], r"allowed\[1\]: expected int64"),
        ([None, np.zeros(19, bool)], r"allowed\[1\]: expected a bool mask of shape \(20,\)"),
        ([None, np.zeros((1, 2), np.int64)], r"allowed\[1\]: expected int64"),
        (["a", "b"], r"allowed\[0\]: expected int64"),
        ([1, None], r"allowed\[0\]: expected int64"),
        ({1: 2}, "allowed: expected"),
    ]
    for allowed, message in bad:
        for call in (index.search, lambda q, **options: index.within(q, 1.0, **options)):
            with pytest.raises(sb.ArgumentError, match=message):
                call(queries, allowed=allowed)
    assert index.search(queries[:0], allowed=[]).ids.shape == (0, 10)


@pytest.mark.parametrize("metric", METRICS)
def test_filtered_flat_index_is_exact(metric: str) -> None:
    rows, queries = sample(metric, 500, D), sample(metric, Q, D, seed=1)
    index = sb.Index.build(rows, metric=metric, kind="flat")
    chosen = np.random.default_rng(0).permutation(500)[:77]
    hits = index.search(queries, K, allowed=chosen)
    truth = nearest(rows[np.sort(chosen)], queries, K, metric)[1]
    np.testing.assert_allclose(hits.distances, truth, rtol=1e-5, atol=1e-4)


@pytest.mark.once
@pytest.mark.data
@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5, 1.0])
def test_real_vectors(
    glove_index: dict[str, sb.Index], glove25: tuple[np.ndarray, ...], metric: str, share: float
) -> None:
    rows, queries = glove25
    index, queries = glove_index[metric], queries[:50]
    chosen = np.random.default_rng(1).permutation(len(rows))[: int(len(rows) * share)]
    assert_filtered(index.search(queries, K, ef=100, allowed=chosen), chosen, rows[chosen], queries, metric)
    recalls = []
    for query in queries[:20]:
        order = nearest(rows, query[None], len(rows), metric)[0][0]
        chosen = order[::-1][: int(len(rows) * share)]
        hits = index.search(query[None], K, ef=100, allowed=chosen)
        recalls.append(share_found(hits, chosen, rows[chosen], query[None], metric))
    assert np.mean(recalls) >= 0.95


@pytest.mark.parametrize("codes", ["f32", "f16", "bf16", "i8"])
@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("d", [3, 64, 100])
def test_scans_give_a_query_the_same_bits_alone_and_among_others(metric: str, codes: str, d: int) -> None:
    rows, queries = sample(metric, 700, d), sample(metric, 9, d, seed=1)
    index = sb.Index.build(rows, metric=metric, codes=codes, rerank=None)
    for options in ({"exact": True}, {"allowed": np.arange(5, 405, 2)}):
        together = index.search(queries, K, **options)
        for q in range(len(queries)):
            alone = index.search(queries[q : q + 1], K, **options)
            np.testing.assert_array_equal(together.ids[q : q + 1], alone.ids)
            np.testing.assert_array_equal(together.distances[q : q + 1], alone.distances)
