"""The process that a trial runs in: ``trials.py COMPETITOR FOLDER TRIAL [ARGUMENT]``; says what came out."""

import importlib
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from damages import damaged

DIM, N, K = 64, 3000, 10


def rows_of(n, seed=0):
    """Rows of every trial."""
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def made(name):
    """An index that is not built yet."""
    return importlib.import_module(f"competitors.{name}").Competitor()


def answers(index):
    """What the healthy file answers, and so what a damaged one has to answer or refuse."""
    return index.search(rows_of(50, 1), K)


def prepare(name, folder):
    """A healthy file, and two for the kills: before and after a change."""
    index = made(name)
    index.build(rows_of(N))
    index.save(str(folder / "healthy"))
    loaded = made(name)
    loaded.load(str(folder / "healthy"))
    np.save(folder / "answers.npy", answers(loaded))
    return "prepared"


def damage(name, folder, seeds):
    """Open a damaged copy, ask it, change it and save it; a line each."""
    content, truth = (folder / "healthy").read_bytes(), np.load(folder / "answers.npy")
    path = str(folder / "damaged")
    first, last = map(int, seeds.split("-"))
    for seed in range(first, last):
        Path(path).write_bytes(damaged(content, seed))
        print(seed, "begins", flush=True)
        index = made(name)
        try:
            index.load(path)
            found = answers(index)
            outcome = "same" if np.array_equal(found, truth) else "wrong"
            if hasattr(index, "add"):
                index.add(rows_of(20, 2), N)
            answers(index)
            index.save(str(folder / "changed"))
        except Exception:
            outcome = "refused"
        print(seed, outcome, flush=True)
    return "through"


def save_for_ever(name, folder):
    """Save over a good file until killed."""
    index = made(name)
    index.load(str(folder / "victim"))
    print("begun", flush=True)
    while True:
        index.save(str(folder / "victim"))


def opened(name, folder):
    """Whether the file that a kill left is there, whole and right."""
    index = made(name)
    try:
        index.load(str(folder / "victim"))
        return "kept" if np.array_equal(answers(index), np.load(folder / "answers.npy")) else "lost"
    except Exception:
        return "lost"


def not_a_number(name, folder):
    """A row of NaN among others, and a query of NaN."""
    index, rows = made(name), rows_of(200)
    rows[7] = np.nan
    try:
        index.build(rows)
    except Exception:
        return "refused"
    return "accepted"


def exit_in_search(name, folder):
    """The main thread ends while others search."""
    index, rows = made(name), rows_of(N)
    index.load(str(folder / "healthy"))

    def search():
        while True:
            index.search(rows[:20], K)

    for _ in range(3):
        threading.Thread(target=search, daemon=True).start()
    time.sleep(0.2)
    return "ended"


def fork(name, folder):
    """A child of a process that has used threads builds and searches."""
    index, rows = made(name), rows_of(N)
    index.build(rows)
    index.search(rows, K, threads=4)
    child = os.fork()
    if child == 0:
        other = made(name)
        other.build(rows[:500])
        index.search(rows, K, threads=4)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "works" if status == 0 else "crash"


def save_while_adding(name, folder):
    """Saves beside a thread that adds: files that open, and search as files do."""
    index = made(name)
    index.build(rows_of(N))
    if not hasattr(index, "add"):
        return "nothing can be added"
    stop, errors = threading.Event(), []

    def add():
        first = N
        while not stop.is_set():
            try:
                index.add(rows_of(50, first), first)
            except Exception as error:
                errors.append(error)
                return
            first += 50

    adder = threading.Thread(target=add, daemon=True)
    adder.start()
    print("saving", flush=True)
    for number in range(10):
        try:
            index.save(str(folder / f"busy{number}"))
        except Exception:
            (folder / f"busy{number}").unlink(missing_ok=True)
        time.sleep(0.05)
    stop.set()
    adder.join()
    return "saved"


def open_busy(name, folder, number):
    """Whether a file saved beside changes opens and finds its own first rows."""
    path = folder / f"busy{number}"
    if not path.exists():
        return "refused"
    index = made(name)
    try:
        index.load(str(path))
        found = index.search(rows_of(N), 1)[:, 0]
    except Exception:
        return "unreadable"
    return "good" if (found == np.arange(N)).mean() > 0.98 else "wrong"


def main():
    """One trial."""
    name, folder, trial, *rest = sys.argv[1:]
    print(globals()[trial](name, Path(folder), *rest), flush=True)


if __name__ == "__main__":
    main()
