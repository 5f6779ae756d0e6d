"""64 concurrent callers of one text each: `aencode` against unbatched calls; texts a second and latencies.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/callers.py [--callers 64] [--texts 2000] [--static]

*one by one*: a single caller, no company: what a call costs alone. *unbatched*: every caller runs `encode` in a thread
of its own. *aencode*: callers share batches. Closed loop: a caller asks again as soon as it has its answer, so 64 texts
are always under way and by Little's law the mean latency is 64 / throughput, whatever the batching: so many single
calls as 64 over the gain in throughput. Paced: the callers ask at random times, together a half or a quarter as often
as the closed loop of `aencode` could answer.

A second table says what batching can give at all: the bare ONNX Runtime session on texts of one length, one at a time
and in batches, without tokenising, pooling or callers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from texts import glosses

import semblance as sb

Ask = Callable[[str], Awaitable[np.ndarray]]


async def closed_loop(ask: Ask, texts: list[str], callers: int) -> tuple[float, np.ndarray]:
    """Seconds in all, and the latency of each text."""
    waiting, latencies = iter(texts), []

    async def caller() -> None:
        for text in waiting:
            start = time.perf_counter()
            await ask(text)
            latencies.append(time.perf_counter() - start)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - begin, np.array(latencies)


async def paced(ask: Ask, texts: list[str], callers: int, rate: float) -> tuple[float, np.ndarray]:
    """As above, every caller pausing at random so that all together ask ``rate`` times a second."""
    rng, waiting, latencies = random.Random(3), iter(texts), []

    async def caller() -> None:
        for text in waiting:
            await asyncio.sleep(rng.expovariate(rate / callers))
            start = time.perf_counter()
            await ask(text)
            latencies.append(time.perf_counter() - start)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - begin, np.array(latencies)


def line(name: str, texts: int, seconds: float, latencies: np.ndarray) -> None:
    """One row of the table."""
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    print(f"| {name} | {texts / seconds:.0f} | {p50:.1f} | {p99:.1f} |", flush=True)


def bare(encoder: sb.Encoder, rounds: int = 5) -> None:
    """Texts a second of the bare session by length and batch, median of rounds in turn; a CPU-second in brackets."""
    model, sizes = encoder._model, (1, 4, 8, 16, 32)
    print("\n| bare session, tokens a text | " + " | ".join(f"batch {size}" for size in sizes) + " | 32 over 1 |")
    print("|---" * (len(sizes) + 2) + "|")
    for width in (8, 16, 24, 32):
        ids = {size: np.random.default_rng(0).integers(1000, 20_000, (size, width)) for size in sizes}
        feeds = {size: model.feed(ids[size], np.full(size, width)) for size in sizes}
        taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for size, feed in feeds.items():
                clock, cpu = time.perf_counter(), time.process_time()
                for _ in range(32 // size):
                    model.session.run([model.output.name], feed)
                taken[size].append((32 / (time.perf_counter() - clock), 32 / (time.process_time() - cpu)))
        rates = {size: np.median(taken[size], axis=0) for size in sizes}
        shown = " | ".join(f"{rate:.0f} ({cpu:.0f})" for rate, cpu in rates.values())
        gain = rates[32] / rates[1]
        print(f"| {width} | {shown} | {gain[0]:.1f} ({gain[1]:.1f}) |", flush=True)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--static", action="store_true", help="the embedded encoder instead of MiniLM")
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    encoder = sb.Encoder() if given.static else sb.Encoder(data / "minilm", device="cpu")
    texts = random.Random(1).sample(glosses(data), given.texts)
    expected = encoder.encode(texts[:64])
    pool = ThreadPoolExecutor(given.callers)

    async def unbatched(text: str) -> np.ndarray:
        return await asyncio.get_running_loop().run_in_executor(pool, encoder.encode, [text])

    async def shared(text: str) -> np.ndarray:
        return await encoder.aencode([text])

    async def same() -> None:
        got = await asyncio.gather(*(shared(text) for text in texts[:64]))
        assert np.array_equal(np.concatenate(got), expected), "aencode says something else than encode"

    asyncio.run(same())
    print(f"load before: {os.getloadavg()[0]:.1f}; {encoder.name}, {len(texts)} texts, {given.callers} callers")
    print("| way | texts/s | p50 ms | p99 ms |\n|---|---|---|---|")
    begin, alone = time.perf_counter(), []
    for text in texts[: len(texts) // 4]:
        start = time.perf_counter()
        encoder.encode([text])
        alone.append(time.perf_counter() - start)
    line("one by one", len(alone), time.perf_counter() - begin, np.array(alone))
    apart = asyncio.run(closed_loop(unbatched, texts, given.callers))
    line("unbatched, closed loop", len(texts), *apart)
    seconds, latencies = asyncio.run(closed_loop(shared, texts, given.callers))
    line("aencode, closed loop", len(texts), seconds, latencies)
    rate = len(texts) / seconds
    for share, name in ((2, "half"), (4, "a quarter")):
        some = texts[: 2 * len(texts) // share]
        line(f"aencode, paced at {name} of that", len(some),
             *asyncio.run(paced(shared, some, given.callers, rate / share)))  # fmt: skip
        line("unbatched, paced alike", len(some), *asyncio.run(paced(unbatched, some, given.callers, rate / share)))
    single = float(np.sum(alone)) / len(alone)
    print(
        f"aencode over unbatched: {apart[0] / seconds:.1f}, over one by one: {rate * single:.1f} times the texts/s. "
        f"Mean latency of {given.callers} texts under way at this rate: {1000 * given.callers / rate:.0f} ms, "
        f"{given.callers / rate / single:.0f} single calls."
    )
    if not given.static:
        bare(encoder)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
