"""Dynamic batching: texts of concurrent callers run together, in turns, within a token budget and a maximum delay."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, CapacityError
from .forks import renew_in_child

IDLE_SECONDS = 5.0  # after which the threads end; the next request starts them again
TAKEN_AT_ONCE = 64  # texts tokenised in one call


@dataclass(frozen=True)
class Batching:
    """How `Encoder.aencode` gathers the texts of concurrent callers.

    Attributes
    ----------
    max_delay_ms : float
        How long a text waits for company while callers are many; a lone caller never waits.
    batch_tokens : int, optional
        Limit of texts × padded length of a batch; None takes the model's own, which is small on a CPU (where larger
        batches only make callers wait longer) and large on a GPU.
    max_waiting : int
        Texts that may wait. A call beyond it raises CapacityError at once, so that a service can refuse work instead
        of piling it up.

    Examples
    --------
    >>> import semblance as sb
    >>> sb.Encoder(batching=sb.Batching(max_delay_ms=5)).dim
    256
    """

    max_delay_ms: float = 2.0
    batch_tokens: int | None = None
    max_waiting: int = 65_536

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "max_waiting"):
            value = getattr(self, name)
            if name == "batch_tokens" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{name}: expected an integer of at least 1, got {value!r}")
        if not isinstance(self.max_delay_ms, (int, float)) or not 0 <= self.max_delay_ms <= 60_000:
            raise ArgumentError(f"max_delay_ms: expected a number from 0 to 60000, got {self.max_delay_ms!r}")


@dataclass
class Work:
    """What a batcher does: texts to rows, a row's padded width, rows of one width to vectors (n, d)."""

    prepare: Callable[[list[str]], Sequence[Any]]
    width: Callable[[Any], int]
    run: Callable[[list[Any]], np.ndarray]
    batch_tokens: int = 1024


@dataclass
class _Request:
    """One caller's texts; ``taken`` of them have left the queue, ``done`` have their vectors."""

    texts: list[str]
    future: Future[np.ndarray] = field(default_factory=Future)
    taken: int = 0
    done: int = 0
    out: np.ndarray | None = None

    @property
    def open(self) -> bool:
        return not self.future.done()

    def give(self, positions: list[int], vectors: np.ndarray) -> None:
        if self.out is None:
            self.out = np.empty((len(self.texts), vectors.shape[1]), np.float32)
        self.out[positions] = vectors
        self.done += len(positions)
        if self.done == len(self.texts):
            _settle(self.future.set_result, self.out)

    def fail(self, error: BaseException) -> None:
        _settle(self.future.set_exception, error)


_Share = tuple[_Request, int]  # a request and the position of one of its texts


class _Item(NamedTuple):
    request: _Request
    position: int
    row: Any
    arrived: float


