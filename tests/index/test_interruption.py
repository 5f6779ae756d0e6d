"""Progress, callbacks that raise, and Ctrl-C: long work stops soon and leaves the index as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brute_force import recall_with_ties, sample

import semblance as sb

pytestmark = pytest.mark.once

D = 64
PROMPT_S = 0.3  # of processor time on each thread; the promise is 0.1 s, measured by tests/faults/run.py stop

INTERRUPTED = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start its background jobs deaf to it
import numpy as np
import semblance as sb

rng = np.random.default_rng(0)
rows = rng.normal(size=(60_000, 256)).astype(np.float32)
index = sb.Index(256, ef_construction=400)
index.add(rows[:300])
before = index.search(rows[:50], 5, exact=True)
action = sys.argv[1]
if action == "compact":
    index.add(rows[300:1200])
    before = index.search(rows[:50], 5, exact=True)
n = len(index)
threads = int(sys.argv[2])
sent = []

def interrupt():
    until = time.process_time() + 0.2
    while time.process_time() < until:
        time.sleep(0.002)
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)

interrupter = threading.Thread(target=interrupt)

def started(*_):
    if interrupter.ident is None:
        interrupter.start()

try:
    if action == "add":
        index.add(rows[300:], progress=started, threads=threads)
    elif action == "compact":
        while True:
            index.compact(progress=started, threads=threads)
    elif action == "exact":
        started()
        while True:
            sb.exact(rows, rows[:20_000], 10, threads=threads)
    elif action == "search":
        started()
        while True:
            index.search(rows, 300, exact=True, threads=threads)
except KeyboardInterrupt:
    late = time.process_time() - sent[0]
interrupter.join()
assert len(index) == n, (len(index), n)
np.testing.assert_array_equal(np.sort(index.ids()), np.arange(n))
after = index.search(rows[:50], 5, exact=True)
np.testing.assert_array_equal(after.ids, before.ids)
np.testing.assert_array_equal(after.distances, before.distances)
report = index.check()
assert report.ok, report
index.save(sys.argv[3])
assert len(sb.Index.load(sys.argv[3])) == n
given = index.add(rows[n:n + 100])
assert given.tolist() == list(range(n, n + 100)), given
assert (index.search(rows[n:n + 100], 1, ef=200).ids[:, 0] == given).all()
index.compact()
assert index.check().ok
print(late)
"""


@pytest.mark.parametrize("action", ["add", "compact", "exact", "search"])
@pytest.mark.parametrize("threads", [0, 1])
def test_ctrl_c(tmp_path: Path, action: str, threads: int) -> None:
    command = [sys.executable, "-c", INTERRUPTED, action, str(threads), str(tmp_path / "a.sb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < PROMPT_S * (threads or os.cpu_count() or 1)


class Stop(Exception):
    pass


def stop_at(share: float) -> Callable[[int, int], None]:
    def callback(done: int, total: int) -> None:
        if done >= share * total:
            raise Stop(f"{done} of {total}")

    return callback


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.8])
@pytest.mark.parametrize("kind", ["hnsw", "flat"])
@pytest.mark.parametrize("call", ["add", "upsert"])
def test_a_raising_callback_stops_and_changes_nothing(tmp_path: Path, share: float, kind: str, call: str) -> None:
    rows, more = sample("l2", 500, D), sample("l2", 6000, D, seed=1)
    index = sb.Index(D, metric="l2", kind=kind, ef_construction=300)
    index.add(rows)
    before = index.search(rows[:30], 10, exact=True)
    with pytest.raises(Stop):
        getattr(index, call)(more, np.arange(500 if call == "add" else 0, 6500)[:6000], progress=stop_at(share))
    assert_as_before(index, rows, before, tmp_path)
    index.upsert(more[:400], np.arange(200, 600))
    now = np.concatenate([rows[:200], more[:400]])
    assert recall_with_ties(now, now[::5], index.search(now[::5], 5, ef=100).ids, "l2") >= 0.97
    assert index.check().ok


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_stopped_while_rows_are_encoded(tmp_path: Path, kind: str) -> None:
    """The batch is large enough that the first call comes before any row is linked."""
    rows, more = sample("l2", 300, 384), sample("l2", 40_000, 384, seed=1)
    index = sb.Index(384, metric="l2", kind=kind, codes="i8", rerank="f32")
    index.add(rows)
    before = index.search(rows[:30], 10, exact=True)
    for part in (more, more[:30_000]):
        with pytest.raises(Stop):
            index.add(part, progress=stop_at(0.0))
        assert_as_before(index, rows, before, tmp_path)
    assert index.add(more[:100]).tolist() == list(range(300, 400))
    assert (index.search(more[:100], 1, ef=100).ids[:, 0] == np.arange(300, 400)).mean() >= 0.99
    index.compact()
    assert index.check().ok


