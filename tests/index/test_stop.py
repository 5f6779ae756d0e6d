"""Walks by neighbour codes end by themselves: what that may change, and what it may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brute_force import nearest, recall, sample

import semblance as sb
from semblance import storage

N, DIM = 3000, 64
PROFILE = "graph.profile"


def clusters(n: int, seed: int = 0) -> np.ndarray:
    """Rows of very different density: half in tight groups, half spread out."""
    rng = np.random.default_rng(seed)
    tight = rng.normal(size=(20, DIM))[rng.integers(20, size=n // 2)] + 0.05 * rng.normal(size=(n // 2, DIM))
    return np.concatenate([tight, rng.normal(size=(n - n // 2, DIM))]).astype(np.float32)


def saved(index: sb.Index, path: Path) -> dict[str, np.ndarray]:
    index.save(path)
    return storage.read(path)[0]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_bulk_builds_measure_a_profile(tmp_path: Path, metric: str) -> None:
    profile = saved(sb.Index.build(sample(metric, N, DIM), metric=metric, codes="b1"), tmp_path / "a.sb")[PROFILE]
    found, estimated = profile[1:11], profile[11:]
    assert profile[0] == N
    assert found[0] > 0
    assert (np.diff(found) >= 0).all()
    assert (np.diff(estimated) >= 0).all()
    np.testing.assert_allclose(estimated[3:], found[3:], rtol=0.4)  # the closest of many estimates are too low


@pytest.mark.parametrize(("n", "metric", "codes"), [(900, "l2", "b1"), (N, "l2", "i8"), (N, "ip", "b1")])
def test_others_have_none(tmp_path: Path, n: int, metric: str, codes: str) -> None:
    index = sb.Index.build(sample(metric, n, DIM), metric=metric, codes=codes)
    assert PROFILE not in saved(index, tmp_path / "a.sb")


def test_it_is_made_again_when_rows_double(tmp_path: Path) -> None:
    rows, index = sample("l2", 4200, DIM), sb.Index(DIM, metric="l2", codes="b1")
    made = []
    for start, stop in ((0, 1000), (1000, 1100), (1100, 2100), (2100, 2300), (2300, 4200)):
        index.add(rows[start:stop])
        made.append(saved(index, tmp_path / "a.sb").get(PROFILE, np.zeros(1))[0])
    assert made == [0, 1100, 1100, 2300, 2300]
    index.remove(np.arange(1000))
    index.compact()
    assert saved(index, tmp_path / "a.sb")[PROFILE][0] == 3200


def without_profile(index: sb.Index, folder: Path) -> sb.Index:
    tensors = saved(index, folder / "a.sb")
    storage.write(
        folder / "b.sb",
        {name: a for name, a in tensors.items() if name != PROFILE},
        storage.read(folder / "a.sb")[1],
    )
    return sb.Index.load(folder / "b.sb")


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("make", [clusters, lambda n: sample("l2", n, DIM)])
def test_recall(tmp_path: Path, metric: str, make: Callable[[int], np.ndarray]) -> None:
    rows = make(N)
    queries = (rows[::30] + 0.02 * np.random.default_rng(1).normal(size=(N // 30, DIM))).astype(np.float32)
    index = sb.Index.build(rows, metric=metric, codes="b1", rerank="f32")
    plain = without_profile(index, tmp_path)
    truth = nearest(rows, queries, 10, metric)[0]
    reached = [recall(index.search(queries, 10, ef=ef).ids, truth) for ef in (16, 64, 256)]
    assert reached == sorted(reached)
    assert reached[1] >= recall(plain.search(queries, 10, ef=64).ids, truth) - 0.15  # up to a third fewer visits
    assert reached[2] >= 0.97


def test_copies_of_rows_tell_nothing(tmp_path: Path) -> None:
    rows = np.repeat(sample("l2", 50, DIM), 60, axis=0)
    index = sb.Index.build(rows, metric="l2", codes="b1")
    plain = without_profile(index, tmp_path)
    np.testing.assert_array_equal(index.search(rows[::60], 20).ids, plain.search(rows[::60], 20).ids)


def test_removed_rows_do_not_end_a_walk_early() -> None:
    rows = clusters(N)
    queries = rows[: N // 2 : 50]
    index = sb.Index.build(rows, metric="l2", codes="b1")
    gone = np.unique(nearest(rows, queries, 30, "l2")[0])
    index.remove(gone)
    left = np.setdiff1d(np.arange(N), gone)
    truth = left[nearest(rows[left], queries, 10, "l2")[0]]
    assert recall(index.search(queries, 10, ef=128).ids, truth) >= 0.97


@pytest.mark.parametrize("mmap", [False, True])
def test_a_loaded_index_walks_the_same_way(tmp_path: Path, mmap: bool) -> None:
    rows, queries = sample("l2", N, DIM), sample("l2", 50, DIM, seed=3)
    index = sb.Index.build(rows, metric="l2", codes="b1")
    index.save(tmp_path / "a.sb")
    again = sb.Index.load(tmp_path / "a.sb", mmap=mmap)
    np.testing.assert_array_equal(again.search(queries, 10, ef=20).ids, index.search(queries, 10, ef=20).ids)


def test_files_from_before_load_without_one(tmp_path: Path) -> None:
    rows, queries = sample("l2", N, DIM), sample("l2", 50, DIM, seed=3)
    index = sb.Index.build(rows, metric="l2", codes="b1")
    old = without_profile(index, tmp_path)
    assert recall(old.search(queries, 10, ef=200).ids, nearest(rows, queries, 10, "l2")[0]) >= 0.95


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p[:-1],
        lambda p: p.astype(np.float32),
        lambda p: np.where(np.arange(p.size) == 0, -1.0, p),
        lambda p: np.where(np.arange(p.size) == 0, 1e30, p),
        lambda p: np.where(np.arange(p.size) == 4, np.nan, p),
        lambda p: np.where(np.arange(p.size) == 20, np.inf, p),
        lambda p: np.where(np.arange(p.size) == 14, 0.0, p),
    ],
)
def test_a_damaged_one_is_refused(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    sb.Index.build(sample("l2", N, DIM), metric="l2", codes="b1").save(tmp_path / "a.sb")
    tensors, meta = storage.read(tmp_path / "a.sb")
    storage.write(tmp_path / "b.sb", {**tensors, PROFILE: change(tensors[PROFILE])}, meta)
    with pytest.raises(sb.FormatError, match=r"graph\.profile"):
        sb.Index.load(tmp_path / "b.sb")
