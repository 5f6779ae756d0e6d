"""kill -9 at random moments of saving and compacting an index, and of changing a collection."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from io_trials import D, rows

import semblance as sb

Say = Callable[[int], None]


def save_for_ever(folder: Path, first: int, say: Say) -> None:
    """Grow, shrink, compact and save; the saved metadata says which turn it was."""
    index = sb.Index.load(folder / "a.sb")
    say(first - 1)
    for turn in range(first, 1 << 40):
        index.upsert(rows(30, turn), np.arange(turn % 7 * 10, turn % 7 * 10 + 30))
        index.remove(index.ids()[:2])
        if turn % 3 == 0:
            index.compact()
        index.save(folder / "a.sb", metadata={"turn": str(turn)})
        say(turn)


def change_for_ever(folder: Path, first: int, say: Say) -> None:
    """Add two records, replace one and remove the other, turn by turn; save and compact now and then."""
    db = sb.Collection.open(folder / "items.db")
    say(first - 1)
    for turn in range(first, 1 << 40):
        at = 10 * turn
        db.add([{"id": at + i, "vector": row, "turn": turn} for i, row in enumerate(rows(2, turn))])
        db.upsert({"id": at, "vector": rows(1, -turn % 1000)[0], "turn": -turn})
        db.remove(at + 1)
        if turn % 4 == 0:
            db.checkpoint()
        if turn % 16 == 0:
            db.compact()
        db.search(rows(1, turn)[0], k=3)
        say(turn)


def read_for_ever(folder: Path, say: Say) -> None:
    """Search while another process writes: whole records of turns that began, each turn at most once."""
    db = sb.Collection.open(folder / "items.db")
    while True:
        hits = db.search(rows(1, 7)[0], k=50)
        said = [(int(hit.id), hit.record["turn"]) for hit in hits]
        assert len({id for id, _ in said}) == len(said)
        for id, turn in said:
            assert turn in (id // 10, -(id // 10)), f"record {id} of turn {turn}"
            assert turn > 0 or id % 10 == 0, f"record {id} replaced in turn {turn}"
        say(len(hits))


def index_fault(folder: Path, acknowledged: int) -> str:
    """What is wrong with the index file; "" for nothing."""
    index = sb.Index.load(folder / "a.sb")
    turn = int(index.metadata["turn"])
    if turn not in (acknowledged, acknowledged + 1):
        return f"turn {turn} where {acknowledged} was acknowledged"
    ids = index.ids()
    own = index.search(index.get(ids), 1, exact=True).distances[:, 0]
    return "" if index.check().ok and np.abs(own).max() < 1e-2 else "answers"


def collection_fault(folder: Path, acknowledged: int) -> str:
    """What is wrong with the collection; "" for nothing."""
    db = sb.Collection.open(folder / "items.db")
    ids = set(db.ids())
    for turn in range(1, acknowledged + 1):
        if 10 * turn not in ids or 10 * turn + 1 in ids:
            return f"turn {turn} was acknowledged and is not there"
    unfinished = ids - {10 * turn for turn in range(1, acknowledged + 1)}
    after = 10 * (acknowledged + 1)
    if unfinished not in (set(), {after}, {after, after + 1}):
        return f"half a change: {sorted(unfinished)}"
    if acknowledged:
        hit = db.search(rows(1, -acknowledged % 1000)[0], k=1)[0]
        if (hit.id, hit.record["turn"]) != (10 * acknowledged, -acknowledged):
            return f"turn {acknowledged} is not found"
    report = db.check()
    db.remove(sorted(unfinished))
    db._close_files()  # without writing the index: the next one has to catch up
    return "" if report else str(report.problems)


def killed_once(work: Callable[[Path, int, Say], None], folder: Path, first: int, chance: random.Random) -> int:
    """Fork, work, kill at a random moment of the first turns, or of opening the files; the last turn acknowledged."""
    child, receiver = child_that(lambda say: work(folder, first, say))
    turns = b"".join(os.read(receiver, 8) for _ in range(chance.randrange(4)))  # the first is said once they are open
    time.sleep(chance.uniform(0.001, 0.06))
    turns += killed(child, receiver)
    return int.from_bytes(turns[-8:], "little") if turns else first - 1


def child_that(work: Callable[[Say], None]) -> tuple[int, int]:
    """(process, pipe that says its numbers) of a fork that works until it is killed."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receiver)
            work(lambda number: os.write(sender, number.to_bytes(8, "little")) and None)
        finally:
            os._exit(1)
    os.close(sender)
    return child, receiver


def killed(child: int, receiver: int) -> bytes:
    """What a child said in all, once it is killed."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with open(receiver, "rb") as said:
        words = said.read()
    if not os.WIFSIGNALED(status):
        raise AssertionError(f"the child ended by itself after {len(words) // 8} words")
    return words


@contextmanager
def readers(count: int, folder: Path) -> Iterator[list[int]]:
    """So many processes that search a collection; afterwards the list holds how often each did."""
    children = [child_that(lambda say: read_for_ever(folder, say)) for _ in range(count)]
    searches: list[int] = []
    try:
        yield searches
    finally:
        searches += [len(killed(*child)) // 8 for child in children]


def kill_trials(what: str, count: int, folder: Path, beside: int = 0) -> tuple[int, list[str]]:
    """(turns acknowledged in all, promises broken) over so many kills, so many processes reading beside them."""
    folder.mkdir()
    work, fault = (save_for_ever, index_fault) if what == "index" else (change_for_ever, collection_fault)
    if what == "index":
        sb.Index.build(rows(90, 0), max_degree=8, ef_construction=40).save(folder / "a.sb", metadata={"turn": "0"})
    else:
        sb.Collection.open(folder / "items.db", dim=D).close()
    chance, turn, bad = random.Random(7), 0, []
    with readers(beside, folder) as searches:
        for kill in range(count):
            turn = killed_once(work, folder, turn + 1, chance)
            wrong = fault(folder, turn)
            if what == "index":
                turn = int(sb.Index.load(folder / "a.sb").metadata["turn"])
            if wrong:
                bad.append(f"{what}: kill {kill}, turn {turn}: {wrong}")
    bad += ["a reader never searched" for number in searches if not number]
    return turn, bad