class DynamicBatcher:
    """Runs requests of many callers, from any thread or event loop.

    Two threads, alive only while there is work: one runs the oldest prepared text with all others of its padded width;
    while it runs them, the other tokenises what waits, taking one text of each request in turn (so a large request
    never holds up a small one) until two batches are prepared. What comes when nothing runs is tokenised by the first
    itself: a lone text is handed over once. A cancelled request's texts are dropped wherever they are; a batch that
    fails is run again request by request, so that one caller's bad text fails that caller alone.
    """

    def __init__(self, work: Work, options: Batching) -> None:
        self._work, self._options = work, options
        self._budget = options.batch_tokens or work.batch_tokens
        self.after_fork()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Start empty: the requests of a parent process are the parent's."""
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # the running thread has something to look at
        self._room = threading.Condition(lock)  # the preparing thread has
        self._busy = False  # whether a batch runs
        self._requests: deque[_Request] = deque()
        self._pool: dict[int, deque[_Item]] = {}  # by width
        self._pooled = 0  # texts × width in the pool
        self._waiting = 0  # texts not yet taken from their requests
        self._preparing = self._running = False  # whether each thread lives
        self._crowded = False  # whether the last batch held several requests

    @property
    def waiting(self) -> int:
        """Texts that wait to be tokenised."""
        return self._waiting

    async def encode(self, texts: list[str]) -> np.ndarray:
        """Vectors (n, d) of at least one text; cancelling the caller drops them.

        Raises
        ------
        CapacityError
            More texts wait than the options allow.
        """
        request = _Request(texts)
        with self._changed:
            if self._waiting and self._waiting + len(texts) > self._options.max_waiting:
                limit = self._options.max_waiting
                raise CapacityError(
                    f"aencode: expected at most {limit} waiting texts, got {self._waiting + len(texts)}"
                )
            self._requests.append(request)
            self._waiting += len(texts)
            self._start()
            (self._room if self._busy else self._changed).notify()
        return await asyncio.wrap_future(request.future)

    def _start(self) -> None:
        if not self._preparing:
            self._preparing = True
            threading.Thread(target=self._prepare_all, name="semblance-prepare", daemon=True).start()
        if not self._running:
            self._running = True
            threading.Thread(target=self._run_all, name="semblance-batch", daemon=True).start()

    # -- texts to rows

    def _prepare_all(self) -> None:
        while taken := self._take():
            self._prepare(taken)

    def _prepare(self, taken: list[_Share]) -> None:
        """Tokenise texts and put them into the pool; the lock is not held meanwhile."""
        try:
            rows = self._work.prepare([request.texts[position] for request, position in taken])
        except Exception as error:
            for request, _ in taken:
                request.fail(error)
            return
        now = time.monotonic()
        with self._changed:
            for (request, position), row in zip(taken, rows, strict=True):
                width = self._work.width(row)
                self._pool.setdefault(width, deque()).append(_Item(request, position, row, now))
                self._pooled += width
            self._changed.notify()

    def _take(self) -> list[_Share]:
        """One text of each request in turn, while a batch runs; empty when the thread may end."""
        with self._room:
            while True:
                if self._busy:
                    taken = self._in_turn()
                    if taken:
                        return taken
                if not self._room.wait(IDLE_SECONDS) and not self._requests:
                    self._preparing = False
                    return []

    def _in_turn(self) -> list[_Share]:
        """Texts to tokenise, none while two batches are prepared."""
        taken: list[_Share] = []
        while self._requests and len(taken) < TAKEN_AT_ONCE and self._pooled < 2 * self._budget:
            request = self._requests.popleft()
            if not request.open:  # cancelled or failed
                self._waiting -= len(request.texts) - request.taken
                continue
            taken.append((request, request.taken))
            request.taken += 1
            self._waiting -= 1
            if request.taken < len(request.texts):
                self._requests.append(request)
        return taken

    # -- rows to vectors

    def _run_all(self) -> None:
        while step := self._next_step():
            step()

    def _next_step(self) -> Callable[[], None] | None:
        """Tokenise what waits; or run the oldest row with others of its width, when it is full or due; or end."""
        delay = self._options.max_delay_ms / 1000
        with self._changed:
            self._busy = False
            while True:
                taken = self._in_turn() if self._pooled < self._budget else []
                if taken:
                    return partial(self._prepare, taken)
                if not self._pool:
                    if not self._changed.wait(IDLE_SECONDS) and not self._holds_work():
                        self._running = False
                        return None
                    continue
                oldest = min(self._pool.values(), key=lambda items: items[0].arrived)
                left = oldest[0].arrived + delay - time.monotonic() if self._crowded else 0
                if left <= 0 or self._pooled >= self._budget:
                    return partial(self._run, self._pick(self._work.width(oldest[0].row)))
                self._changed.wait(left)

    def _holds_work(self) -> bool:
        return bool(self._pool or self._requests or self._preparing)

    def _pick(self, width: int) -> list[_Item]:
        items = self._pool[width]
        count = min(len(items), max(1, self._budget // width))
        batch = [items.popleft() for _ in range(count)]
        if not items:
            del self._pool[width]
        self._pooled -= count * width
        self._busy = True
        self._room.notify()  # there is room to prepare more
        return batch

    def _run(self, batch: list[_Item]) -> None:
        shares: dict[int, list[_Item]] = {}
        for item in batch:
            if item.request.open:
                shares.setdefault(id(item.request), []).append(item)
        self._crowded = len(shares) > 1
        together = [item for share in shares.values() for item in share]
        try:
            self._give(together)
        except Exception as error:
            for share in shares.values():
                if len(shares) == 1:
                    share[0].request.fail(error)
                    continue
                try:
                    self._give(share)
                except Exception as own:
                    share[0].request.fail(own)

    def _give(self, items: list[_Item]) -> None:
        """Run rows and hand each request its vectors; ``items`` of one request follow one another."""
        if not items:
            return
        vectors = self._work.run([item.row for item in items])
        start = 0
        while start < len(items):
            request = items[start].request
            stop = next((i for i in range(start, len(items)) if items[i].request is not request), len(items))
            request.give([item.position for item in items[start:stop]], vectors[start:stop])
            start = stop


def _settle(settle: Callable[[Any], None], value: Any) -> None:
    """Set a future's outcome, unless its caller has cancelled it meanwhile."""
    with suppress(InvalidStateError):
        settle(value)
