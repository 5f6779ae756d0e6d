"""Times by CUDA events, the card's copy bandwidth, and the line that says how far from it a kernel stays."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable

import torch

import semblance as sb

REPLAYS = 16  # between two events


def milliseconds(call: Callable[[], object], rounds: int = 30, warm_up: int = 5) -> float:
    """The median time of a call on the current stream, which must not wait for it; the host's part too: a call starts
    on an idle card."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


class Replay:
    """A call as a CUDA graph: what the card does, without the host's part. It allocates nothing that outlives it.

    It keeps the call, which owns what the graph reads and writes.
    """

    def __init__(self, call: Callable[[torch.cuda.Stream], object]) -> None:
        self._call = call
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call(stream)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            call(stream)

    def __call__(self) -> None:
        self._graph.replay()


def replay_milliseconds(calls: Iterable[Callable[[torch.cuda.Stream], object]], rounds: int = 30) -> float:
    """The median time of calls that are replayed in turn: the card has the next before it is done with the last."""
    replays = itertools.cycle([Replay(call) for call in calls])

    def several() -> None:
        for replay in itertools.islice(replays, REPLAYS):
            replay()

    return milliseconds(several, rounds, 1) / REPLAYS


def copy_bandwidth(gigabytes: int = 4) -> float:
    """Bytes a second that a copy on the card reads and writes."""
    source = torch.empty(gigabytes << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / (milliseconds(lambda: target.copy_(source), 10) / 1e3)


def roofline(what: str, moved: float, ms: float, bandwidth: float) -> str:
    """One line: bytes counted, time, and the share of the measured copy bandwidth."""
    rate = moved / (ms / 1e3)
    return f"{what}: {moved / 1e6:.1f} MB in {ms:.3f} ms = {rate / 1e12:.2f} TB/s, {rate / bandwidth:.0%} of a copy's"


def require_card() -> str:
    """The card's name; ends the program where there is none."""
    if not sb.gpu.is_available():
        raise SystemExit(f"no GPU to measure: {sb.gpu.reason()}")
    return str(sb.gpu.device()["name"])
