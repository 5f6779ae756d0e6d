"""diverse (maximal marginal relevance, groups) and tune (the smallest ef for a recall)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from brute_force import METRICS, distances, nearest, recall, sample

import semblance as sb


def marginal_relevance(
    rows: np.ndarray, query: np.ndarray, k: int, pool: int, balance: float, metric: str
) -> list[int]:
    """Carbonell and Goldstein's greedy choice by its definition."""
    candidates = nearest(rows, query, pool, metric)[0][0].tolist()
    to_query, between = distances(rows, query, metric)[0], distances(rows, rows, metric)
    chosen = [candidates.pop(0)]
    while len(chosen) < k and candidates:
        gains = [(1 - balance) * between[c, chosen].min() - balance * to_query[c] for c in candidates]
        chosen.append(candidates.pop(int(np.argmax(gains))))
    return chosen


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("balance", [0.0, 0.3, 0.7, 1.0])
def test_equals_the_definition(metric: str, balance: float) -> None:
    rows, queries = sample(metric, 300, 16), sample(metric, 8, 16, seed=1)
    index = sb.Index.build(rows, metric=metric, codes="f32", rerank=None)
    for query in queries:
        hits = index.diverse(query, k=8, pool=40, balance=balance, ef=300)
        assert hits.ids.shape == hits.distances.shape == (1, 8)
        assert hits.ids[0].tolist() == marginal_relevance(rows, query[None], 8, 40, balance, metric)
        np.testing.assert_allclose(hits.distances[0], distances(rows[hits.ids[0]], query[None], metric)[0], atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_nearness_alone_is_search(metric: str) -> None:
    rows = sample(metric, 300, 32)
    index = sb.Index.build(rows, metric=metric)
    plain = index.search(rows[:1], 7, ef=100)
    np.testing.assert_array_equal(index.diverse(rows[:1], 7, balance=1.0, ef=100).distances, plain.distances)


def test_less_balance_gives_rows_that_differ_more() -> None:
    rows = sample("cosine", 600, 16)
    index = sb.Index.build(rows)
    spread = []
    for balance in (1.0, 0.5, 0.1):
        chosen = rows[index.diverse(rows[0], 10, balance=balance).ids[0]]
        spread.append(distances(chosen, chosen, "cosine")[np.triu_indices(10, 1)].mean())
    assert spread[0] < spread[1] < spread[2]


def test_groups_are_chosen_from_evenly() -> None:
    rows = sample("cosine", 600, 16)
    index = sb.Index.build(rows)
    groups = {i: ("a", "b", "c")[0 if i % 10 else 1 + i % 20 // 10] for i in range(600)}
    counts = Counter(groups[int(i)] for i in index.diverse(rows[0], 9, pool=300, groups=groups).ids[0])
    assert counts == {"a": 3, "b": 3, "c": 3}
    partly = {i: "a" for i in range(300)}  # the others form a group of their own
    ids = index.diverse(rows[0], 10, pool=300, groups=partly).ids[0]
    assert (ids < 300).sum() == 5
    lonely = index.diverse(rows[0], 6, pool=100, groups={})
    assert (lonely.ids >= 0).all()


def test_diverse_among_few() -> None:
    rows = sample("l2", 5, 16)
    index = sb.Index.build(rows, metric="l2")
    hits = index.diverse(rows[0], 8, pool=20)
    assert sorted(hits.ids[0]) == [-1, -1, -1, 0, 1, 2, 3, 4]
    assert np.isposinf(hits.distances[0, 5:]).all()
    allowed = index.diverse(rows[0], 3, pool=20, allowed=[2, 4])
    assert sorted(allowed.ids[0]) == [-1, 2, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k: expected a whole number from 1"),
        ({"k": 11, "pool": 10}, "pool: expected a whole number from 11"),
        ({"balance": 1.1}, "balance: expected a number from 0 to 1, got 1.1"),
        ({"balance": float("nan")}, "balance: expected a number from 0 to 1, got nan"),
        ({"balance": "x"}, "balance: expected a number from 0 to 1, got"),
        ({"groups": 5}, "groups: expected a mapping.*, got int"),
        ({"groups": {0: []}}, r"groups\[0\]: expected a hashable"),
    ],
)
def test_bad_options_of_diverse(options: dict, message: str) -> None:
    rows = sample("l2", 20, 16)
    index = sb.Index.build(rows, metric="l2")
    with pytest.raises(sb.ArgumentError, match=message):
        index.diverse(rows[0], **options)
    with pytest.raises(sb.ArgumentError, match="query: expected"):
        index.diverse(rows[:2])
    with pytest.raises(sb.ArgumentError, match="query: expected"):
        index.diverse(np.float32(1))
    with pytest.raises(sb.ArgumentError, match="exact: expected True or False"):
        index.search(rows, exact=np.zeros(2))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
def test_tune_reaches_its_target(metric: str, target: float) -> None:
    rows, queries = sample(metric, 1500, 64), sample(metric, 60, 64, seed=1)
    index = sb.Index.build(rows, metric=metric, max_degree=8, ef_construction=40)
    report = index.tune(queries, k=10, recall=target)
    assert report.reached
    assert report.recall >= target
    assert index.ef == report.ef >= 10
    assert report.milliseconds > 0
    truth, found = index.search(queries, 10, exact=True).ids, index.search(queries, 10).ids
    assert recall(found, truth) == pytest.approx(report.recall)
    tried = dict(report.tried)
    assert tried[report.ef] == report.recall
    assert all(got < target for ef, got in tried.items() if ef < report.ef)


def test_tune_reports_what_it_cannot_reach() -> None:
    """Rows that no walk distinguishes: coarse codes, no finer copy, exact answers from the finest there is."""
    rows = sample("l2", 400, 16)
    index = sb.Index.build(rows, metric="l2", codes="i8", rerank=None)
    report = index.tune(rows[:20], k=500, recall=1.0)
    assert report.reached == (report.recall >= 1.0)
    assert index.ef == report.ef
    assert index.search(rows[:5], 10).ids.min() >= 0


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.01, float("nan"), "x", None])
def test_bad_targets_change_nothing(bad: object) -> None:
    rows = sample("l2", 50, 16)
    index = sb.Index.build(rows, metric="l2")
    with pytest.raises(sb.ArgumentError, match="recall: expected a number from"):
        index.tune(rows, recall=bad)  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="queries: expected"):
        index.tune(rows[:0])
    with pytest.raises(sb.ArgumentError, match="k: expected"):
        index.tune(rows, k=0)
    with pytest.raises(sb.ArgumentError):
        sb.Index(16, metric="l2").tune(rows)
    assert index.ef == sb.Index(16).ef