def test_stopped_again_and_again(tmp_path: Path) -> None:
    rows, more = sample("l2", 300, D), sample("l2", 3000, D, seed=1)
    index = sb.Index(D, metric="l2")
    index.add(rows)
    before = index.search(rows[:30], 10, exact=True)
    for share in (0.0, 0.5, 0.1, 0.9, 0.0):
        with pytest.raises(Stop):
            index.add(more[: int(3000 - 1000 * share)], progress=stop_at(share))
        assert_as_before(index, rows, before, tmp_path)
    assert index.add(more).tolist() == list(range(300, 3300))
    everything = np.concatenate([rows, more])
    assert recall_with_ties(everything, more[::30], index.search(more[::30], 5, ef=150).ids, "l2") >= 0.97


def assert_as_before(index: sb.Index, rows: np.ndarray, before: sb.Hits, folder: Path) -> None:
    assert index.ids().tolist() == list(range(len(rows)))
    assert len(index) == len(rows)
    assert len(rows) not in index
    for options in ({"exact": True}, {"ef": 400}):
        after = index.search(rows[:30], 10, **options)
        np.testing.assert_array_equal(after.ids, before.ids)
    report = index.check()
    assert report.ok, report
    index.save(folder / "stopped.sb")
    loaded = sb.Index.load(folder / "stopped.sb")
    np.testing.assert_array_equal(loaded.search(rows[:30], 10, exact=True).ids, before.ids)
    assert loaded.check().ok


def test_a_raising_callback_stops_compact() -> None:
    rows = sample("l2", 4000, D)
    index = sb.Index.build(rows, metric="l2")
    index.remove(np.arange(0, 4000, 2))
    before = index.search(rows[:30], 10)
    with pytest.raises(Stop):
        index.compact(progress=stop_at(0.2))
    after = index.search(rows[:30], 10)
    np.testing.assert_array_equal(before.ids, after.ids)
    assert index.stats()["rows"] == 4000
    index.compact()
    assert index.stats()["rows"] == 2000


def test_progress_counts_up_to_the_total() -> None:
    calls: list[tuple[int, int]] = []
    index = sb.Index(D, metric="l2", ef_construction=400)
    index.add(sample("l2", 2500, D), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1]
    assert all(0 <= done <= total for done, total in calls)
    calls.clear()
    index.compact(progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2500, 2500)


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    sb.Index.build(sample("l2", 3000, D), metric="l2", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3000" in captured.err.replace(",", "") or "3.00k" in captured.err


def test_a_callback_may_use_the_index() -> None:
    rows = sample("l2", 4000, D)
    index = sb.Index(D, metric="l2", ef_construction=300)
    index.add(rows[:100])
    seen = []

    def callback(done: int, total: int) -> None:
        seen.append(index.search(rows[:1], 1).ids[0, 0])
        assert len(index) == 100 or done == total
        assert 0 in index

    index.add(rows[100:], progress=callback)
    assert seen
    assert set(seen) == {0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_fork_after_native_threads_ran() -> None:
    rows = sample("l2", 2000, D)
    index = sb.Index.build(rows, metric="l2", threads=4)
    truth = index.search(rows[:100], 5, threads=4)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            same = np.array_equal(index.search(rows[:100], 5, threads=4).ids, truth.ids)
            index.add(rows[:500], threads=3)
            index.remove([1])
            code = 0 if same and len(index) == 2499 and len(sb.Index.build(rows, metric="l2")) == 2000 else 2
        finally:
            os._exit(code)
    for _ in range(3000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)  # not by the clock: a stopped test is not a hung child
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done, "the child hung"
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(index.search(rows[:100], 5, threads=4).ids, truth.ids)


EXIT = """
import sys, threading, time
import numpy as np
import semblance as sb
rows = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
index = sb.Index.build(rows)
def search():
    while True:
        index.search(rows, 10, threads=int(sys.argv[1]))
def change():
    while True:
        index.upsert(rows[:50], np.arange(50), progress=lambda done, total: None)
for work in (search, search, change):
    threading.Thread(target=work, daemon=True).start()
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_exit_while_daemon_threads_work(threads: int) -> None:
    for wait in (0.0, 0.02, 0.1, 0.2):
        command = [sys.executable, "-c", EXIT, str(threads), str(wait)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
