"""Items in several named spaces: sums of weighted distances, by brute force and by the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semblance as sb

SPACES = {"image": 12, "text": 7, "sound": 5}


def items(n: int, seed: int = 0, lacking: float = 0.2) -> dict[str, np.ndarray]:
    """Vectors around 20 centres; some items lack spaces, none lacks all."""
    rng = np.random.default_rng(seed)
    label = rng.integers(20, size=n)
    out = {}
    for at, (name, d) in enumerate(SPACES.items()):
        centres = np.random.default_rng(at).normal(size=(20, d))
        out[name] = (centres[label] + rng.normal(size=(n, d))).astype(np.float32)
        if at:
            out[name][rng.random(n) < lacking] = np.nan
    return out


def brute_force(rows: dict, queries: dict, weights: dict, metric: str) -> np.ndarray:
    """Sums of weighted distances, float64 (q, n), from the definition."""
    total = 0.0
    for name, asked in queries.items():
        a, b = asked.astype(np.float64), rows[name].astype(np.float64)
        if metric == "cosine":
            a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        distance = 1 - a @ b.T
        total = total + np.reshape(weights.get(name, 1.0), (-1, 1)) * np.where(np.isnan(distance), 1.0, distance)
    return total


def recall(hits: sb.Hits, every: np.ndarray) -> float:
    """Share of the found that are no farther than the true k-th, after the distances are compared."""
    np.testing.assert_allclose(hits.distances, np.take_along_axis(every, hits.ids, 1), rtol=1e-4, atol=2e-5)
    kth = np.sort(every, axis=1)[:, hits.ids.shape[1] - 1, None]
    return float((np.take_along_axis(every, hits.ids, 1) <= kth + 1e-5 * np.maximum(1, np.abs(kth))).mean())


def test_many_rows_come_back_as_they_do_one_by_one() -> None:
    rows = items(9000)  # more than are turned back at a time
    index = sb.SpacesIndex(SPACES, kind="flat")
    index.add(rows)
    got = index.get(np.arange(9000))
    for at in (0, 8191, 8192, 8999):
        for name, vectors in index.get([at]).items():
            np.testing.assert_array_equal(got[name][at], vectors[0])
            lacking = np.isnan(rows[name][at])
            np.testing.assert_array_equal(np.isnan(vectors[0]), lacking)


ASKED = [
    ({"image": 1.0, "text": 1.0, "sound": 1.0}, list(SPACES)),
    ({"image": 0.7, "text": 0.3, "sound": 0.0}, list(SPACES)),
    ({"text": 5.0, "image": 0.01}, ["image", "text"]),
    ({}, ["text"]),
    ({"sound": 2.0, "image": 9.0}, ["sound"]),
    ({"image": 1.0, "text": -0.5}, ["image", "text"]),
    ({"image": np.linspace(0, 1, 30), "text": np.linspace(1, 0.1, 30)}, ["text", "image"]),
]


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("codes", ["auto", "b1", "f32"])
def test_any_weights_over_one_graph(metric: str, codes: str) -> None:
    rows, queries = items(3000), items(30, seed=1, lacking=0.0)
    index = sb.SpacesIndex(SPACES, metric=metric, codes=codes)
    index.add(rows)
    assert index.check().ok
    for weights, names in ASKED:
        asked = {name: queries[name] for name in names}
        every = brute_force(rows, asked, weights, metric)
        assert recall(index.search(asked, 10, weights, exact=True), every) == 1.0
        assert recall(index.search(asked, 10, weights, ef=200, threads=2), every) >= 0.95, (weights, names)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), metric=st.sampled_from(["cosine", "ip"]), kind=st.sampled_from(["flat", "hnsw"]))
def test_changes_against_brute_force(data: st.DataObject, metric: str, kind: str) -> None:
    """Any sequence of add, upsert, remove and compact leaves what a dict of items would hold."""
    pool = items(60, seed=2)
    index, content = sb.SpacesIndex(SPACES, metric=metric, kind=kind), {}
    for _ in range(data.draw(st.integers(1, 8))):
        chosen = data.draw(st.lists(st.integers(0, 59), min_size=1, max_size=20, unique=True))
        ids = np.array([i % 30 for i in chosen])
        chosen, ids = np.array(chosen)[np.unique(ids, return_index=True)[1]], np.unique(ids)
        match data.draw(st.sampled_from(["add", "upsert", "upsert", "remove", "compact"])):
            case "add":
                fresh = ~np.isin(ids, list(content))
                index.add({name: v[chosen[fresh]] for name, v in pool.items()}, ids[fresh])
                content.update(zip(ids[fresh].tolist(), chosen[fresh].tolist(), strict=True))
            case "upsert":
                index.upsert({name: v[chosen] for name, v in pool.items()}, ids)
                content.update(zip(ids.tolist(), chosen.tolist(), strict=True))
            case "remove":
                assert index.remove(ids) == sum(content.pop(i, None) is not None for i in ids.tolist())
            case "compact":
                index.compact()
        assert len(index) == len(content)
        assert sorted(index.ids().tolist()) == sorted(content)
    weights = {name: data.draw(st.floats(-2, 2)) for name in SPACES} | {"text": 1.0}
    queries = items(3, seed=3, lacking=0.0)
    order = np.array(sorted(content), np.int64)
    hits = index.search(queries, 40, weights, exact=True)
    assert ((hits.ids >= 0).sum(axis=1) == len(order)).all()
    assert np.isinf(hits.distances[hits.ids < 0]).all()
    if len(order):
        rows = {name: v[[content[i] for i in order.tolist()]] for name, v in pool.items()}
        every = np.sort(brute_force(rows, queries, weights, metric), axis=1)
        np.testing.assert_allclose(hits.distances[:, : len(order)], every, rtol=1e-4, atol=5e-5)
        stored = index.get(order)
        for name, v in rows.items():
            wanted = v / np.linalg.norm(v, axis=1, keepdims=True) if metric == "cosine" else v
            np.testing.assert_allclose(stored[name], wanted, atol=1e-5)


def test_filters_threads_and_ids() -> None:
    rows, queries = items(500), items(20, seed=1, lacking=0.0)
    index = sb.SpacesIndex(SPACES)
    index.add(rows, np.arange(500) * 2)
    even = np.arange(0, 1000, 4)
    for allowed in (even, index.allow(even), np.isin(index.ids(), even), [even] * 20):
        hits = index.search(queries, 5, {"text": 0.5}, allowed=allowed)
        assert np.isin(hits.ids, even).all()
    one, two = (index.search(queries, 5, {"text": 0.5}, threads=t) for t in (1, 2))
    np.testing.assert_array_equal(one.ids, two.ids)
    assert 4 in index
    assert 5 not in index
    assert index.stats()["spaces"] == SPACES
    assert "image" in repr(index)
    report = index.tune(queries, k=5, recall=0.9, weights={"text": 0.5})
    assert report.reached
    assert index.ef == report.ef


def test_one_array_holds_all_spaces_in_order() -> None:
    rows = items(50, lacking=0.0)
    a, b = sb.SpacesIndex(SPACES), sb.SpacesIndex(SPACES)
    a.add(rows)
    side_by_side = np.hstack(list(rows.values()))
    b.add(side_by_side)
    np.testing.assert_array_equal(a.search(rows, 3).ids, b.search(side_by_side, 3).ids)


@pytest.mark.parametrize("mmap", [False, True])
def test_files(tmp_path: Path, mmap: bool) -> None:
    rows, queries = items(200), items(10, seed=1, lacking=0.0)
    index = sb.SpacesIndex(SPACES, metric="ip")
    index.add(rows)
    index.ef = 77
    path = tmp_path / "items.sb"
    index.save(path, {"made": "today"})
    loaded = sb.SpacesIndex.load(path, mmap=mmap)
    assert (loaded.spaces, loaded.metric, loaded.metadata, loaded.ef) == (SPACES, "ip", {"made": "today"}, 77)
    weights = {"image": 0.2}
    for a, b in zip(index.search(queries, 5, weights), loaded.search(queries, 5, weights), strict=True):
        np.testing.assert_array_equal(a, b)
    loaded.upsert({"text": [[1.0] * 7]}, [0])
    assert np.isnan(loaded.get([0])["image"]).all()
    loaded.save(path)
    assert sb.SpacesIndex.load(path).metadata == {"made": "today"}
    assert sb.Index.load(path).dim == sum(SPACES.values()) + len(SPACES)
    sb.Index(4).save(path)
    with pytest.raises(sb.FormatError, match="expected the names of spaces, got none"):
        sb.SpacesIndex.load(path)
    for text in ("[", "[]", '{"a": 0}', '{"a": 9}'):
        sb.Index(4).save(path, {"semblance.spaces": text})
        with pytest.raises(sb.FormatError, match=r"semblance\.spaces"):
            sb.SpacesIndex.load(path)


BAD = [
    (lambda i: i.add({"smell": [[1.0]]}), "vectors: expected spaces of .*, got 'smell'"),
    (lambda i: i.add({}), "vectors: expected at least one of the spaces"),
    (lambda i: i.add(np.zeros((2, 3))), r"vectors: expected a mapping, or float32 of shape \(n, 5\)"),
    (lambda i: i.add({"image": np.ones((2, 4))}), r"vectors\['image'\]: expected float32 of shape \(n, 3\)"),
    (lambda i: i.add({"image": np.ones((2, 3)), "text": np.ones((1, 2))}), r"vectors\['text'\]: expected 2 vectors"),
    (lambda i: i.add({"image": [[np.nan, 1, 1]]}), r"vectors\['image'\]\[0\]: expected finite numbers, or NaN"),
    (
        lambda i: i.add({"image": [[1, 1, 1], [0, 0, 0.0]]}),
        r"vectors\['image'\]\[1\]: expected a vector other than zero",
    ),
    (lambda i: i.add({"image": [[1, 1, 1], [np.nan] * 3]}), "at least one space, got none for item 1"),
    (lambda i: i.add({"image": [[1.0, 1, 1]]}, ids=[0]), "ids"),
    (lambda i: i.search({"image": [[np.nan] * 3]}), r"queries\['image'\]\[0\]: expected finite"),
    (lambda i: i.search({"image": [[0.0] * 3]}), r"queries\['image'\]\[0\]: expected a vector other than zero"),
    (lambda i: i.search({"image": [[1.0] * 3]}, weights={"smell": 1}), "weights: expected spaces"),
    (lambda i: i.search({"image": [[1.0] * 3]}, weights=[1]), "weights: expected a mapping"),
    (lambda i: i.search({"image": [[1.0] * 3]}, weights={"image": 0}), "weights: expected one of the spaces"),
    (lambda i: i.search({"image": [[1.0] * 3]}, weights={"image": np.nan}), r"weights\['image'\]: expected finite"),
    (lambda i: i.search({"image": [[1.0] * 3]}, weights={"image": [1, 2]}), r"weights\['image'\]: expected a number"),
    (lambda i: i.search({"image": [[1.0] * 3]}, weights={"image": "x"}), r"weights\['image'\]: expected a number"),
    (lambda i: i.search({"image": [[1.0] * 3]}, k=0), "k: expected"),
    (lambda _: sb.SpacesIndex({}), "spaces: expected a mapping"),
    (lambda _: sb.SpacesIndex({"a": 0}), r"spaces\['a'\]: expected a whole number"),
    (lambda _: sb.SpacesIndex({1: 3}), "spaces: expected names that are text"),
    (lambda _: sb.SpacesIndex({"a": 65_536}), "at most 65536 dimensions"),
    (lambda _: sb.SpacesIndex({"a": 3}, metric="l2"), "metric: expected one of"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_changes_nothing(call: object, message: str) -> None:
    index = sb.SpacesIndex({"image": 3, "text": 2})
    index.add({"image": [[1.0, 2, 3]]})
    with pytest.raises(sb.ArgumentError, match=message):
        call(index)  # type: ignore[operator]
    assert index.ids().tolist() == [0]
    with pytest.raises(sb.NotFoundError):
        index.get([1])


@pytest.mark.once
@pytest.mark.data
def test_recall_on_real_vectors(glosses: tuple[np.ndarray, np.ndarray]) -> None:
    """Two halves of sentence vectors as two spaces, and a third one of other items' vectors."""
    rows, queries = glosses
    rows, queries = rows[:8000], queries[:100]
    spaces = {"first": rows[:, :192], "second": rows[:, 192:], "other": np.roll(rows, 1000, axis=0)}
    asked = {"first": queries[:, :192], "second": queries[:, 192:], "other": np.roll(queries, 7, axis=0)}
    index = sb.SpacesIndex({name: v.shape[1] for name, v in spaces.items()})
    index.add(spaces)
    for weights, floor in (({}, 0.95), ({"other": 0.0}, 0.95), ({"first": 0.2, "second": 0.1}, 0.9)):
        truth = index.search(asked, 10, weights, exact=True).ids
        found = index.search(asked, 10, weights, ef=200).ids
        assert np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)]) >= floor
