"""Searches in several threads while others change the index: what has returned is true for whoever asks after it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brute_force import sample

import semblance as sb

pytestmark = pytest.mark.once

D = 24
SECONDS = 1.2


def run_together(*works: Callable[[Callable[[], bool]], None], seconds: float = SECONDS) -> None:
    """Run each work in a thread of its own until the time is over; the first exception is raised here."""
    stop, errors = threading.Event(), []

    def body(work: Callable[[Callable[[], bool]], None]) -> None:
        try:
            work(stop.is_set)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(params=[("hnsw", "l2"), ("hnsw", "cosine"), ("flat", "l2"), ("hnsw", "hamming")], ids="-".join)
def options(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(zip(("kind", "metric"), request.param, strict=True))


def dim(options: dict[str, str]) -> int:
    return D * 8 if options["metric"] == "hamming" else D


@pytest.mark.parametrize("search", [{}, {"exact": True}, {"ef": 100}])
def test_removed_ids_never_come_back(options: dict[str, str], search: dict) -> None:
    rows = sample(options["metric"], 1500, dim(options))
    index = sb.Index.build(rows, **options)
    removed_at = np.full(1500, np.inf)  # when the call that removed it had returned
    rng = np.random.default_rng(0)

    def remove(stopped: Callable[[], bool]) -> None:
        for batch in np.array_split(rng.permutation(1500)[:1400], 200):
            if stopped():
                return
            assert index.remove(batch) == len(batch)
            removed_at[batch] = time.monotonic()
            time.sleep(0.002)

    def ask(stopped: Callable[[], bool]) -> None:
        own = np.random.default_rng(threading.get_ident() % 1000)
        allowed = index.allow(np.arange(1500))
        while not stopped():
            queries = rows[own.integers(1500, size=4)]
            begun = time.monotonic()
            for hits in (index.search(queries, 20, **search), index.search(queries, 20, allowed=allowed, **search)):
                found = hits.ids[hits.ids >= 0]
                assert not (removed_at[found] < begun).any()
            found = (
                index.within(queries, float(hits.distances[0, 5]), exact=search.get("exact", False)).ids
                if np.isfinite(hits.distances[0, 5])
                else found
            )
            assert not (removed_at[found] < begun).any()

    run_together(remove, ask, ask)


@pytest.mark.parametrize("exact", [False, True])
def test_ids_that_are_upserted_are_found_at_every_moment(options: dict[str, str], exact: bool) -> None:
    """`upsert`: each is found at every moment, as the old row or as the new one."""
    rows = sample(options["metric"], 300, dim(options))
    index = sb.Index.build(rows, **options)

    def replace(stopped: Callable[[], bool]) -> None:
        own = np.random.default_rng(1)
        while not stopped():
            ids = own.permutation(300)[:30]
            index.upsert(rows[ids], ids)
            if index.stats()["rows"] > 5000:
                index.compact()

    def ask(stopped: Callable[[], bool]) -> None:
        own = np.random.default_rng(threading.get_ident() % 1000)
        while not stopped():
            hits = index.search(rows[own.integers(300, size=2)], 300, ef=600, exact=exact)
            for ids in hits.ids:
                missing = np.setdiff1d(np.arange(300), ids)
                assert len(missing) == 0, f"{len(missing)} ids that exist were not found, e.g. {missing[:5]}"

    run_together(replace, ask, ask)


def test_look_ups_during_upserts(options: dict[str, str]) -> None:
    """ids, len, in and get know nothing of a change that is under way."""
    rows = sample(options["metric"], 200, dim(options))
    index = sb.Index.build(rows, **options)
    stored = index.get(np.arange(200))

    def replace(stopped: Callable[[], bool]) -> None:
        own = np.random.default_rng(1)
        while not stopped():
            ids = own.permutation(200)[:100]
            index.upsert(rows[ids], ids)
            if index.stats()["rows"] > 5000:
                index.compact()

    def look(stopped: Callable[[], bool]) -> None:
        while not stopped():
            assert len(index) == 200
            assert sorted(index.ids()) == list(range(200))
            assert all(i in index for i in range(0, 200, 17))
            np.testing.assert_array_equal(index.get(np.arange(200)), stored)

    run_together(replace, look, look)


def test_everything_at_once(options: dict[str, str], tmp_path: Path) -> None:
    """Results are always ids that existed, distinct, in order; files saved meanwhile load and are sound."""
    rows = sample(options["metric"], 3000, dim(options))
    index = sb.Index(dim(options), **options)
    index.add(rows[:500])
    allowed = index.allow(np.arange(0, 3000, 3))
    saves = []

    def change(low: int, high: int) -> Callable[[Callable[[], bool]], None]:
        def work(stopped: Callable[[], bool]) -> None:
            own = np.random.default_rng(low)
            while not stopped():
                ids = low + own.permutation(high - low)[:40]
                index.upsert(rows[ids], ids, threads=int(own.integers(3)))
                index.remove(ids[:15])

        return work

    def tidy(stopped: Callable[[], bool]) -> None:
        while not stopped():
            index.compact(threads=1)
            index.save(tmp_path / f"{len(saves)}.sb")
            saves.append(len(index))
            assert index.check().ok
            time.sleep(0.02)

    def ask(stopped: Callable[[], bool]) -> None:
        own = np.random.default_rng(threading.get_ident() % 1000)
        while not stopped():
            queries = rows[own.integers(3000, size=5)]
            for hits in (index.search(queries, 10), index.search(queries, 10, allowed=allowed)):
                assert hits.ids.min() >= 0
                assert hits.ids.max() < 3000
                assert all(len(set(ids)) == 10 for ids in hits.ids.tolist())
                assert (np.diff(hits.distances, axis=1) >= 0).all()
            assert (hits.ids % 3 == 0).all()
            index.within(queries, float(hits.distances[0, 3]))
            index.stats()

    run_together(change(500, 1500), change(1500, 3000), tidy, ask, ask)
    for number in range(len(saves)):
        loaded = sb.Index.load(tmp_path / f"{number}.sb")
        assert loaded.check().ok
        assert set(range(500)) <= set(loaded.ids().tolist())
    assert index.check().ok
    fresh = index.search(rows[:500], 1, ef=100)
    assert (fresh.ids[:, 0] == np.arange(500)).mean() > 0.98


def test_a_search_does_not_wait_for_a_writer() -> None:
    """The writer is held in the middle of its work until the searches are through."""
    rows = sample("l2", 3000, 64)
    index = sb.Index(64, metric="l2", ef_construction=200)
    index.add(rows[:200])
    writing, searched = threading.Event(), threading.Event()

    def held(done: int, total: int) -> None:
        writing.set()
        assert searched.wait(600), "searches wait for the writer"

    def add() -> None:
        index.add(rows[200:], threads=1, progress=held)

    writer = threading.Thread(target=add)
    writer.start()
    writing.wait()
    for _ in range(50):
        assert index.search(rows[:1], 1, threads=1).ids[0, 0] == 0
        assert len(index) == 200
    searched.set()
    writer.join()
    assert len(index) == 3000


def test_one_filter_in_many_threads() -> None:
    rows = sample("l2", 2000, D)
    index = sb.Index.build(rows, metric="l2")
    allowed = index.allow(np.arange(0, 2000, 4))

    def change(stopped: Callable[[], bool]) -> None:
        while not stopped():
            index.upsert(rows[::50], np.arange(0, 2000, 50))

    def ask(stopped: Callable[[], bool]) -> None:
        while not stopped():
            hits = index.search(rows[:8], 10, allowed=allowed)
            assert (hits.ids >= 0).all()
            assert (hits.ids % 4 == 0).all()

    run_together(change, ask, ask, ask, seconds=0.6)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter has a GIL")
def test_importing_leaves_the_gil_off() -> None:
    """Decision 11: the module declares that it can do without."""
    code = "import sys, semblance as sb; sb.Index(4); sys.exit(sys._is_gil_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
