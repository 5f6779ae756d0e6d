"""`aencode`: shared batches, turns, cancellation, refusal, errors that stay with their caller."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import semblance as sb
from semblance.encode.dynamic import DynamicBatcher, Work

TEXTS = ["the cat runs.", "a big dog sleeps", "tree", "small small small tree.", "the big big big big big big dog", "."]


@pytest.fixture(scope="module", params=["onnx", "static"])
def encoder(request: pytest.FixtureRequest, tiny: Path) -> sb.Encoder:
    return sb.Encoder(tiny, device="cpu") if request.param == "onnx" else sb.Encoder()


def test_concurrent_callers_get_the_bits_of_encode(encoder: sb.Encoder) -> None:
    async def all_at_once() -> list[np.ndarray]:
        calls = [TEXTS[i % 6 : i % 6 + 1 + i % 3] for i in range(64)]
        return await asyncio.gather(*(encoder.aencode(call) for call in calls))

    for i, got in enumerate(asyncio.run(all_at_once())):
        assert np.array_equal(got, encoder.encode(TEXTS[i % 6 : i % 6 + 1 + i % 3]))


def test_callers_from_many_threads_and_loops(encoder: sb.Encoder) -> None:
    expected, got = encoder.encode(TEXTS), []

    def caller() -> None:
        got.extend(asyncio.run(encoder.aencode(TEXTS)) for _ in range(5))

    threads = [threading.Thread(target=caller) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 40
    assert all(np.array_equal(vectors, expected) for vectors in got)


def test_nothing_one_and_raw(encoder: sb.Encoder) -> None:
    assert asyncio.run(encoder.aencode([])).shape == (0, encoder.dim)
    raw = asyncio.run(encoder.aencode(iter(TEXTS[:1]), normalize=False))
    assert np.array_equal(raw, encoder.encode(TEXTS[:1], normalize=False))


def test_a_static_encoder_lets_other_tasks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts are read on the spot; long ones go to the batcher's threads."""
    encoder, turns = sb.Encoder(), []
    sent: list[int] = []
    batched = encoder._batcher.encode

    async def watched(texts: list[str]) -> np.ndarray:
        sent.append(len(texts))
        return await batched(texts)

    monkeypatch.setattr(encoder._batcher, "encode", watched)

    async def caller(name: str) -> None:
        for _ in range(3):
            await encoder.aencode(["a small dog"])
            turns.append(name)

    async def both() -> np.ndarray:
        await asyncio.gather(caller("a"), caller("b"))
        return await encoder.aencode(["a small dog " * 2000])

    long = asyncio.run(both())
    assert turns == ["a", "b"] * 3
    assert sent == [1]
    assert np.array_equal(long, encoder.encode(["a small dog " * 2000]))


@pytest.mark.parametrize(("texts", "words"), [("one", "a single str"), ([1], "int at position 0"), (7, "got int")])
def test_what_is_no_text_is_refused(encoder: sb.Encoder, texts: object, words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        asyncio.run(encoder.aencode(texts))  # type: ignore[arg-type]


def test_dims_and_instruction_hold_here_too(tiny: Path) -> None:
    encoder = sb.Encoder(tiny, dims=3, instruction="the ")
    assert np.array_equal(asyncio.run(encoder.aencode(TEXTS)), encoder.encode(TEXTS))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_tokens": 0}, "batch_tokens: expected"),
        ({"max_waiting": True}, "max_waiting: expected"),
        ({"max_delay_ms": -1}, "max_delay_ms: expected"),
        ({"max_delay_ms": "soon"}, "max_delay_ms: expected"),
    ],
)
def test_options_are_checked(options: dict[str, object], words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        sb.Batching(**options)  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="batching: expected a Batching"):
        sb.Encoder(batching=options)  # type: ignore[arg-type]


# -- the batcher alone, with work that a test can hold up and watch


