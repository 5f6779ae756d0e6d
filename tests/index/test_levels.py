"""Neighbour codes by levels along learned axes: when they are taken, what they find, what a file of them may hold."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import recall

import semblance as sb
from semblance import storage

N, DIM, K = 5000, 128, 10
AXES = ("axes.words", "axes.basis", "axes.offset", "axes.spread")


def factors(n: int, seed: int = 0) -> np.ndarray:
    """Sums of a few directions of falling weight, so that most of what differs between two rows lies along few axes."""
    directions = np.random.default_rng(99).normal(size=(24, DIM)) * 0.9 ** np.arange(24)[:, None]
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 24)) @ directions + 0.1 * rng.normal(size=(n, DIM))).astype(np.float32)


def noise(n: int, seed: int = 0) -> np.ndarray:
    """Rows that differ in all directions alike."""
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def build(rows: np.ndarray, metric: str = "l2", **params: Any) -> sb.Index:
    """An index by neighbour codes."""
    return sb.Index.build(rows, metric=metric, codes="b1", rerank="f32", **params)


def recall_at(ef: int, index: sb.Index, rows: np.ndarray, queries: np.ndarray) -> float:
    """Recall@10 against exact search over the same rows."""
    return recall(index.search(queries, K, ef=ef).ids, sb.exact(rows, queries, K, metric=index.metric).ids)


@pytest.mark.parametrize(
    ("rows", "metric", "learned"),
    [
        (factors(N), "l2", True),
        (factors(N), "cosine", True),
        (factors(N), "ip", False),
        (noise(N), "l2", False),
        (factors(4000), "l2", False),
    ],
    ids=["l2", "cosine", "inner products", "all directions alike", "few rows"],
)
def test_levels_are_taken_where_they_say_more(rows: np.ndarray, metric: str, learned: bool) -> None:
    stats = build(rows, metric).stats()
    assert (stats["code_bits"] < DIM) == learned
    assert stats["code_bits"] == DIM or learned
    block = 32 * (12 + stats["code_bits"] // 8)
    assert stats["bytes"]["codes"] == len(rows) * block


def test_other_indexes_have_no_code_bits() -> None:
    assert "code_bits" not in sb.Index.build(factors(100), metric="l2", codes="i8").stats()


@pytest.mark.parametrize(("metric", "floor"), [("l2", 0.99), ("cosine", 0.98)])
def test_levels_find_what_is_near(metric: str, floor: float) -> None:
    rows, queries = factors(N), factors(200, seed=1)
    index = build(rows, metric)
    assert index.stats()["code_bits"] < DIM
    assert recall_at(64, index, rows, queries) >= floor
    found = index.search(rows[:50], 1)
    assert (found.ids[:, 0] == np.arange(50)).all()
    assert np.abs(found.distances).max() <= 1e-3 * np.abs(rows).max() ** 2


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e16])
def test_rows_of_any_size_are_saved_and_found(tmp_path: Path, size: float) -> None:
    rows = factors(N) * np.float32(size)
    index = build(rows)
    index.save(tmp_path / "a.sb")
    again = sb.Index.load(tmp_path / "a.sb")
    np.testing.assert_array_equal(index.search(rows[:20], 5).ids, again.search(rows[:20], 5).ids)
    if size >= 1e-18:  # squares that a float holds
        assert (again.search(rows[:20], 1).ids[:, 0] == np.arange(20)).all()


def test_the_same_file_on_any_number_of_threads(tmp_path: Path) -> None:
    for threads in (1, 2, 3):
        build(factors(N), threads=threads).save(tmp_path / f"{threads}.sb")
    first = (tmp_path / "1.sb").read_bytes()
    assert first == (tmp_path / "2.sb").read_bytes() == (tmp_path / "3.sb").read_bytes()


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_brings_its_axes_back(tmp_path: Path, mmap: bool) -> None:
    index, queries = build(factors(N)), factors(100, seed=1)
    index.save(tmp_path / "a.sb")
    again = sb.Index.load(tmp_path / "a.sb", mmap=mmap)
    for one in (index, again):
        one.add(factors(50, seed=2))
        one.remove(range(10))
    assert again.stats()["code_bits"] == index.stats()["code_bits"] < DIM
    for a, b in zip(index.search(queries, K), again.search(queries, K), strict=True):
        np.testing.assert_array_equal(a, b)
    again.save(tmp_path / "b.sb")
    before, after = (storage.read(tmp_path / name)[0] for name in ("a.sb", "b.sb"))
    for name in AXES:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [(name, lambda part: None, name) for name in AXES[1:]]
    + [("axes.words", lambda part: None, "codes")]  # signs, then: the blocks are too short
    + [(name, lambda part: part[:-1], "axes") for name in AXES]
    + [
        ("axes.words", lambda part: part + np.uint32(1), "axes.words"),
        ("axes.words", lambda part: np.roll(part, 1), "codes"),
    ]
    + [("axes.words", lambda part: part + np.uint32(2**31), "axes.words")]
    + [
        ("axes.spread", lambda part: 0 * part, "axes.spread"),
        ("axes.spread", lambda part: part * np.nan, "axes.spread"),
    ]
    + [
        ("axes.offset", lambda part: part * np.inf, "axes.offset"),
        ("axes.basis", lambda part: part | 255, "axes.basis"),
    ],
)
def test_axes_that_cannot_be_are_refused(tmp_path: Path, name: str, change: Any, told: str) -> None:
    build(factors(N)).save(tmp_path / "a.sb")
    tensors, meta = storage.read(tmp_path / "a.sb")
    wrong = change(tensors.pop(name))
    storage.write(tmp_path / "b.sb", tensors if wrong is None else {**tensors, name: wrong}, meta)
    with pytest.raises(sb.FormatError, match=told):
        sb.Index.load(tmp_path / "b.sb")


def test_rows_of_another_kind_are_found_too() -> None:
    turn = np.random.default_rng(5).permutation(DIM)  # of which the axes know nothing: by them alone recall is 0.42
    rows, others, queries = factors(N), factors(3000, seed=8)[:, turn], factors(200, seed=9)[:, turn]
    index = build(rows)
    index.add(others)
    assert index.stats()["code_bits"] < DIM
    together = np.vstack([rows, others])
    assert recall_at(32, index, together, queries) >= 0.95
    assert recall_at(64, index, together, factors(100, seed=1)) >= 0.98  # and those of the first kind as before
    index.remove(range(N // 2, N))
    index.compact()
    ids = np.r_[0 : N // 2, N : N + len(others)]
    truth = ids[sb.exact(together[ids], queries, K, metric="l2").ids]
    found = index.search(queries, K, ef=32).ids
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found, truth, strict=True)]) / K >= 0.95


def test_searches_go_on_while_the_first_rows_come() -> None:
    index, queries = sb.Index(DIM, metric="l2", codes="b1", rerank="f32"), factors(20, seed=1)
    done, seen = threading.Event(), set()

    def search() -> None:
        while not done.is_set():
            seen.add(int((index.search(queries, K).ids >= 0).sum()))

    reader = threading.Thread(target=search)
    reader.start()
    try:
        index.add(factors(N))
        after = index.search(queries, K).ids
    finally:
        done.set()
        reader.join()
    assert (after >= 0).all()
    assert seen <= {0, queries.shape[0] * K}  # all rows or none


def test_first_rows_that_were_stopped_leave_nothing() -> None:
    index = sb.Index(DIM, metric="l2", codes="b1", rerank="f32")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(factors(N), progress=stop)
    assert (len(index), index.stats()["rows"]) == (0, 0)
    index.add(factors(N))
    assert index.stats()["code_bits"] < DIM
    assert index.check().problems == []
