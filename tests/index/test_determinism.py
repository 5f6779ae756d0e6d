"""One seed gives one file, whatever the thread count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brute_force import METRICS, recall_with_ties, sample

import semblance as sb

THREADS = (1, 2, 3, 8)


def saved(index: sb.Index, folder: Path) -> bytes:
    index.save(folder / "a.sb")
    return (folder / "a.sb").read_bytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_bulk_build(tmp_path: Path, metric: str, kind: str) -> None:
    rows = sample(metric, 1200, 32)
    files = {saved(sb.Index.build(rows, metric=metric, kind=kind, seed=5, threads=t), tmp_path) for t in (*THREADS, 1)}
    assert len(files) == 1


@pytest.mark.parametrize("codes", ["f32", "f16", "bf16", "i8", "i4", "b1"])
def test_codes(tmp_path: Path, codes: str) -> None:
    rows = sample("l2", 1500, 25)
    assert len({saved(sb.Index.build(rows, metric="l2", codes=codes, threads=t), tmp_path) for t in THREADS}) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_history_of_changes(tmp_path: Path, metric: str) -> None:
    rows = sample(metric, 1000, 32)

    def history(threads: int) -> bytes:
        index = sb.Index(32, metric=metric, seed=9)
        for start, stop in ((0, 7), (7, 600), (600, 750)):
            index.add(rows[start:stop], threads=threads)
        index.remove(np.arange(0, 450, 4))
        index.upsert(rows[750:], np.arange(350, 600), threads=threads)
        before = saved(index, tmp_path)
        index.compact(threads=threads)
        return before + saved(index, tmp_path)

    assert len({history(threads) for threads in THREADS}) == 1


def test_equal_rows(tmp_path: Path) -> None:
    """Ties are where the order of discovery would show."""
    rows = np.repeat(sample("cosine", 40, 16), 40, axis=0)
    assert len({saved(sb.Index.build(rows, threads=t), tmp_path) for t in THREADS}) == 1


def test_the_seed_matters_and_recall_does_not_depend_on_it(tmp_path: Path) -> None:
    rows, queries = sample("l2", 1500, 32), sample("l2", 50, 32, seed=1)
    indexes = [sb.Index.build(rows, metric="l2", seed=seed) for seed in (0, 1, 2**63 - 1)]
    assert len({saved(index, tmp_path) for index in indexes}) == 3
    for index in indexes:
        assert recall_with_ties(rows, queries, index.search(queries, 10, ef=100).ids, "l2") >= 0.95


def test_other_batches_may_give_another_graph_of_the_same_quality() -> None:
    rows, queries = sample("l2", 1500, 32), sample("l2", 50, 32, seed=1)
    for size in (1, 13, 500, 1500):
        index = sb.Index(32, metric="l2")
        for start in range(0, 1500 if size > 1 else 300, size):
            index.add(rows[start : start + size])
        here = rows[: len(index)]
        assert recall_with_ties(here, queries, index.search(queries, 10, ef=100).ids, "l2") >= 0.95
        assert index.check().reachable == len(index)


def test_searches_do_not_depend_on_threads_or_company() -> None:
    rows, queries = sample("cosine", 3000, 32), sample("cosine", 70, 32, seed=1)
    index = sb.Index.build(rows)
    chosen = np.arange(0, 3000, 7)
    for options in ({}, {"allowed": chosen}, {"exact": True}):
        whole = index.search(queries, 10, threads=1, **options)
        for threads in (2, 3, 8):
            other = index.search(queries, 10, threads=threads, **options)
            np.testing.assert_array_equal(whole.ids, other.ids)
            np.testing.assert_array_equal(whole.distances, other.distances)
        for q in range(0, 70, 9):
            alone = index.search(queries[q : q + 1], 10, **options)
            np.testing.assert_array_equal(whole.ids[q], alone.ids[0])
            np.testing.assert_array_equal(whole.distances[q], alone.distances[0])


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    index = sb.Index.build(sample("l2", 500, 16), metric="l2")
    first = saved(index, tmp_path)
    assert saved(index, tmp_path) == first
    for mmap in (False, True):
        assert saved(sb.Index.load(tmp_path / "a.sb", mmap=mmap), tmp_path) == first
