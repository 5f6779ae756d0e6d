"""Kills, several processes, several threads."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twin import TwinIndex

from semblance import ArgumentError
from semblance.collection import BusyError, Collection, store

Open = Callable[..., Collection]
WORKER = str(Path(__file__).parent / "worker.py")


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, WORKER, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def acknowledged_ids(lines: list[str]) -> tuple[set[int], set[int], set[int]]:
    """Return (present, replaced, removed) by the whole lines of a writer."""
    present: set[int] = set()
    replaced: set[int] = set()
    removed: set[int] = set()
    for line in lines:
        word, *numbers = line.split()
        if word == "add":
            present.update(range(int(numbers[0]), int(numbers[1])))
        elif word == "upsert":
            replaced.add(int(numbers[0]))
        else:
            removed.add(int(numbers[0]))
    return present - removed, replaced, removed


def test_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "items.db"
    chance = random.Random(5)
    present: set[int] = set()
    replaced: set[int] = set()
    removed: set[int] = set()
    for _ in range(24):
        first = max(present, default=-1) + 100
        process = start("write", path, first, 7)
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            lines = [process.stdout.readline()]
            time.sleep(chance.uniform(0, 0.04))
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()  # not communicate(): it forgets what readline has buffered
            assert process.stderr.read() == ""
        lines = [line for line in lines if line.endswith("\n")]  # the kill may have cut the last one
        more = acknowledged_ids(lines)
        present, replaced, removed = present | more[0], replaced | more[1], removed | more[2]
        db = Collection.open(path)
        ids = set(db.ids())
        assert not removed & ids
        unanswered = {int(lines[-1].split()[1]) + 1} if lines[-1].startswith("upsert") else set()  # the remove after it
        assert present - ids <= unanswered
        for n in chance.sample(sorted(present & ids), min(10, len(ids))):
            want = [n, 5, 0, 1] if n in replaced else [n, 0, 0, 1]
            hit = db.search(np.array(want, np.float32), k=1)[0]
            assert hit.id == n or n in ids - replaced
            if n in replaced:
                assert (hit.id, hit.score, hit.record["n"]) == (n, 0.0, -n)
        assert db.check()
        db._close_files()  # without writing the index: the next one has to catch up
        present = ids


def test_two_processes_read_while_one_writes(open_db: Open, tmp_path: Path) -> None:
    open_db(dim=4, metric="l2").close()
    path = tmp_path / "items.db"
    readers = [start("read", path, 40), start("read", path, 40)]
    writer = start("churn", path, 40, 1)
    outputs = [process.communicate() for process in (*readers, writer)]
    assert [errors for _, errors in outputs] == ["", "", ""]
    assert [output for output, _ in outputs[:2]] == ["400\n", "400\n"]


def test_two_processes_write_by_turns(open_db: Open, tmp_path: Path) -> None:
    db = open_db(dim=4, metric="l2")
    writers = [start("churn", tmp_path / "items.db", 40, first) for first in (1, 1_000_000)]
    assert [process.communicate()[1] for process in writers] == ["", ""]
    assert len(db) == 10 * 80
    assert len(db.search(np.zeros(4, np.float32), k=100_000)) == 10 * 80
    db.add({"id": "mine", "vector": [0, 0, 0, 0]})
    assert db.check()


def test_a_held_write_lock_is_a_clear_error(open_db: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    db, other = open_db(dim=2), open_db(dim=2)
    with other._store.writing(), pytest.raises(BusyError, match="expected the write lock within"):
        db.add({"id": 1, "vector": [1, 1]})
    assert db.add({"id": 1, "vector": [1, 1]}) == 1


def test_objects_see_each_others_changes_at_once(open_db: Open) -> None:
    a, b = open_db(dim=2), open_db(dim=2)
    a.add([{"id": n, "vector": [n, 1], "n": n} for n in range(5)])
    assert len(b.search([1, 1], k=10)) == 5
    b.remove([0, 1])
    b.upsert({"id": 2, "vector": [-1, 0]})
    assert [hit.id for hit in a.search([-1, 0], k=1)] == [2]
    a.add({"id": 7, "vector": [0, -1]})
    assert {hit.id for hit in a.search([1, 1], k=10)} == {hit.id for hit in b.search([1, 1], k=10)} == {2, 3, 4, 7}
    assert a.check()
    assert b.check()


def test_threads_share_one_object(open_db: Open) -> None:
    db = open_db(dim=4, metric="l2")
    errors: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[int], None], n: int) -> None:
        try:
            work(n)
        except BaseException as error:
            errors.append(error)

    def write(n: int) -> None:
        for batch in range(12):
            first = n * 1000 + batch * 10
            db.add([{"id": i, "vector": [i, 0, 0, 1], "n": n} for i in range(first, first + 10)])
            db.remove(first)
            db.upsert({"id": first + 1, "vector": [first + 1, 0, 0, 1], "n": n, "again": True})
            assert db.search([float(first + 1), 0.0, 0.0, 1.0], k=1)[0].record["again"] is True
            assert all(hit.id != first for hit in db.search([float(first), 0.0, 0.0, 1.0], k=3))

    def search(_: int) -> None:
        while not stop.is_set():
            hits = db.search(np.ones((3, 4), np.float32), k=50, where="n = 1")
            assert all(hit.record["n"] == 1 for some in hits for hit in some)
            assert len({len(some) for some in hits}) == 1

    def save(_: int) -> None:
        while not stop.is_set():
            db.checkpoint()
            db.stats()
            time.sleep(0.01)

    work = [(write, 1), (write, 2), (write, 3), (search, 0), (search, 1), (save, 0)]
    threads = [threading.Thread(target=guarded, args=some) for some in work]
    for thread in threads:
        thread.start()
    for thread in threads[:3]:
        thread.join()
    stop.set()
    for thread in threads[3:]:
        thread.join()
    assert errors == []
    assert len(db) == 3 * 12 * 9
    assert db.check()


def test_closing_while_others_search(open_db: Open) -> None:
    db = open_db(dim=4)
    db.add([{"id": n, "vector": [n, 0, 0, 1]} for n in range(100)])
    seen: list[str] = []

    def search() -> None:
        try:
            while True:
                db.search([1, 1, 1, 1])
        except ArgumentError as error:
            seen.append(str(error))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    db.close()
    for thread in threads:
        thread.join()
    assert len(seen) == 3
    assert all("got a closed one" in text for text in seen)


@pytest.mark.usefixtures("twin_index")
def test_an_interrupt_before_the_commit_changes_nothing(open_db: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    db = open_db(dim=2)
    db.add({"id": 1, "vector": [1, 1]})
    upsert = TwinIndex.upsert

    def interrupted(self: TwinIndex, vectors: np.ndarray, ids: np.ndarray) -> Any:
        monkeypatch.setattr(TwinIndex, "upsert", upsert)
        upsert(self, vectors, ids)
        raise KeyboardInterrupt

    monkeypatch.setattr(TwinIndex, "upsert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        db.add({"id": 2, "vector": [2, 1]})
    assert db.ids() == [1]
    assert [hit.id for hit in db.search([1, 1], k=5)] == [1]
    assert db.check()