class Bench:
    """Rows are texts; a text's width is its length, its vector its first letter. ``gate`` holds up every batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.prepared = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def prepare(self, texts: list[str]) -> list[str]:
        self.prepared += len(texts)
        return texts

    def run(self, rows: list[str]) -> np.ndarray:
        self.entered.set()
        self.gate.wait()
        self.batches.append(list(rows))
        if any(row.startswith("!") for row in rows):
            raise sb.Error("bad row")
        return np.array([[ord(row[0])] for row in rows], np.float32)

    def batcher(self, **options: float) -> DynamicBatcher:
        return DynamicBatcher(Work(self.prepare, len, self.run), sb.Batching(**options))  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


async def started(*calls: object) -> list[asyncio.Task[np.ndarray]]:
    """Tasks that have put their texts in the queue, in this order."""
    tasks = [asyncio.ensure_future(call) for call in calls]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return tasks


def test_what_waits_while_a_batch_runs_becomes_one_batch(bench: Bench) -> None:
    async def callers() -> None:
        batcher = bench.batcher(max_delay_ms=0)
        bench.gate.clear()
        first = await started(batcher.encode(["aa"]))
        await asyncio.to_thread(bench.entered.wait)
        rest = await started(*(batcher.encode([letter * 2]) for letter in "bcdef"))
        await asyncio.to_thread(until, lambda: bench.prepared == 6)
        bench.gate.set()
        await asyncio.gather(*first, *rest)

    asyncio.run(callers())
    assert bench.batches == [["aa"], ["bb", "cc", "dd", "ee", "ff"]]


def test_batches_keep_the_budget_and_one_width(bench: Bench) -> None:
    async def callers() -> None:
        batcher = bench.batcher(batch_tokens=12)
        await asyncio.gather(*(batcher.encode(["x" * (1 + i % 4)]) for i in range(60)), batcher.encode(["y" * 50]))

    asyncio.run(callers())
    assert sum(map(len, bench.batches)) == 61
    for batch in bench.batches:
        assert len({len(row) for row in batch}) == 1
        assert len(batch) == 1 or len(batch) * len(batch[0]) <= 12


def test_a_small_request_overtakes_a_large_one(bench: Bench) -> None:
    done: list[str] = []

    async def caller(batcher: DynamicBatcher, name: str, texts: list[str]) -> None:
        await batcher.encode(texts)
        done.append(name)

    async def callers() -> None:
        batcher = bench.batcher(batch_tokens=8)
        bench.gate.clear()
        large = asyncio.ensure_future(caller(batcher, "large", ["xx"] * 400))
        await asyncio.to_thread(bench.entered.wait)
        small = asyncio.ensure_future(caller(batcher, "small", ["ss"]))
        await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.gather(large, small)

    asyncio.run(callers())
    assert done == ["small", "large"]
    place = next(number for number, batch in enumerate(bench.batches) if "ss" in batch)
    assert place < len(bench.batches) / 3


def test_a_lone_text_is_tokenised_where_it_runs(bench: Bench) -> None:
    threads: list[str] = []
    prepare = bench.prepare
    bench.prepare = lambda texts: (threads.append(threading.current_thread().name), prepare(texts))[1]  # type: ignore[method-assign]

    async def callers() -> None:
        batcher = bench.batcher()
        for text in ("aa", "bb"):
            await batcher.encode([text])
            await asyncio.to_thread(until, lambda: not batcher._busy)
        bench.gate.clear()
        bench.entered.clear()
        first = await started(batcher.encode(["cc"]))
        await asyncio.to_thread(bench.entered.wait)
        second = await started(batcher.encode(["dd"]))  # while a batch runs
        await asyncio.to_thread(until, lambda: bench.prepared == 4)
        bench.gate.set()
        await asyncio.gather(*first, *second)

    asyncio.run(callers())
    assert threads == ["semblance-batch"] * 3 + ["semblance-prepare"]


def test_little_is_prepared_ahead(bench: Bench) -> None:
    async def caller() -> None:
        batcher = bench.batcher(batch_tokens=20)
        bench.gate.clear()
        task = asyncio.ensure_future(batcher.encode(["xx"] * 5000))
        await asyncio.to_thread(bench.entered.wait)
        await asyncio.to_thread(until, lambda: batcher.waiting == 5000 - bench.prepared)
        assert bench.prepared <= 3 * 64
        bench.gate.set()
        assert (await task).shape == (5000, 1)

    asyncio.run(caller())


def test_too_many_waiting_texts_are_refused(bench: Bench) -> None:
    async def callers() -> None:
        batcher = bench.batcher(batch_tokens=2, max_waiting=100)
        bench.gate.clear()
        large = (await started(batcher.encode(["xx"] * 300)))[0]  # alone it may be larger than the limit
        await asyncio.to_thread(bench.entered.wait)
        with pytest.raises(sb.CapacityError, match="at most 100 waiting texts"):
            await batcher.encode(["yy"])
        bench.gate.set()
        await large
        assert (await batcher.encode(["yy"]))[0, 0] == ord("y")

    asyncio.run(callers())


def test_cancellation_drops_what_has_not_run(bench: Bench) -> None:
    async def callers() -> None:
        batcher = bench.batcher(batch_tokens=20)
        bench.gate.clear()
        doomed = asyncio.ensure_future(batcher.encode(["xx"] * 1000))
        await asyncio.to_thread(bench.entered.wait)
        other = (await started(batcher.encode(["oo"])))[0]
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        bench.gate.set()
        assert (await other)[0, 0] == ord("o")
        assert batcher.waiting == 0

    asyncio.run(callers())
    assert sum(batch.count("xx") for batch in bench.batches) <= 64


def test_cancellation_in_the_middle_of_a_batch_leaves_its_companions(bench: Bench) -> None:
    async def callers() -> None:
        batcher = bench.batcher()
        bench.gate.clear()
        (first,) = await started(batcher.encode(["aa"]))
        await asyncio.to_thread(bench.entered.wait)
        tasks = await started(*(batcher.encode([letter]) for letter in "bcd"))
        first.cancel()
        await asyncio.to_thread(until, lambda: bench.prepared == 4)
        bench.entered.clear()
        bench.gate.set()
        await asyncio.to_thread(bench.entered.wait)
        tasks[1].cancel()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert [float(result[0, 0]) for result in results[1::2]] == [ord("b"), ord("d")]  # type: ignore[index]

    asyncio.run(callers())


def test_a_timeout_is_a_cancellation(bench: Bench) -> None:
    async def caller() -> None:
        batcher = bench.batcher()
        bench.gate.clear()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(batcher.encode(["aa"]), 0.01)
        bench.gate.set()
        assert (await batcher.encode(["bb"]))[0, 0] == ord("b")

    asyncio.run(caller())


def test_a_bad_text_fails_its_own_caller_alone(bench: Bench) -> None:
    async def callers() -> list[object]:
        batcher = bench.batcher()
        bench.gate.clear()
        first = await started(batcher.encode(["zz"]))
        await asyncio.to_thread(bench.entered.wait)
        rest = await started(*(batcher.encode(texts) for texts in (["aa"], ["!!", "bb"], ["cc"])))
        await asyncio.to_thread(until, lambda: bench.prepared == 5)
        bench.gate.set()
        return await asyncio.gather(*first, *rest, return_exceptions=True)

    _, a, bad, c = asyncio.run(callers())
    assert isinstance(bad, sb.Error)
    assert (a[0, 0], c[0, 0]) == (ord("a"), ord("c"))  # type: ignore[index]


def test_threads_end_when_idle_and_start_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.encode.dynamic.IDLE_SECONDS", 0.01)
    batcher = bench.batcher()
    for _ in range(2):
        asyncio.run(batcher.encode(["aa"]))
        until(lambda: not batcher._preparing and not batcher._running)
    assert len(bench.batches) == 2


def _aencode_in_child(encoder: sb.Encoder, sender: object) -> None:
    sender.send(asyncio.run(encoder.aencode(TEXTS)))  # type: ignore[attr-defined]
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_batcher_of_its_own(tiny: Path) -> None:
    encoder = sb.Encoder(tiny, device="cpu", threads=2)
    expected = asyncio.run(encoder.aencode(TEXTS))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    with encoder._model.session._turn:  # type: ignore[attr-defined]  # as if another thread ran a batch at that moment
        child = context.Process(target=_aencode_in_child, args=(encoder, sender))
        child.start()
    assert receiver.poll(60), "the child hangs"
    assert np.array_equal(receiver.recv(), expected)
    child.join(10)
    assert np.array_equal(asyncio.run(encoder.aencode(TEXTS)), expected)


def test_threads_take_turns_in_one_session(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = sb.Encoder(tiny, device="cpu")
    session = encoder._model.session  # type: ignore[attr-defined]
    real, busy, most = session._session, [], []

    class Watched:
        def run(self, *given: object) -> object:
            busy.append(1)
            most.append(len(busy))
            try:
                return real.run(*given)
            finally:
                busy.pop()

    monkeypatch.setattr(session, "_session", Watched())
    threads = [threading.Thread(target=lambda: [encoder.encode(TEXTS) for _ in range(20)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) >= 6 * 20
    assert max(most) == 1
