"""What the test starts as another process: ``worker.py write|read|churn PATH ...``."""

from __future__ import annotations

import sys
import time

import numpy as np

from semblance.collection import Collection


def say(*words: object) -> None:
    """Write one whole line at once: unbuffered streams (PYTHONUNBUFFERED) would pass on print's words one by one."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def write(path: str, first: int, batch: int) -> None:
    """Add, replace and remove for ever; a line follows each change that has returned."""
    db = Collection.open(path, dim=4, metric="l2", indexed=("n",))
    n = first
    while True:
        db.add([{"id": i, "vector": [i, 0, 0, 1], "n": i} for i in range(n, n + batch)])
        say("add", n, n + batch)
        db.upsert({"id": n, "vector": [n, 5, 0, 1], "n": -n})
        say("upsert", n)
        db.remove(n + 1)
        say("remove", n + 1)
        if n % 3 == 0:
            db.checkpoint()
        n += batch


def read(path: str, count: int) -> None:
    """Search while another process writes so many batches of 10 whose members share ``batch``; tell how many came."""
    db = Collection.open(path)
    largest = 0
    while largest < 10 * count:
        hits = db.search(np.zeros(4, np.float32), k=100_000)
        batches: dict[int, int] = {}
        for hit in hits:
            batches[hit.record["batch"]] = batches.get(hit.record["batch"], 0) + 1
            assert hit.score == -(float(hit.record["x"]) ** 2), hit
        assert set(batches.values()) <= {10}, batches  # whole batches only
        assert len(hits) >= largest
        largest = len(hits)
    assert db.check()
    say(largest)


def churn(path: str, count: int, start: int) -> None:
    """Add so many batches of 10 with x near ``start``."""
    db = Collection.open(path)
    for batch in range(start, start + count):
        rows = [{"id": batch * 10 + i, "vector": [batch, 0, 0, 0], "x": batch, "batch": batch} for i in range(10)]
        db.add(rows)
        time.sleep(0.01)
    db.close()


if __name__ == "__main__":
    command, path, *numbers = sys.argv[1:]
    if command == "write":
        write(path, int(numbers[0]), int(numbers[1]))
    elif command == "read":
        read(path, int(numbers[0]))
    else:
        churn(path, int(numbers[0]), int(numbers[1]))
