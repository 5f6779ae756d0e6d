"""Ctrl-C in the middle of every long call: how much processor time the call takes after it.

Processor time and not the clock's, so that a busy machine changes nothing; every call runs on one thread.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import semblance as sb
from semblance.encode.distillation import Recipe, _Data, _fitted, _unfitted

Call = Callable[[], Any]
LATE_S = 0.1


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Normal rows."""
    return np.random.default_rng(seed).standard_normal((n, d), np.float32)


class Moment:
    """Now, by the clock and by this process's processor time.

    The clock counts what other processes do, processor time what threads of this one do that nobody waits for: the
    shorter of the two is how long the caller was kept waiting.
    """

    def __init__(self) -> None:
        self.clock, self.processor = time.monotonic(), time.process_time()

    def since(self, earlier: Moment) -> float:
        return min(self.clock - earlier.clock, self.processor - earlier.processor)


class Interrupter:
    """Sends SIGINT when this process has used so much more processor time."""

    def __init__(self, after_s: float) -> None:
        self.at = time.process_time() + after_s
        self.sent_at: Moment | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.wait, daemon=True)

    def wait(self) -> None:
        while time.process_time() < self.at:
            if self.over.wait(0.002):
                return
        self.sent_at = Moment()
        os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def caught() -> Iterator[None]:
    """A late Ctrl-C, after the call, is no error."""
    try:
        yield
        time.sleep(0.01)
    except KeyboardInterrupt:
        pass


def lateness(call: Call, after_s: float) -> float | None:
    """Seconds from Ctrl-C to KeyboardInterrupt, or to the call's end; None where it ended before."""
    interrupter = Interrupter(after_s)
    ended: Moment | None = None
    with caught():
        interrupter.thread.start()
        try:
            call()
        finally:
            ended = Moment()
            interrupter.over.set()
    with caught():
        interrupter.thread.join()
    if interrupter.sent_at is None or ended is None or interrupter.sent_at.clock > ended.clock:
        return None
    return ended.since(interrupter.sent_at)


