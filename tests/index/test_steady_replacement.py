"""Rows replaced again and again: memory stays bounded, answers stay right, one seed gives one file."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from brute_force import recall_with_ties, sample

import semblance as sb

N, D, BATCH, ROUNDS = 6000, 8, 1500, 10
OPTIONS = [
    {"kind": "flat"},
    {"codes": "b1", "max_degree": 8, "ef_construction": 24},
    {"codes": "i4", "rerank": "f32", "max_degree": 8, "ef_construction": 24},
]


def fill(options: dict[str, object]) -> sb.Index:
    index = sb.Index(D, metric="l2", **options)  # type: ignore[arg-type]
    index.add(sample("l2", N, D))
    return index


def replaced(turn: int) -> np.ndarray:
    return np.arange(turn * BATCH, (turn + 1) * BATCH) % N


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: str(o.get("codes", "flat")))
def test_memory_is_bounded_and_rows_are_the_last_ones(options: dict[str, object]) -> None:
    index, now, most = fill(options), sample("l2", N, D).copy(), 0
    for turn in range(ROUNDS):
        ids, rows = replaced(turn), sample("l2", BATCH, D, seed=turn + 1)
        if turn % 2:
            index.remove(ids)
            index.add(rows, ids)
        else:
            index.upsert(rows, ids)
        now[ids] = rows
        most = max(most, index.stats()["rows"])
    assert len(index) == N
    assert most <= max(1.5 * N, N + 4096) + BATCH
    assert index.stats()["rows"] < N + ROUNDS * BATCH
    np.testing.assert_allclose(index.get(np.arange(N)), now, atol=1e-6)
    queries = sample("l2", 50, D, seed=99)
    assert recall_with_ties(now, queries, index.search(queries, 10, ef=100).ids, "l2") >= 0.95
    assert index.check().ok


def test_any_number_of_threads_gives_the_same_file(tmp_path: Path) -> None:
    files = set()
    for threads in (1, 3):
        index = fill(OPTIONS[1])
        for turn in range(5):
            index.upsert(sample("l2", BATCH, D, seed=turn + 1), replaced(turn), threads=threads)
        index.save(tmp_path / "a.sb")
        files.add((tmp_path / "a.sb").read_bytes())
    assert len(files) == 1


def test_searches_beside_it_always_find_k_rows_that_exist() -> None:
    index, stop, wrong = fill(OPTIONS[2]), threading.Event(), []
    queries = sample("l2", 20, D, seed=99)

    def search() -> None:
        while not stop.is_set():
            hits = index.search(queries, 10, threads=1)
            if hits.ids.min() < 0 or hits.ids.max() >= N or any(len(set(row)) < 10 for row in hits.ids.tolist()):
                wrong.append(hits)

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(5):
        index.upsert(sample("l2", BATCH, D, seed=turn + 1), replaced(turn), threads=1)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert index.stats()["rows"] < N + 5 * BATCH


def test_a_call_that_fails_after_it_changes_no_row() -> None:
    index = fill(OPTIONS[0])
    for turn in range(4):
        index.upsert(sample("l2", BATCH, D, seed=turn + 1), replaced(turn))
    before = index.get(np.arange(N))
    with pytest.raises(sb.ArgumentError, match="ids: expected"):
        index.add(before[:1], [5])
    np.testing.assert_array_equal(index.get(np.arange(N)), before)
    assert index.ids().size == N