def index_calls(scale: int, folder: Path) -> dict[str, Call]:
    """An index of each layout, `scale` thousand rows."""
    n = 1000 * scale
    few, many = rows(n // 10, 96), rows(n, 96)
    graph = sb.Index.build(few, threads=1, metric="l2", ef_construction=40, max_degree=16)
    flat = sb.Index(96, metric="l2", kind="flat", codes="f32")
    flat.add(many)
    flat.save(folder / "flat.sb")
    graph.save(folder / "graph.sb")
    half = np.arange(0, n, 2)

    def remove_and_add() -> None:
        flat.remove(half)
        flat.add(many[half], half, threads=1)

    def changed_and_compacted() -> None:
        graph.compact(threads=1)

    return {
        "build, neighbour codes": lambda: sb.Index.build(few, threads=1, metric="l2", ef_construction=60),
        "build, i8": lambda: sb.Index.build(few, threads=1, metric="l2", codes="i8", ef_construction=60),
        "add to a flat index": lambda: sb.Index(96, metric="l2", kind="flat").add(many, threads=1),
        "upsert": lambda: graph.upsert(few[: n // 40], np.arange(n // 40), threads=1),
        "remove and add": remove_and_add,
        "compact": changed_and_compacted,
        "search, a batch": lambda: graph.search(few, 10, ef=200, threads=1),
        "search, ef and k of everything": lambda: graph.search(few[:4], n // 20, ef=n // 10, threads=1),
        "exact search, one query": lambda: [flat.search(many[:1], 10, threads=1) for _ in range(8)],
        "exact search, a batch": lambda: flat.search(many[:60], 10, threads=1),
        "sb.exact, one query": lambda: sb.exact(many, many[:1], 10, "cosine", threads=1),
        "sb.exact, a batch": lambda: sb.exact(many, many[:100], 10, "l2", threads=1),
        "filtered search": lambda: flat.search(many[:8], 10, allowed=flat.allow(half), threads=1),
        "within, exact": lambda: flat.within(many[:20], 150.0, threads=1),
        "within, by the graph": lambda: graph.within(few[:40], 400.0, threads=1),
        "get": lambda: flat.get(np.arange(n)),
        "check": lambda: [graph.check() for _ in range(20)],
        "save": lambda: flat.save(folder / "again.sb"),
        "load, flat": lambda: sb.Index.load(folder / "flat.sb"),
        "load, graph": lambda: [sb.Index.load(folder / "graph.sb") for _ in range(20)],
        "tune": lambda: graph.tune(few[:400], 10, 0.999, threads=1),
        "build, codes chosen by measuring": lambda: sb.Index.build(
            few, threads=1, metric="l2", recall=0.99, memory=1000 * len(few), ef_construction=60
        ),
    }


def spaces_calls(scale: int, folder: Path) -> dict[str, Call]:
    """An index of two spaces; its rows are laid out by NumPy."""
    n = 1000 * scale
    parts = {"a": rows(n, 64), "b": rows(n, 32, 1)}
    few = {name: part[: n // 20] for name, part in parts.items()}
    flat = sb.SpacesIndex({"a": 64, "b": 32}, kind="flat")
    flat.add(parts)
    graph = sb.SpacesIndex({"a": 64, "b": 32}, ef_construction=60)
    graph.add(few, threads=1)
    weights = {"a": 0.3, "b": 2.0}
    return {
        "spaces: add": lambda: sb.SpacesIndex({"a": 64, "b": 32}, ef_construction=60).add(few, threads=1),
        "spaces: add to a flat one": lambda: sb.SpacesIndex({"a": 64, "b": 32}, kind="flat").add(parts, threads=1),
        "spaces: exact search": lambda: flat.search(
            {name: part[:40] for name, part in parts.items()}, 10, weights, threads=1
        ),
        "spaces: search": lambda: graph.search(few, 10, weights, threads=1),
        "spaces: get": lambda: flat.get(np.arange(n)),
        "spaces: tune": lambda: graph.tune({name: part[:300] for name, part in few.items()}, 10, 0.999, weights),
    }


def table_calls(scale: int, folder: Path) -> dict[str, Call]:
    """Tables of `scale` thousand rows."""
    n = 1000 * scale
    many = rows(n, 64)
    numbers = np.random.default_rng(1).permutation(n) * 7
    words = [f"key {i}" for i in range(n)]
    table = sb.EmbeddingTable.from_dense(many, dtype="i8", keys=numbers)
    named = sb.EmbeddingTable.from_dense(many, dtype="i8", keys=words)
    table.save(folder / "table.sb")
    group = sb.TableGroup({"a": table, "b": table})
    asked = np.tile(numbers, 8)
    bags = np.arange(0, len(asked) + 1, 8)

    def written() -> None:
        with table.writer() as writer:
            writer.upsert(numbers[: n // 2], many[: n // 2])

    return {
        "table from rows": lambda: [sb.EmbeddingTable.from_dense(many, dtype="i4", threads=1) for _ in range(4)],
        "table from keys": lambda: sb.EmbeddingTable.from_dense(many, keys=numbers, threads=1),
        "table from strings": lambda: sb.EmbeddingTable.from_dense(many, keys=words, threads=1),
        "look-up": lambda: table.lookup(asked, threads=1),
        "look-up of strings": lambda: named.lookup(words, threads=1),
        "pool": lambda: table.pool(asked, bags, threads=1),
        "score": lambda: table.score(many[0], asked, threads=1),
        "write": written,
        "group": lambda: group.lookup({"a": (asked, bags), "b": asked[: len(bags) - 1]}, threads=1),
        "k-means, product codes": lambda: sb.tables.product(many, 8, 64, iterations=6, threads=1),
        "k-means, residual codes": lambda: sb.tables.residual(many, 2, 64, iterations=6, threads=1),
        "save a table": lambda: [table.save(folder / "again.sb") for _ in range(4)],
        "load a table": lambda: [sb.EmbeddingTable.load(folder / "table.sb") for _ in range(8)],
    }


def text_calls(scale: int, folder: Path) -> dict[str, Call]:
    """The embedded encoder, and a collection with it."""
    encoder = sb.Encoder()
    texts = [f"the {i}th of many sentences about ships, sealing wax and {i % 97} kings" for i in range(200 * scale)]
    db = sb.Collection.open(folder / "items.db", encoder=encoder)
    db.add([{"id": i, "text": text, "n": i} for i, text in enumerate(texts[: 20 * scale])])
    later = iter(range(1 << 40))

    def added() -> None:
        first = 10_000_000 * (next(later) + 1)
        db.add([{"id": first + i, "text": text} for i, text in enumerate(texts[: 20 * scale])])

    return {
        "encode": lambda: encoder.encode(texts),
        "tokens": lambda: encoder.tokens(texts[: 50 * scale]),
        "collection: add": added,
        "collection: hybrid search": lambda: [db.search(text, k=10, hybrid=True) for text in texts[:200]],
        "collection: search where": lambda: [db.search(text, k=10, where="n % 7 = 3") for text in texts[:200]],
        "collection: check": db.check,
        "collection: compact": db.compact,
    }


def distil_calls(scale: int, folder: Path) -> dict[str, Call]:
    """The fit of `distill`; its teacher's part is `Encoder.encode`."""
    tokenizer = sb.Encoder()._model.tokenizer
    texts = [f"the {i}th of many sentences about ships, sealing wax and {i % 97} kings" for i in range(100 * scale)]
    known = _Data(tokenizer, rows(30_000, 384), texts, rows(len(texts), 384, 1))
    wide = rows(100 * scale, 1024)
    return {
        "distill: the fit": lambda: _fitted(known, 256, Recipe(iterations=4)),
        "distill: without texts": lambda: _unfitted(known.tokens, 256),
        "distill: without texts, 1,024 dimensions": lambda: _unfitted(wide, 256),
    }


def stop_trials(
    scale: int, moments: int, folder: Path, names: Sequence[str] = ()
) -> Iterator[tuple[str, float, float, int]]:
    """(call, its processor time, the worst lateness, stops) for every long call, or those of these names."""
    chance = random.Random(3)
    for part in (index_calls, spaces_calls, table_calls, text_calls, distil_calls):
        for name, call in part(scale, folder).items():
            if names and not name.startswith(tuple(names)):
                continue
            begun = time.process_time()
            call()
            whole = time.process_time() - begun
            late = [lateness(call, chance.uniform(0.0, whole)) for _ in range(moments)]
            stopped = [each for each in late if each is not None]
            yield name, whole, max(stopped, default=0.0), len(stopped)
